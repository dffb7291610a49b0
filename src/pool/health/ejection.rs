//! The verdict of traffic: clear, ejected for a time, or on trial.

use std::time::Instant;

use super::{Health, ProbeFailure, Rules, TRIAL_PATIENCE, TRIALS, Verdict};
use crate::pool::events::Reason;

/// What an ejection was made for; the worst last, so that the first come back first when too many are out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Slower than the pool.
    Latency,
    /// More errors than the pool.
    ErrorRate,
    /// Failures in a row.
    ConsecutiveFailures,
    /// Nobody listens.
    ConnectRefused,
}

impl From<Cause> for Reason {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Latency => Self::Latency,
            Cause::ErrorRate => Self::ErrorRate,
            Cause::ConsecutiveFailures => Self::ConsecutiveFailures,
            Cause::ConnectRefused => Self::ConnectRefused,
        }
    }
}

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Traffic {
    /// Nothing against it.
    Clear,
    /// Out.
    Ejected {
        /// When the trial begins.
        until: Instant,
        /// What for.
        cause: Cause,
    },
    /// On trial.
    HalfOpen {
        /// Attempts that began earlier do not count.
        since: Instant,
        /// What it was ejected for.
        cause: Cause,
        /// A probe passed since (or none run).
        probed: bool,
        /// Real requests that went well since.
        good: u32,
    },
}

impl Health {
    pub(super) fn eject(&mut self, cause: Cause, rules: &Rules, now: Instant) -> Reason {
        self.row = self.row.saturating_add(1);
        let doubled = rules
            .base_ejection
            .saturating_mul(1 << (self.row - 1).min(20));
        let time = doubled.min(rules.max_ejection).mul_f64(self.jitter());
        self.traffic = Traffic::Ejected {
            until: now + time,
            cause,
        };
        self.suspicions = 0;
        self.slow_since = None;
        cause.into()
    }

    pub(super) fn cool_down(&mut self, now: Instant) -> Reason {
        if let Traffic::Ejected { until, cause } = self.traffic
            && until <= now
        {
            // `probed` stays false until a probe says so; where none run, `trial_open` does not ask.
            self.traffic = Traffic::HalfOpen {
                since: now,
                cause,
                probed: false,
                good: 0,
            };
        }
        Reason::CooldownOver
    }

    /// Whether real requests may be tried now; `Some(true)` when any will do, `Some(false)` when only idempotent ones.
    pub fn trial_open(&self, rules: &Rules, now: Instant) -> Option<bool> {
        match self.traffic {
            Traffic::HalfOpen { since, probed, .. } if probed || !rules.probes => {
                Some(now >= since + TRIAL_PATIENCE)
            }
            _ => None,
        }
    }

    pub(super) fn trial(&mut self, good: bool, rules: &Rules, now: Instant) -> Reason {
        let Traffic::HalfOpen {
            cause,
            good: before,
            probed,
            ..
        } = &mut self.traffic
        else {
            return Reason::TrialPassed;
        };
        if !good {
            let cause = *cause;
            self.eject(cause, rules, now);
            return Reason::TrialFailed;
        }
        *before += 1;
        if *before >= TRIALS && (*probed || !rules.probes) {
            self.traffic = Traffic::Clear;
        }
        Reason::TrialPassed
    }

    /// A probe in the trial: a pass opens it, a failure ends it.
    pub(super) fn probe_trial(
        &mut self,
        failure: Option<ProbeFailure>,
        rules: &Rules,
        now: Instant,
    ) -> bool {
        let Traffic::HalfOpen { cause, probed, .. } = &mut self.traffic else {
            return false;
        };
        if failure.is_none() {
            *probed = true;
            return false;
        }
        let cause = *cause;
        self.eject(cause, rules, now);
        true
    }

    /// How bad it is for traffic to go there; `None` when neither probes nor traffic put it out.
    pub fn badness(&self) -> Option<Badness> {
        let by_probe = match self.verdict {
            Verdict::Down {
                last: ProbeFailure::Refused,
                ..
            } => Some(Badness::Refused),
            Verdict::Down { .. } => Some(Badness::ProbeFailed),
            _ => None,
        };
        let by_traffic = match self.traffic {
            Traffic::Clear => None,
            Traffic::Ejected { cause, .. } | Traffic::HalfOpen { cause, .. } => Some(match cause {
                Cause::Latency => Badness::Slow,
                Cause::ErrorRate | Cause::ConsecutiveFailures => Badness::Failing,
                Cause::ConnectRefused => Badness::Refused,
            }),
        };
        by_probe.max(by_traffic)
    }
}

/// Order in which backends come back when too many are out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Badness {
    /// Answers, but late.
    Slow,
    /// Answers with errors.
    Failing,
    /// Fails its probes.
    ProbeFailed,
    /// Nobody listens.
    Refused,
}
