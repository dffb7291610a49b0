//! Who the client is, and how the backend is told: `X-Forwarded-*` and `X-Request-ID`.
//!
//! What a client sends in these headers is believed only from a trusted proxy; from anyone else it is replaced.
//! `Forwarded` (RFC 7239) is passed on from a trusted proxy, but never asked who the client is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Hops of a chain that are looked at. A longer one is no chain of proxies.
const MAX_HOPS: usize = 64;

/// What stands in place of a chain that does not lead to a client (RFC 7239 6.2).
const UNKNOWN: &[u8] = b"unknown";

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// `None`: a trusted proxy named the client in a way that can't be read. Nobody may take such a client for anyone, least
    /// of all for the proxy: it is on no allow-list, and limits count it apart.
    pub client: Option<IpAddr>,
    /// The peer may say who the client is.
    pub trusted: bool,
}

impl Origin {
    /// The right-most address of `X-Forwarded-For` that is not one of our own proxies, by the rule of [`walk`].
    pub fn find(connection: &Connection, headers: &HeaderMap, trusted: &[IpNet]) -> Origin {
        let peer = connection.client_ip();
        let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
        if trusted.is_empty() || !is_trusted(&peer) {
            return Origin {
                client: Some(peer),
                trusted: false,
            };
        }
        let client = match walk(headers, is_trusted) {
            Walk::Absent => Some(peer),
            Walk::Client(client) => Some(client),
            Walk::Unreadable => None,
        };
        Origin {
            client,
            trusted: true,
        }
    }
}

/// Where the way back along `X-Forwarded-For` led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// There is no such field: the peer speaks for itself.
    Absent,
    /// The first address from the right that is not trusted; where all are, the left-most.
    Client(IpAddr),
    /// There is nothing to be read where the client should stand.
    Unreadable,
}

/// Goes from the right to the left through all lines of `X-Forwarded-For`, over the hops that are trusted.
///
/// Everything right of the first hop that is not trusted was written by proxies that are; everything left of it may be an
/// invention. So a hop that can't be read ends the walk without a client: neither the proxy that wrote it nor what stands
/// left of it may take its place. Empty elements are passed over (RFC 9110 5.6.1), but a field in which there is nothing else
/// names no client; more than [`MAX_HOPS`] elements name none, either.
pub fn walk(headers: &HeaderMap, is_trusted: impl Fn(&IpAddr) -> bool) -> Walk {
    if !headers.contains_key(X_FORWARDED_FOR) {
        return Walk::Absent;
    }
    let mut client = None;
    for (place, element) in elements_from_the_right(headers).enumerate() {
        if place == MAX_HOPS {
            return Walk::Unreadable;
        }
        if element.is_empty() {
            continue;
        }
        match hop(element) {
            None => return Walk::Unreadable,
            Some(ip) if !is_trusted(&ip) => return Walk::Client(ip),
            trusted => client = trusted,
        }
    }
    client.map_or(Walk::Unreadable, Walk::Client)
}

fn elements_from_the_right(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    lines.flat_map(|line| {
        line.as_bytes()
            .rsplit(|b| *b == b',')
            .map(<[u8]>::trim_ascii)
    })
}

/// One hop as proxies write it: an address; one with a port, IPv6 then in brackets; either in quotes. An IPv4 address that is
/// written as IPv6 is IPv4. Names, `unknown`, and addresses with a zone, which mean something on the proxy only, are not read.
fn hop(element: &[u8]) -> Option<IpAddr> {
    let quoted = element
        .strip_prefix(b"\"")
        .and_then(|e| e.strip_suffix(b"\""));
    let text = std::str::from_utf8(quoted.unwrap_or(element)).ok()?;
    let ip: IpAddr = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(())?;
            address.parse::<Ipv6Addr>().ok()?.into()
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_port(port) => address.parse::<Ipv4Addr>().ok()?.into(),
            _ => text.parse().ok()?,
        },
    };
    Some(ip.to_canonical())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
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
        let chain = joined_chain(headers, origin, &labels.client_ip);
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

/// What was there, then the peer: one line, as most backends read only one. Where the client is unknown, `unknown` stands in
/// place of the chain: no backend is to find in it who the client is.
fn joined_chain(headers: &HeaderMap, origin: Origin, peer: &HeaderValue) -> HeaderValue {
    let mut chain = Vec::new();
    match origin.client {
        Some(_) => {
            for line in headers.get_all(X_FORWARDED_FOR) {
                chain.extend_from_slice(line.as_bytes());
                chain.extend_from_slice(b", ");
            }
        }
        None => {
            chain.extend_from_slice(UNKNOWN);
            chain.extend_from_slice(b", ");
        }
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

#[cfg(test)]
mod tests;
