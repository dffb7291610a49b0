//! The metrics: one registry, and handles of ready counters for each listener, route, pool, backend and filter.
//!
//! Handles are made when a config is loaded, are shared and live on over reloads under the same name; a request only
//! adds to atomics in them. A handle holds its own numbers and the registry reads them when it is asked, so a name that
//! goes away takes its series with it.

mod backend;
mod cells;
mod config;
mod discovery;
mod families;
mod filter;
mod filter_events;
mod kernel;
mod labels;
mod listener;
mod overload;
mod pool;
mod process;
mod reference;
mod route;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

pub use backend::BackendMetrics;
pub use cells::{Counter, Counters, Gauge, Gauges, Histogram, Ratio};
pub use discovery::Discovered;
pub use filter::FilterMetrics;
pub use filter_events::FilterEvents;
pub use labels::{
    BackendState, BlockReason, ConnectionState, DenyReason, DiscoveryFailure, EjectReason,
    EvictedWhile, FilterPhase, HandshakeFailure, Http2Abuse, KeyType, Label, MembershipChange,
    ProbeResult, Protocol, RejectReason, Resource, RetryReason, ShedReason, SlowPhase, StatusClass,
    TlsVersion, UpstreamOutcome,
};
pub use listener::{CertificateExpiry, ListenerMetrics};
pub use overload::OverloadMetrics;
pub use pool::PoolMetrics;
pub use reference::reference;
pub use route::{Finished, RouteMetrics};

use crate::kernel::Kernel;
use crate::observe::writer::LineWriter;
use config::ConfigMetrics;
use families::Families;
use filter_events::EventCounts;
use route::{RequestCells, RouteCells};

/// Backends with series of their own, over all pools; those beyond share one set of series for each pool.
const MAX_BACKENDS: usize = 1000;
/// The label of what has no series of its own.
const OTHER: &str = "_other";
/// What `GET /metrics` answers as its `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The versions shown in `tidegate_build_info`.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuildInfo {
    /// Of Tidegate.
    pub version: &'static str,
    /// The commit it was built from.
    pub revision: &'static str,
    /// Of Pingora.
    pub pingora: &'static str,
}

/// All metrics of one instance.
pub struct Metrics {
    registry: Registry,
    tables: Arc<Mutex<Tables>>,
}

/// The names of one loaded config; what isn't named here loses its series.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Names of listeners.
    pub listeners: BTreeSet<String>,
    /// Route and pool; the pool is empty where the route answers by itself.
    pub routes: BTreeSet<(String, String)>,
    /// Names of pools.
    pub pools: BTreeSet<String>,
    /// Pool and id of the backend.
    pub backends: BTreeSet<(String, String)>,
    /// Names of filters.
    pub filters: BTreeSet<String>,
}

#[derive(Default)]
struct Tables {
    build: BuildInfo,
    config: ConfigMetrics,
    access_log: Option<LineWriter>,
    overload: Arc<OverloadMetrics>,
    listeners: BTreeMap<String, Arc<ListenerMetrics>>,
    routes: BTreeMap<(String, String), Arc<RouteCells>>,
    /// By route, pool and listener.
    requests: BTreeMap<(String, String, String), Arc<RequestCells>>,
    pools: BTreeMap<String, Arc<PoolMetrics>>,
    backends: BTreeMap<(String, String), Arc<BackendMetrics>>,
    filters: BTreeMap<String, Arc<FilterMetrics>>,
    filter_events: EventCounts,
}

impl Metrics {
    /// No listeners, routes, pools or backends yet.
    #[must_use]
    pub fn new(build: BuildInfo) -> Self {
        let tables = Arc::new(Mutex::new(Tables {
            build,
            ..Tables::default()
        }));
        let registry = Registry::new();
        if let Err(error) = registry.register(Box::new(Exposed(Arc::clone(&tables)))) {
            log::error!("metrics can't be registered: {error}");
        }
        Self { registry, tables }
    }

    /// For collectors of other parts; their names must start with `tidegate_`.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The handle of that listener, made if there is none.
    #[must_use]
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        let mut tables = self.tables();
        let entry = tables.listeners.entry(name.to_owned());
        Arc::clone(entry.or_insert_with(|| Arc::new(ListenerMetrics::new(name))))
    }

    /// A handle for requests that take this route to this pool (empty: the route answers by itself), coming in by any of
    /// these listeners. Its numbers are those of the earlier handles of the same names.
    #[must_use]
    pub fn route(
        &self,
        route: &str,
        pool: &str,
        listeners: &[Arc<ListenerMetrics>],
    ) -> Arc<RouteMetrics> {
        let mut tables = self.tables();
        let key = (route.to_owned(), pool.to_owned());
        let cells = Arc::clone(tables.routes.entry(key).or_default());
        let by_listener = listeners.iter().map(|listener| {
            let requests = tables.requests_of(route, pool, listener.name());
            (Arc::clone(listener), requests)
        });
        let by_listener = by_listener.collect();
        let other = tables.requests_of(route, pool, OTHER);
        Arc::new(RouteMetrics::new(cells, by_listener, other))
    }

    /// The handle of the overload ladder.
    #[must_use]
    pub fn overload(&self) -> Arc<OverloadMetrics> {
        Arc::clone(&self.tables().overload)
    }

    /// The handle of that pool, made if there is none.
    #[must_use]
    pub fn pool(&self, name: &str) -> Arc<PoolMetrics> {
        Arc::clone(self.tables().pools.entry(name.to_owned()).or_default())
    }

    /// The handle of that backend, made if there is none. Past 1,000 backends it is one that the pool's further backends
    /// share: it has their counters, under `_other`, and no state.
    #[must_use]
    pub fn backend(&self, pool: &str, backend: &str) -> Arc<BackendMetrics> {
        let mut tables = self.tables();
        let key = (pool.to_owned(), backend.to_owned());
        let room = tables.backends.len() < MAX_BACKENDS || tables.backends.contains_key(&key);
        let key = if room {
            key
        } else {
            (pool.to_owned(), OTHER.to_owned())
        };
        Arc::clone(tables.backends.entry(key).or_default())
    }

    /// The handle of that filter, made if there is none.
    #[must_use]
    pub fn filter(&self, name: &str) -> Arc<FilterMetrics> {
        Arc::clone(self.tables().filters.entry(name.to_owned()).or_default())
    }

    /// From now on these filters' own counters are read at each scrape, in place of those before, whose last numbers stay
    /// in the sums.
    pub fn watch_filters(&self, filters: Arc<dyn FilterEvents>) {
        self.tables().filter_events.follow(filters);
    }

    /// Forgets every series of names that are not in `names`: to be called when a new config is in force. Handles that
    /// requests still hold go on counting, unseen.
    pub fn retain(&self, names: &Names) {
        let mut tables = self.tables();
        tables
            .listeners
            .retain(|name, _| names.listeners.contains(name));
        tables.routes.retain(|key, _| names.routes.contains(key));
        tables.requests.retain(|(route, pool, listener), _| {
            let known = listener == OTHER || names.listeners.contains(listener);
            known && names.routes.contains(&(route.clone(), pool.clone()))
        });
        tables.pools.retain(|name, _| names.pools.contains(name));
        tables.backends.retain(|key, _| match key.1.as_str() {
            OTHER => names.pools.contains(&key.0),
            _ => names.backends.contains(key),
        });
        tables
            .filters
            .retain(|name, _| names.filters.contains(name));
        tables.filter_events.retain(&names.filters);
    }

    /// Forgets the series of this pool's backends but these.
    pub fn retain_backends(&self, pool: &str, ids: &BTreeSet<&str>) {
        let keeps = |id: &str| id == OTHER || ids.contains(id);
        let mut tables = self.tables();
        tables
            .backends
            .retain(|(of, id), _| of != pool || keeps(id));
    }

    /// A config was loaded and is in force. `hash` tells configs apart; `unix_seconds` is now.
    pub fn config_loaded(&self, hash: &str, unix_seconds: u64) {
        self.tables().config.loaded(hash, unix_seconds);
    }

    /// A config was refused, the old one serves on.
    pub fn config_refused(&self) {
        self.tables().config.refused();
    }

    /// The writer whose dropped lines are `tidegate_access_log_dropped_total`.
    pub fn watch_access_log(&self, writer: LineWriter) {
        self.tables().access_log = Some(writer);
    }

    /// All series in Prometheus's text format 0.0.4, to be sent as [`CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            log::error!("metrics can't be rendered: {error}");
        }
        text
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn requests_of(&mut self, route: &str, pool: &str, listener: &str) -> Arc<RequestCells> {
        let key = (route.to_owned(), pool.to_owned(), listener.to_owned());
        Arc::clone(self.requests.entry(key).or_default())
    }

    fn collect(&self, out: &mut Families) {
        let BuildInfo {
            version,
            revision,
            pingora,
        } = self.build;
        let labels = [
            ("version", version),
            ("revision", revision),
            ("pingora", pingora),
        ];
        out.gauge(
            "tidegate_build_info",
            "Always 1; the labels are versions.",
            &labels,
            1.0,
        );
        self.config.collect(out);
        let dropped = self.access_log.as_ref().map_or(0, LineWriter::dropped);
        out.counter(
            "tidegate_access_log_dropped_total",
            "Access log lines lost.",
            &[],
            dropped,
        );
        self.overload.collect(out);
        self.listeners
            .values()
            .for_each(|listener| listener.collect(out));
        self.routes
            .iter()
            .for_each(|((route, pool), cells)| cells.collect(route, pool, out));
        self.requests
            .iter()
            .for_each(|((route, pool, listener), cells)| cells.collect(listener, route, pool, out));
        self.pools
            .iter()
            .for_each(|(name, pool)| pool.collect(name, out));
        self.backends
            .iter()
            .for_each(|((pool, name), backend)| backend.collect(pool, name, name != OTHER, out));
        self.filters
            .iter()
            .for_each(|(name, filter)| filter.collect(name, out));
        self.filter_events.collect(out);
    }
}

/// What the registry asks: the tables, and what `/proc` says of the process.
struct Exposed(Arc<Mutex<Tables>>);

impl Collector for Exposed {
    /// None: which series there are depends on the config.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut out = Families::default();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .collect(&mut out);
        process::collect(&mut out);
        kernel::collect(&Kernel::default(), &mut out);
        out.into_vec()
    }
}

#[cfg(test)]
mod tests;
