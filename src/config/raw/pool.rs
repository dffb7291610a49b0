//! `pools`: backends, how one is chosen, and what one request may cost them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{BackendAddress, Duration, HeaderValue, Host, Label, Size, StatusRange, Timeout};
use super::{
    Discover, Factor, HashKey, HealthCheck, OrOff, OutlierDetection, Percent, Sticky, seconds,
    timeout,
};

/// Backends that serve the same thing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// How a backend is chosen. `least_request` takes the one with the fewest requests in flight for its weight.
    #[serde(default)]
    pub policy: Policy,
    /// What `consistent_hash` hashes. Needed by that policy, and only by it.
    pub hash: Option<Hash>,
    /// Addresses and DNS names, or mappings with more than an address. Each address of a name is a backend, and it is looked
    /// up again as its TTL says. Needed without `discover` and `backends_file`.
    #[schemars(length(min = 1, max = 10_000))]
    pub backends: Option<Vec<BackendEntry>>,
    /// A source of backends beside `backends`, or instead.
    pub discover: Option<Discover>,
    /// A file with further backends: the same as `discover: { file: { path: ... } }`, and may stand beside another source.
    #[schemars(length(min = 1))]
    pub backends_file: Option<String>,
    /// An answer that takes away more than half of the pool at once waits for a second one, half a second later, that says
    /// the same; and a name that is gone from DNS, or has no address, keeps its last ones for `discovery.stale`. `true`
    /// believes the first answer, and such a name empties the pool: for backends that are scaled down to none.
    #[serde(default)]
    pub scale_to_zero: bool,
    /// How connections to the backends are made.
    #[serde(default)]
    pub upstream: Upstream,
    /// How long a backend may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// When a request is tried again on another backend. Failed connects are, whatever the method; requests that were
    /// sent are only if they are idempotent.
    #[serde(default)]
    pub retry: Retry,
    /// Probes. Without this key there are none, and backends are healthy until traffic shows otherwise; `{}` probes with
    /// the defaults.
    pub health_check: Option<HealthCheck>,
    /// What real responses say about a backend.
    #[serde(default)]
    pub outlier_detection: OutlierDetection,
    /// Over how long a new or returning backend rises to its full share; `0s` gives it at once.
    #[serde(default = "slow_start")]
    pub slow_start: Duration,
    /// Caps on requests in flight.
    #[serde(default)]
    pub limits: PoolLimits,
    /// When traffic goes to a lower priority or to another zone.
    #[serde(default)]
    pub failover: Failover,
    /// How long a backend that is taken out keeps the requests that it has.
    #[serde(default = "drain_timeout")]
    pub drain_timeout: Duration,
    /// Keeps a client at one backend. Default: any request goes to any backend.
    pub sticky: Option<Sticky>,
}

fn slow_start() -> Duration {
    seconds(10)
}

fn drain_timeout() -> Duration {
    seconds(30)
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    RoundRobin,
    #[default]
    LeastRequest,
    PeakEwma,
    Random,
    IpHash,
    ConsistentHash,
}

/// What `consistent_hash` hashes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hash {
    /// The part of the request.
    pub key: HashKey,
    /// A backend takes at most this many times the average in flight, then the next on the ring helps; `off` lets one
    /// popular key overload its backend.
    #[serde(default = "bounded_load")]
    pub bounded_load: OrOff<Factor>,
}

fn bounded_load() -> OrOff<Factor> {
    OrOff::On(Factor(1.25))
}

/// An address, or a mapping with more than an address.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BackendEntry {
    Address(BackendAddress),
    Backend(Backend),
}

/// One backend.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// `IP:PORT`, `[IPv6]:PORT`, `NAME:PORT` or `unix:/path`.
    pub address: BackendAddress,
    /// What it is known by in logs, metrics, sticky cookies and hash rings; default: its address. Give one to keep a
    /// backend's history when its address changes. Not for DNS names: each of their addresses is known by itself.
    pub id: Option<Label>,
    /// Its share against the other backends (of a name: of each of its addresses); 0 takes no new requests (it drains).
    #[serde(default = "one")]
    #[schemars(range(max = 1000))]
    pub weight: u32,
    /// 0 is used first; higher ones take over as those before become unhealthy.
    #[serde(default)]
    #[schemars(range(max = 15))]
    pub priority: u32,
    /// Where it stands; see `failover.zone`.
    pub zone: Option<Label>,
    /// `true` takes it out: no requests, no probes.
    #[serde(default)]
    pub down: bool,
}

fn one() -> u32 {
    1
}

/// How connections to backends are made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// `http2` is prior knowledge in clear text and ALPN `h2` over TLS; `auto` lets ALPN decide, so it needs `tls`.
    pub protocol: UpstreamProtocol,
    /// Speak TLS to the backends; without it connections are clear text.
    pub tls: Option<UpstreamTls>,
    /// A connection that was idle this long is closed. Keep it under the backend's own idle timeout, or requests meet
    /// connections that the backend is just closing.
    pub idle_timeout: Timeout,
    /// Streams on one HTTP/2 connection to a backend.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_streams: u32,
    /// The Host that backends see; default: the client's.
    pub host: Option<HeaderValue>,
    /// Requests here may be streams, whose clients stay silent for as long as they like before they end them: gRPC calls with
    /// client or bidirectional streaming, chunked uploads of live data. The listener's `request_body_idle_timeout` and
    /// `request_body_min_rate` don't hold for them; `timeouts` still do, so set `first_byte` and `total` as long as a
    /// client may wait. Without it, the body of an HTTP/2 request may still take any time once its response has begun.
    pub streaming: bool,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            protocol: UpstreamProtocol::Http1,
            tls: None,
            idle_timeout: timeout(30_000),
            max_streams: 100,
            host: None,
            streaming: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamProtocol {
    Http1,
    Http2,
    Auto,
}

/// TLS towards backends.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name sent as SNI and looked for in the backend's certificate.
    pub server_name: Host,
    /// PEM file with the CAs to believe; default: the system's.
    #[schemars(length(min = 1))]
    pub ca: Option<String>,
    /// PEM file with the certificate to show to backends that ask for one, then its intermediates. Needs `key`.
    #[schemars(length(min = 1))]
    pub cert: Option<String>,
    /// PEM file with its private key, not encrypted.
    #[schemars(length(min = 1))]
    pub key: Option<String>,
    /// Check the backend's certificate and its name. `false` lets anyone on the way pose as the backend.
    #[serde(default = "yes")]
    pub verify: bool,
}

fn yes() -> bool {
    true
}

/// How long a backend may take.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TCP and TLS handshake.
    pub connect: Timeout,
    /// Longest silence before the first byte of the response. It and `read` are one timer in the platform, started anew
    /// by every read: the shorter of the two bounds each silence of a backend.
    pub first_byte: Timeout,
    /// Longest silence between two pieces of a response; see `first_byte`. Event streams need it longer than the pause
    /// between two events.
    pub read: Timeout,
    /// One write of a request.
    pub write: Timeout,
    /// One attempt, from the choice of a backend to the response's head; default: only `total` bounds it. With retries,
    /// it leaves time for the next attempt.
    pub per_try: Option<Timeout>,
    /// All attempts together, up to the response's head: then 504 (an HTTP/2 stream whose backend sends its head too slowly
    /// is reset). What comes after the head and upgraded connections are not cut by it.
    pub total: Timeout,
    /// Longest silence of both sides after a 101, when the connection speaks another protocol, such as WebSocket. The other
    /// timeouts hold until then and not after.
    pub tunnel_idle_timeout: Timeout,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: timeout(1_000),
            first_byte: timeout(15_000),
            read: timeout(30_000),
            write: timeout(30_000),
            per_try: None,
            total: timeout(60_000),
            tunnel_idle_timeout: timeout(3_600_000),
        }
    }
}

/// When a request is tried again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Further attempts after the first; 0 turns retries off. While connections are refused, which costs nobody anything,
    /// up to 3 are made.
    #[schemars(range(max = 10))]
    pub attempts: u32,
    /// Response statuses that are retried for idempotent requests, each one from 400 to 599. A range leaves out 508, which says
    /// that the request goes in a circle (see `max_hops`).
    pub on_status: Vec<StatusRange>,
    /// Retries in flight, in percent of the requests in flight: what keeps retries from drowning a weak pool.
    pub budget_percent: Percent,
    /// Retries in flight that are always allowed, whatever the percentage.
    #[schemars(range(max = 10_000))]
    pub budget_min: u32,
    /// Retries a second that are always allowed.
    #[schemars(range(max = 100_000))]
    pub budget_min_per_second: u32,
    /// Pause before the first retry; it doubles with each one.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
    /// How much of a request's body is kept for further attempts, in memory. A request that has sent more is not tried again.
    pub buffer: Size,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            on_status: vec![
                StatusRange((502, 502)),
                StatusRange((503, 503)),
                StatusRange((504, 504)),
            ],
            budget_percent: Percent(20),
            budget_min: 3,
            budget_min_per_second: 10,
            backoff_min: Duration(std::time::Duration::from_millis(25)),
            backoff_max: Duration(std::time::Duration::from_millis(250)),
            buffer: Size(64 * 1024),
        }
    }
}

/// Caps on requests in flight.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolLimits {
    /// Requests in flight on one backend; default: no cap. Little's law gives a value: requests a second times seconds
    /// each, with room to spare.
    #[schemars(range(min = 1))]
    pub max_in_flight_per_backend: Option<u32>,
    /// Requests in flight on the whole pool; default: no cap.
    #[schemars(range(min = 1))]
    pub max_in_flight: Option<u32>,
    /// Requests that may wait when the caps are reached; 0 answers 503 at once.
    #[schemars(range(max = 1_000_000))]
    pub queue: u32,
    /// Longest wait; after it, 503.
    pub queue_timeout: Timeout,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            max_in_flight_per_backend: None,
            max_in_flight: None,
            queue: 0,
            queue_timeout: timeout(1_000),
        }
    }
}

/// When traffic goes elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Failover {
    /// Traffic spills to the next priority when this times the healthy share falls under 1: with 1.4, under 71 % healthy.
    #[schemars(range(min = 1, max = 100))]
    pub overprovisioning: f64,
    /// How long a better priority must be healthy before traffic returns to it.
    pub failback_delay: Duration,
    /// Over how long it returns.
    pub failback_ramp: Duration,
    /// This instance's zone: backends there are preferred within a priority. Default: zones are not looked at.
    pub zone: Option<Label>,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            overprovisioning: 1.4,
            failback_delay: seconds(60),
            failback_ramp: seconds(60),
            zone: None,
        }
    }
}
