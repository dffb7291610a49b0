//! What the instance gives up when it runs out of descriptors, memory or time, in steps: first kept connections, then
//! requests of sheddable routes, then new connections. Admin listeners take no part.
//!
//! `ladder` decides, from readings that `background` takes; requests and accept loops only ask which step it is.

mod ladder;
mod lag;
#[cfg(test)]
mod tests;

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

pub use ladder::{Ladder, Level};
pub use lag::LagProbe;

pub use crate::observe::metrics::Resource;
use crate::observe::metrics::{Label, OverloadMetrics};

/// The step that the instance is on; shared by all who must know.
pub struct Overload {
    level: AtomicU8,
    short_of_memory: AtomicBool,
    accepting: watch::Sender<bool>,
    /// A new connection with this descriptor or a higher one is one too many.
    ceiling: AtomicI32,
    seen: Mutex<Vec<Seen>>,
    /// Counts what was given up.
    pub metrics: Arc<OverloadMetrics>,
}

/// A resource at the last reading.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub resource: Resource,
    pub level: Level,
    /// Share of the limit, 0 to 1; for lag, seconds.
    pub reading: f64,
    /// `None` for lag.
    pub amounts: Option<Amounts>,
}

/// Descriptors or bytes that a share was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    pub used: u64,
    pub limit: u64,
}

impl Seen {
    /// For the log and `/status`.
    pub fn to_json(&self) -> Value {
        let mut fields = json!({
            "resource": self.resource.name(),
            "level": self.level.as_str(),
        });
        match self.amounts {
            Some(Amounts { used, limit }) => {
                fields["used"] = used.into();
                fields["limit"] = limit.into();
            }
            None => fields["seconds"] = self.reading.into(),
        }
        fields
    }
}

impl Overload {
    /// Nothing is short.
    pub fn new(metrics: Arc<OverloadMetrics>) -> Overload {
        Overload {
            level: AtomicU8::new(Level::Normal as u8),
            short_of_memory: AtomicBool::new(false),
            accepting: watch::Sender::new(true),
            ceiling: AtomicI32::new(i32::MAX),
            seen: Mutex::default(),
            metrics,
        }
    }

    /// The step that holds now.
    pub fn level(&self) -> Level {
        Level::of(self.level.load(Ordering::Relaxed))
    }

    /// Whether responses should say that their connection ends.
    pub fn cuts_keep_alive(&self) -> bool {
        self.level() >= Level::CutKeepAlive
    }

    /// Whether memory is on a step: responses are given up whose clients don't take them.
    pub fn is_short_of_memory(&self) -> bool {
        self.short_of_memory.load(Ordering::Relaxed)
    }

    /// Whether requests of sheddable routes are refused.
    pub fn sheds(&self) -> bool {
        self.level() >= Level::Shed
    }

    /// Whether no connections are accepted.
    pub fn pauses_accept(&self) -> bool {
        self.level() >= Level::PauseAccept
    }

    /// Returns when connections may be accepted.
    pub async fn accepting(&self) {
        if self.pauses_accept() {
            // The sender is in `self`: it can't be gone.
            let _ = self.accepting.subscribe().wait_for(|on| *on).await;
        }
    }

    /// Whether a connection that was just accepted shows that accepting has to pause, before any reading does: the kernel
    /// gives the lowest free descriptor, so all below this one are taken.
    pub fn is_at_ceiling(&self, descriptor: RawFd) -> bool {
        descriptor >= self.ceiling.load(Ordering::Relaxed)
    }

    /// What the last readings amount to.
    pub fn set(&self, seen: Vec<Seen>, ceiling: RawFd) {
        let level = seen.iter().map(|seen| seen.level).max();
        let level = level.unwrap_or(Level::Normal);
        for seen in &seen {
            let step = i64::from(seen.level as u8);
            self.metrics.set(seen.resource, step, seen.reading);
        }
        let memory = |seen: &Seen| seen.resource == Resource::Memory && seen.level > Level::Normal;
        let short = seen.iter().any(memory);
        self.short_of_memory.store(short, Ordering::Relaxed);
        *self.seen() = seen;
        self.ceiling.store(ceiling, Ordering::Relaxed);
        self.level.store(level as u8, Ordering::Relaxed);
        let accepting = level < Level::PauseAccept;
        let changed = |on: &mut bool| std::mem::replace(on, accepting) != accepting;
        self.accepting.send_if_modified(changed);
    }

    /// For `/status`.
    pub fn status(&self) -> Value {
        let resources: Vec<Value> = self.seen().iter().map(Seen::to_json).collect();
        json!({ "level": self.level().as_str(), "resources": resources })
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
