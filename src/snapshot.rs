//! One loaded configuration at run time. Built whole, swapped whole; a request uses one to its end.

mod chain;
mod owned_fields;
mod pool;
mod route;
mod sticky_keys;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use tidegate_filters::{Chain, Table};

pub use owned_fields::OwnedFields;
pub use pool::PoolHandle;
pub use route::{Action, Route, Split};
pub use sticky_keys::unix_seconds;

use crate::config::model::{
    Config, Listener, ListenerLimits, PathMode, ProxyProtocol, Trace, UnderscoresInHeaders,
};
use crate::listener::Admission;
use crate::observe::metrics::{FilterEvents, Metrics};
use crate::route::{self as route_table, Crowd, RouteTable};
use crate::sticky::KeyError;
use crate::upstream::{Connect, UpstreamError};
use sticky_keys::StickyKeys;

/// What is configured now, ready to be used.
pub struct Snapshot {
    pub config: Arc<Config>,
    pub routes: RouteTable<Arc<Route>>,
    pub pools: BTreeMap<String, Arc<PoolHandle>>,
    /// What listeners that have filters ask about each connection, by the listener's name.
    pub admissions: BTreeMap<String, Admission>,
    /// Request fields that backends believe because of this configuration.
    pub owned_fields: OwnedFields,
    /// Query parameters that hold a secret on any route: for the log of requests that no route was found for.
    pub secret_query_names: Box<[Box<str>]>,
    /// Tells configurations apart, in `/status` and metrics.
    pub hash: String,
    /// Seconds since 1970.
    pub loaded_at: u64,
}

/// What a checked configuration names but turns out not to be usable.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A filter refuses its configuration.
    #[error("{path}: {message}")]
    Filter { path: String, message: String },
    /// A route's path is one that no request can have.
    #[error("{0}")]
    Route(#[from] route_table::BuildError),
    /// No keys for sticky sessions can be made.
    #[error("sticky: {0}")]
    Keys(#[from] KeyError),
    /// A pool's CA or socket path is unusable.
    #[error("pools.{pool}: {source}")]
    Upstream { pool: String, source: UpstreamError },
}

/// Builds a snapshot. Opens no socket and starts no task, so that `check` can't lie. Backends that are in `previous`,
/// too, keep their counters, health and timers.
pub fn build(
    config: Config,
    previous: Option<&Snapshot>,
    filters: &Table,
    metrics: &Arc<Metrics>,
    now: Instant,
) -> Result<Snapshot, BuildError> {
    let keys = StickyKeys::derive(&config.cluster, &config.pools)?;
    let mut pools = BTreeMap::new();
    for (name, pool) in &config.pools {
        let before = previous.and_then(|p| p.pools.get(name));
        let cold_start = previous.is_none();
        let keys = pool.sticky.as_ref().and_then(|sticky| keys.of(sticky));
        let handle = PoolHandle::build(pool, before, cold_start, keys, metrics, now);
        let handle = handle.map_err(|source| BuildError::Upstream {
            pool: name.clone(),
            source,
        })?;
        pools.insert(name.clone(), Arc::new(handle));
    }
    let listeners: Vec<_> = config
        .listeners
        .iter()
        .map(|l| metrics.listener(&l.name))
        .collect();
    let mut entries = Vec::with_capacity(config.routes.len());
    for route in &config.routes {
        let before = previous.and_then(|p| p.route(&route.name));
        let before = before.map(|route| &**route);
        let built = Route::build(route, before, &pools, filters, &listeners, metrics)?;
        entries.push((
            route.name.as_str(),
            route.matches.as_slice(),
            Arc::new(built),
        ));
    }
    let mut secret_query_names = Vec::new();
    for (_, _, route) in &entries {
        secret_query_names.extend_from_slice(route.chain.secret_query_names());
    }
    secret_query_names.sort();
    secret_query_names.dedup();
    let admissions = admissions(&config.listeners, previous, filters, metrics)?;
    let owned_fields = OwnedFields::new(entries.iter().map(|(_, _, route)| route), pools.values());
    Ok(Snapshot {
        hash: hash(&config),
        owned_fields,
        admissions,
        secret_query_names: secret_query_names.into(),
        routes: RouteTable::build(entries)?,
        pools,
        loaded_at: unix_seconds(),
        config: Arc::new(config),
    })
}

/// Everything in a checked configuration that turns out not to be usable, where [`build`] stops at the first: certificates of
/// pools, and paths of routes.
pub fn faults(config: &Config) -> Vec<BuildError> {
    let pools = config.pools.iter().filter_map(|(name, pool)| {
        let source = Connect::new(&pool.upstream).err()?;
        let pool = name.clone();
        Some(BuildError::Upstream { pool, source })
    });
    let routes = config.routes.iter();
    let routes = routes.map(|route| (route.name.as_str(), route.matches.as_slice(), ()));
    let table = RouteTable::build(routes).err().map(BuildError::Route);
    pools.chain(table).collect()
}

fn admissions(
    listeners: &[Listener],
    previous: Option<&Snapshot>,
    filters: &Table,
    metrics: &Arc<Metrics>,
) -> Result<BTreeMap<String, Admission>, BuildError> {
    let mut admissions = BTreeMap::new();
    for listener in listeners.iter().filter(|l| !l.filters.is_empty()) {
        let before = previous.and_then(|p| p.admissions.get(&listener.name));
        let before = before.map(|admission| &*admission.chain);
        let chain = chain::build(&listener.filters, before, filters, metrics)?;
        let admission = Admission {
            listener: listener.name.as_str().into(),
            chain: Arc::new(chain),
        };
        admissions.insert(listener.name.clone(), admission);
    }
    Ok(admissions)
}

impl Snapshot {
    /// Every chain of filters, of routes and of listeners.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        let admissions = self.admissions.values().map(|admission| &*admission.chain);
        self.routes().map(|route| &route.chain).chain(admissions)
    }

    /// Routes that can't match, each with the one that takes their requests.
    pub fn shadowed_routes(&self) -> Vec<(String, String)> {
        self.routes.shadowed()
    }

    /// Groups of `path_regex` that requests are tried against one by one.
    pub fn crowded_regexes(&self) -> Vec<Crowd> {
        self.routes.crowded_regexes()
    }

    /// In the order of the file.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter().map(|(_, route)| route)
    }

    fn route(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes().find(|route| &*route.name == name)
    }

    /// The admin listener, as a listener like others.
    pub fn admin_listener(&self) -> Vec<Listener> {
        let address = self.config.admin.clone();
        address
            .map(|address| Listener {
                name: "admin".into(),
                address,
                proxy_protocol: ProxyProtocol::Off,
                tls: None,
                health_path: None,
                underscores_in_headers: UnderscoresInHeaders::default(),
                trace: Trace::Refuse,
                paths: PathMode::Strict,
                limits: ListenerLimits::default(),
                filters: Vec::new(),
            })
            .into_iter()
            .collect()
    }
}

impl FilterEvents for Snapshot {
    fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.chains().flat_map(Chain::counts).collect()
    }
}

fn hash(config: &Config) -> String {
    let mut hasher = DefaultHasher::new();
    format!("{config:?}").hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
