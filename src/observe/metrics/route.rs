//! What is counted of the requests on one route to one pool.

use std::array;
use std::sync::Arc;
use std::time::Duration;

use super::cells::{Counter, Counters, Histogram};
use super::families::Families;
use super::labels::{Label, Protocol, StatusClass};
use super::listener::ListenerMetrics;

/// A handle of one snapshot: the route's numbers, with those of each listener at hand.
pub struct RouteMetrics {
    cells: Arc<RouteCells>,
    by_listener: Vec<(Arc<ListenerMetrics>, Arc<RequestCells>)>,
    other: Arc<RequestCells>,
}

/// What one finished request adds.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// Sent to the client; `None` when no response began.
    pub status: Option<u16>,
    /// Of the downstream request.
    pub protocol: Protocol,
    /// From the request's first byte to the end of the response.
    pub duration: Duration,
    /// Request body.
    pub bytes_in: u64,
    /// Response body.
    pub bytes_out: u64,
}

/// By route and pool.
pub(super) struct RouteCells {
    duration: Histogram,
    request_bytes: Counter,
    response_bytes: Counter,
}

/// By listener, route and pool.
pub(super) struct RequestCells {
    by_protocol: [Counters<StatusClass>; Protocol::NAMES.len()],
}

impl RouteMetrics {
    pub(super) fn new(
        cells: Arc<RouteCells>,
        by_listener: Vec<(Arc<ListenerMetrics>, Arc<RequestCells>)>,
        other: Arc<RequestCells>,
    ) -> Self {
        Self {
            cells,
            by_listener,
            other,
        }
    }

    /// Counts a request that came in by `listener`. One that this handle wasn't made for (its connection is older than
    /// the snapshot and the listener is gone) counts under `_other`.
    pub fn record(&self, listener: &Arc<ListenerMetrics>, finished: &Finished) {
        // A handful of listeners: comparing addresses is quicker than any map.
        let found = self
            .by_listener
            .iter()
            .find(|(known, _)| Arc::ptr_eq(known, listener));
        let requests = found.map_or(&self.other, |(_, requests)| requests);
        requests.by_protocol[finished.protocol.index()].inc(StatusClass::of(finished.status));
        self.cells.duration.observe(finished.duration);
        if finished.bytes_in > 0 {
            self.cells.request_bytes.add(finished.bytes_in);
        }
        if finished.bytes_out > 0 {
            self.cells.response_bytes.add(finished.bytes_out);
        }
    }
}

impl Default for RouteCells {
    fn default() -> Self {
        Self {
            duration: Histogram::of_requests(),
            request_bytes: Counter::default(),
            response_bytes: Counter::default(),
        }
    }
}

impl RouteCells {
    pub(super) fn collect(&self, route: &str, pool: &str, out: &mut Families) {
        let labels = [("route", route), ("pool", pool)];
        let help = "From a request's first byte to the end of its response.";
        out.histogram(
            "tidegate_request_duration_seconds",
            help,
            &labels,
            &self.duration,
        );
        let (bytes_in, bytes_out) = (self.request_bytes.get(), self.response_bytes.get());
        out.counter(
            "tidegate_request_bytes_total",
            "Bytes of request bodies.",
            &labels,
            bytes_in,
        );
        out.counter(
            "tidegate_response_bytes_total",
            "Bytes of response bodies.",
            &labels,
            bytes_out,
        );
    }
}

impl Default for RequestCells {
    fn default() -> Self {
        Self {
            by_protocol: array::from_fn(|_| Counters::default()),
        }
    }
}

impl RequestCells {
    pub(super) fn collect(&self, listener: &str, route: &str, pool: &str, out: &mut Families) {
        for (protocol, codes) in Protocol::NAMES.iter().zip(&self.by_protocol) {
            let labels = [
                ("listener", listener),
                ("route", route),
                ("pool", pool),
                ("protocol", protocol),
            ];
            out.counters_seen(
                "tidegate_requests_total",
                "Requests answered.",
                &labels,
                "code",
                codes,
            );
        }
    }
}
