//! Times filters, for the metrics.

use std::sync::Arc;
use std::time::Duration;

use tidegate_filters::chain::{Meter, Observer, Phase};

use super::metrics::{FilterMetrics, FilterPhase, Metrics};

/// Makes the meters of a chain.
pub struct FilterMeters(pub Arc<Metrics>);

impl Observer for FilterMeters {
    fn meter(&self, filter: &'static str, phase: Phase) -> Arc<dyn Meter> {
        Arc::new(FilterMeter {
            metrics: self.0.filter(filter),
            phase: label(phase),
        })
    }
}

struct FilterMeter {
    metrics: Arc<FilterMetrics>,
    phase: FilterPhase,
}

impl Meter for FilterMeter {
    fn took(&self, elapsed: Duration) {
        self.metrics.ran(self.phase, elapsed);
    }

    fn panicked(&self) {
        self.metrics.errors.inc();
    }
}

fn label(phase: Phase) -> FilterPhase {
    match phase {
        Phase::Connection => FilterPhase::Connection,
        Phase::Request => FilterPhase::Request,
        Phase::RequestBody => FilterPhase::RequestBody,
        Phase::Pool => FilterPhase::Pool,
        Phase::UpstreamRequest => FilterPhase::UpstreamRequest,
        Phase::Response => FilterPhase::Response,
        Phase::ResponseBody => FilterPhase::ResponseBody,
        Phase::Finished => FilterPhase::Finished,
    }
}
