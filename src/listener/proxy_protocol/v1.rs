//! Version 1: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Header, Parsed, Reason};

pub(super) const START: &[u8] = b"PROXY ";
/// With CRLF.
const MAX_LINE: usize = 107;

pub(super) fn parse(buffer: &[u8]) -> Parsed {
    let window = &buffer[..buffer.len().min(MAX_LINE)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() == MAX_LINE {
            Parsed::Invalid(Reason::V1TooLong)
        } else {
            Parsed::NeedMore
        };
    };
    let line = window[..end]
        .strip_suffix(b"\r")
        .and_then(|line| line.strip_prefix(START));
    let addresses = line
        .and_then(|line| std::str::from_utf8(line).ok())
        .and_then(addresses);
    match addresses {
        Some(pair) => Parsed::Header(Header {
            consumed: end + 1,
            source: pair.map(|(source, _)| source),
            destination: pair.map(|(_, destination)| destination),
        }),
        None => Parsed::Invalid(Reason::V1Malformed),
    }
}

/// The outer `None` is malformed, the inner one UNKNOWN, after which anything may stand.
fn addresses(line: &str) -> Option<Option<(SocketAddr, SocketAddr)>> {
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = line.split(' ');
    let read: fn(&str) -> Option<IpAddr> = match words.next()? {
        "TCP4" => |word| Ipv4Addr::from_str(word).ok().map(IpAddr::V4),
        "TCP6" => |word| Ipv6Addr::from_str(word).ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, destination) = (read(words.next()?)?, read(words.next()?)?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    let pair = (
        SocketAddr::new(source, source_port),
        SocketAddr::new(destination, destination_port),
    );
    words.next().is_none().then_some(Some(pair))
}

/// Digits only, no zeros in front.
fn port(word: &str) -> Option<u16> {
    let plain =
        word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}
