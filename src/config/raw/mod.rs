//! The YAML as it is written: one struct for each mapping, one field for each key.
//!
//! The doc comment of a field is the only description of its key: `tidegate schema` and the reference are made of it,
//! and take range and default from the type. So a comment says what the key does, its unit, and why one would change it.

mod discovery;
mod health;
mod listener;
mod overload;
mod pool;
mod route;
mod sticky;
pub(super) mod text;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub(super) use discovery::{Addresses, Discover, DiscoverDns, DiscoverHttp, Discovery};
pub(super) use health::{HealthCheck, OutlierDetection, OutlierMode, ProbeType};
pub(super) use listener::{
    Certificate, ClientAuth, ClientAuthMode, Listener, ListenerLimits, ListenerTls,
    MisdirectedRequests, PathMode, ProxyProtocol, TcpKeepalive, TlsVersion, Trace,
    UnderscoresInHeaders, UnknownServerName,
};
pub(super) use overload::{Overload, OverloadDelays, OverloadShares};
pub(super) use pool::{
    Backend, BackendEntry, Failover, Hash, Policy, Pool, PoolLimits, Retry, Timeouts, Upstream,
    UpstreamProtocol, UpstreamTls,
};
pub(super) use route::{
    CertificateMatch, ConditionValue, Conditions, Criticality, FilterUse, HeaderEdits, Match,
    Redirect, Respond, Rewrite, Route, Scheme, SplitChoice, TimeoutOverrides, ValueTest,
};

pub(super) use sticky::{Cluster, OnOverload, SameSite, Secret, Sticky};

use text::{AccessLog, AdminAddress, Cidr, Duration, HostPattern, Via};

/// The configuration of one Tidegate instance.
///
/// In every value, `${VAR}` stands for an environment variable, `${VAR:-default}` for the same with a default when it is
/// empty or not set, `${VAR:?message}` for one that must be set, `${file:path}` for what a file holds (without its last
/// line end), and `$$` for `$`. Paths of files are relative to the configuration's own folder.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this format. Always 1, so that a later format can be told apart.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Worker threads of the data path; default: the number of CPUs that this process may use. Fixed at start: a reload
    /// does not change it.
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<u32>,
    /// Networks whose `X-Forwarded-*` and `X-Request-ID` headers are believed; from all others they are
    /// replaced. List what stands in front, such as a CDN, never the whole internet. The client is the right-most address of
    /// `X-Forwarded-For` that is in none of these networks, or the left-most where all are; a port, brackets and quotes are
    /// read. Where something else stands there, such as `unknown`, nobody knows the client: it is in no network of
    /// `match.client` or of a filter, limits count it apart, and backends get `unknown` in place of the chain. `Forwarded`
    /// (RFC 7239) is passed on from these networks and never asked who the client is.
    #[serde(default)]
    pub trusted_proxies: Vec<Cidr>,
    /// The listener for operators: health, metrics and status.
    #[serde(default)]
    pub admin: Admin,
    /// What is logged, and where to.
    #[serde(default)]
    pub log: Log,
    /// How an instance stops.
    #[serde(default)]
    pub drain: Drain,
    /// What is given up, and when, as the process runs out of something.
    #[serde(default)]
    pub overload: Overload,
    /// What all instances of a cluster have in common.
    #[serde(default)]
    pub cluster: Cluster,
    /// How backends are found that are not addresses in this file: by DNS, in files of their own, or over HTTP.
    #[serde(default)]
    pub discovery: Discovery,
    /// How many instances of Tidegate a request may have passed before it comes here. One that has passed more is answered
    /// with 508: a pool leads back to its own listener, directly or through others. Instances count by the request field
    /// `X-Tidegate-Hops`. A 508 is never tried again and is no failure of the backend that it came from.
    #[serde(default = "max_hops")]
    #[schemars(range(min = 1, max = 100))]
    pub max_hops: u32,
    /// The name by which this instance adds itself to the field `Via` of requests and of backends' responses (RFC 9110, section
    /// 7.6.3), such as `edge-1`: `1.1 edge-1`, with the version over which the message came. Default: `off`.
    #[serde(default)]
    pub via: Via,
    /// Where clients connect.
    #[schemars(length(min = 1))]
    pub listeners: Vec<Listener>,
    /// What becomes of a request. The most specific route wins (host, then path, then method, then the number of header
    /// and query conditions); among equals, the first in the file.
    #[schemars(length(min = 1))]
    pub routes: Vec<Route>,
    /// Groups of backends by name: 1 to 64 letters, digits, `_`, `-` or `.`. The name is a label of metrics.
    #[serde(default)]
    pub pools: BTreeMap<String, Pool>,
}

fn max_hops() -> u32 {
    10
}

/// The listener for operators.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where `/healthz`, `/readyz`, `/metrics` and `/status` are served; `none` serves them nowhere. It has no access
    /// control, so it belongs on loopback or on a network that only operators reach. Web pages are kept out: a request with
    /// a foreign `Origin` or from another site is refused, and one that changes something needs
    /// `Content-Type: application/json`.
    pub listen: AdminAddress,
    /// Names by which operators and scrapers reach this listener, exact or with `*.` in front, such as
    /// `tidegate.monitoring.svc`. A request whose `Host` is neither listed here nor an IP address nor `localhost` gets a 403:
    /// a web page could have let its own name point here (DNS rebinding). `/healthz` and `/readyz` are answered under any name.
    pub hosts: Vec<HostPattern>,
}

impl Default for Admin {
    fn default() -> Self {
        let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 9901));
        Self {
            listen: AdminAddress(Some(super::model::Address::Tcp(loopback))),
            hosts: Vec::new(),
        }
    }
}

/// What is logged, and where to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The access log, one JSON object a line: `stdout`, `off`, or a file's path with a `/` in it. Lines that cannot be
    /// written in time are dropped and counted: logging never holds up a request.
    pub access: AccessLog,
    /// Least severity of the instance's own messages, which go to standard error.
    pub level: Level,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            access: AccessLog(super::model::AccessLog::Stdout),
            level: Level::Info,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How an instance stops after SIGTERM.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long to go on accepting while `/readyz` says 503. Longer than the balancer in front needs to notice.
    pub delay: Duration,
    /// Then, how long requests in flight may take before they are cut. The process ends as soon as none is left.
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            delay: seconds(5),
            timeout: seconds(30),
        }
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    One(T),
    Many(#[schemars(length(min = 1))] Vec<T>),
}

impl<T> OneOrMany<T> {
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// A value, or the word `off`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OrOff<T> {
    Off(Off),
    On(T),
}

impl<T> OrOff<T> {
    pub fn on(self) -> Option<T> {
        match self {
            Self::Off(_) => None,
            Self::On(value) => Some(value),
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Off {
    Off,
}

/// A number of events; none is no threshold.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Count(#[schemars(range(min = 1, max = 1000))] pub u32);

/// How many times as much.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Factor(#[schemars(range(min = 1, max = 1000))] pub f64);

/// A share in percent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Percent(#[schemars(range(max = 100))] pub u32);

/// Which part of a request a hash is made of: `client_ip`, `path`, `{header: NAME}`, `{cookie: NAME}`, `{query: NAME}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The client's address.
    ClientIp,
    /// The request's path, without the query.
    Path,
    /// A request header's value.
    Header(text::HeaderName),
    /// A cookie's value.
    Cookie(String),
    /// A query parameter's value.
    Query(String),
}

/// A status to redirect with.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RedirectStatus(pub u16);

impl JsonSchema for RedirectStatus {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RedirectStatus".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "enum": [301, 302, 303, 307, 308] })
    }
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration(std::time::Duration::from_secs(seconds))
}

pub(super) fn timeout(millis: u64) -> text::Timeout {
    text::Timeout(std::time::Duration::from_millis(millis))
}
