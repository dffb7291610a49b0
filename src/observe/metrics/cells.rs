//! The numbers in a handle: atomics, added to without lock or allocation and read when metrics are rendered.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::labels::Label;

/// Only goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A whole number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// A gauge with a fraction.
#[derive(Debug, Default)]
pub struct Ratio(AtomicU64);

/// One counter for each value of a label.
#[derive(Debug)]
pub struct Counters<L> {
    cells: Box<[Counter]>,
    label: PhantomData<L>,
}

/// One gauge for each value of a label.
#[derive(Debug)]
pub struct Gauges<L> {
    cells: Box<[Gauge]>,
    label: PhantomData<L>,
}

/// How often something took how long: a count for each bucket and a sum. An observation is two additions.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds in nanoseconds, ascending; one bucket more takes what is longer.
    bounds: &'static [u64],
    buckets: Box<[AtomicU64]>,
    sum_nanos: AtomicU64,
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Gauge {
    /// Adds one.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// Puts `value` in place.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl Ratio {
    /// Puts `value` in place.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

impl<L: Label> Counters<L> {
    /// Adds one.
    pub fn inc(&self, label: L) {
        self.cell(label).inc();
    }

    /// The counter of that label.
    #[must_use]
    pub fn cell(&self, label: L) -> &Counter {
        &self.cells[label.index()]
    }

    /// Label and count, for every value of the label.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        L::NAMES
            .iter()
            .copied()
            .zip(self.cells.iter().map(Counter::get))
    }
}

impl<L: Label> Default for Counters<L> {
    fn default() -> Self {
        Self {
            cells: L::NAMES.iter().map(|_| Counter::default()).collect(),
            label: PhantomData,
        }
    }
}

impl<L: Label> Gauges<L> {
    /// The gauge of that label.
    #[must_use]
    pub fn cell(&self, label: L) -> &Gauge {
        &self.cells[label.index()]
    }

    /// Moves one from `from` to `to`.
    pub fn shift(&self, from: L, to: L) {
        self.cell(from).dec();
        self.cell(to).inc();
    }

    /// Label and value, for every value of the label.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, i64)> {
        L::NAMES
            .iter()
            .copied()
            .zip(self.cells.iter().map(Gauge::get))
    }
}

impl<L: Label> Default for Gauges<L> {
    fn default() -> Self {
        Self {
            cells: L::NAMES.iter().map(|_| Gauge::default()).collect(),
            label: PhantomData,
        }
    }
}

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

impl Histogram {
    /// 1 ms to 30 s: requests and what they wait for.
    #[must_use]
    pub fn of_requests() -> Self {
        const BOUNDS: &[u64] = &[
            MS,
            2_500 * US,
            5 * MS,
            10 * MS,
            25 * MS,
            50 * MS,
            100 * MS,
            250 * MS,
            500 * MS,
            S,
            2_500 * MS,
            5 * S,
            10 * S,
            30 * S,
        ];
        Self::new(BOUNDS)
    }

    /// 1 µs to 1 s: work done inside this process.
    #[must_use]
    pub fn of_work() -> Self {
        const BOUNDS: &[u64] = &[
            US,
            5 * US,
            10 * US,
            50 * US,
            100 * US,
            500 * US,
            MS,
            5 * MS,
            10 * MS,
            100 * MS,
            S,
        ];
        Self::new(BOUNDS)
    }

    fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            bounds,
            buckets,
            sum_nanos: AtomicU64::new(0),
        }
    }

    /// Counts one that took this long.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_nanos.fetch_add(nanos, Relaxed);
    }

    /// Upper bounds in seconds with how many took at most that long, and how many there were.
    #[must_use]
    pub fn cumulative(&self) -> (Vec<(f64, u64)>, u64) {
        let mut total = 0;
        let mut counts = self.buckets.iter().map(|bucket| {
            total += bucket.load(Relaxed);
            total
        });
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / S as f64);
        let cumulative = bounds.zip(&mut counts).collect();
        // What is longer than the last bound.
        counts.next();
        (cumulative, total)
    }

    /// Sum of all durations in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_nanos.load(Relaxed) as f64 / S as f64
    }
}
