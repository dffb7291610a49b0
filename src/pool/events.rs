//! What a pool tells others when something changes. It never logs or counts by itself.

use std::fmt;

use serde::Serialize;

use super::health::State;

/// Receives what happens. Called with the pool's slow-path lock held: must return soon and never call the pool.
pub trait Events: Send + Sync {
    /// A backend changed its state.
    fn transition(&self, _transition: &Transition<'_>) {}
    /// An ejection was due, and `max_ejection_percent` forbade it. At most once in ten seconds for a backend.
    fn ejection_blocked(&self, _ejection: &Ejection<'_>) {}
    /// `mode: observe`: an ejection that would have been made.
    fn would_eject(&self, _ejection: &Ejection<'_>) {}
    /// Members came, went or have other settings: one call for all that changed at once.
    fn membership(&self, _membership: &Membership<'_>) {}
}

/// Nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Events for Silent {}

/// One change of one backend's state.
#[derive(Debug)]
pub struct Transition<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The backend's id.
    pub backend: &'a str,
    /// The state it leaves.
    pub from: State,
    /// The state it enters.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// The numbers behind it, for people.
    pub evidence: &'a str,
    /// Share (0 to 1) of the pool's backends in rotation, before.
    pub available_before: f64,
    /// And after.
    pub available_after: f64,
}

/// An ejection that was not made.
#[derive(Debug)]
pub struct Ejection<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The backend's id.
    pub backend: &'a str,
    /// Why it was due.
    pub reason: Reason,
    /// The numbers behind it, for people.
    pub evidence: &'a str,
}

/// One change of a pool's members, by their ids.
#[derive(Debug)]
pub struct Membership<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// They are new.
    pub joined: Vec<String>,
    /// They were leaving.
    pub returned: Vec<String>,
    /// They begin to leave.
    pub left: Vec<String>,
    /// They have another weight, priority, zone or switch.
    pub changed: Vec<String>,
    /// Members after it, without those that leave.
    pub members: usize,
}

/// Why a backend is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Known since this moment, nothing against it.
    New,
    /// Probes passed.
    ProbesPassed,
    /// A probe found nobody listening.
    ProbeRefused,
    /// A probe got no answer in time.
    ProbeTimeout,
    /// A probe got the wrong answer.
    ProbeMismatch,
    /// Failures of real requests in a row.
    ConsecutiveFailures,
    /// Real requests found nobody listening.
    ConnectRefused,
    /// More errors than the rest of the pool.
    ErrorRate,
    /// Slower than the rest of the pool.
    Latency,
    /// The ejection is over; trial begins.
    CooldownOver,
    /// Real requests went well in the trial.
    TrialPassed,
    /// A real request or a probe failed in the trial.
    TrialFailed,
    /// What made it suspect has gone.
    Recovered,
    /// The operator asked for it.
    Operator,
    /// Its configured weight is 0.
    WeightZero,
    /// The backend itself asked to be drained.
    Asked,
    /// The configuration no longer names it.
    Removed,
}

impl Reason {
    /// The name in logs, metrics and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::ProbesPassed => "probes_passed",
            Self::ProbeRefused => "probe_refused",
            Self::ProbeTimeout => "probe_timeout",
            Self::ProbeMismatch => "probe_mismatch",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::ConnectRefused => "connect_refused",
            Self::ErrorRate => "error_rate",
            Self::Latency => "latency",
            Self::CooldownOver => "cooldown_over",
            Self::TrialPassed => "trial_passed",
            Self::TrialFailed => "trial_failed",
            Self::Recovered => "recovered",
            Self::Operator => "operator",
            Self::WeightZero => "weight_zero",
            Self::Asked => "asked",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
