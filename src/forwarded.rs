//! Who the client is, and how the backend is told: `X-Forwarded-*` and `X-Request-ID`.
//!
//! What a client sends in these headers is believed only from a trusted proxy; from anyone else it is replaced.

use std::net::IpAddr;

use http::header::{FORWARDED, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Uri};
use ipnet::IpNet;

use crate::listener::Connection;

pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
pub const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What only a trusted proxy may say; the fields that are set anew are not among them.
static CLAIMS: [HeaderName; 5] = [
    FORWARDED,
    X_REAL_IP,
    X_FORWARDED_CLIENT_CERT,
    CLIENT_CERT,
    CLIENT_CERT_CHAIN,
];

/// A request id longer than this is replaced.
const MAX_REQUEST_ID: usize = 128;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    pub client_ip: IpAddr,
    /// The peer may say who the client is.
    pub trusted: bool,
}

impl Origin {
    /// The right-most address of `X-Forwarded-For` that is not one of our own proxies.
    pub fn find(connection: &Connection, headers: &HeaderMap, trusted: &[IpNet]) -> Origin {
        let peer = connection.client_ip();
        let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
        if trusted.is_empty() || !is_trusted(&peer) {
            return Origin {
                client_ip: peer,
                trusted: false,
            };
        }
        let mut client_ip = peer;
        for hop in hops_from_the_right(headers) {
            let Ok(ip) = hop.parse::<IpAddr>() else { break };
            client_ip = ip.to_canonical();
            if !is_trusted(&client_ip) {
                break;
            }
        }
        Origin {
            client_ip,
            trusted: true,
        }
    }
}

fn hops_from_the_right(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(X_FORWARDED_FOR);
    let lines: smallvec::SmallVec<[&str; 4]> = all.iter().filter_map(|v| v.to_str().ok()).collect();
    lines
        .into_iter()
        .rev()
        .flat_map(|line| line.rsplit(',').map(str::trim))
}

/// Keeps a trusted proxy's request id, else makes one (UUIDv7, RFC 9562).
pub fn request_id(headers: &HeaderMap, origin: Origin) -> HeaderValue {
    let given = headers.get(X_REQUEST_ID).filter(|id| is_sound(id));
    if let (true, Some(id)) = (origin.trusted, given) {
        return id.clone();
    }
    let mut text = uuid::Uuid::encode_buffer();
    let text = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
}

fn is_sound(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=MAX_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// Tells the backend who asked, over what, for which host.
pub fn tell_backend(request: &mut Parts, connection: &Connection, origin: Origin) {
    let labels = connection.labels();
    let headers = &mut request.headers;
    if origin.trusted {
        let chain = joined_chain(headers, &labels.client_ip);
        headers.insert(X_FORWARDED_FOR, chain);
    } else {
        for name in &CLAIMS {
            headers.remove(name);
        }
        headers.insert(X_FORWARDED_FOR, labels.client_ip.clone());
    }
    tell_certificate(headers, connection, origin);
    let scheme = HeaderValue::from_static(connection.scheme());
    keep_or_set(headers, origin, X_FORWARDED_PROTO, scheme);
    keep_or_set(headers, origin, X_FORWARDED_PORT, labels.port.clone());
    if let Some(host) = host_header(headers, &request.uri) {
        keep_or_set(headers, origin, X_FORWARDED_HOST, host);
    }
}

/// What a client says of its own certificate is believed from a trusted proxy only, which has checked it.
fn tell_certificate(headers: &mut HeaderMap, connection: &Connection, origin: Origin) {
    let Some(shown) = connection.tls.as_ref().and_then(|tls| tls.client.as_ref()) else {
        return;
    };
    let forwarded = shown.forwarded.clone();
    keep_or_set(headers, origin, X_FORWARDED_CLIENT_CERT, forwarded);
    if let Some(whole) = &shown.whole {
        keep_or_set(headers, origin, CLIENT_CERT, whole.clone());
    }
}

fn keep_or_set(headers: &mut HeaderMap, origin: Origin, name: HeaderName, value: HeaderValue) {
    if !origin.trusted || !headers.contains_key(&name) {
        headers.insert(name, value);
    }
}

/// What was there, then the peer: one line, as most backends read only one.
fn joined_chain(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    let mut chain = Vec::new();
    for line in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(line.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.as_bytes());
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| peer.clone())
}

/// The `Host` of a request: the header, or the authority that HTTP/2 has in its place.
pub fn host_header(headers: &HeaderMap, uri: &Uri) -> Option<HeaderValue> {
    match headers.get(HOST) {
        Some(host) => Some(host.clone()),
        None => HeaderValue::from_str(uri.authority()?.as_str()).ok(),
    }
}
