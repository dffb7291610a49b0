//! `listeners`: where clients connect, and what a connection may cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{Address, Cidr, Name, Size, Timeout, UrlPath};
use super::{FilterUse, OrOff, timeout};

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
    /// Field names with `_`, or another byte that is neither letter nor digit nor `-`. CGI and its heirs (WSGI, Rack, PHP) read
    /// such a byte as `-`, so that a client's `X_Real_IP` would be the same to them as the `X-Real-IP` that Tidegate vouches
    /// for. `drop_twins` takes out what would be read as a field that Tidegate, a route or a filter sets, takes out or checks;
    /// `drop` takes out all such names; `refuse` answers 400; `keep` lets all of them through. `Content_Length` and
    /// `Transfer_Encoding` are always refused.
    #[serde(default)]
    pub underscores_in_headers: UnderscoresInHeaders,
    /// TRACE, which sends a request back as it arrived at the end, with everything that was added on the way: `refuse` answers
    /// it with 405, `pass` forwards it, for as long as its `Max-Forwards` allows.
    #[serde(default)]
    pub trace: Trace,
    /// What becomes of paths that two servers may read in two ways, so that a rule for `/admin` holds for the backend, too.
    /// `strict` answers 400 to encoded separators (`%2F`, `%5C`), `\`, path parameters (`;x=1`, `%3B`), escapes of escapes
    /// (`%252F`, `%2561`), overlong UTF-8 (`%C0%AF`) and escaped control bytes. `normalize` makes `/` of separators, takes
    /// parameters away and forwards the normal form; escapes of escapes and worse are refused. `as_is` forwards the path as
    /// it came: for backends that want `%2F` or `;`, such as npm registries (`/@scope%2Fname`), GitLab's API and Java servers
    /// with `;jsessionid`. Whoever sets it must know that filters such as `jwt` on one path don't protect what the backend
    /// finds behind another spelling of it. In all modes, routes and filters see the path decoded once, without empty and
    /// dot segments; `..` above `/` or beside such an ambiguity, `%00` and broken escapes are refused. In `strict` and
    /// `normalize`, a path with dot segments, or that begins with `//`, is forwarded in that form. Letters' case, and a dot
    /// or space at the end of a name, are left to the backend. The query is never touched.
    #[serde(default)]
    pub paths: PathMode,
    /// Deadlines and caps.
    #[serde(default)]
    pub limits: ListenerLimits,
    /// Filters that are asked about each connection, in this order, when its PROXY header is read and before TLS: only those
    /// that have a hook for connections, such as `ip_access`; see `routes[].filters[]`. One that refuses closes the
    /// connection without an answer. A connection that may ask for nothing but the health path passes them by.
    #[serde(default)]
    pub filters: Vec<FilterUse>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathMode {
    #[default]
    Strict,
    Normalize,
    AsIs,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trace {
    #[default]
    Refuse,
    Pass,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    #[default]
    Off,
    Optional,
    Required,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnderscoresInHeaders {
    #[default]
    DropTwins,
    Drop,
    Refuse,
    Keep,
}

/// TLS towards clients. ALPN offers `h2`, `http/1.1` and `http/1.0`; a client that offers others only is refused.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificates with their keys. The names in them say which one a client gets; the first is also for those who ask for
    /// no name or an unknown one. Give a name an ECDSA and an RSA certificate, and clients that can get ECDSA, which costs
    /// a fraction.
    #[schemars(length(min = 1, max = 10_000))]
    pub certificates: Vec<Certificate>,
    /// The oldest version that is spoken: `"1.2"` (Mozilla's intermediate ciphers) or `"1.3"`.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// What a client gets that asks for a name which no certificate has: the first certificate, or a closed connection.
    #[serde(default)]
    pub unknown_server_name: UnknownServerName,
    /// What becomes of requests for a host that the certificate of their connection is not made out to: `refuse` answers 421,
    /// so that the client connects anew under the right name; `allow_trusted_proxies` takes them from the peers in
    /// `trusted_proxies`, and refuses them from all others. For a CDN that connects by one name and asks for many hosts.
    #[serde(default)]
    pub misdirected_requests: MisdirectedRequests,
    /// Ask clients for certificates.
    pub client_auth: Option<ClientAuth>,
    /// Let clients resume sessions by tickets. Keys come from `ticket_keys`, else from `cluster.secret`, so that every
    /// instance takes the tickets of every other; without either, tickets are good on the one instance until it ends.
    #[serde(default = "yes")]
    pub session_tickets: bool,
    /// Files with keys for tickets, instead of `cluster.secret`: the first makes tickets, all open them. Each holds 32 bytes
    /// or more, as from `openssl rand -out ticket.key 48`, and is read again when it changes.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub ticket_keys: Vec<String>,
    /// Take requests in the first flight of a resumed session (0-RTT). An attacker who records such a flight can send it
    /// again, to any instance: only GET, HEAD and OPTIONS without a body on routes that have `early_data: true`, too, go on
    /// to a backend before the handshake is done.
    #[serde(default)]
    pub early_data: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownServerName {
    #[default]
    DefaultCertificate,
    Close,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MisdirectedRequests {
    #[default]
    Refuse,
    AllowTrustedProxies,
}

/// Certificates of clients. Who a client is reaches backends in `X-Forwarded-Client-Cert`, which clients cannot set
/// themselves, and routes can ask for it in `match.client_certificate`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// PEM file with the CAs whose certificates are taken.
    #[schemars(length(min = 1))]
    pub ca: String,
    /// `required` ends the handshake of a client without a certificate; `optional` lets it in. One that is sent must hold
    /// either way.
    #[serde(default)]
    pub mode: ClientAuthMode,
    /// Also send the whole certificate to backends, in `Client-Cert` (RFC 9440).
    #[serde(default)]
    pub forward_certificate: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthMode {
    #[default]
    Required,
    Optional,
}

/// A certificate and its key. The files are read again when they change; a pair that does not fit, such as one that is
/// half written, is refused, and the one before stays.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM file: the certificate, then its intermediates. ECDSA (P-256, P-384) or RSA.
    #[schemars(length(min = 1))]
    pub cert: String,
    /// PEM file: the private key, not encrypted.
    #[schemars(length(min = 1))]
    pub key: String,
    /// DER file: an OCSP response for the certificate, given to clients that ask for one.
    #[schemars(length(min = 1))]
    pub ocsp: Option<String>,
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
    /// How long a connection may wait for its next request. Shorter than an L4 balancer in front keeps a connection that
    /// is idle, longer than an L7 one does.
    pub idle_timeout: Timeout,
    /// The longest silence within a request body. Only time in which it is the client's turn counts, not time in which
    /// the backend takes nothing.
    pub request_body_idle_timeout: Timeout,
    /// Bytes a second that a client must send of its request body, on average and after `min_rate_grace`; 0 is no limit.
    /// Time that it earns by being faster is kept up to `request_body_idle_timeout`. Over HTTP/2 the stream is reset, and
    /// once the response has begun, bodies may take any time: it is a conversation. So may those of `streaming` routes and pools.
    pub request_body_min_rate: Size,
    /// The longest time in which a client takes nothing of a response that waits for it. A backend that is silent does
    /// not count, nor do connections that were upgraded, such as WebSockets.
    pub response_idle_timeout: Timeout,
    /// Bytes a second that a client must take while a response waits for it, as with `request_body_min_rate`.
    pub response_min_rate: Size,
    /// How long both rates are not looked at. A client that does nothing at all is cut after this, or after the idle
    /// timeout if that is shorter.
    pub min_rate_grace: Timeout,
    /// Asks clients that have been silent for a while whether they are still there, so that one that vanished, such as the
    /// other end of an idle WebSocket, is found; `off` does not ask.
    pub tcp_keepalive: OrOff<TcpKeepalive>,
    /// Request line and header fields together, 1KiB to 1MiB; more is answered with 431. Over HTTP/2 without what HPACK saves.
    pub max_header_bytes: Size,
    /// Header fields of a request; more are answered with 431. Cookies that HTTP/2 sends one by one count as one.
    #[schemars(range(min = 1, max = 256))]
    pub max_headers: u32,
    /// The request target, 64 bytes up to `max_header_bytes` and at most 65534 bytes; more is answered with 414.
    pub max_uri_bytes: Size,
    /// Full TLS handshakes that may wait for a thread; further ones are closed. Full handshakes have threads of their own,
    /// half as many as `threads`, at a lower priority, so that a flood of them delays neither requests nor resumptions; not
    /// where the process has a single core, which leaves nothing to part.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_queued_handshakes: u32,
    /// Connections open at once. From nine tenths on, each new one closes the one that is idle for longest; at the limit,
    /// the one that keeps us waiting for longest, but none that waits for a backend. If there is none, the new one is
    /// closed.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections: u32,
    /// Connections that have not brought a whole request head yet, TLS handshakes and PROXY headers included. A further
    /// one closes the one that takes longest, if that is over a second.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_unfinished: u32,
    /// Connections of one client address (IPv6: of one /64) open at once; 0 is no limit. The address is the one of the
    /// PROXY header where there is one. Many clients share an address behind NAT: the default leaves room for them.
    #[schemars(range(max = 10_000_000))]
    pub max_connections_per_address: u32,
    /// New connections of one client address a second, with bursts of twice as many; 0 is no limit.
    #[schemars(range(max = 1_000_000))]
    pub max_new_per_address: u32,
    /// Connections of one client address that have not brought a whole request head yet; 0 is no limit.
    #[schemars(range(max = 10_000_000))]
    pub max_unfinished_per_address: u32,
    /// Bytes of responses that the clients of one address may keep waiting in memory; 0 is no limit. A response counts for
    /// 128KiB while its client has taken nothing of it for two seconds. Beyond the limit the ones that wait for longest are
    /// given up: their HTTP/2 streams or HTTP/1 connections are reset.
    pub max_unread_per_address: Size,
    /// The same of one HTTP/2 connection, 128KiB or more. An HTTP/1 connection has only one response.
    pub max_unread_per_connection: Size,
    /// Networks that the limits per address don't hold for, as an address there stands for many clients: a balancer of
    /// layer 4 that sends no PROXY header, cluster nodes that translate addresses. The listener's `trusted` and the global
    /// `trusted_proxies` are always among them.
    pub shared_addresses: Vec<Cidr>,
    /// Requests on one HTTP/1 connection before it is closed, so that clients spread anew over instances.
    #[schemars(range(min = 1))]
    pub max_requests_per_connection: u32,
    /// Streams open at once on one HTTP/2 connection.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent_streams: u32,
}

/// TCP keepalive of clients' connections (RFC 9293, section 3.8.4). What is sent and not acknowledged for `idle` and
/// `probes` times `interval` together ends a connection, too, also one that is closed already.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TcpKeepalive {
    /// Silence before the first probe, in whole seconds, up to 9 h.
    pub idle: Timeout,
    /// Between two probes, in whole seconds, up to 9 h.
    pub interval: Timeout,
    /// Probes without an answer after which the connection ends.
    #[schemars(range(min = 1, max = 100))]
    pub probes: u32,
}

impl Default for TcpKeepalive {
    fn default() -> Self {
        Self {
            idle: timeout(60_000),
            interval: timeout(15_000),
            probes: 4,
        }
    }
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            proxy_header_timeout: timeout(3_000),
            tls_handshake_timeout: timeout(5_000),
            header_timeout: timeout(10_000),
            idle_timeout: timeout(60_000),
            request_body_idle_timeout: timeout(30_000),
            request_body_min_rate: Size(1024),
            response_idle_timeout: timeout(60_000),
            response_min_rate: Size(1024),
            min_rate_grace: timeout(10_000),
            tcp_keepalive: OrOff::On(TcpKeepalive::default()),
            max_header_bytes: Size(32 * 1024),
            max_headers: 100,
            max_uri_bytes: Size(8 * 1024),
            max_queued_handshakes: 1024,
            max_connections: 100_000,
            max_unfinished: 20_000,
            max_connections_per_address: 2_048,
            max_new_per_address: 1_000,
            max_unfinished_per_address: 256,
            max_unread_per_address: Size(64 * 1024 * 1024),
            max_unread_per_connection: Size(8 * 1024 * 1024),
            shared_addresses: Vec::new(),
            max_requests_per_connection: 100_000,
            max_concurrent_streams: 100,
        }
    }
}
