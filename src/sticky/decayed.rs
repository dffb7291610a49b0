//! Counts that fade: half of one is gone after ten seconds. Lock-free, one word each.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Time after which a request counts half.
pub const HALF_LIFE_SECONDS: f32 = 10.0;
const TICKS_PER_SECOND: u32 = 100;

/// Hundredths of a second since the pool was first made. A cell that nobody touches for 248 days stops fading.
pub fn ticks(origin: Instant, now: Instant) -> u32 {
    (now.saturating_duration_since(origin).as_millis() / 10) as u32
}

/// As ticks.
pub fn seconds(seconds: u64) -> u32 {
    u32::try_from(seconds.saturating_mul(u64::from(TICKS_PER_SECOND))).unwrap_or(u32::MAX)
}

/// A rate of `r` requests a second settles at 14.4 times `r`. Exact to 16 million.
#[derive(Debug, Default)]
pub struct Decayed(AtomicU64);

impl Decayed {
    /// The count as it is at this tick.
    pub fn at(&self, tick: u32) -> f32 {
        faded(self.0.load(Relaxed), tick)
    }

    /// Adds to it; less than nothing takes away, down to zero.
    pub fn add(&self, amount: f32, tick: u32) {
        let mut old = self.0.load(Relaxed);
        loop {
            let count = (faded(old, tick) + amount).max(0.0);
            let new = u64::from(count.to_bits()) << 32 | u64::from(tick);
            match self.0.compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(seen) => old = seen,
            }
        }
    }
}

/// The upper half is the count, the lower half its tick.
fn faded(cell: u64, tick: u32) -> f32 {
    let count = f32::from_bits((cell >> 32) as u32);
    // Another thread may be a tick ahead.
    let age = tick.wrapping_sub(cell as u32).cast_signed().max(0);
    if age == 0 || count == 0.0 {
        return count;
    }
    count * (age as f32 * (-1.0 / (HALF_LIFE_SECONDS * TICKS_PER_SECOND as f32))).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_every_ten_seconds() {
        let cell = Decayed::default();
        cell.add(8.0, 0);
        assert_eq!(cell.at(0), 8.0);
        assert!((cell.at(1_000) - 4.0).abs() < 1e-3);
        cell.add(4.0, 1_000);
        assert!((cell.at(3_000) - 2.0).abs() < 1e-3);
    }

    #[test]
    fn never_falls_below_zero_and_forgives_late_writers() {
        let cell = Decayed::default();
        cell.add(1.0, 500);
        cell.add(1.0, 499);
        assert_eq!(cell.at(499), 2.0);
        cell.add(-5.0, 500);
        assert_eq!(cell.at(500), 0.0);
    }

    #[test]
    fn survives_the_turn_of_the_clock() {
        let cell = Decayed::default();
        cell.add(8.0, u32::MAX - 499);
        assert!((cell.at(500) - 4.0).abs() < 1e-3);
    }

    #[test]
    fn a_steady_rate_settles() {
        let cell = Decayed::default();
        (0..20_000).for_each(|tick| cell.add(0.1, tick));
        assert!((cell.at(20_000) - 144.3).abs() < 1.0, "{}", cell.at(20_000));
    }
}
