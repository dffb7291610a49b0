//! Making a pool from its settings, with everything that is known of its backends from the pool before.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::Pool;
use super::candidates::View;
use super::events::Events;
use super::health::{Health, Rules, State, Verdict};
use super::steer::Control;
use crate::config::model;

impl Pool {
    /// A backend with the id and address of one in `previous` is that one: counters, health and timers go on. Others
    /// are new; where probes run, a new one gets no traffic before `rise` of them pass, or one at a `cold_start`. Those of
    /// `previous` that are not in the settings any more leave as after [`Pool::set_members`].
    pub fn build(
        settings: &model::Pool,
        previous: Option<&Self>,
        now: Instant,
        cold_start: bool,
        events: Arc<dyn Events>,
    ) -> Self {
        let pool = Self {
            rules: rules(settings),
            origin: previous.map_or(now, |pool| pool.origin),
            turn: previous.map_or_else(Arc::default, |pool| Arc::clone(&pool.turn)),
            settings: model::Pool {
                backends: Vec::new(),
                ..settings.clone()
            },
            load: previous.map_or_else(Arc::default, |pool| Arc::clone(&pool.load)),
            view: ArcSwap::from_pointee(View {
                nobody: settings.backends.is_empty(),
                members: previous.map_or_else(Arc::default, Self::members),
                ..View::default()
            }),
            awaits_members: AtomicBool::new(false),
            control: Mutex::new(Control::default()),
            events,
        };
        if let Some(previous) = previous {
            pool.take_over(previous, now);
        }
        pool.steer(now, |work| {
            let changes = work.set_members(&settings.backends, cold_start);
            if previous.is_some() {
                work.tell(&changes);
            }
        });
        pool
    }

    fn take_over(&self, previous: &Self, now: Instant) {
        let mut old = previous
            .control
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut control = self
            .control
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        control.shares = std::mem::take(&mut old.shares);
        drop((old, control));
        for backend in self.backends() {
            let mut health = backend.health();
            health.settle(self.rules.probes, now);
            backend.hot.state.store(health.state() as u8, Relaxed);
        }
    }
}

impl Health {
    /// After a reload that took the probes away: no verdict of theirs may outlive them.
    fn settle(&mut self, probes: bool, now: Instant) {
        if !probes && !matches!(self.verdict, Verdict::Up { .. }) {
            self.verdict = Verdict::Up { fails: 0 };
            self.since = now;
        }
    }
}

pub(super) fn new_health(
    settings: &model::Pool,
    one: &model::Backend,
    cold: bool,
    now: Instant,
) -> Health {
    let seed = fastrand::u64(..);
    let Some(check) = &settings.health_check else {
        let mut health = Health::new(Verdict::Up { fails: 0 }, seed, now);
        health.ramp_from = (!cold).then_some(now);
        return health;
    };
    let mut health = Health::new(Verdict::unknown(cold), seed, now);
    health.spread_first_probe(
        super::hash::hash(one.id.as_bytes()) ^ seed,
        check.fast_interval.min(check.interval) / 2,
        now,
    );
    debug_assert_eq!(health.state(), State::Checking);
    health
}

fn rules(settings: &model::Pool) -> Rules {
    let check = settings.health_check.as_ref();
    Rules {
        fall: check.map_or(1, |check| check.fall.max(1)),
        rise: check.map_or(1, |check| check.rise.max(1)),
        probes: check.is_some(),
        base_ejection: settings.outlier_detection.base_ejection_time,
        max_ejection: settings.outlier_detection.max_ejection_time,
        drain_timeout: settings.drain_timeout,
    }
}
