//! What is counted of one pool.

use super::cells::{Counters, Gauge, Gauges, Histogram, Ratio};
use super::discovery::DiscoveryMetrics;
use super::families::Families;
use crate::sticky::StickyResult;

use super::labels::{
    BackendState, BlockReason, DenyReason, EjectReason, MembershipChange, ProbeResult, RetryReason,
    ShedReason,
};

/// Counters of one pool. Gauges may as well be set just before metrics are rendered.
#[derive(Debug)]
pub struct PoolMetrics {
    /// Requests between pick and end.
    pub in_flight: Gauge,
    /// Requests that wait for a place.
    pub queue_depth: Gauge,
    /// How long those that waited did.
    pub queue_wait: Histogram,
    /// Requests that got no place.
    pub shed: Counters<ShedReason>,
    /// Connecting to a backend; reused connections are not in it.
    pub connect: Histogram,
    /// From the request sent to the first byte of the response.
    pub upstream: Histogram,
    /// Further attempts made.
    pub retries: Counters<RetryReason>,
    /// Further attempts not made.
    pub retries_denied: Counters<DenyReason>,
    /// Probes.
    pub health_checks: Counters<ProbeResult>,
    /// How long probes took.
    pub health_check: Histogram,
    /// Backends that are out now.
    pub ejections_active: Gauge,
    /// Ejections that the cap forbade.
    pub ejections_blocked: Counters<BlockReason>,
    /// Ejections that `mode: observe` would have made.
    pub would_eject: Counters<EjectReason>,
    /// Share of the backends that take requests, 0 to 1.
    pub available_ratio: Ratio,
    /// 1 while too few are healthy and health is not heeded.
    pub fail_open: Gauge,
    /// Backends that came, went or have other settings.
    pub membership: Counters<MembershipChange>,
    /// Backends in each state, those that leave among those that drain.
    pub members: Gauges<BackendState>,
    /// The sources of its members.
    pub discovery: DiscoveryMetrics,
    /// Requests to a pool with sticky sessions.
    pub sticky: Counters<StickyResult>,
    /// Largest request rate of a backend against its fair part; 0 until the pool has sticky sessions.
    pub sticky_skew: Ratio,
}

impl Default for PoolMetrics {
    fn default() -> Self {
        Self {
            in_flight: Gauge::default(),
            queue_depth: Gauge::default(),
            queue_wait: Histogram::of_requests(),
            shed: Counters::default(),
            connect: Histogram::of_requests(),
            upstream: Histogram::of_requests(),
            retries: Counters::default(),
            retries_denied: Counters::default(),
            health_checks: Counters::default(),
            health_check: Histogram::of_requests(),
            ejections_active: Gauge::default(),
            ejections_blocked: Counters::default(),
            would_eject: Counters::default(),
            available_ratio: Ratio::default(),
            fail_open: Gauge::default(),
            membership: Counters::default(),
            members: Gauges::default(),
            discovery: DiscoveryMetrics::default(),
            sticky: Counters::default(),
            sticky_skew: Ratio::default(),
        }
    }
}

impl PoolMetrics {
    pub(super) fn collect(&self, name: &str, out: &mut Families) {
        let labels = [("pool", name)];
        self.collect_requests(&labels, out);
        self.collect_health(&labels, out);
        self.collect_members(&labels, out);
        self.discovery.collect(&labels, out);
        self.collect_sticky(&labels, out);
    }

    fn collect_requests(&self, labels: &[(&str, &str)], out: &mut Families) {
        let in_flight = self.in_flight.get() as f64;
        out.gauge(
            "tidegate_requests_in_flight",
            "Requests between pick and end.",
            labels,
            in_flight,
        );
        let depth = self.queue_depth.get() as f64;
        out.gauge(
            "tidegate_queue_depth",
            "Requests that wait for a place at a backend.",
            labels,
            depth,
        );
        let help = "How long requests waited for a place at a backend.";
        out.histogram(
            "tidegate_queue_wait_seconds",
            help,
            labels,
            &self.queue_wait,
        );
        out.counters(
            "tidegate_shed_total",
            "Requests that got no place at a backend.",
            labels,
            "reason",
            &self.shed,
        );
        let help = "Connecting to a backend.";
        out.histogram(
            "tidegate_upstream_connect_seconds",
            help,
            labels,
            &self.connect,
        );
        let help = "From the request sent to the first byte of the response.";
        out.histogram(
            "tidegate_upstream_duration_seconds",
            help,
            labels,
            &self.upstream,
        );
        out.counters(
            "tidegate_retries_total",
            "Further attempts made.",
            labels,
            "reason",
            &self.retries,
        );
        let help = "Further attempts that were not made.";
        out.counters(
            "tidegate_retries_denied_total",
            help,
            labels,
            "reason",
            &self.retries_denied,
        );
    }

    fn collect_members(&self, labels: &[(&str, &str)], out: &mut Families) {
        let help = "Backends that came, came back while they left, left or have other settings.";
        out.counters(
            "tidegate_pool_membership_changes_total",
            help,
            labels,
            "change",
            &self.membership,
        );
        let help = "Backends of the pool by their state.";
        for (state, count) in self.members.iter() {
            let labels = [labels, &[("state", state)]].concat();
            out.gauge("tidegate_pool_members", help, &labels, count as f64);
        }
    }

    fn collect_sticky(&self, labels: &[(&str, &str)], out: &mut Families) {
        let help = "Requests to pools with sticky sessions.";
        out.counters_seen(
            "tidegate_sticky_total",
            help,
            labels,
            "result",
            &self.sticky,
        );
        if self.sticky_skew.get() > 0.0 {
            let help = "Largest request rate of a backend against its fair part; 1 is even.";
            out.gauge(
                "tidegate_sticky_skew_ratio",
                help,
                labels,
                self.sticky_skew.get(),
            );
        }
    }

    fn collect_health(&self, labels: &[(&str, &str)], out: &mut Families) {
        out.counters(
            "tidegate_health_checks_total",
            "Probes made.",
            labels,
            "result",
            &self.health_checks,
        );
        let help = "How long probes took.";
        out.histogram(
            "tidegate_health_check_duration_seconds",
            help,
            labels,
            &self.health_check,
        );
        let active = self.ejections_active.get() as f64;
        out.gauge(
            "tidegate_ejections_active",
            "Backends that are out now.",
            labels,
            active,
        );
        let help = "Ejections that were forbidden.";
        out.counters(
            "tidegate_ejections_blocked_total",
            help,
            labels,
            "reason",
            &self.ejections_blocked,
        );
        let help = "Ejections that observe mode would have made.";
        out.counters(
            "tidegate_would_eject_total",
            help,
            labels,
            "reason",
            &self.would_eject,
        );
        let help = "Share of the backends that take requests.";
        out.gauge(
            "tidegate_pool_available_ratio",
            help,
            labels,
            self.available_ratio.get(),
        );
        let help = "1 while too few backends are healthy and health is not heeded.";
        out.gauge(
            "tidegate_pool_fail_open",
            help,
            labels,
            self.fail_open.get() as f64,
        );
    }
}
