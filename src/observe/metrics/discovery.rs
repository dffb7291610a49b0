//! What is told of the sources of one pool's members.

use std::sync::{Mutex, PoisonError};

use super::families::Families;
use super::labels::{DiscoveryFailure, Label};

/// The sources of one pool, looked at just before metrics are rendered.
#[derive(Debug, Clone, Default)]
pub struct Discovered {
    /// How many there are.
    pub sources: usize,
    /// Those whose last answer was none.
    pub failing: usize,
    /// Seconds since the last good answer of the source that has been silent for longest; infinite when one never answered.
    pub oldest: f64,
    /// Good answers.
    pub answers: u64,
    /// Changes that waited for a second answer.
    pub holds: u64,
    /// Failures by their kind.
    pub failures: Vec<(DiscoveryFailure, u64)>,
}

impl Discovered {
    /// One source that has done nothing yet.
    pub(super) fn nothing() -> Self {
        use DiscoveryFailure::{
            Invalid, NoRecords, NoSuchName, ServerFailure, Timeout, Unreachable,
        };
        let kinds = [
            Timeout,
            ServerFailure,
            NoSuchName,
            NoRecords,
            Unreachable,
            Invalid,
        ];
        Self {
            failures: kinds.map(|kind| (kind, 0)).into(),
            ..Self::default()
        }
    }
}

/// `None` for pools without sources: they have no series.
#[derive(Debug, Default)]
pub struct DiscoveryMetrics(Mutex<Option<Discovered>>);

impl DiscoveryMetrics {
    /// To be shown from now on.
    pub fn set(&self, discovered: Discovered) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(discovered);
    }

    pub(super) fn collect(&self, labels: &[(&str, &str)], out: &mut Families) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = seen.as_ref() else {
            return;
        };
        let mut gauge =
            |name: &'static str, help: &str, value: f64| out.gauge(name, help, labels, value);
        gauge(
            "tidegate_discovery_sources",
            "Sources of the pool's members.",
            seen.sources as f64,
        );
        gauge(
            "tidegate_discovery_sources_failing",
            "Sources whose last answer was none.",
            seen.failing as f64,
        );
        gauge(
            "tidegate_discovery_oldest_answer_seconds",
            "Since the last good answer of the source that has been silent for longest.",
            seen.oldest,
        );
        let help = "Good answers of the sources.";
        out.counter(
            "tidegate_discovery_answers_total",
            help,
            labels,
            seen.answers,
        );
        let help = "Changes that waited for a second answer, as they took away more than half of the pool.";
        out.counter("tidegate_discovery_holds_total", help, labels, seen.holds);
        for (kind, count) in &seen.failures {
            let labels = [labels, &[("kind", kind.name())]].concat();
            let help = "Answers that were none.";
            out.counter("tidegate_discovery_failures_total", help, &labels, *count);
        }
    }
}
