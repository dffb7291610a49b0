//! How much of what is left, and what was given up for it.

use super::cells::{Counter, Gauges, Ratio};
use super::families::Families;
use super::labels::{Label, Resource};

/// Written at each reading, and by requests that are refused.
#[derive(Debug, Default)]
pub struct OverloadMetrics {
    /// The step of each resource, 0 to 3.
    pub levels: Gauges<Resource>,
    readings: [Ratio; Resource::NAMES.len()],
    /// Requests of sheddable routes that were answered with 503.
    pub shed: Counter,
    /// Times that a part of the idle connections was closed.
    pub goodbyes: Counter,
}

impl OverloadMetrics {
    /// A reading: the share that is used, and for lag the seconds.
    pub fn set(&self, resource: Resource, level: i64, reading: f64) {
        self.levels.cell(resource).set(level);
        if let Some(cell) = self.readings.get(resource.index()) {
            cell.set(reading);
        }
    }

    pub(super) fn collect(&self, out: &mut Families) {
        for (resource, level) in self.levels.iter() {
            let help = "The step of the overload ladder: 0 normal, 1 keep-alive is cut, 2 sheddable routes are refused, 3 accepting pauses.";
            let labels = [("resource", resource)];
            out.gauge("tidegate_overload_level", help, &labels, level as f64);
        }
        for (resource, cell) in Resource::NAMES.iter().zip(&self.readings) {
            if *resource == Resource::Lag.name() {
                let help = "How long a task that is ready waits for a worker thread: the shortest wait of the last second.";
                out.gauge("tidegate_runtime_lag_seconds", help, &[], cell.get());
            } else {
                let help = "Share of the limit that is used.";
                let labels = [("resource", *resource)];
                out.gauge("tidegate_overload_used_ratio", help, &labels, cell.get());
            }
        }
        let help = "Requests of sheddable routes that were refused.";
        out.counter("tidegate_overload_shed_total", help, &[], self.shed.get());
        let help = "Times that a sixteenth of the idle connections was closed.";
        let count = self.goodbyes.get();
        out.counter("tidegate_overload_goodbyes_total", help, &[], count);
    }
}
