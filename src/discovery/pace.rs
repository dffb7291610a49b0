//! How often a pool takes changes: those that come together are made together.

use std::time::{Duration, Instant};

/// How long a change waits for others.
const JOINED: Duration = Duration::from_millis(100);
/// Between two changes of one pool, so that churn costs a bounded amount.
const APART: Duration = Duration::from_secs(1);

/// The changes of one pool.
#[derive(Debug, Default)]
pub struct Pace {
    waiting_since: Option<Instant>,
    made: Option<Instant>,
}

impl Pace {
    /// There is something to change.
    pub fn note(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// When it is to be made; `None` while nothing waits.
    pub fn due(&self) -> Option<Instant> {
        let joined = self.waiting_since? + JOINED;
        Some(self.made.map_or(joined, |made| joined.max(made + APART)))
    }

    /// It was made, or turned out to be none.
    pub fn made(&mut self, changed: bool, now: Instant) {
        self.waiting_since = None;
        if changed {
            self.made = Some(now);
        }
    }
}
