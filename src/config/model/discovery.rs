//! Members of pools that are not addresses in the file, and how they are found.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::Address;

/// What a backend's `address` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Address(Address),
    /// A DNS name, as it was written, and the port.
    Name(String, u16),
}

/// Somebody can listen there: neither unspecified nor for many at once. An IPv4 address within IPv6 counts as what it is.
pub fn is_of_one_host(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    !(ip.is_unspecified() || ip.is_multicast() || ip == Ipv4Addr::BROADCAST)
}

/// Where members of a pool come from, beside addresses in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Each address of a name.
    Dns(DnsName),
    /// Each address of each target of a name's SRV records (RFC 2782).
    Srv(DnsService),
    /// A list like `backends`, in a file of its own.
    File(PathBuf),
    /// The same, asked for over HTTP.
    Http(HttpList),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName {
    /// As it was written: with a final dot it is not looked for in search domains.
    pub name: String,
    pub port: u16,
    pub weight: u32,
    pub priority: u32,
    pub zone: Option<String>,
    pub down: bool,
    pub ttl: TtlBounds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsService {
    pub name: String,
    pub zone: Option<String>,
    pub ttl: TtlBounds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpList {
    pub url: http::Uri,
    pub interval: Duration,
    pub timeout: Duration,
}

/// How long an answer is good for, at least and at most, whatever it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TtlBounds {
    pub min: Duration,
    pub max: Duration,
}

/// For all sources of all pools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// How long the start waits for first answers.
    pub start_timeout: Duration,
    /// How long the last good answer is used while no other comes.
    pub stale: Duration,
    /// Empty: those of `/etc/resolv.conf`.
    pub resolvers: Vec<SocketAddr>,
    pub addresses: Family,
    /// Members that one source may have.
    pub max_backends: usize,
}

/// Which of a name's addresses are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Any,
    Ipv4,
    Ipv6,
    /// IPv6 only where there is no IPv4.
    PreferIpv4,
    /// IPv4 only where there is no IPv6.
    PreferIpv6,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            start_timeout: Duration::from_secs(5),
            stale: Duration::from_secs(3600),
            resolvers: Vec::new(),
            addresses: Family::Any,
            max_backends: 1000,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(dns) => write!(f, "dns {}:{}", dns.name, dns.port),
            Self::Srv(srv) => write!(f, "srv {}", srv.name),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Http(list) => write!(f, "http {}", list.url),
        }
    }
}
