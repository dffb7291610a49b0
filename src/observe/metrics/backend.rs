//! What is counted of one backend.

use super::cells::{Counters, Gauge, Ratio};
use super::families::Families;
use super::labels::{BackendState, EjectReason, Label, UpstreamOutcome};

/// Counters of one backend. Gauges may as well be set just before metrics are rendered.
#[derive(Debug, Default)]
pub struct BackendMetrics {
    /// Attempts at it.
    pub requests: Counters<UpstreamOutcome>,
    /// Times it was taken out.
    pub ejections: Counters<EjectReason>,
    /// Requests it has now.
    pub in_flight: Gauge,
    /// As in the config.
    pub weight_configured: Gauge,
    /// After slow start and failover.
    pub weight_effective: Ratio,
    state: Gauge,
}

impl BackendMetrics {
    /// `tidegate_backend_up` follows from it: healthy and suspect backends are up.
    pub fn set_state(&self, state: BackendState) {
        self.state.set(state.index() as i64);
    }

    /// Without `state`, counters only: the gauges of several backends in one mean nothing.
    pub(super) fn collect(&self, pool: &str, backend: &str, state: bool, out: &mut Families) {
        let labels = [("pool", pool), ("backend", backend)];
        let help = "Attempts at backends.";
        out.counters_seen(
            "tidegate_upstream_requests_total",
            help,
            &labels,
            "outcome",
            &self.requests,
        );
        let help = "Times backends were taken out.";
        out.counters_seen(
            "tidegate_backend_ejections_total",
            help,
            &labels,
            "reason",
            &self.ejections,
        );
        if state {
            self.collect_state(&labels, out);
        }
    }

    fn collect_state(&self, labels: &[(&str, &str); 2], out: &mut Families) {
        let [pool, backend] = *labels;
        let now = self.state.get();
        let is = |state: BackendState| now == state.index() as i64;
        let up = is(BackendState::Healthy) || is(BackendState::Suspect);
        out.gauge(
            "tidegate_backend_up",
            "1 while the backend takes requests.",
            labels,
            f64::from(up),
        );
        for (index, name) in BackendState::NAMES.iter().enumerate() {
            let value = f64::from(now == index as i64);
            let labels = [pool, backend, ("state", name)];
            out.gauge(
                "tidegate_backend_state",
                "1 at the state the backend is in.",
                &labels,
                value,
            );
        }
        let in_flight = self.in_flight.get() as f64;
        out.gauge(
            "tidegate_backend_in_flight",
            "Requests the backend has now.",
            labels,
            in_flight,
        );
        let weights = [
            ("configured", self.weight_configured.get() as f64),
            ("effective", self.weight_effective.get()),
        ];
        for (kind, value) in weights {
            out.gauge(
                "tidegate_backend_weight",
                "Share of requests.",
                &[pool, backend, ("kind", kind)],
                value,
            );
        }
    }
}
