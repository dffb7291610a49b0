//! Judging a backend against the rest of its pool: error rate and latency. Numbers in, verdicts out.

use super::window::Counts;

/// Attempts in one window below which nobody is judged by errors, and samples in it for latency.
pub const ENOUGH: u32 = 20;
/// Windows of six with enough samples before latency ejects.
pub const WINDOWS_WITH_EVIDENCE: u32 = 4;
/// Below this many samples the 99th percentile is only the worst one; the 95th is taken.
const ENOUGH_FOR_P99: u64 = 100;
/// Share of errors below which nobody is an outlier.
const ERROR_FLOOR: f64 = 0.05;
/// Times the median of the others.
const ERROR_FACTOR: f64 = 3.0;
/// Standard errors above the rest: one in 700 by chance.
const Z: f64 = 3.0;
/// What makes a backend slow must fall to this part before it is no longer.
const RELIEF: f64 = 0.8;

/// The numbers that made a backend an outlier by errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorRate {
    /// Its share of errors.
    pub own: f64,
    /// The median share of the others.
    pub median: f64,
    /// How many standard errors it lies above the others together.
    pub z: f64,
}

/// Whether the backend at `i` fails more than the others: by chance hardly possible (two-proportion z-test, which
/// works with three backends, where a z-score over hosts cannot exceed 1.2), at least 5 %, and three times the median.
pub fn error_rate(pool: &[Option<Counts>], i: usize) -> Option<ErrorRate> {
    let own = (*pool.get(i)?)?;
    let others: Vec<Counts> = pool
        .iter()
        .enumerate()
        .filter(|(j, _)| *j != i)
        .filter_map(|(_, one)| *one)
        .collect();
    let median = lower_median(others.iter().map(|one| share(*one)).collect())?;
    let rest = others.iter().fold(Counts::default(), |sum, one| Counts {
        good: sum.good.saturating_add(one.good),
        bad: sum.bad.saturating_add(one.bad),
    });
    let (n, m) = (f64::from(own.total()), f64::from(rest.total()));
    let pooled = (f64::from(own.bad) + f64::from(rest.bad)) / (n + m);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    let z = if deviation > 0.0 {
        (share(own) - share(rest)) / deviation
    } else {
        0.0
    };
    let found = ErrorRate {
        own: share(own),
        median,
        z,
    };
    (found.own >= ERROR_FLOOR && found.own >= ERROR_FACTOR * median && z >= Z).then_some(found)
}

/// The quantile by which a backend with so many samples is judged.
pub fn judged_quantile(samples: u64) -> f64 {
    if samples < ENOUGH_FOR_P99 { 0.95 } else { 0.99 }
}

/// What the latency rule compares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slowness {
    /// Its high quantile, µs.
    pub own: f64,
    /// The median of that over the pool, µs.
    pub median: f64,
}

impl Slowness {
    /// Of the backend at `i`; `None` when it or all others are unknown.
    pub fn of(pool: &[Option<f64>], i: usize) -> Option<Self> {
        let own = (*pool.get(i)?)?;
        let known: Vec<f64> = pool.iter().filter_map(|one| *one).collect();
        (known.len() > 1).then_some(())?;
        Some(Self {
            own,
            median: lower_median(known)?,
        })
    }

    /// Over `factor` times the median, and by `floor_micros` at least. One already slow must come well below that.
    pub fn exceeds(self, factor: f64, floor_micros: f64, already: bool) -> bool {
        let relief = if already { RELIEF } else { 1.0 };
        self.own > self.median * (factor * relief).max(1.0)
            && self.own - self.median > floor_micros * relief
    }
}

/// The lower of the two middle ones: in a pool of two the faster is the measure.
fn lower_median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

fn share(counts: Counts) -> f64 {
    f64::from(counts.bad) / f64::from(counts.total().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(good: u32, bad: u32) -> Option<Counts> {
        Some(Counts { good, bad })
    }

    #[test]
    fn finds_the_one_that_fails() {
        let pool = [counts(70, 30), counts(99, 1), counts(100, 0)];
        assert!(error_rate(&pool, 0).is_some_and(|found| found.z > 3.0));
        assert_eq!(error_rate(&pool, 1), None);
        assert_eq!(error_rate(&[counts(0, 100), None], 0), None);
    }

    #[test]
    fn spares_who_fails_like_all_or_hardly() {
        assert_eq!(
            error_rate(&[counts(0, 100), counts(0, 100), counts(0, 100)], 0),
            None
        );
        assert_eq!(
            error_rate(&[counts(960, 40), counts(1000, 0), counts(1000, 0)], 0),
            None
        );
        assert_eq!(
            error_rate(&[counts(80, 20), counts(90, 10), counts(90, 10)], 0),
            None
        );
        assert_eq!(
            error_rate(&[counts(18, 2), counts(20, 0), counts(20, 0)], 0),
            None
        );
    }

    #[test]
    fn slow_is_relative_and_has_a_floor() {
        let ms = |ms: f64| Some(ms * 1_000.0);
        let exceeds = |pool: &[Option<f64>]| {
            Slowness::of(pool, 0).is_some_and(|s| s.exceeds(3.0, 50_000.0, false))
        };
        assert!(exceeds(&[ms(200.0), ms(20.0), ms(20.0)]));
        assert!(exceeds(&[ms(200.0), ms(20.0)]));
        assert!(!exceeds(&[ms(40.0), ms(5.0), ms(5.0)]));
        assert!(!exceeds(&[ms(200.0), ms(200.0), ms(200.0)]));
        assert!(!exceeds(&[ms(200.0), None]));
    }
}
