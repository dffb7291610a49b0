//! What one listener lets a connection, an address and all clients together cost.

use std::time::Duration;

use ipnet::IpNet;

/// What a response counts for that its client keeps waiting, in bytes: a little more than what is held of one, in h2, on the
/// way from the backend, and in the kernel.
pub const UNREAD_RESPONSE: u64 = 128 * 1024;

/// Deadlines and caps of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLimits {
    pub proxy_header_timeout: Duration,
    pub tls_handshake_timeout: Duration,
    /// From the first byte of a request (and from accept, for the first) to the end of its header.
    pub header_timeout: Duration,
    pub idle_timeout: Duration,
    pub request_body: PaceLimits,
    pub response: PaceLimits,
    /// `None`: vanished clients are not looked for.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Request line and header fields together, in bytes.
    pub max_header_bytes: usize,
    pub max_headers: usize,
    pub max_uri_bytes: usize,
    /// Full TLS handshakes that wait for a thread.
    pub max_queued_handshakes: usize,
    pub max_connections: usize,
    /// Connections that have not brought a whole request head yet.
    pub max_unfinished: usize,
    pub per_address: AddressLimits,
    /// Requests served on one HTTP/1 connection before it is closed.
    pub max_requests_per_connection: u32,
    pub max_concurrent_streams: u32,
    /// Bytes of responses that an HTTP/2 connection may keep waiting.
    pub max_unread: u64,
}

/// How vanished clients are found (RFC 9293, section 3.8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    pub interval: Duration,
    /// Probes without an answer that end the connection.
    pub probes: u32,
}

impl Default for TcpKeepalive {
    fn default() -> TcpKeepalive {
        TcpKeepalive {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(15),
            probes: 4,
        }
    }
}

/// How slow a client may be in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaceLimits {
    /// The longest silence.
    pub idle: Duration,
    /// Bytes a second; 0 is no limit.
    pub min_rate: u64,
    /// How long the rate is not looked at.
    pub grace: Duration,
}

/// What one client address may take; `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressLimits {
    pub connections: Option<u32>,
    /// A second.
    pub new: Option<u32>,
    /// Without a whole request head.
    pub unfinished: Option<u32>,
    /// Bytes of responses that are kept waiting.
    pub unread: Option<u64>,
    /// Balancers in front: their address stands for many clients.
    pub except: Vec<IpNet>,
}

/// As `raw::ListenerLimits` documents them: for listeners that no file describes.
impl Default for ListenerLimits {
    fn default() -> ListenerLimits {
        ListenerLimits {
            proxy_header_timeout: Duration::from_secs(3),
            tls_handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            request_body: PaceLimits {
                idle: Duration::from_secs(30),
                min_rate: 1024,
                grace: Duration::from_secs(10),
            },
            response: PaceLimits {
                idle: Duration::from_secs(60),
                min_rate: 1024,
                grace: Duration::from_secs(10),
            },
            tcp_keepalive: Some(TcpKeepalive::default()),
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            max_uri_bytes: 8 * 1024,
            max_queued_handshakes: 1024,
            max_connections: 100_000,
            max_unfinished: 20_000,
            per_address: AddressLimits {
                connections: Some(2_048),
                new: Some(1_000),
                unfinished: Some(256),
                unread: Some(64 * 1024 * 1024),
                except: Vec::new(),
            },
            max_requests_per_connection: 100_000,
            max_concurrent_streams: 100,
            max_unread: 8 * 1024 * 1024,
        }
    }
}
