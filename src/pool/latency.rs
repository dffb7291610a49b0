//! A backend's latency as one number: an exponentially weighted mean that jumps up at once and comes down slowly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// After this long without a new sample a value has fallen to 37 %.
const DECAY_MS: f32 = 10_000.0;

/// Lock free: the time of the last change (ms, upper half) and the value (µs as `f32`, lower half) share one word.
/// 0 means that nothing is known yet.
#[derive(Debug, Default)]
pub struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// The current value in microseconds; `None` before the first sample.
    pub fn micros(&self) -> Option<f32> {
        let (_, value) = unpack(self.0.load(Relaxed));
        (value > 0.0).then_some(value)
    }

    /// Takes one sample in, `at` in milliseconds since the backend's origin.
    pub fn observe(&self, micros: f32, at: u32) {
        let sample = micros.max(1.0);
        self.change(at, |value, keep| {
            if sample >= value {
                sample
            } else {
                value * keep + sample * (1.0 - keep)
            }
        });
    }

    /// Lets a value that nobody refreshes fade, so that a backend once slow is tried again.
    pub fn fade(&self, at: u32) {
        self.change(at, |value, keep| value * keep);
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.0.store(0, Relaxed);
    }

    fn change(&self, at: u32, next: impl Fn(f32, f32) -> f32) {
        let mut old = self.0.load(Relaxed);
        loop {
            let (then, value) = unpack(old);
            // Milliseconds wrap after 49 days; a step back is only a race between two threads.
            let passed = at.wrapping_sub(then);
            let (at, passed) = if passed > u32::MAX / 2 && value > 0.0 {
                (then, 0)
            } else {
                (at, passed)
            };
            let keep = (-(passed as f32) / DECAY_MS).exp();
            let new = pack(at, next(value, keep));
            match self.0.compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }
}

fn pack(at: u32, value: f32) -> u64 {
    u64::from(at) << 32 | u64::from(value.to_bits())
}

fn unpack(word: u64) -> (u32, f32) {
    ((word >> 32) as u32, f32::from_bits(word as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_up_and_falls_slowly() {
        let ewma = PeakEwma::default();
        assert_eq!(ewma.micros(), None);
        ewma.observe(1_000.0, 0);
        ewma.observe(50_000.0, 10);
        assert_eq!(ewma.micros(), Some(50_000.0));
        ewma.observe(1_000.0, 20);
        assert!(ewma.micros().unwrap_or(0.0) > 49_000.0);
        ewma.observe(1_000.0, 60_020);
        assert!(ewma.micros().unwrap_or(0.0) < 1_200.0);
    }

    #[test]
    fn goes_on_when_the_milliseconds_wrap() {
        let ewma = PeakEwma::default();
        ewma.observe(10_000.0, u32::MAX - 5_000);
        ewma.fade(5_000);
        assert!(ewma.micros().unwrap_or(0.0) < 4_000.0);
    }

    #[test]
    fn fades_without_samples() {
        let ewma = PeakEwma::default();
        ewma.observe(10_000.0, 0);
        ewma.fade(10_000);
        let value = ewma.micros().unwrap_or(0.0);
        assert!((3_600.0..3_760.0).contains(&value), "{value}");
    }
}
