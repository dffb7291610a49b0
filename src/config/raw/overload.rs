//! `overload`: what is given up, and when, as the process runs out of something.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::Timeout;
use super::timeout;

/// What an instance gives up as it runs out of something. Each resource has three steps: kept connections are given up
/// (responses say `Connection: close` or GOAWAY, and idle connections are closed a sixteenth at a time), then requests of
/// routes with `criticality: sheddable` are answered with 503 and `Retry-After`, then no connections are accepted and
/// `/readyz` says 503. The highest step of all resources holds; a step is left again when readings stay below it. The
/// admin listener takes no part in it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overload {
    /// Open files, in percent of the limit (`RLIMIT_NOFILE`; the soft limit is raised to the hard one at start).
    pub descriptors: OverloadShares,
    /// Memory, in percent of the limit of the control group or, where it has none, memory of this process in percent of the
    /// machine's. From its first step on, responses are given up, too, whose clients have taken nothing of them for two
    /// seconds.
    pub memory: OverloadShares,
    /// How long a task that is ready waits for a worker thread: the shortest wait of the last second.
    pub lag: OverloadDelays,
    /// How long readings must stay below a step (by 5 points; lag: by half) before it is left; then the next step down.
    pub hold: Timeout,
}

/// Steps in percent, in ascending order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OverloadShares {
    /// Kept connections are given up.
    #[schemars(range(min = 1, max = 100))]
    pub cut_keep_alive: u32,
    /// Sheddable requests are refused.
    #[schemars(range(min = 1, max = 100))]
    pub shed: u32,
    /// Accepting pauses. What is above it is left for connections to backends, probes and logs.
    #[schemars(range(min = 1, max = 100))]
    pub pause_accept: u32,
}

/// Steps as durations, in ascending order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OverloadDelays {
    /// Kept connections are given up: a balancer in front can spread them anew.
    pub cut_keep_alive: Timeout,
    /// Sheddable requests are refused.
    pub shed: Timeout,
    /// Accepting pauses.
    pub pause_accept: Timeout,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            descriptors: OverloadShares::default(),
            memory: OverloadShares::default(),
            lag: OverloadDelays::default(),
            hold: timeout(5_000),
        }
    }
}

impl Default for OverloadShares {
    fn default() -> Self {
        Self {
            cut_keep_alive: 80,
            shed: 90,
            pause_accept: 95,
        }
    }
}

impl Default for OverloadDelays {
    fn default() -> Self {
        Self {
            cut_keep_alive: timeout(250),
            shed: timeout(500),
            pause_accept: timeout(1_000),
        }
    }
}
