//! How much of a pool's traffic may be retries, and how long to wait before one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::load::Load;
use crate::config::model::Retry;

/// Seconds over which the share of retries is bounded.
const SECONDS: u32 = 10;

#[derive(Debug, Default)]
struct Second {
    number: AtomicU32,
    requests: AtomicU32,
    retries: AtomicU32,
}

/// Requests and retries of the last ten seconds, and retries in flight.
#[derive(Debug, Default)]
pub(super) struct Spent {
    in_flight: AtomicU32,
    seconds: [Second; SECONDS as usize],
}

impl Spent {
    /// Counts a first attempt in this second.
    pub fn request(&self, second: u32) {
        self.at(second).requests.fetch_add(1, Relaxed);
    }

    /// Retries in flight.
    pub fn retries(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    fn at(&self, second: u32) -> &Second {
        let slot = &self.seconds[(second % SECONDS) as usize];
        let (held, number) = (slot.number.load(Relaxed), second + 1);
        if held != number
            && slot
                .number
                .compare_exchange(held, number, Relaxed, Relaxed)
                .is_ok()
        {
            slot.requests.store(0, Relaxed);
            slot.retries.store(0, Relaxed);
        }
        slot
    }

    /// Requests and retries of the last ten seconds.
    fn recent(&self, second: u32) -> (u64, u64) {
        let fresh = |slot: &&Second| {
            let number = slot.number.load(Relaxed);
            number > 0 && number <= second + 1 && second + 1 - number < SECONDS
        };
        self.seconds
            .iter()
            .filter(fresh)
            .fold((0, 0), |(requests, retries), slot| {
                (
                    requests + u64::from(slot.requests.load(Relaxed)),
                    retries + u64::from(slot.retries.load(Relaxed)),
                )
            })
    }
}

/// Leave to retry once; one retry in flight until it is dropped.
#[derive(Debug)]
pub struct RetryPermit {
    load: Arc<Load>,
}

impl RetryPermit {
    /// Retries of the last ten seconds up to `budget_min_per_second` times ten are always allowed. Beyond, both bounds
    /// must hold: retries in flight are at most the larger of `budget_min` and `budget_percent` of the first attempts in
    /// flight, and retries of the last ten seconds at most `budget_percent` of the requests.
    pub(super) fn take(load: &Arc<Load>, limits: &Retry, second: u32) -> Option<Self> {
        let spent = &load.spent;
        let percent = u64::from(limits.budget_percent);
        let before = spent.in_flight.fetch_add(1, Relaxed);
        // Made first, so that every way out gives the count back.
        let permit = Self {
            load: Arc::clone(load),
        };
        let first = u64::from(load.in_flight().saturating_sub(before));
        let (requests, retries) = spent.recent(second);
        let at_once = u64::from(limits.budget_min).max(first * percent / 100);
        let floor = u64::from(limits.budget_min_per_second) * u64::from(SECONDS);
        let too_many = u64::from(before) >= at_once || retries >= requests * percent / 100;
        if retries >= floor && too_many {
            return None;
        }
        spent.at(second).retries.fetch_add(1, Relaxed);
        Some(permit)
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.load.spent.in_flight.fetch_sub(1, Relaxed);
    }
}

/// How long to wait before retry number `retry` (1 is the first): at random between the minimum and a ceiling that
/// triples with each retry, so that clients who failed together do not come back together.
pub fn backoff(limits: &Retry, retry: u32, now: Instant) -> Instant {
    let ceiling = limits
        .backoff_min
        .saturating_mul(3u32.saturating_pow(retry))
        .min(limits.backoff_max);
    let spread = ceiling.saturating_sub(limits.backoff_min);
    let wait = limits.backoff_min.min(limits.backoff_max) + spread.mul_f64(fastrand::f64());
    now + wait.min(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Retry {
        Retry {
            attempts: 1,
            on_status: Vec::new(),
            budget_percent: 20,
            budget_min: 3,
            budget_min_per_second: 10,
            backoff_min: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            buffer: 0,
        }
    }

    #[test]
    fn retries_in_flight_are_a_share_with_a_floor() {
        let limits = Retry {
            budget_min_per_second: 0,
            ..limits()
        };
        let load = Arc::new(Load::default());
        (0..1_000).for_each(|_| load.spent.request(0));
        let held: Vec<_> = (0..10)
            .filter_map(|_| RetryPermit::take(&load, &limits, 0))
            .collect();
        assert_eq!(held.len(), 3);
        drop(held);
        (0..100).for_each(|_| assert!(load.enter(u32::MAX)));
        let held: Vec<_> = (0..50)
            .filter_map(|_| RetryPermit::take(&load, &limits, 1))
            .collect();
        assert!((16..=20).contains(&held.len()), "{}", held.len());
        drop(held);
        assert_eq!(load.spent.retries(), 0);
    }

    #[test]
    fn a_burst_after_a_death_is_within_the_rate_floor() {
        let load = Arc::new(Load::default());
        let held: Vec<_> = (0..150)
            .filter_map(|_| RetryPermit::take(&load, &limits(), 0))
            .collect();
        assert_eq!(held.len(), 100);
    }

    #[test]
    fn a_pool_that_only_fails_is_not_hit_much_harder() {
        let load = Arc::new(Load::default());
        let mut retries = 0;
        for second in 0..60 {
            for _ in 0..1_000 {
                load.spent.request(second);
                retries += u32::from(RetryPermit::take(&load, &limits(), second).is_some());
            }
        }
        assert!(retries <= 12_000, "{retries}");
        assert!(retries >= 11_000, "{retries}");
    }

    #[test]
    fn waits_within_bounds() {
        let now = Instant::now();
        for retry in 0..40 {
            let wait = backoff(&limits(), retry, now) - now;
            assert!((25..=250).contains(&wait.as_millis()), "{wait:?}");
        }
    }
}
