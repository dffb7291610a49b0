//! Addresses to listen on and to connect to, and networks. Where to connect may be a DNS name too. What is neither is told
//! by what it looks like: each slip has a message that shows the same text as it should be written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::names;
use crate::config::model;

const NO_PORT_0: &str = "has port 0; write the backend's port";
const NOBODY: &str = "is no address to connect to; write the backend's own";

/// What an address is for, which decides whether it may be a name, and what can be suggested in place of what it lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Listening,
    Connecting,
}

/// `IP:PORT`, `[IPv6]:PORT` or `unix:/path`.
pub(super) fn listen(text: &str) -> Result<model::Address, String> {
    address(text, For::Listening)
}

/// The same, or `none`.
pub(super) fn admin(text: &str) -> Result<Option<model::Address>, String> {
    match text {
        "none" => Ok(None),
        "off" | "false" | "no" => {
            Err("is not an address; write \"none\" to serve it nowhere".into())
        }
        _ => listen(text).map(Some),
    }
}

/// An address that somebody can be at, or a DNS name and a port.
pub(super) fn backend(text: &str) -> Result<model::Endpoint, String> {
    let Ok(socket) = text.parse::<SocketAddr>() else {
        return match names::with_port(text) {
            Some((name, port)) => Ok(model::Endpoint::Name(name, port)),
            None => address(text, For::Connecting).map(model::Endpoint::Address),
        };
    };
    match (socket.port(), model::is_of_one_host(socket.ip())) {
        (0, _) => Err(NO_PORT_0.into()),
        (_, false) => Err(NOBODY.into()),
        _ => Ok(model::Endpoint::Address(model::Address::Tcp(socket))),
    }
}

/// A DNS server's, with port 53 unless it has another.
pub(super) fn resolver(text: &str) -> Result<SocketAddr, String> {
    let address = text
        .parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, 53))
        .or_else(|_| text.parse::<SocketAddr>())
        .map_err(|_| "is not an IP address; write one such as \"10.0.0.2\" or \"10.0.0.2:53\"")?;
    if address.port() == 0 || !model::is_of_one_host(address.ip()) {
        return Err("is no address to send to; write the DNS server's own".into());
    }
    Ok(address)
}

/// `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let net: IpNet = text.parse().map_err(|_| no_network(text))?;
    if net.addr() == net.network() {
        return Ok(net);
    }
    let (all, one) = (net.trunc(), IpNet::from(net.addr()));
    Err(format!(
        "has bits set after its prefix; write \"{all}\" for the network or \"{one}\" for the address"
    ))
}

fn no_network(text: &str) -> String {
    if text.trim() != text && !text.trim().is_empty() {
        return format!("has spaces around it; write {:?}", text.trim());
    }
    if text == "*" || text == "all" {
        return "is not a network; write \"0.0.0.0/0\" and \"::/0\" for every address".into();
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return format!("has a port; write \"{}\"", socket.ip());
    }
    let bare = text.replace(['[', ']'], "");
    if bare != text && network(&bare).is_ok() {
        return format!("has brackets; write \"{bare}\"");
    }
    let Some((address, prefix)) = text.split_once('/') else {
        return "is not a network; write one such as \"10.0.0.0/8\" or \"fd00::/8\"".into();
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return "is not a network; write one such as \"10.0.0.0/8\" or \"fd00::/8\"".into();
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    match prefix.parse::<Ipv4Addr>().map(u32::from) {
        Ok(mask) if address.is_ipv4() && mask.leading_ones() + mask.trailing_zeros() == 32 => {
            let length = mask.leading_ones();
            format!("has a mask; write the length of the prefix: \"{address}/{length}\"")
        }
        _ => format!("has a prefix that is no number from 0 to {longest}"),
    }
}

/// Whether it can stand where it is meant to.
fn judge(text: &str, purpose: For) -> Result<(), String> {
    match purpose {
        For::Listening => listen(text).map(drop),
        For::Connecting => backend(text).map(drop),
    }
}

fn address(text: &str, purpose: For) -> Result<model::Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    match text.parse() {
        Ok(socket) => Ok(model::Address::Tcp(socket)),
        Err(_) => Err(what_is_wrong(text, purpose)),
    }
}

/// `sockaddr_un` holds 108 bytes, one of them the final NUL (unix(7)).
fn unix(path: &str) -> Result<model::Address, String> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err("must be absolute; write \"unix:/path\"".into());
    }
    if path.len() > 107 {
        return Err("has a path longer than 107 bytes, the most for a Unix socket".into());
    }
    Ok(model::Address::Unix(PathBuf::from(path)))
}

fn what_is_wrong(text: &str, purpose: For) -> String {
    let trimmed = text.trim();
    if trimmed != text && !trimmed.is_empty() {
        return match judge(trimmed, purpose) {
            Ok(()) => format!("has spaces around it; write {trimmed:?}"),
            Err(message) => format!("has spaces around it, and without them {message}"),
        };
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return url(scheme, rest, purpose);
    }
    if text.starts_with('/') {
        return format!("is not an address; write \"unix:{text}\" for a Unix socket");
    }
    if let Some((before, _)) = text.split_once('/') {
        return match judge(before, purpose) {
            Ok(()) => format!("has a path behind the address; write \"{before}\""),
            Err(message) => format!("has a path behind it, and without that {message}"),
        };
    }
    if purpose == For::Connecting && ip_in(text).is_some_and(|ip| !model::is_of_one_host(ip)) {
        return NOBODY.into();
    }
    if text.starts_with('[') {
        return bracketed(text, purpose);
    }
    match text.matches(':').count() {
        0 => without_port(text, purpose),
        1 => host_and_port(text, purpose),
        _ => without_brackets(text, purpose),
    }
}

/// The IP address in what lacks a port or brackets, or has a wrong port.
fn ip_in(text: &str) -> Option<IpAddr> {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.split(']').next());
    let before = text.rsplit_once(':').map(|(before, _)| before);
    let candidates = [Some(text), inner, before];
    candidates
        .into_iter()
        .flatten()
        .find_map(|text| text.parse().ok())
}

/// `http://10.0.0.1:80/path`.
fn url(scheme: &str, rest: &str, purpose: For) -> String {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let port = match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" | "grpcs" => 443,
        _ => 80,
    };
    let with_port = format!("{authority}:{port}");
    let bracketed = format!("[{authority}]:{port}");
    let tls = match (port, purpose) {
        (443, For::Connecting) => ", and \"upstream: { tls: .. }\" in the pool for TLS",
        (443, For::Listening) => ", and \"tls\" in the listener for TLS",
        _ => "",
    };
    for candidate in [authority, &with_port, &bracketed] {
        if judge(candidate, purpose).is_ok() {
            return format!("is a URL; write the address alone, \"{candidate}\"{tls}");
        }
    }
    let host = match purpose {
        For::Listening => "an IP address",
        For::Connecting => "a host",
    };
    format!("is a URL; write {host} and a port, such as \"10.0.1.10:{port}\"{tls}")
}

/// It begins with a bracket, and is no address.
fn bracketed(text: &str, purpose: For) -> String {
    let Some((inner, rest)) = text[1..].split_once(']') else {
        return "has a \"[\" without \"]\"; write \"[IPv6]:PORT\"".into();
    };
    if inner.parse::<Ipv4Addr>().is_ok() {
        return format!("has brackets around an IPv4 address; write \"{inner}{rest}\"");
    }
    let bare = format!("{inner}{rest}");
    if purpose == For::Connecting && names::with_port(&bare).is_some() {
        return format!("has brackets around a name; write \"{bare}\"");
    }
    if let Some((address, zone)) = inner.split_once('%')
        && address.parse::<Ipv6Addr>().is_ok()
        && zone.parse::<u32>().is_err()
    {
        return format!(
            "has a zone that is no number; write the index of the interface, as from \"ip link\", such as \"[{address}%2]{rest}\""
        );
    }
    if inner.parse::<Ipv6Addr>().is_err() {
        return format!("has brackets around what is no IPv6 address: {inner:?}");
    }
    match rest.strip_prefix(':') {
        _ if rest.is_empty() => no_port(&format!("[{inner}]")),
        Some(port) => wrong_port(&format!("[{inner}]"), port, purpose),
        None => format!("has no \":\" and port behind \"]\"; write \"[{inner}]:8080\""),
    }
}

fn without_port(text: &str, purpose: For) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if text.parse::<Ipv4Addr>().is_ok() {
        return no_port(text);
    }
    if digits(text) && text.parse::<u16>().is_ok() {
        return no_ip(text, "is a port alone", purpose);
    }
    match looks_like_ipv4(text) {
        true => bad_ipv4(text),
        false => name(text, None, purpose),
    }
}

fn host_and_port(text: &str, purpose: For) -> String {
    let (host, port) = text.split_once(':').unwrap_or((text, ""));
    let sound_port = names::port(port).is_some_and(|port| port >= least_port(purpose));
    match host {
        "" | "*" if sound_port => no_ip(port, "has no IP address", purpose),
        _ if host.parse::<Ipv4Addr>().is_ok() => wrong_port(host, port, purpose),
        _ if looks_like_ipv4(host) => bad_ipv4(host),
        _ => name(host, Some(port), purpose),
    }
}

/// Two colons or more, and no brackets: IPv6 as it stands elsewhere.
fn without_brackets(text: &str, purpose: For) -> String {
    let (address, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let whole = text.parse::<Ipv6Addr>().is_ok();
    let split = address.parse::<Ipv6Addr>().is_ok() && port.bytes().all(|b| b.is_ascii_digit());
    match (split, whole) {
        (true, true) => format!(
            "has no brackets around the IPv6 address; write \"[{address}]:{port}\", or \"[{text}]:8080\" if {port} is part of the address"
        ),
        (true, false) if port.parse::<u16>().is_ok() => {
            format!("has no brackets around the IPv6 address; write \"[{address}]:{port}\"")
        }
        (true, false) => format!(
            "has no brackets around the IPv6 address and no port from 1 to 65535; write \"[{address}]:8080\""
        ),
        (false, true) => format!("has no port; write \"[{text}]:8080\""),
        (false, false) => match (purpose, text.split_once(':')) {
            (For::Connecting, Some((host, _))) if names::dns_name(host).is_ok() => {
                format!("has more than one \":\"; write one port behind the name: \"{host}:8080\"")
            }
            _ => "is not an address; an IPv6 address and a port are \"[::1]:8080\"".into(),
        },
    }
}

/// Decimal numbers with dots between them.
fn looks_like_ipv4(text: &str) -> bool {
    text.contains('.') && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn bad_ipv4(host: &str) -> String {
    format!(
        "has no IPv4 address in {host:?}: that is four numbers from 0 to 255, without zeros in front"
    )
}

fn no_port(host: &str) -> String {
    format!("has no port; write one behind it, such as \"{host}:8080\"")
}

fn least_port(purpose: For) -> u16 {
    match purpose {
        For::Listening => 0,
        For::Connecting => 1,
    }
}

fn wrong_port(host: &str, port: &str, purpose: For) -> String {
    let least = least_port(purpose);
    match port {
        "" => no_port(host),
        _ if names::port(port) == Some(0) => NO_PORT_0.into(),
        _ if port.bytes().all(|b| b.is_ascii_digit()) => {
            format!("has a port out of range; write {least} to 65535 behind \"{host}:\"")
        }
        _ => format!("has a port that is no number; write \"{host}:8080\""),
    }
}

fn no_ip(port: &str, what: &str, purpose: For) -> String {
    match purpose {
        For::Listening => format!("{what}; write \"0.0.0.0:{port}\" or \"[::]:{port}\""),
        For::Connecting => format!("{what}; write the backend's, such as \"10.0.1.10:{port}\""),
    }
}

/// It has a name where an IP address could be, and a port unless that is `None`.
fn name(host: &str, port: Option<&str>, purpose: For) -> String {
    if names::dns_name(host).is_err() {
        return plain(purpose);
    }
    let sound_port = port.unwrap_or("8080");
    match purpose {
        For::Connecting => wrong_port(host, port.unwrap_or_default(), purpose),
        For::Listening if names::port(sound_port).is_none() => plain(purpose),
        For::Listening if host.eq_ignore_ascii_case("localhost") => {
            format!("is a name; write \"127.0.0.1:{sound_port}\" or \"[::1]:{sound_port}\"")
        }
        For::Listening => format!(
            "is not an IP address and a port; write where to listen, such as \"0.0.0.0:{sound_port}\" for every address of this machine"
        ),
    }
}

fn plain(purpose: For) -> String {
    match purpose {
        For::Listening => {
            "is not an address; write \"IP:PORT\", \"[IPv6]:PORT\" or \"unix:/path\"".into()
        }
        For::Connecting => {
            "is neither an address nor a DNS name with a port; write \"IP:PORT\", \"[IPv6]:PORT\", \"NAME:PORT\" or \"unix:/path\"".into()
        }
    }
}

#[cfg(test)]
mod tests;
