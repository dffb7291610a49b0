//! `health_check` and `outlier_detection`: what probes and what real responses say about a backend.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{HeaderName, HeaderValue, Host, StatusRange, Timeout, UrlPath};
use super::{Count, Factor, OrOff, Percent, timeout};

/// Probes of each backend. The defaults take a dead backend out within 15 seconds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// What a probe does: a request over HTTP/1.1 or HTTP/2, gRPC's health service, a TCP connect or a TLS handshake.
    #[serde(rename = "type")]
    pub kind: ProbeType,
    /// What to ask for (`http`, `http2`).
    pub path: UrlPath,
    /// The Host to ask with (`http`, `http2`); default: the backend's address.
    pub host: Option<Host>,
    /// The port to probe; default: the backend's own.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// From one probe to the next.
    pub interval: Timeout,
    /// How long a probe may take, at most `interval`.
    pub timeout: Timeout,
    /// Failures in a row that take a backend down.
    pub fall: Count,
    /// Passes in a row that bring it back.
    pub rise: Count,
    /// The interval while a backend is suspect, at most `interval`: to know sooner.
    pub fast_interval: Timeout,
    /// The longest interval while a backend is down, at least `interval`; probes of a dead one get rarer up to it.
    pub down_interval: Timeout,
    /// How far probes are moved at random, in percent of the interval, so that instances do not probe in step.
    pub jitter_percent: Percent,
    /// Skip a probe when real traffic of the last interval shows the backend to be good. Not with `drain_on_404`.
    pub piggyback: bool,
    /// Statuses that pass (`http`, `http2`).
    #[schemars(length(min = 1))]
    pub expected_status: Vec<StatusRange>,
    /// Text that must be in the first 64 KiB of the body (`http`, `http2`); default: the body is not looked at.
    #[schemars(length(min = 1, max = 1024))]
    pub body_contains: Option<String>,
    /// A header that the response must have (`http`, `http2`).
    pub header: Option<ExpectedHeader>,
    /// A 404 lets the backend drain instead of failing it (`http`, `http2`): a way for a backend to leave by itself.
    pub drain_on_404: bool,
    /// The service to ask about (`grpc`); empty is the server as a whole.
    pub service: String,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            kind: ProbeType::Http,
            path: UrlPath("/healthz".into()),
            host: None,
            port: None,
            interval: timeout(5_000),
            timeout: timeout(2_000),
            fall: Count(3),
            rise: Count(2),
            fast_interval: timeout(1_000),
            down_interval: timeout(30_000),
            jitter_percent: Percent(10),
            piggyback: true,
            expected_status: vec![StatusRange((200, 299))],
            body_contains: None,
            header: None,
            drain_on_404: false,
            service: String::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProbeType {
    Http,
    Http2,
    Grpc,
    Tcp,
    Tls,
}

/// A header that a probe's response must have.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectedHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its exact value; default: any.
    pub value: Option<HeaderValue>,
}

/// What real responses say: a backend that fails requests is ejected, then let back in by steps.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutlierDetection {
    /// `observe` only counts what `enforce` would do.
    pub mode: OutlierMode,
    /// Failures in a row that eject a backend; `off` turns this rule off.
    pub consecutive_failures: OrOff<Count>,
    /// Statuses that count as failures, beside connections that fail; never 508, which is about the request (see `max_hops`).
    pub failure_status: Vec<StatusRange>,
    /// Eject a backend whose share of failures stands out from the pool's.
    pub error_rate: bool,
    /// Eject a backend whose 99th percentile of latency is over this many times the pool's median one; `off` turns this
    /// rule off.
    pub latency_factor: OrOff<Factor>,
    /// And over it by at least this much: small differences between fast backends do not count.
    pub latency_floor: Timeout,
    /// And for this long.
    pub latency_window: Timeout,
    /// How long the first ejection lasts; each further one lasts longer.
    pub base_ejection_time: Timeout,
    /// How long an ejection lasts at most, at least `base_ejection_time`.
    pub max_ejection_time: Timeout,
    /// Share of the pool that may be out at once for all causes together, in percent. When more fail, the fault is likely
    /// shared, and taking backends out would only overload the rest.
    pub max_ejection_percent: Percent,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            mode: OutlierMode::Enforce,
            consecutive_failures: OrOff::On(Count(3)),
            failure_status: vec![StatusRange((500, 599))],
            error_rate: true,
            latency_factor: OrOff::On(Factor(3.0)),
            latency_floor: timeout(50),
            latency_window: timeout(60_000),
            base_ejection_time: timeout(30_000),
            max_ejection_time: timeout(300_000),
            max_ejection_percent: Percent(50),
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutlierMode {
    Off,
    Observe,
    Enforce,
}
