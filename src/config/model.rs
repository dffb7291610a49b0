//! The checked configuration: parsed types, names resolved, defaults filled in.
//!
//! Nothing here is text that still has to be understood. `check/` makes it out of `raw/`.
#![allow(
    missing_docs,
    reason = "a field that is one key of the file is documented there, in raw/"
)]

mod discovery;
mod limits;
mod overload;
mod sticky;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use regex::Regex;

pub use tidegate_filters::path::PathMode;

pub use self::discovery::{
    Discovery, DnsName, DnsService, Endpoint, Family, HttpList, Source, TtlBounds, is_of_one_host,
};
pub use self::overload::{Criticality, Overload, OverloadSteps};
pub use self::sticky::{Carrier, Cluster, OnOverload, SameSite, Secret, Sticky, StickyCookie};
pub use self::tls::{CertificateFiles, ClientAuth, ListenerTls, TicketKeys, UpstreamTls};
pub use limits::{AddressLimits, ListenerLimits, PaceLimits, TcpKeepalive, UNREAD_RESPONSE};

/// One configuration file, checked as a whole.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where `/metrics`, `/status`, `/healthz` and `/readyz` are served; `None` turns the admin listener off.
    pub admin: Option<Address>,
    /// Names under which the admin listener answers, beside IP addresses and `localhost`.
    pub admin_hosts: Vec<HostMatch>,
    pub listeners: Vec<Listener>,
    /// In file order; `route::Table` sorts them by precedence.
    pub routes: Vec<Route>,
    pub pools: BTreeMap<String, Pool>,
    /// Peers whose `X-Forwarded-*`, `X-Request-ID` and `traceparent` are believed. Empty by default.
    pub trusted_proxies: Vec<IpNet>,
    pub drain: Drain,
    pub overload: Overload,
    pub cluster: Cluster,
    pub discovery: Discovery,
    pub log: Log,
    /// A request that has passed so many instances is refused.
    pub max_hops: u32,
    /// What is added to `Via`; `None` leaves the field as it came.
    pub via: Option<Via>,
    /// Worker threads of the data path. Default: the number of CPUs this process may use. Fixed at start.
    pub threads: usize,
}

/// Members of `Via` (RFC 9110, section 7.6.3) for messages that came over each version.
#[derive(Debug, Clone)]
pub struct Via {
    pub http10: HeaderValue,
    pub http11: HeaderValue,
    pub http2: HeaderValue,
}

/// What becomes of TRACE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    Refuse,
    Pass,
}

/// Where to listen or to connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug, Clone)]
pub struct Listener {
    pub name: String,
    pub address: Address,
    pub proxy_protocol: ProxyProtocol,
    pub tls: Option<ListenerTls>,
    /// Answer this path with the instance's own health, before routing and without a PROXY header.
    /// In its normal form.
    pub health_path: Option<String>,
    pub underscores_in_headers: UnderscoresInHeaders,
    pub trace: Trace,
    /// What becomes of paths that two servers may read in two ways.
    pub paths: PathMode,
    pub limits: ListenerLimits,
    /// In the order of the file; each has a hook for connections.
    pub filters: Vec<FilterUse>,
}

/// What becomes of field names with `_`, and with other bytes that CGI reads as `-`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnderscoresInHeaders {
    /// Those that would be read as a field that backends believe go no further.
    #[default]
    DropTwins,
    /// None goes further.
    Drop,
    /// The request is answered with 400.
    Refuse,
    /// All go on.
    Keep,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyProtocol {
    Off,
    /// A PROXY header is read when the peer is trusted and sends one.
    Optional {
        trusted: Vec<IpNet>,
    },
    /// A connection without one, or from a peer that is not trusted, is closed.
    Required {
        trusted: Vec<IpNet>,
    },
}

#[derive(Debug, Clone)]
pub struct Route {
    /// Given in the file, or made from the first condition: used in logs, metrics and `/status`.
    pub name: String,
    /// Any of these must match.
    pub matches: Vec<RouteMatch>,
    pub action: Action,
    pub rewrite: Option<Rewrite>,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    /// In the order of the file: down for requests, in reverse for responses.
    pub filters: Vec<FilterUse>,
    /// Overrides of the pool's timeouts.
    pub timeouts: TimeoutOverrides,
    /// Overrides `Pool::retry.attempts`.
    pub retry_attempts: Option<u32>,
    pub criticality: Criticality,
    /// Largest request body in bytes; `None` is no limit.
    pub max_body_bytes: Option<u64>,
    /// Requests may go to a backend before the TLS handshake is done.
    pub early_data: bool,
    pub streaming: Option<bool>,
}

/// All conditions of one match must hold.
#[derive(Debug, Clone, Default)]
pub struct RouteMatch {
    /// Names of listeners; empty is all.
    pub listeners: Vec<String>,
    pub host: Option<HostMatch>,
    pub path: Option<PathMatch>,
    /// Empty is all.
    pub methods: Vec<Method>,
    pub headers: Vec<(HeaderName, ValueMatch)>,
    pub query: Vec<(String, ValueMatch)>,
    pub cookies: Vec<(String, ValueMatch)>,
    /// Empty is all.
    pub client_networks: Vec<IpNet>,
    /// `Some`: the client must have shown a certificate.
    pub certificate: Option<CertificateMatch>,
}

/// Conditions on a client's certificate; `None` holds always.
#[derive(Debug, Clone, Default)]
pub struct CertificateMatch {
    pub common_name: Option<ValueMatch>,
    pub dns: Option<ValueMatch>,
    pub uri: Option<ValueMatch>,
    /// Hexadecimal, lower case.
    pub sha256: Option<ValueMatch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMatch {
    /// Lower case, without port.
    Exact(String),
    /// `*.example.com` holds `.example.com`: one label or more in front of it.
    Wildcard(String),
}

#[derive(Debug, Clone)]
pub enum PathMatch {
    Exact(String),
    /// Whole segments: `/api` matches `/api` and `/api/x`, not `/apix`.
    Prefix(String),
    /// Bytes: `/api` matches `/apix`.
    RawPrefix(String),
    /// Anchored at both ends.
    Regex(Regex),
}

#[derive(Debug, Clone)]
pub enum ValueMatch {
    Present,
    Exact(String),
    Prefix(String),
    /// Anchored at both ends.
    Regex(Regex),
}

#[derive(Debug, Clone)]
pub enum Action {
    Pool(String),
    Split(Split),
    Redirect(Redirect),
    Respond(Respond),
}

/// Weighted choice among pools, stable per client.
#[derive(Debug, Clone)]
pub struct Split {
    /// The first is the stable one: raising the weight of a later one only moves clients to it.
    pub choices: Vec<(String, u32)>,
    pub key: HashKey,
}

/// Which part of a request a hash is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    ClientIp,
    Header(HeaderName),
    Cookie(String),
    Query(String),
    Path,
}

#[derive(Debug, Clone)]
pub struct Redirect {
    pub status: StatusCode,
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    /// Replaces the whole path; `None` keeps path and query.
    pub path: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Respond {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub body: bytes::Bytes,
}

#[derive(Debug, Clone)]
pub enum Rewrite {
    /// Takes the matched prefix away: `/api/orders/1` under prefix `/api/orders` becomes `/1`.
    StripPrefix,
    /// Puts this in place of the matched prefix.
    ReplacePrefix(String),
    /// `regex` replacement syntax: `$1`, `${name}`. Applies to the path, never to the query.
    Regex { pattern: Regex, replacement: String },
}

/// Applied in this order: remove, set, add.
#[derive(Debug, Clone, Default)]
pub struct HeaderEdits {
    pub remove: Vec<HeaderName>,
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub add: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug, Clone)]
pub struct FilterUse {
    /// The filter's `NAME`; known to exist.
    pub name: String,
    /// What stands under that key, not yet typed: `snapshot` gives it to the filter's `build`.
    pub config: serde_json::Value,
    /// Where it stands, for messages: `routes[2].filters[0].headers`.
    pub path: String,
    /// Pools that it may choose; known to exist.
    pub pools: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimeoutOverrides {
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub read: Option<Duration>,
    pub write: Option<Duration>,
    pub per_try: Option<Duration>,
    pub total: Option<Duration>,
    pub tunnel_idle: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct Pool {
    pub name: String,
    pub policy: Policy,
    /// Those whose address is in the file.
    pub backends: Vec<Backend>,
    /// Where further ones come from.
    pub sources: Vec<Source>,
    /// Its members may go all at once.
    pub scale_to_zero: bool,
    pub upstream: Upstream,
    pub timeouts: Timeouts,
    pub retry: Retry,
    /// `None`: backends are taken as healthy until traffic shows otherwise.
    pub health_check: Option<HealthCheck>,
    pub outlier_detection: OutlierDetection,
    /// Zero turns it off.
    pub slow_start: Duration,
    pub limits: PoolLimits,
    pub failover: Failover,
    /// How long a backend that is taken out keeps what it has.
    pub drain_timeout: Duration,
    /// `None`: clients have no backend of their own.
    pub sticky: Option<Sticky>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Policy {
    RoundRobin,
    LeastRequest,
    PeakEwma,
    Random,
    IpHash,
    ConsistentHash {
        key: HashKey,
        /// A backend takes at most this times the average in flight; `None` is unbounded.
        bounded_load: Option<f64>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Stable over reloads; the address unless the file gives one.
    pub id: String,
    pub address: Address,
    /// 0 takes no new requests (it drains); 1 to 1000.
    pub weight: u32,
    /// 0 is used first.
    pub priority: u32,
    pub zone: Option<String>,
    /// Taken out by the operator: no requests, no probes.
    pub down: bool,
}

/// How connections to a pool's backends are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub protocol: UpstreamProtocol,
    pub tls: Option<UpstreamTls>,
    /// A pooled connection that was idle this long is closed; keep it under the backend's own.
    pub idle_timeout: Duration,
    /// Streams on one HTTP/2 connection.
    pub max_streams: usize,
    /// The Host sent to the backend; `None` keeps the client's.
    pub host: Option<HeaderValue>,
    /// Request bodies may take any time.
    pub streaming: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    Http1,
    /// Prior knowledge in clear text, ALPN `h2` over TLS.
    Http2,
    /// ALPN decides (TLS only).
    Auto,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP and TLS handshake with the backend.
    pub connect: Duration,
    /// From the request sent to the first byte of the response.
    pub first_byte: Duration,
    /// Between two reads of a response.
    pub read: Duration,
    pub write: Duration,
    /// One attempt, from pick to the response head.
    pub per_try: Option<Duration>,
    /// The whole request. Upgraded connections and what comes after the response head are not cut by it.
    pub total: Duration,
    /// Silence of both sides after a 101.
    pub tunnel_idle: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Further attempts after the first; 0 turns retries off.
    pub attempts: u32,
    /// Response statuses that are retried for idempotent requests.
    pub on_status: Vec<StatusCode>,
    /// Retries in flight, as a share of requests in flight, in percent.
    pub budget_percent: u32,
    /// Retries in flight that are always allowed.
    pub budget_min: u32,
    /// Retries a second that are always allowed.
    pub budget_min_per_second: u32,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// Bytes of a request's body that are kept for further attempts.
    pub buffer: usize,
}

#[derive(Debug, Clone)]
pub struct HealthCheck {
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    /// Failures in a row that take a backend down.
    pub fall: u32,
    /// Passes in a row that bring it back.
    pub rise: u32,
    /// Used while suspect.
    pub fast_interval: Duration,
    /// Ceiling of the backed-off interval while down.
    pub down_interval: Duration,
    /// Share of the interval, in percent, that probes are moved by at random.
    pub jitter_percent: u32,
    /// Skip a probe when real traffic of the last interval proves the backend good.
    pub piggyback: bool,
    pub port: Option<u16>,
}

#[derive(Debug, Clone)]
pub enum Probe {
    Http {
        http2: bool,
        path: String,
        host: Option<String>,
        /// Inclusive ranges.
        expected_status: Vec<(u16, u16)>,
        body_contains: Option<String>,
        header: Option<(HeaderName, Option<String>)>,
        /// A 404 means: drain.
        drain_on_404: bool,
    },
    Grpc {
        service: String,
    },
    Tcp,
    Tls,
}

/// Passive health: what real responses say.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierDetection {
    pub mode: OutlierMode,
    /// Failures in a row; `None` turns this rule off.
    pub consecutive_failures: Option<u32>,
    /// Statuses that count as failures; inclusive ranges.
    pub failure_status: Vec<(u16, u16)>,
    /// The error-rate rule (against the pool).
    pub error_rate: bool,
    /// The latency rule: p99 over this many times the pool's median p99; `None` turns it off.
    pub latency_factor: Option<f64>,
    /// And over it by at least this much.
    pub latency_floor: Duration,
    /// For this long.
    pub latency_window: Duration,
    pub base_ejection_time: Duration,
    pub max_ejection_time: Duration,
    /// Of all causes together, 0 to 100.
    pub max_ejection_percent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutlierMode {
    Off,
    /// Counts what it would do.
    Observe,
    Enforce,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLimits {
    /// In flight on one backend; `None` is no cap.
    pub max_in_flight_per_backend: Option<u32>,
    pub max_in_flight: Option<u32>,
    /// Requests that wait for a place; 0 sheds at once.
    pub queue: u32,
    pub queue_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Failover {
    /// Spill begins when `overprovisioning * healthy share` falls under 1.
    pub overprovisioning: f64,
    /// How long a better group must be healthy before traffic returns.
    pub failback_delay: Duration,
    /// Over how long traffic returns.
    pub failback_ramp: Duration,
    /// This instance's zone: its backends are preferred within a priority.
    pub zone: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// After SIGTERM: how long to go on accepting while `/readyz` says 503.
    pub delay: Duration,
    /// Then: how long requests in flight may take.
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub access: AccessLog,
    pub level: log::LevelFilter,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    Off,
    Stdout,
    File(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
