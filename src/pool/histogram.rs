//! Log-linear latency buckets: eight to an octave from 64 µs to 67 s, so that a quantile is at most 6 % off.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const LOWEST_OCTAVE: u32 = 6;
const HIGHEST_OCTAVE: u32 = 26;
const STEPS: u32 = 8;
/// One below the range, the range, one above it.
pub const BUCKETS: usize = (2 + (HIGHEST_OCTAVE - LOWEST_OCTAVE) * STEPS) as usize;

/// Counts that many threads add to.
#[derive(Debug)]
pub struct Histogram([AtomicU32; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; BUCKETS])
    }
}

impl Histogram {
    /// Counts one latency in microseconds.
    pub fn add(&self, micros: u64) {
        if let Some(bucket) = self.0.get(bucket_of(micros)) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// Sets every count to zero. Counts added meanwhile may be lost.
    pub fn clear(&self) {
        self.0.iter().for_each(|bucket| bucket.store(0, Relaxed));
    }
}

/// Histograms added up, owned by one reader.
#[derive(Debug, Clone)]
pub struct Sum {
    counts: [u32; BUCKETS],
    total: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            total: 0,
        }
    }
}

impl Sum {
    /// Adds a whole histogram.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.0) {
            let count = theirs.load(Relaxed);
            *mine = mine.saturating_add(count);
            self.total += u64::from(count);
        }
    }

    /// Adds `count` samples of one latency.
    pub fn add(&mut self, micros: u64, count: u32) {
        if let Some(bucket) = self.counts.get_mut(bucket_of(micros)) {
            *bucket = bucket.saturating_add(count);
            self.total += u64::from(count);
        }
    }

    /// Samples in it.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latency in microseconds that a share `q` (0 to 1) of samples does not exceed; `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = ((self.total as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Some(middle_of(bucket));
            }
        }
        None
    }
}

fn bucket_of(micros: u64) -> usize {
    let Some(octave) = micros
        .checked_ilog2()
        .filter(|octave| *octave >= LOWEST_OCTAVE)
    else {
        return 0;
    };
    if octave >= HIGHEST_OCTAVE {
        return BUCKETS - 1;
    }
    let step = (micros >> (octave - 3)) & u64::from(STEPS - 1);
    1 + ((octave - LOWEST_OCTAVE) * STEPS) as usize + step as usize
}

/// The harmonic mean of a bucket's edges: equally far, in proportion, from both.
fn middle_of(bucket: usize) -> f64 {
    if bucket == 0 {
        return f64::from(1u32 << LOWEST_OCTAVE) / 2.0;
    }
    let place = bucket as u32 - 1;
    let base = f64::from(1u32 << (LOWEST_OCTAVE + place / STEPS));
    let low = base * (1.0 + f64::from(place % STEPS) / f64::from(STEPS));
    let high = low + base / f64::from(STEPS);
    2.0 * low * high / (low + high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_at_most_six_percent_off(micros in 64u64..67_000_000) {
            let mut sum = Sum::default();
            sum.add(micros, 1);
            let seen = sum.quantile(0.99).unwrap_or(0.0);
            prop_assert!((seen - micros as f64).abs() <= micros as f64 * 0.06, "{micros} seen as {seen}");
        }
    }

    #[test]
    fn finds_quantiles() {
        let histogram = Histogram::default();
        (0..95).for_each(|_| histogram.add(10_000));
        (0..5).for_each(|_| histogram.add(1_000_000));
        let mut sum = Sum::default();
        assert_eq!(sum.quantile(0.5), None);
        sum.merge(&histogram);
        assert_eq!(sum.total(), 100);
        assert!(sum.quantile(0.95).is_some_and(|q| q < 11_000.0));
        assert!(sum.quantile(0.96).is_some_and(|q| q > 900_000.0));
        histogram.add(u64::MAX);
        histogram.add(0);
    }
}
