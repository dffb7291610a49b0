//! `host[:port]`, as in `Host` and in an absolute target.

use std::net::Ipv6Addr;

/// Host and port, if there is one. Narrower than RFC 3986 3.2.2: letters, digits, `-`, `.`, `_` or an IPv6 address
/// in brackets; no user, no percent-encoding, no list. Nothing else is used, and each has been read in two ways.
pub(super) fn parse(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let end = match authority.iter().position(|&byte| byte == b']') {
        Some(bracket) => bracket + 1,
        None => authority
            .iter()
            .position(|&byte| byte == b':')
            .unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end);
    if !(is_name(host) || is_v6(host)) {
        return None;
    }
    let port = match rest {
        [] | [b':'] => None,
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            Some(std::str::from_utf8(digits).ok()?.parse().ok()?)
        }
        _ => return None,
    };
    Some((host, port))
}

/// Whether two authorities name the same server, with the usual port of their scheme where none stands.
pub(super) fn same(one: &[u8], other: &[u8], usual_port: u16) -> bool {
    let (Some(one), Some(other)) = (parse(one), parse(other)) else {
        return false;
    };
    one.0.eq_ignore_ascii_case(other.0)
        && one.1.unwrap_or(usual_port) == other.1.unwrap_or(usual_port)
}

fn is_name(host: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    !host.is_empty() && host.iter().all(allowed)
}

fn is_v6(host: &[u8]) -> bool {
    let inner = host
        .strip_prefix(b"[")
        .and_then(|host| host.strip_suffix(b"]"));
    inner
        .and_then(|text| std::str::from_utf8(text).ok())
        .is_some_and(|text| text.parse::<Ipv6Addr>().is_ok())
}
