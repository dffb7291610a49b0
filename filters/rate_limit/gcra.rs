//! The generic cell rate algorithm (ITU-T I.371): one number per client, no timers. Pure: time is an argument.

use std::time::Duration;

/// How much a client may ask. Times are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests that may come at once.
    pub burst: u32,
    /// Time that one request costs.
    interval: u64,
    /// How far ahead of the clock a client may be.
    tolerance: u64,
}

/// Whether a request may pass, and what to tell the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// It may.
    pub allowed: bool,
    /// Requests that may follow at once.
    pub remaining: u32,
    /// When the next one may come; zero if this one passed.
    pub retry_after: Duration,
    /// When the whole burst may come again.
    pub full_after: Duration,
}

impl Quota {
    /// `requests` (at least 1) per `per`, `burst` (at least 1) at a time.
    #[must_use]
    pub fn new(requests: u32, per: Duration, burst: u32) -> Quota {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        let interval = (per / u64::from(requests.max(1))).max(1);
        Quota {
            burst,
            interval,
            tolerance: interval.saturating_mul(u64::from(burst)),
        }
    }

    /// With `arrival`, the client's theoretical arrival time so far (0 for a new client), and the time now: the
    /// decision, and the arrival time to keep if it is to pass.
    #[must_use]
    pub fn decide(&self, arrival: u64, now: u64) -> (Decision, u64) {
        let next = arrival.max(now).saturating_add(self.interval);
        let ahead = next - now;
        let allowed = ahead <= self.tolerance;
        let room = self.tolerance.saturating_sub(ahead) / self.interval;
        let over = ahead.saturating_sub(self.tolerance);
        let full = if allowed {
            ahead
        } else {
            ahead - self.interval
        };
        let decision = Decision {
            allowed,
            remaining: u32::try_from(room).unwrap_or(u32::MAX),
            retry_after: Duration::from_nanos(over),
            full_after: Duration::from_nanos(full),
        };
        (decision, next)
    }
}
