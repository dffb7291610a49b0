//! The one state machine of a backend: what probes, traffic and people say comes in with the time, changes come out.
//!
//! Each source keeps a verdict of its own, and the state is derived from all of them. So a passing probe cannot lift
//! an ejection made by traffic: it does not touch that verdict. Nothing here knows the rest of the pool; whether an
//! ejection is allowed at all is decided in `rotation.rs` before it is fed in.

mod ejection;
mod probe;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use serde::Serialize;

pub use self::ejection::{Badness, Cause, Traffic};
pub use self::probe::{ProbeFailure, ProbeResult, Verdict};
use super::events::Reason;
use super::hash;

/// Successful real requests that end a trial, and how many may run at once.
pub const TRIALS: u32 = 3;
/// How long a trial asks for idempotent requests only; a pool without any would never leave it.
const TRIAL_PATIENCE: Duration = Duration::from_secs(30);
/// Healthy time that takes one from the count of ejections in a row.
const ROW_DECAY: Duration = Duration::from_secs(60);

/// Where a backend stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum State {
    /// New, not yet proven by probes: no traffic.
    Checking,
    /// In rotation.
    Healthy,
    /// In rotation, with something against it.
    Suspect,
    /// Out by what traffic showed, for a time.
    Ejected,
    /// That time is over: a probe and a few real requests decide.
    HalfOpen,
    /// Out by probes.
    Down,
    /// No new requests; keeps what it has.
    Draining,
    /// Taken out by the operator: no requests, no probes.
    AdminDown,
}

impl State {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Checking,
        Self::Healthy,
        Self::Suspect,
        Self::Ejected,
        Self::HalfOpen,
        Self::Down,
        Self::Draining,
        Self::AdminDown,
    ];

    /// The name in logs, metrics and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Ejected => "ejected",
            Self::HalfOpen => "half_open",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::AdminDown => "admin_down",
        }
    }

    /// Gets new requests by right.
    pub fn in_rotation(self) -> bool {
        matches!(self, Self::Healthy | Self::Suspect)
    }

    pub(super) fn from_u8(value: u8) -> Self {
        Self::ALL
            .get(usize::from(value))
            .copied()
            .unwrap_or(Self::Checking)
    }
}

/// The settings that the machine needs.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Probe failures in a row that take a backend down, and passes that bring it back.
    pub fall: u32,
    /// Passes in a row that bring it back.
    pub rise: u32,
    /// Whether probes run at all.
    pub probes: bool,
    /// First ejection.
    pub base_ejection: Duration,
    /// Longest ejection, before jitter.
    pub max_ejection: Duration,
    /// A drain that the backend asked for, where no probe can end it.
    pub drain_timeout: Duration,
}

/// Why no new requests go to a backend that is fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Admin call.
    Operator = 1,
    /// Weight 0.
    WeightZero = 2,
    /// `X-Tidegate-Drain`, or a 404 on the probe.
    Asked = 4,
    /// No longer configured.
    Removed = 8,
}

/// What makes a backend suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// The last probe failed.
    Probe = 1,
    /// The last requests failed.
    Failures = 2,
    /// It is slow against the pool.
    Slow = 4,
}

/// What the machine is told.
#[derive(Debug, Clone, Copy)]
pub enum Input {
    /// A probe ended.
    Probe(ProbeResult),
    /// Traffic shows that it must go.
    Eject(Cause),
    /// A real request of the trial ended.
    Trial {
        /// How it ended.
        good: bool,
    },
    /// Something speaks against it, or no longer does.
    Suspect(Suspicion, bool),
    /// A drain begins or ends.
    Drain(Drain, bool),
    /// The operator's switch.
    AdminDown(bool),
    /// Time went by.
    Time,
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The state left.
    pub from: State,
    /// The state entered.
    pub to: State,
    /// Why.
    pub reason: Reason,
}

/// One backend's health.
#[derive(Debug)]
pub struct Health {
    pub(super) verdict: Verdict,
    pub(super) traffic: Traffic,
    pub(super) suspicions: u8,
    drains: u8,
    drain_ends: Option<Instant>,
    admin_down: bool,
    /// Ejections in a row.
    pub(super) row: u32,
    row_decays: Instant,
    /// Spreads ejection times; drawn once, so that the machine itself has no chance in it.
    seed: u64,
    /// Since when it is in this state.
    pub(super) since: Instant,
    pub(super) reason: Reason,
    /// Begin of the slow start.
    pub(super) ramp_from: Option<Instant>,
    /// Since when it is slow against the pool.
    pub(super) slow_since: Option<Instant>,
    pub(super) schedule: super::probing::Schedule,
}

impl Health {
    /// A backend first seen `now`. `verdict` is `Up` where no probes run.
    pub fn new(verdict: Verdict, seed: u64, now: Instant) -> Self {
        Self {
            verdict,
            traffic: Traffic::Clear,
            suspicions: 0,
            drains: 0,
            drain_ends: None,
            admin_down: false,
            row: 0,
            row_decays: now,
            seed,
            since: now,
            reason: Reason::New,
            ramp_from: None,
            slow_since: None,
            schedule: super::probing::Schedule::new(now),
        }
    }

    /// Derived: people come before probes, probes before traffic.
    pub fn state(&self) -> State {
        if self.admin_down {
            return State::AdminDown;
        }
        if self.drains != 0 {
            return State::Draining;
        }
        match (&self.verdict, &self.traffic) {
            (Verdict::Down { .. }, _) => State::Down,
            (Verdict::Checking { .. }, _) => State::Checking,
            (_, Traffic::Ejected { .. }) => State::Ejected,
            (_, Traffic::HalfOpen { .. }) => State::HalfOpen,
            _ if self.suspicions != 0 => State::Suspect,
            _ => State::Healthy,
        }
    }

    /// Takes one input; a change comes out when the state is another one afterwards.
    pub fn step(&mut self, input: Input, rules: &Rules, now: Instant) -> Option<Change> {
        let from = self.state();
        let cold = matches!(self.verdict, Verdict::Checking { cold: true, .. });
        let reason = self.take(input, rules, now);
        let to = self.state();
        if from == to {
            return None;
        }
        self.since = now;
        self.reason = reason;
        if to.in_rotation() && !from.in_rotation() {
            self.row_decays = now;
            self.ramp_from = (!cold).then_some(now);
        }
        self.schedule.hasten = true;
        Some(Change { from, to, reason })
    }

    fn take(&mut self, input: Input, rules: &Rules, now: Instant) -> Reason {
        match input {
            Input::Probe(result) => self.probe(result, rules, now),
            Input::Eject(cause) => self.eject(cause, rules, now),
            Input::Trial { good } => self.trial(good, rules, now),
            Input::Suspect(what, on) => self.suspect(what, on),
            Input::Drain(why, on) => self.drain(why, on, rules, now),
            Input::AdminDown(down) => {
                self.admin_down = down;
                Reason::Operator
            }
            Input::Time => self.pass_time(rules, now),
        }
    }

    fn suspect(&mut self, what: Suspicion, on: bool) -> Reason {
        if !on {
            self.suspicions &= !(what as u8);
            return Reason::Recovered;
        }
        self.suspicions |= what as u8;
        match what {
            Suspicion::Probe => Reason::ProbeMismatch,
            Suspicion::Failures => Reason::ConsecutiveFailures,
            Suspicion::Slow => Reason::Latency,
        }
    }

    fn drain(&mut self, why: Drain, on: bool, rules: &Rules, now: Instant) -> Reason {
        if on {
            self.drains |= why as u8;
        } else {
            self.drains &= !(why as u8);
        }
        if why == Drain::Asked {
            // A probe ends it as it began it. Without probes it must end by itself.
            self.drain_ends = (on && !rules.probes).then(|| now + rules.drain_timeout);
        }
        match why {
            Drain::Operator => Reason::Operator,
            Drain::WeightZero => Reason::WeightZero,
            Drain::Asked => Reason::Asked,
            Drain::Removed => Reason::Removed,
        }
    }

    fn pass_time(&mut self, rules: &Rules, now: Instant) -> Reason {
        if self.drain_ends.is_some_and(|end| end <= now) {
            return self.drain(Drain::Asked, false, rules, now);
        }
        if self.state().in_rotation() && self.row > 0 && now >= self.row_decays + ROW_DECAY {
            self.row -= 1;
            self.row_decays += ROW_DECAY;
        }
        self.cool_down(now)
    }

    /// It drains only because it asked to itself.
    pub fn drains_by_itself(&self) -> bool {
        !self.admin_down && self.drains == Drain::Asked as u8
    }

    pub(super) fn is(&self, what: Suspicion) -> bool {
        self.suspicions & what as u8 != 0
    }

    fn jitter(&self) -> f64 {
        let unit = hash::mix(self.seed.wrapping_add(u64::from(self.row))) as f64 / u64::MAX as f64;
        0.9 + 0.2 * unit
    }
}
