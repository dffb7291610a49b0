//! How many frames of each kind a connection may send.

use std::time::{Duration, Instant};

use super::Flood;

const WINDOW: Duration = Duration::from_secs(1);

/// Frames a second, by kind. The defaults are several times what browsers, gRPC and large uploads need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each is a number of frames a second of that kind, see `Flood`"
)]
pub struct FloodBudget {
    pub rst_stream: u32,
    pub settings: u32,
    pub ping: u32,
    pub empty_data: u32,
    pub priority: u32,
    pub window_update: u32,
    pub continuation: u32,
    pub unknown: u32,
}

impl Default for FloodBudget {
    fn default() -> Self {
        Self {
            rst_stream: 200,
            settings: 20,
            ping: 100,
            empty_data: 100,
            priority: 500,
            window_update: 20_000,
            continuation: 100,
            unknown: 100,
        }
    }
}

impl FloodBudget {
    fn limit(&self, flood: Flood) -> u32 {
        match flood {
            Flood::RstStream => self.rst_stream,
            Flood::Settings => self.settings,
            Flood::Ping => self.ping,
            Flood::EmptyData => self.empty_data,
            Flood::Priority => self.priority,
            Flood::WindowUpdate => self.window_update,
            Flood::Continuation => self.continuation,
            Flood::Unknown => self.unknown,
        }
    }
}

/// Counts in windows of one second, so a burst over their border may reach twice the budget.
#[derive(Debug)]
pub(super) struct Window {
    budget: FloodBudget,
    began: Instant,
    counts: [u32; 8],
}

impl Window {
    pub(super) fn new(budget: FloodBudget, now: Instant) -> Self {
        Self {
            budget,
            began: now,
            counts: [0; 8],
        }
    }

    /// Counts one frame.
    pub(super) fn allows(&mut self, flood: Flood, now: Instant) -> bool {
        if now.saturating_duration_since(self.began) >= WINDOW {
            (self.began, self.counts) = (now, [0; 8]);
        }
        let count = &mut self.counts[flood as usize];
        *count = count.saturating_add(1);
        *count <= self.budget.limit(flood)
    }
}
