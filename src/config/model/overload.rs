//! The overload ladder.

use std::time::Duration;

/// Steps for each resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Overload {
    /// Shares, 0 to 1.
    pub descriptors: OverloadSteps,
    /// Shares, 0 to 1.
    pub memory: OverloadSteps,
    /// Seconds.
    pub lag: OverloadSteps,
    pub hold: Duration,
}

/// Readings from which on a step holds, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverloadSteps {
    pub cut_keep_alive: f64,
    pub shed: f64,
    pub pause_accept: f64,
}

/// Whether requests of a route may be refused to save others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Criticality {
    #[default]
    Normal,
    Sheddable,
}
