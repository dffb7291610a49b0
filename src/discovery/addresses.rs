//! From what DNS says of a name's two families of addresses to one answer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::feed::{Answer, Failure, FailureKind};
use crate::config::model::{Address, Backend, DnsName, Family, is_of_one_host};

/// What one query came to.
#[derive(Debug, Clone)]
pub enum Heard {
    /// Records, and the smallest TTL of them and of the aliases (CNAME) that lead there.
    Records(Vec<IpAddr>, Duration),
    /// The server says that there is no such name, or none of this kind.
    Denied(FailureKind),
    /// No answer, or a useless one.
    Failed(Failure),
    /// Not asked for.
    Skipped,
}

/// Whether the family is asked for at all.
pub fn asks(family: Family) -> (bool, bool) {
    (family != Family::Ipv6, family != Family::Ipv4)
}

/// One answer out of two. `last` are the addresses of the last good one: those of a family that failed beside one that did
/// not are kept.
///
/// # Errors
/// There is nothing to go by: what is there stays.
pub fn join(
    v4: Heard,
    v6: Heard,
    last: &[IpAddr],
    family: Family,
) -> Result<(Vec<IpAddr>, Duration), Failure> {
    let kept = |wanted: fn(&IpAddr) -> bool| last.iter().copied().filter(wanted).collect();
    let (v4, v6, ttl) = match (v4, v6) {
        (Heard::Records(v4, a), Heard::Records(v6, b)) => (v4, v6, a.min(b)),
        (Heard::Records(v4, ttl), Heard::Failed(_)) => (v4, kept(IpAddr::is_ipv6), ttl),
        (Heard::Failed(_), Heard::Records(v6, ttl)) => (kept(IpAddr::is_ipv4), v6, ttl),
        (Heard::Records(v4, ttl), _) => (v4, Vec::new(), ttl),
        (_, Heard::Records(v6, ttl)) => (Vec::new(), v6, ttl),
        (Heard::Failed(failure), _) | (_, Heard::Failed(failure)) => return Err(failure),
        (Heard::Denied(kind), _) | (_, Heard::Denied(kind)) => return Err(Failure::denied(kind)),
        (Heard::Skipped, Heard::Skipped) => return Err(Failure::denied(FailureKind::NoRecords)),
    };
    let mut all = match family {
        Family::PreferIpv4 if !v4.is_empty() => v4,
        Family::PreferIpv6 if !v6.is_empty() => v6,
        _ => [v4, v6].concat(),
    };
    all.sort_unstable();
    all.dedup();
    Ok((all, ttl))
}

/// The members at these addresses.
pub fn members(dns: &DnsName, addresses: &[IpAddr]) -> Vec<Backend> {
    let member = |ip: &IpAddr| {
        let address = SocketAddr::new(*ip, dns.port);
        Backend {
            id: address.to_string(),
            address: Address::Tcp(address),
            weight: dns.weight,
            priority: dns.priority,
            zone: dns.zone.clone(),
            down: dns.down,
        }
    };
    addresses.iter().map(member).collect()
}

/// The answer for a name. Addresses that nobody can listen at are left out and counted.
pub fn answer(dns: &DnsName, addresses: &[IpAddr], ttl: Duration) -> Answer {
    let usable: Vec<IpAddr> = addresses
        .iter()
        .copied()
        .filter(|ip| is_of_one_host(*ip))
        .collect();
    Answer {
        unusable: addresses.len() - usable.len(),
        members: members(dns, &usable),
        ttl,
    }
}
