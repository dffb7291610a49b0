//! Asks DNS: what is configured, or what `/etc/resolv.conf` and `/etc/hosts` say, which are read again when they change.
//!
//! Answers are kept nowhere: for how long one is good is decided in `discovery`. Search domains are gone through here, so
//! that both families of a name come from the same full name, and a server that fails is not taken for one that denies.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::sync::Semaphore;

use crate::config::model::Family;
use crate::discovery::addresses::{self, Heard};
use crate::discovery::services::Service;
use crate::discovery::{Failure, FailureKind, candidates, hosts};

/// Names that are looked up at the same time: thousands of names at a start are spread, not sent at once.
const AT_ONCE: usize = 64;
/// What one query may take with all servers and repetitions, whatever `/etc/resolv.conf` says.
const LONGEST: Duration = Duration::from_secs(10);
/// Servers of our own configuration: silence of one is noticed soon, and another is asked.
const TIMEOUT: Duration = Duration::from_secs(2);
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// How long what `/etc/hosts` says is good: it is looked at again at each look-up.
const HOSTS_TTL: Duration = Duration::from_secs(5);
/// Targets of one name's SRV records that are looked up.
const MOST_TARGETS: usize = 256;

/// Looks names up.
pub struct Resolver {
    servers: Vec<SocketAddr>,
    family: Family,
    made: Mutex<Option<Arc<Made>>>,
    slots: Semaphore,
}

/// Good for as long as the files are what they were.
struct Made {
    resolver: TokioResolver,
    search: Vec<String>,
    ndots: usize,
    hosts: String,
    stamp: [Option<(SystemTime, u64)>; 2],
}

type Answered<T> = Result<(T, Duration), Failure>;

impl Resolver {
    /// With these servers, or those of the system when there are none.
    pub fn new(servers: &[SocketAddr], family: Family) -> Resolver {
        Resolver {
            servers: servers.to_vec(),
            family,
            made: Mutex::new(None),
            slots: Semaphore::new(AT_ONCE),
        }
    }

    /// The addresses of a name, and for how long they are good. `last` are those of the last good answer.
    pub async fn addresses(&self, name: &str, last: &[IpAddr]) -> Answered<Vec<IpAddr>> {
        let _slot = self.slots.acquire().await;
        let made = self.made()?;
        let (v4, v6) = made.addresses(name, self.family).await;
        addresses::join(v4, v6, last, self.family)
    }

    /// What a name's SRV records say.
    pub async fn services(&self, name: &str) -> Answered<Vec<Service>> {
        let _slot = self.slots.acquire().await;
        let made = self.made()?;
        let (mut records, mut ttl) = made.services(name).await?;
        records.truncate(MOST_TARGETS);
        let targets = records.iter().map(|(_, target)| async {
            let (v4, v6) = made.addresses(target, self.family).await;
            addresses::join(v4, v6, &[], self.family)
        });
        let found = join_all(targets).await;
        let mut services = Vec::with_capacity(records.len());
        for ((mut service, _), found) in records.into_iter().zip(found) {
            match found {
                Ok((addresses, good_for)) => {
                    ttl = ttl.min(good_for);
                    service.addresses = addresses;
                    services.push(service);
                }
                // A target that is not there has no members; one that can't be asked for may have.
                Err(failure) if failure.kind.is_denial() => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok((services, ttl))
    }

    fn made(&self) -> Result<Arc<Made>, Failure> {
        let stamp = [RESOLV_CONF, HOSTS].map(stamp_of);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_ref().filter(|made| made.stamp == stamp) {
            return Ok(Arc::clone(made));
        }
        let new = Arc::new(self.make(stamp)?);
        *made = Some(Arc::clone(&new));
        Ok(new)
    }

    fn make(&self, stamp: [Option<(SystemTime, u64)>; 2]) -> Result<Made, Failure> {
        let (config, mut options) = match self.servers.as_slice() {
            [] => system().map_err(|detail| failed(FailureKind::Unreachable, detail))?,
            servers => own(servers),
        };
        options.cache_size = 0;
        options.preserve_intermediates = true;
        options.use_hosts_file = ResolveHosts::Never;
        let ndots = options.ndots;
        let search = config.search().iter().map(Name::to_string).collect();
        let provider = TokioRuntimeProvider::default();
        let resolver = TokioResolver::builder_with_config(config, provider)
            .with_options(options)
            .build()
            .map_err(|error| failed(FailureKind::Unreachable, error.to_string()))?;
        Ok(Made {
            resolver,
            search,
            ndots,
            hosts: fs::read_to_string(HOSTS).unwrap_or_default(),
            stamp,
        })
    }
}

impl Made {
    async fn addresses(&self, name: &str, family: Family) -> (Heard, Heard) {
        let (ask_v4, ask_v6) = addresses::asks(family);
        let (mut v4, mut v6) = hosts(&self.hosts, name);
        v4.retain(|_| ask_v4);
        v6.retain(|_| ask_v6);
        if !(v4.is_empty() && v6.is_empty()) {
            let heard = |list: Vec<IpAddr>| match list.is_empty() {
                true => Heard::Skipped,
                false => Heard::Records(list, HOSTS_TTL),
            };
            return (heard(v4), heard(v6));
        }
        let mut last = (Heard::Skipped, Heard::Skipped);
        let mut failed = None;
        for full in candidates(name, &self.search, self.ndots) {
            let (v4, v6) = tokio::join!(
                self.family(&full, RecordType::A, ask_v4),
                self.family(&full, RecordType::AAAA, ask_v6),
            );
            match (&v4, &v6) {
                (Heard::Records(..), _) | (_, Heard::Records(..)) => return (v4, v6),
                (Heard::Failed(failure), _) | (_, Heard::Failed(failure)) => {
                    let silent = failure.kind != FailureKind::ServerFailure;
                    failed = Some(failure.clone());
                    if silent {
                        break;
                    }
                }
                _ => last = (v4, v6),
            }
        }
        match failed {
            Some(failure) => (Heard::Failed(failure), Heard::Skipped),
            None => last,
        }
    }

    async fn family(&self, full: &str, kind: RecordType, asked: bool) -> Heard {
        if !asked {
            return Heard::Skipped;
        }
        match self.query(full, kind).await {
            Ok(lookup) => {
                let records = lookup.answers().iter().filter_map(|one| one.data.ip_addr());
                let all: Vec<IpAddr> = records.collect();
                match all.is_empty() {
                    true => Heard::Denied(FailureKind::NoRecords),
                    false => Heard::Records(all, ttl(&lookup)),
                }
            }
            Err(failure) if failure.kind.is_denial() => Heard::Denied(failure.kind),
            Err(failure) => Heard::Failed(failure),
        }
    }

    async fn services(&self, name: &str) -> Answered<Vec<(Service, String)>> {
        let mut refused = Failure::denied(FailureKind::NoSuchName);
        for full in candidates(name, &self.search, self.ndots) {
            match self.query(&full, RecordType::SRV).await {
                Ok(lookup) => {
                    let records = lookup.answers().iter();
                    let all = records.filter_map(|one| service(&one.data)).collect();
                    return Ok((all, ttl(&lookup)));
                }
                Err(failure) if failure.kind.is_denial() => {
                    if refused.kind.is_denial() {
                        refused = failure;
                    }
                }
                Err(failure) if failure.kind == FailureKind::ServerFailure => refused = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(refused)
    }

    async fn query(&self, full: &str, kind: RecordType) -> Result<Lookup, Failure> {
        let name = Name::from_ascii(full)
            .map_err(|error| failed(FailureKind::Invalid, error.to_string()))?;
        match tokio::time::timeout(LONGEST, self.resolver.lookup(name, kind)).await {
            Ok(answer) => answer.map_err(|error| failure_of(&error)),
            Err(_) => Err(failed(FailureKind::Timeout, "no answer in time".into())),
        }
    }
}

/// RFC 2782: a target of "." says that there is no such service.
fn service(data: &RData) -> Option<(Service, String)> {
    match data {
        RData::SRV(srv) if !srv.target.is_root() => {
            let service = Service {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                addresses: Vec::new(),
            };
            let mut target = srv.target.clone();
            target.set_fqdn(true);
            Some((service, target.to_ascii()))
        }
        _ => None,
    }
}

/// The smallest of the records and of the aliases that lead to them.
fn ttl(lookup: &Lookup) -> Duration {
    let ttls = lookup.answers().iter().map(|record| record.ttl);
    Duration::from_secs(ttls.min().unwrap_or(0).into())
}

fn system() -> Result<(ResolverConfig, ResolverOpts), String> {
    let text = fs::read(RESOLV_CONF).map_err(|error| format!("{RESOLV_CONF}: {error}"))?;
    parse_resolv_conf(text).map_err(|error| format!("{RESOLV_CONF}: {error}"))
}

fn own(servers: &[SocketAddr]) -> (ResolverConfig, ResolverOpts) {
    let server = |address: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        let connections = connections.map(|mut connection| {
            connection.port = address.port();
            connection
        });
        // A name that one of them does not know may be known to the next.
        NameServerConfig::new(address.ip(), true, connections.into())
    };
    let servers = servers.iter().map(server).collect();
    let mut options = ResolverOpts::default();
    options.timeout = TIMEOUT;
    (ResolverConfig::from_parts(None, vec![], servers), options)
}

fn failure_of(error: &NetError) -> Failure {
    let kind = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => FailureKind::NoSuchName,
            ResponseCode::NoError => FailureKind::NoRecords,
            _ => FailureKind::ServerFailure,
        },
        NetError::Dns(_) => FailureKind::ServerFailure,
        NetError::Timeout => FailureKind::Timeout,
        NetError::Io(_) | NetError::NoConnections | NetError::Busy => FailureKind::Unreachable,
        _ => FailureKind::Invalid,
    };
    match kind.is_denial() {
        true => Failure::denied(kind),
        false => failed(kind, error.to_string()),
    }
}

fn failed(kind: FailureKind, detail: String) -> Failure {
    Failure { kind, detail }
}

fn stamp_of(path: &str) -> Option<(SystemTime, u64)> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}
