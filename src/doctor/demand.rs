//! What a configuration can ask of the machine when it is used to its limits.

use serde::Serialize;

use crate::config::model::{Address, Config, ListenerLimits, Pool, UpstreamProtocol};

/// Descriptors for listeners, event loops, logs, probes and the admin listener.
const OWN_DESCRIPTORS: u64 = 64;
/// Memory of an instance without connections, in bytes.
const OWN_MEMORY: u64 = 64 << 20;
/// Memory of a connection that carries a request now and then, in bytes; a guess on the safe side.
const PLAIN_CONNECTION: u64 = 16 << 10;
const TLS_CONNECTION: u64 = 32 << 10;

/// Upper bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// The file, if there is one.
    pub config: Option<String>,
    /// `limits.max_connections` of all listeners.
    pub client_connections: u64,
    /// Connections to backends: one for each client connection, unless limits of pools allow fewer.
    pub backend_connections: u64,
    /// Files open at the same time.
    pub descriptors: u64,
    /// Memory in bytes, by estimates for each connection.
    pub memory: u64,
    /// Backends over all pools.
    pub backends: u64,
    /// The most connections to one TCP backend, and that backend's pool.
    pub busiest_backend: Option<(u64, String)>,
    /// Worker threads.
    pub threads: u64,
    /// Ports to listen on below 1024.
    pub low_ports: Vec<u16>,
}

impl Demand {
    /// Of one listener with default limits.
    pub fn of_defaults(threads: usize) -> Demand {
        let connections = ListenerLimits::default().max_connections as u64;
        Demand {
            config: None,
            client_connections: connections,
            backend_connections: connections,
            descriptors: 2 * connections + OWN_DESCRIPTORS,
            memory: OWN_MEMORY + connections * PLAIN_CONNECTION,
            backends: 0,
            busiest_backend: None,
            threads: threads as u64,
            low_ports: Vec::new(),
        }
    }

    /// Of this configuration, which was read from `path`.
    pub fn of(path: &str, config: &Config) -> Demand {
        let listeners = || config.listeners.iter();
        let clients = listeners()
            .map(|l| l.limits.max_connections as u64)
            .fold(0, u64::saturating_add);
        let to_pools = config.pools.values().map(|p| connections_to(p, clients));
        let backend_connections = to_pools.fold(0, u64::saturating_add).min(clients);
        let of_listener = |l: &crate::config::model::Listener| {
            let each = match l.tls {
                Some(_) => TLS_CONNECTION,
                None => PLAIN_CONNECTION,
            };
            (l.limits.max_connections as u64).saturating_mul(each)
        };
        let low = |address: &Address| match address {
            Address::Tcp(a) if (1..1024).contains(&a.port()) => Some(a.port()),
            _ => None,
        };
        let admin = config.admin.iter();
        Demand {
            config: Some(path.to_owned()),
            client_connections: clients,
            backend_connections,
            descriptors: clients
                .saturating_add(backend_connections)
                .saturating_add(OWN_DESCRIPTORS),
            memory: listeners()
                .map(of_listener)
                .fold(OWN_MEMORY, u64::saturating_add),
            backends: config.pools.values().map(|p| p.backends.len() as u64).sum(),
            busiest_backend: config
                .pools
                .values()
                .filter_map(|p| Some((connections_to_one(p, clients)?, p.name.clone())))
                .max(),
            threads: config.threads as u64,
            low_ports: listeners()
                .map(|l| &l.address)
                .chain(admin)
                .filter_map(low)
                .collect(),
        }
    }
}

/// Connections to a pool at the same time, with so many clients.
fn connections_to(pool: &Pool, clients: u64) -> u64 {
    let backends = pool.backends.len() as u64;
    let in_all = pool.limits.max_in_flight.map_or(u64::MAX, u64::from);
    let each = pool.limits.max_in_flight_per_backend;
    let each = each.map_or(u64::MAX, |each| u64::from(each).saturating_mul(backends));
    let requests = clients.min(in_all).min(each);
    match pool.upstream.protocol {
        UpstreamProtocol::Http2 => requests.div_ceil(pool.upstream.max_streams.max(1) as u64),
        _ => requests,
    }
}

/// The same for one backend, where the load is even. `None`: no backend of the pool takes a port.
fn connections_to_one(pool: &Pool, clients: u64) -> Option<u64> {
    let tcp = |b: &&crate::config::model::Backend| matches!(b.address, Address::Tcp(_));
    let backends = pool.backends.iter().filter(tcp).count() as u64;
    (backends > 0).then(|| connections_to(pool, clients).div_ceil(backends))
}

impl std::fmt::Display for Demand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = self.config.as_deref();
        write!(
            f,
            "{}: up to {} client connections, {} connections to {} backends, {} threads",
            of.unwrap_or("the defaults, as no configuration was found"),
            self.client_connections,
            self.backend_connections,
            self.backends,
            self.threads
        )
    }
}
