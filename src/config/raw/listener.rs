//! `listeners`: where clients connect, and what a connection may cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{Address, Cidr, Name, Size, Timeout, UrlPath};
use super::timeout;

/// One address that clients connect to. HTTP/1.1 and HTTP/2 share it, in clear text and over TLS.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Used in `match.listener`, logs and metrics. 1 to 64 letters, digits, `_`, `-` or `.`.
    pub name: Name,
    /// `IP:PORT`, `[IPv6]:PORT` or `unix:/path`. Port 0 lets the system choose one.
    pub listen: Address,
    /// Whether connections begin with a PROXY protocol header, version 1 or 2, which names the real client. `optional`
    /// reads one when a trusted peer sends it; `required` closes connections without one and from other peers.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// Networks whose PROXY header is believed: the balancers in front. Needed unless `proxy_protocol` is `off`.
    #[serde(default)]
    pub trusted: Vec<Cidr>,
    /// Serve TLS; without it the listener is clear text.
    pub tls: Option<ListenerTls>,
    /// Answers this path with the instance's own health, before routing and without a PROXY header: for the health
    /// checks of a balancer in front.
    pub health_path: Option<UrlPath>,
    /// Deadlines and caps.
    #[serde(default)]
    pub limits: ListenerLimits,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    #[default]
    Off,
    Optional,
    Required,
}

/// TLS towards clients. ALPN offers `h2` and `http/1.1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates with their keys.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Certificate>,
}

/// A certificate and its key. Both files are read again on reload.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file: the certificate, then its intermediates.
    #[schemars(length(min = 1))]
    pub cert: String,
    /// PEM file: the private key, not encrypted.
    #[schemars(length(min = 1))]
    pub key: String,
}

/// Deadlines and caps of a listener: what one client can cost.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerLimits {
    /// How long a PROXY header may take to arrive.
    pub proxy_header_timeout: Timeout,
    /// How long a TLS handshake may take.
    pub tls_handshake_timeout: Timeout,
    /// From the first byte of a request (for the first one, from accept) to the end of its header. The whole header
    /// counts: a client that sends a byte at a time gains nothing.
    pub header_timeout: Timeout,
    /// How long a connection may wait for its next request. Longer than what the balancer in front keeps its own idle.
    pub idle_timeout: Timeout,
    /// Request line and header fields together, 1KiB to 1MiB; more is answered with 431.
    pub max_header_bytes: Size,
    /// Header fields of a request; more are answered with 431.
    #[schemars(range(min = 1, max = 256))]
    pub max_headers: u32,
    /// The request target, 64 bytes up to `max_header_bytes`; more is answered with 414.
    pub max_uri_bytes: Size,
    /// Connections open at once; further ones are closed at once.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections: u32,
    /// Requests on one HTTP/1 connection before it is closed, so that clients spread anew over instances.
    #[schemars(range(min = 1))]
    pub max_requests_per_connection: u32,
    /// Streams open at once on one HTTP/2 connection.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent_streams: u32,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            proxy_header_timeout: timeout(3_000),
            tls_handshake_timeout: timeout(5_000),
            header_timeout: timeout(10_000),
            idle_timeout: timeout(60_000),
            max_header_bytes: Size(32 * 1024),
            max_headers: 100,
            max_uri_bytes: Size(8 * 1024),
            max_connections: 100_000,
            max_requests_per_connection: 100_000,
            max_concurrent_streams: 100,
        }
    }
}
