//! Version 2: binary.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc32c::crc32c;
use super::{Header, Parsed, Reason};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
/// Of everything after the fixed part.
const MAX_LENGTH: usize = 2048;
const TYPE_CRC32C: u8 = 0x03;

pub(super) fn parse(buffer: &[u8]) -> Parsed {
    match read(buffer) {
        Ok(None) => Parsed::NeedMore,
        Ok(Some(header)) => Parsed::Header(header),
        Err(reason) => Parsed::Invalid(reason),
    }
}

fn read(buffer: &[u8]) -> Result<Option<Header>, Reason> {
    let Some((fixed, rest)) = buffer.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., version_command, family, high, low] = *fixed;
    if version_command >> 4 != 2 {
        return Err(Reason::V2Version);
    }
    let local = match version_command & 0xf {
        0 => true,
        1 => false,
        _ => return Err(Reason::V2Command),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_LENGTH {
        return Err(Reason::V2TooLong);
    }
    let Some(payload) = rest.get(..length) else {
        return Ok(None);
    };
    let address_length = match (family >> 4, family & 0xf) {
        // What LOCAL carries is to be skipped, whatever it is.
        _ if local => return Ok(Some(header(length, None))),
        (0, 0..=2) => 0,
        (1, 1 | 2) => 12,
        (2, 1 | 2) => 36,
        (3, 1 | 2) => 216,
        _ => return Err(Reason::V2Family),
    };
    let (addresses, extensions) = payload
        .split_at_checked(address_length)
        .ok_or(Reason::V2TooShort)?;
    check_extensions(extensions, &buffer[..FIXED + length])?;
    Ok(Some(header(length, pair(addresses))))
}

fn header(length: usize, pair: Option<(SocketAddr, SocketAddr)>) -> Header {
    Header {
        consumed: FIXED + length,
        source: pair.map(|(source, _)| source),
        destination: pair.map(|(_, to)| to),
    }
}

fn pair(addresses: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (ips, ports) = addresses.split_last_chunk::<4>()?;
    let (source, destination) = match ips.len() {
        8 => (v4(&ips[..4])?, v4(&ips[4..])?),
        32 => (v6(&ips[..16])?, v6(&ips[16..])?),
        _ => return None,
    };
    let [a, b, c, d] = *ports;
    let source = SocketAddr::new(source, u16::from_be_bytes([a, b]));
    Some((
        source,
        SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    ))
}

fn v4(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .ok()
        .map(|octets| Ipv4Addr::from(octets).into())
}

fn v6(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|octets| Ipv6Addr::from(octets).into())
}

/// Walks the type-length-values, so that a header whose lengths lie is not believed.
fn check_extensions(mut rest: &[u8], header: &[u8]) -> Result<(), Reason> {
    let mut checked = false;
    while let [kind, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = after.split_at_checked(length).ok_or(Reason::V2Tlv)?;
        if *kind == TYPE_CRC32C {
            let at = header.len() - after.len();
            if checked || !checksum_holds(value, header, at) {
                return Err(Reason::V2Checksum);
            }
            checked = true;
        }
        rest = next;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Reason::V2Tlv)
    }
}

/// The sum is taken over the header with zeros in the place of the sum itself, which begins at `at`.
fn checksum_holds(value: &[u8], header: &[u8], at: usize) -> bool {
    let Ok(sum) = <[u8; 4]>::try_from(value) else {
        return false;
    };
    let Some((before, rest)) = header.split_at_checked(at) else {
        return false;
    };
    let after = rest.get(4..).unwrap_or_default();
    crc32c([before, &[0; 4], after]) == u32::from_be_bytes(sum)
}

#[cfg(test)]
/// A header for one TCP connection, or LOCAL without addresses, with extensions as they are; for tests and probes.
/// Addresses of two families are written as IPv6. Extensions of more than 64 KiB are cut off.
pub fn encode(pair: Option<(SocketAddr, SocketAddr)>, extensions: &[u8]) -> Vec<u8> {
    let (command, family, addresses) = match pair {
        None => (0x20, 0x00, Vec::new()),
        Some((SocketAddr::V4(from), SocketAddr::V4(to))) => {
            (0x21, 0x11, [from.ip().octets(), to.ip().octets()].concat())
        }
        Some((from, to)) => (0x21, 0x21, [octets(from.ip()), octets(to.ip())].concat()),
    };
    let mut payload = addresses;
    if let Some((from, to)) = pair {
        payload.extend(from.port().to_be_bytes());
        payload.extend(to.port().to_be_bytes());
    }
    payload.extend(extensions);
    payload.truncate(usize::from(u16::MAX));
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut out = SIGNATURE.to_vec();
    out.extend([command, family]);
    out.extend(length.to_be_bytes());
    out.extend(payload);
    out
}

#[cfg(test)]
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
