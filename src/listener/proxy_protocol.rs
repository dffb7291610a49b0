//! Reads the PROXY protocol header, versions 1 and 2, that a load balancer in front puts before everything else.
//! Bytes in, addresses out, no I/O. Format: HAProxy's proxy-protocol.txt, sections 2.1 and 2.2.

mod crc32c;
mod v1;
mod v2;

use std::net::SocketAddr;

#[cfg(test)]
use v2::encode as encode_v2;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// They may be a header; read on.
    NeedMore,
    /// They are none: the client speaks its own protocol from the first byte.
    NotProxy,
    /// A whole header.
    Header(Header),
    /// They begin like a header but are wrong: close the connection.
    Invalid(Reason),
}

/// A header that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes; what follows is the connection.
    pub consumed: usize,
    /// The client. `None` keeps the address of the socket: LOCAL, UNKNOWN, UNSPEC and Unix sockets.
    pub source: Option<SocketAddr>,
    /// Where the client connected to; `None` with `source`.
    pub destination: Option<SocketAddr>,
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// Version 1 without CRLF in its first 107 bytes.
    #[error("v1_too_long")]
    V1TooLong,
    /// Version 1 with other than `PROXY TCP4|TCP6 source destination port port`, or `PROXY UNKNOWN`.
    #[error("v1_malformed")]
    V1Malformed,
    /// The signature of version 2 with another version.
    #[error("v2_version")]
    V2Version,
    /// A command other than LOCAL and PROXY.
    #[error("v2_command")]
    V2Command,
    /// An address family or a transport that does not exist.
    #[error("v2_family")]
    V2Family,
    /// Longer than 2 KiB.
    #[error("v2_too_long")]
    V2TooLong,
    /// Shorter than its addresses.
    #[error("v2_too_short")]
    V2TooShort,
    /// Extensions that do not fill what is left.
    #[error("v2_tlv")]
    V2Tlv,
    /// The checksum is wrong or stands twice.
    #[error("v2_checksum")]
    V2Checksum,
}

/// Reads the header at the start of `buffer`, which is all that came so far.
pub fn parse(buffer: &[u8]) -> Parsed {
    if begins(buffer, v2::SIGNATURE) {
        v2::parse(buffer)
    } else if begins(buffer, v1::START) {
        v1::parse(buffer)
    } else {
        Parsed::NotProxy
    }
}

/// Whether the buffer begins like this, as far as it goes.
fn begins(buffer: &[u8], start: &[u8]) -> bool {
    let common = buffer.len().min(start.len());
    buffer[..common] == start[..common]
}

#[cfg(test)]
mod tests;
