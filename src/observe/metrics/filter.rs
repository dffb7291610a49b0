//! What is counted of one filter, over all routes that use it.

use std::array;
use std::time::Duration;

use super::cells::{Counter, Histogram};
use super::families::Families;
use super::labels::{FilterPhase, Label};

/// Counters of one filter.
#[derive(Debug)]
pub struct FilterMetrics {
    /// Times it failed.
    pub errors: Counter,
    durations: [Histogram; FilterPhase::NAMES.len()],
}

impl FilterMetrics {
    /// Counts one run.
    pub fn ran(&self, phase: FilterPhase, took: Duration) {
        self.durations[phase.index()].observe(took);
    }

    pub(super) fn collect(&self, name: &str, out: &mut Families) {
        let errors = self.errors.get();
        out.counter(
            "tidegate_filter_errors_total",
            "Times a filter failed.",
            &[("filter", name)],
            errors,
        );
        for (phase, duration) in FilterPhase::NAMES.iter().zip(&self.durations) {
            let labels = [("filter", name), ("phase", phase)];
            let help = "How long filters ran.";
            out.histogram("tidegate_filter_duration_seconds", help, &labels, duration);
        }
    }
}

impl Default for FilterMetrics {
    fn default() -> Self {
        Self {
            errors: Counter::default(),
            durations: array::from_fn(|_| Histogram::of_work()),
        }
    }
}
