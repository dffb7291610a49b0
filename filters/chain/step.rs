//! One filter in one phase: its time is taken and its panics are caught here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;

use super::{Meter, Observer, Phase};
use crate::filter::{Filter, Hooks};

pub(super) struct Step {
    pub name: &'static str,
    /// Place in the chain, from 0.
    pub place: u16,
    pub filter: Arc<dyn Filter>,
    meter: Arc<dyn Meter>,
}

/// A hook panicked; it has been counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panicked;

pub(super) fn compile(
    filters: &[(&'static str, Arc<dyn Filter>)],
    hook: Hooks,
    phase: Phase,
    observer: &dyn Observer,
) -> Box<[Step]> {
    let numbered = (0..u16::MAX).zip(filters);
    let with_hook = numbered.filter(|(_, (_, filter))| filter.hooks().contains(hook));
    let steps = with_hook.map(|(place, (name, filter))| Step {
        name,
        place,
        filter: Arc::clone(filter),
        meter: observer.meter(name, phase),
    });
    steps.collect()
}

/// A watch that is read once between two filters: its end of one is the start of the next.
pub(super) struct Lap(Option<Instant>);

impl Lap {
    pub fn start(steps: &[Step]) -> Lap {
        Lap((!steps.is_empty()).then(Instant::now))
    }

    fn end(&mut self, meter: &dyn Meter) {
        let now = Instant::now();
        if let Some(start) = self.0.replace(now) {
            meter.took(now - start);
        }
    }
}

pub(super) async fn isolated_async<T>(
    step: &Step,
    lap: &mut Lap,
    hook: impl Future<Output = T>,
) -> Result<T, Panicked> {
    // The hook's own state may be torn, but all it shares with later hooks is behind types that stay valid.
    let result = AssertUnwindSafe(hook).catch_unwind().await;
    settle(step, lap, result)
}

pub(super) fn isolated<T>(
    step: &Step,
    lap: &mut Lap,
    hook: impl FnOnce() -> T,
) -> Result<T, Panicked> {
    settle(step, lap, catch_unwind(AssertUnwindSafe(hook)))
}

fn settle<T>(step: &Step, lap: &mut Lap, result: std::thread::Result<T>) -> Result<T, Panicked> {
    lap.end(&*step.meter);
    result.map_err(|_| {
        step.meter.panicked();
        log::error!(
            "filter {} panicked; what it was asked about is given up",
            step.name
        );
        Panicked
    })
}
