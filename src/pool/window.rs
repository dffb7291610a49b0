//! What a backend did in the last minute: six windows of ten seconds with successes, failures and latencies.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use super::histogram::{Histogram, Sum};

/// Length of one window.
pub const WINDOW_MS: u32 = 10_000;
/// Windows kept, the running one included.
pub const WINDOWS: u32 = 6;

#[derive(Debug, Default)]
struct Window {
    /// Which ten seconds since the origin it holds, plus one; 0 is none.
    number: AtomicU32,
    good: AtomicU32,
    bad: AtomicU32,
    samples: AtomicU32,
    /// Requests hung in this window, so that few samples do not mean little evidence.
    stuck: AtomicBool,
    latency: Histogram,
}

/// Good and bad ends of attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts that prove the backend good.
    pub good: u32,
    /// Attempts that failed by its fault.
    pub bad: u32,
}

impl Counts {
    /// Both together.
    pub fn total(self) -> u32 {
        self.good.saturating_add(self.bad)
    }
}

/// The ring. Writers never wait; when a window turns over, a count added in the same instant may be lost.
#[derive(Debug, Default)]
pub struct Windows([Window; WINDOWS as usize]);

impl Windows {
    /// Counts one attempt that ended `at` (ms since the origin).
    pub fn count(&self, at: u32, good: bool, latency_micros: Option<u64>) {
        let Some(window) = self.current(at) else {
            return;
        };
        if good { &window.good } else { &window.bad }.fetch_add(1, Relaxed);
        if let Some(micros) = latency_micros {
            window.samples.fetch_add(1, Relaxed);
            window.latency.add(micros);
        }
    }

    /// Notes that requests hang now.
    pub fn note_stuck(&self, at: u32) {
        if let Some(window) = self.current(at) {
            window.stuck.store(true, Relaxed);
        }
    }

    /// Forgets everything, for a backend that starts anew.
    pub fn reset(&self) {
        self.0
            .iter()
            .for_each(|window| window.number.store(0, Relaxed));
    }

    /// Counts of the running window when it holds `enough`, else of the one before; `None` when neither does.
    pub fn counts(&self, at: u32, enough: u32) -> Option<Counts> {
        (0..2)
            .filter_map(|back| self.back(at, back))
            .map(|window| Counts {
                good: window.good.load(Relaxed),
                bad: window.bad.load(Relaxed),
            })
            .find(|counts| counts.total() >= enough)
    }

    /// Latencies of the last `windows` windows.
    pub fn latencies(&self, at: u32, windows: u32) -> Sum {
        let mut sum = Sum::default();
        (0..windows)
            .filter_map(|back| self.back(at, back))
            .for_each(|window| sum.merge(&window.latency));
        sum
    }

    /// In how many windows there was evidence: `enough` samples, or requests that hung.
    pub fn with_evidence(&self, at: u32, enough: u32) -> u32 {
        let proven =
            |window: &&Window| window.samples.load(Relaxed) >= enough || window.stuck.load(Relaxed);
        (0..WINDOWS)
            .filter_map(|back| self.back(at, back))
            .filter(proven)
            .count() as u32
    }

    fn current(&self, at: u32) -> Option<&Window> {
        let number = at / WINDOW_MS + 1;
        let window = self.0.get((number % WINDOWS) as usize)?;
        let held = window.number.load(Relaxed);
        if held != number
            && window
                .number
                .compare_exchange(held, number, Relaxed, Relaxed)
                .is_ok()
        {
            window.good.store(0, Relaxed);
            window.bad.store(0, Relaxed);
            window.samples.store(0, Relaxed);
            window.stuck.store(false, Relaxed);
            window.latency.clear();
        }
        Some(window)
    }

    fn back(&self, at: u32, windows: u32) -> Option<&Window> {
        let number = (at / WINDOW_MS + 1)
            .checked_sub(windows)
            .filter(|number| *number > 0)?;
        self.0
            .get((number % WINDOWS) as usize)
            .filter(|window| window.number.load(Relaxed) == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_after_a_minute() {
        let windows = Windows::default();
        windows.count(0, true, Some(1_000));
        windows.count(5, false, None);
        assert_eq!(windows.counts(9_999, 2), Some(Counts { good: 1, bad: 1 }));
        assert_eq!(windows.counts(19_999, 2), Some(Counts { good: 1, bad: 1 }));
        assert_eq!(windows.counts(20_000, 2), None);
        assert_eq!(windows.latencies(59_999, 6).total(), 1);
        assert_eq!(windows.latencies(60_000, 6).total(), 0);
        windows.count(60_000, true, None);
        assert_eq!(windows.counts(60_000, 1), Some(Counts { good: 1, bad: 0 }));
    }

    #[test]
    fn evidence_is_samples_or_stuck_requests() {
        let windows = Windows::default();
        (0..20).for_each(|_| windows.count(0, true, Some(1)));
        windows.count(10_000, true, Some(1));
        windows.note_stuck(20_000);
        assert_eq!(windows.with_evidence(20_000, 20), 2);
        windows.reset();
        assert_eq!(windows.with_evidence(20_000, 20), 0);
    }
}
