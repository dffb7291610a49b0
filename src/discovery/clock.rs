//! When a source is to be asked again.

use std::time::Duration;

use crate::config::model::TtlBounds;

/// After failures in a row, the wait doubles up to this: a resolver that is back is soon asked again.
const LONGEST_RETRY: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The TTL within its bounds; a TTL of 0 (RFC 1035, section 3.2.1: not to be cached) is the lower one.
pub fn clamp(ttl: Duration, bounds: TtlBounds) -> Duration {
    ttl.min(bounds.max).max(bounds.min)
}

/// The waits of one source.
#[derive(Debug, Default)]
pub struct Clock {
    failures: u32,
}

impl Clock {
    /// After a good answer. `chance` (0 to 1) spreads those who were all told the same TTL: up to a tenth of it earlier,
    /// never under the lower bound.
    pub fn after_answer(&mut self, ttl: Duration, bounds: TtlBounds, chance: f64) -> Duration {
        self.failures = 0;
        let ttl = clamp(ttl, bounds);
        ttl.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 10.0)
            .max(bounds.min)
    }

    /// After a failure. `chance` (0 to 1) spreads those who fail together.
    pub fn after_failure(&mut self, chance: f64) -> Duration {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        doubled
            .min(LONGEST_RETRY)
            .mul_f64(1.0 - chance.clamp(0.0, 1.0) / 4.0)
    }
}
