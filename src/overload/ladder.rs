//! From readings to steps, for one resource. Pure: readings and time are arguments.

use std::time::{Duration, Instant};

use crate::config::model::OverloadSteps;
use crate::observe::metrics::Resource;

/// How far a share must fall below a step before the step is left.
const SHARE_MARGIN: f64 = 0.05;
/// The same for lag, as a part of the step.
const LAG_MARGIN: f64 = 0.5;

/// The steps, each with all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Normal,
    /// Kept connections are given up.
    CutKeepAlive,
    /// Requests of sheddable routes are refused.
    Shed,
    /// No connections are accepted.
    PauseAccept,
}

/// One resource's way up and down.
#[derive(Debug)]
pub struct Ladder {
    resource: Resource,
    level: Level,
    /// Readings have been below the step, by the margin, since then.
    calm_since: Option<Instant>,
}

impl Level {
    const ALL: [Level; 4] = [
        Level::Normal,
        Level::CutKeepAlive,
        Level::Shed,
        Level::PauseAccept,
    ];

    /// The level with this number; the highest for numbers that no level has.
    pub fn of(number: u8) -> Level {
        let found = Level::ALL.get(usize::from(number));
        found.copied().unwrap_or(Level::PauseAccept)
    }

    fn below(self) -> Level {
        Level::of((self as u8).saturating_sub(1))
    }

    /// As in configuration, logs and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Normal => "normal",
            Level::CutKeepAlive => "cut_keep_alive",
            Level::Shed => "shed",
            Level::PauseAccept => "pause_accept",
        }
    }
}

impl Ladder {
    /// At the bottom.
    pub fn new(resource: Resource) -> Ladder {
        Ladder {
            resource,
            level: Level::Normal,
            calm_since: None,
        }
    }

    /// Whose ladder it is.
    pub fn resource(&self) -> Resource {
        self.resource
    }

    /// The step it is on.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Takes a reading in: up at once and as far as it says, down one step after `hold` of readings below it.
    pub fn read(&mut self, reading: f64, steps: &OverloadSteps, hold: Duration, now: Instant) {
        let reached = highest(|level| reading >= enter(steps, level));
        if reached > self.level {
            self.level = reached;
            self.calm_since = None;
            return;
        }
        let step = enter(steps, self.level);
        if self.level == Level::Normal || reading >= leave(self.resource, step) {
            self.calm_since = None;
            return;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= hold {
            self.level = self.level.below();
            self.calm_since = None;
        }
    }
}

fn highest(holds: impl Fn(Level) -> bool) -> Level {
    let mut levels = Level::ALL.into_iter().rev();
    levels.find(|level| holds(*level)).unwrap_or(Level::Normal)
}

/// The reading from which on a level holds.
fn enter(steps: &OverloadSteps, level: Level) -> f64 {
    match level {
        Level::Normal => f64::NEG_INFINITY,
        Level::CutKeepAlive => steps.cut_keep_alive,
        Level::Shed => steps.shed,
        Level::PauseAccept => steps.pause_accept,
    }
}

/// The reading under which a step at `step` is left.
fn leave(resource: Resource, step: f64) -> f64 {
    match resource {
        Resource::Lag => step * LAG_MARGIN,
        _ => step - SHARE_MARGIN,
    }
}
