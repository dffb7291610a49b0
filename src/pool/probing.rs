//! When a backend is to be probed next, and when real traffic makes a probe needless. Who probes, and how, is not known here.

use std::time::{Duration, Instant};

use super::hash;
use super::health::{Health, State, Verdict};
use crate::config::model::{HealthCheck, Probe};

/// Successes since the last look that stand for a probe.
const PROOF: u64 = 10;
/// Longest time without a real probe.
const LONGEST_SKIP: Duration = Duration::from_secs(30);

/// The probes of one backend.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    due: Instant,
    running: bool,
    last_probe: Instant,
    /// Good and bad attempts at the last look.
    mark: (u64, u64),
    /// The state changed since `due` was set.
    pub(super) hasten: bool,
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: now,
            running: false,
            last_probe: now,
            mark: (0, 0),
            hasten: false,
        }
    }
}

impl Health {
    /// When the next probe is due; `None` while one runs or while the operator has taken the backend out.
    pub fn probe_due(&mut self, check: &HealthCheck, now: Instant) -> Option<Instant> {
        if self.schedule.running || self.state() == State::AdminDown {
            return None;
        }
        if std::mem::take(&mut self.schedule.hasten) {
            self.schedule.due = self.schedule.due.min(now + self.probe_interval(check));
        }
        Some(self.schedule.due)
    }

    /// Spreads first probes over `span` by the backend's hash, so that they do not all go out in one instant.
    pub fn spread_first_probe(&mut self, key: u64, span: Duration, now: Instant) {
        self.schedule.due = now + part_of(span, hash::mix(key));
    }

    /// At the due time: true when a probe is to run, false when traffic has answered for it. `totals`: attempts so far.
    pub fn begin_probe(&mut self, check: &HealthCheck, totals: (u64, u64), now: Instant) -> bool {
        let (good, bad) = (
            totals.0.saturating_sub(self.schedule.mark.0),
            totals.1.saturating_sub(self.schedule.mark.1),
        );
        self.schedule.mark = totals;
        let fresh = now + check.interval <= self.schedule.last_probe + LONGEST_SKIP;
        // Requests don't tell of a 404 on the health path, which asks for a drain.
        let listens = matches!(
            check.probe,
            Probe::Http {
                drain_on_404: true,
                ..
            }
        );
        if check.piggyback
            && !listens
            && fresh
            && self.state() == State::Healthy
            && good >= PROOF
            && bad == 0
        {
            self.schedule.due = now + jittered(check.interval, check.jitter_percent);
            return false;
        }
        self.schedule.running = true;
        self.schedule.last_probe = now;
        true
    }

    /// A probe ended and its result has been taken in.
    pub fn end_probe(&mut self, check: &HealthCheck, key: u64, now: Instant) {
        let first = self.schedule.running && self.state().in_rotation() && self.since == now;
        self.schedule.running = false;
        self.schedule.hasten = false;
        let interval = self.probe_interval(check);
        // After the quick first round each backend takes a place of its own in the interval.
        let wait = if first {
            part_of(interval, hash::mix(key))
        } else {
            interval
        };
        self.schedule.due = now + jittered(wait, check.jitter_percent);
    }

    fn probe_interval(&self, check: &HealthCheck) -> Duration {
        match (self.state(), self.verdict) {
            (
                _,
                Verdict::Down {
                    passes: 0, fails, ..
                },
            ) => {
                let backed_off = check
                    .fast_interval
                    .saturating_mul(1 << fails.saturating_sub(1).min(16));
                backed_off.min(check.down_interval.max(check.fast_interval))
            }
            (_, Verdict::Down { .. } | Verdict::Checking { .. }) => check.fast_interval,
            (State::Suspect | State::HalfOpen, _) => check.fast_interval,
            (State::Draining, _) => check.fast_interval.max(check.interval / 2),
            _ => check.interval,
        }
    }
}

fn part_of(span: Duration, hash: u64) -> Duration {
    span.mul_f64(hash as f64 / u64::MAX as f64)
}

fn jittered(interval: Duration, percent: u32) -> Duration {
    let part = f64::from(percent.min(100)) / 100.0;
    interval.mul_f64(1.0 + part * (2.0 * fastrand::f64() - 1.0))
}
