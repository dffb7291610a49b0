//! The verdict of probes: checking, up, down.

use std::time::Instant;

use super::{Drain, Health, Rules, Suspicion};
use crate::pool::events::Reason;

/// How a probe failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeFailure {
    /// Nobody listens.
    Refused,
    /// No connection or no answer in time.
    Timeout,
    /// An answer, but the wrong one, or a cut connection.
    Mismatch,
}

impl From<ProbeFailure> for Reason {
    fn from(failure: ProbeFailure) -> Self {
        match failure {
            ProbeFailure::Refused => Self::ProbeRefused,
            ProbeFailure::Timeout => Self::ProbeTimeout,
            ProbeFailure::Mismatch => Self::ProbeMismatch,
        }
    }
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeResult {
    /// As expected.
    Pass,
    /// The backend is alive and asks for no new requests.
    Drain,
    /// Not as expected.
    Fail(ProbeFailure),
}

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// None yet.
    Checking {
        /// In a row.
        passes: u32,
        /// In a row.
        fails: u32,
        /// The instance itself starts: the first probe decides.
        cold: bool,
    },
    /// Good.
    Up {
        /// In a row.
        fails: u32,
    },
    /// Bad.
    Down {
        /// In a row.
        passes: u32,
        /// Since it is down; slows the probes.
        fails: u32,
        /// The last of them.
        last: ProbeFailure,
    },
}

impl Verdict {
    /// For a backend about which nothing is known.
    pub fn unknown(cold: bool) -> Self {
        Self::Checking {
            passes: 0,
            fails: 0,
            cold,
        }
    }

    fn passed(self, rise: u32) -> Self {
        match self {
            Self::Checking { passes, cold, .. } if cold || passes + 1 >= rise => {
                Self::Up { fails: 0 }
            }
            Self::Checking { passes, cold, .. } => Self::Checking {
                passes: passes + 1,
                fails: 0,
                cold,
            },
            Self::Up { .. } => Self::Up { fails: 0 },
            Self::Down { passes, .. } if passes + 1 >= rise => Self::Up { fails: 0 },
            Self::Down {
                passes,
                fails,
                last,
            } => Self::Down {
                passes: passes + 1,
                fails,
                last,
            },
        }
    }

    fn failed(self, fall: u32, last: ProbeFailure) -> Self {
        let down = Self::Down {
            passes: 0,
            fails: 1,
            last,
        };
        match self {
            Self::Checking { fails, cold, .. } if cold || fails + 1 >= fall => down,
            Self::Checking { fails, cold, .. } => Self::Checking {
                passes: 0,
                fails: fails + 1,
                cold,
            },
            Self::Up { fails } if fails + 1 >= fall => down,
            Self::Up { fails } => Self::Up { fails: fails + 1 },
            Self::Down { fails, .. } => Self::Down {
                passes: 0,
                fails: fails.saturating_add(1),
                last,
            },
        }
    }
}

impl Health {
    pub(super) fn probe(&mut self, result: ProbeResult, rules: &Rules, now: Instant) -> Reason {
        let failure = match result {
            ProbeResult::Fail(failure) => Some(failure),
            ProbeResult::Pass | ProbeResult::Drain => None,
        };
        self.suspect(Suspicion::Probe, failure.is_some());
        if self.probe_trial(failure, rules, now) {
            return Reason::TrialFailed;
        }
        if let Some(failure) = failure {
            self.verdict = self.verdict.failed(rules.fall, failure);
            return failure.into();
        }
        self.verdict = self.verdict.passed(rules.rise);
        let asks = result == ProbeResult::Drain;
        let reason = self.drain(Drain::Asked, asks, rules, now);
        if asks { reason } else { Reason::ProbesPassed }
    }
}
