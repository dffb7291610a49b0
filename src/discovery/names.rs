//! The full names that a name may stand for, as resolv.conf(5) has it.

use std::net::IpAddr;

/// In the order in which they are to be asked for, each with a final dot. `search` are domains, `ndots` the dots from which
/// on a name is tried as it is before the search domains are. A name with a final dot is only itself.
pub fn candidates(name: &str, search: &[String], ndots: usize) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let itself = format!("{name}.");
    let searched = search
        .iter()
        .map(|domain| domain.trim_matches('.'))
        .filter(|domain| !domain.is_empty())
        .map(|domain| format!("{name}.{domain}."))
        .filter(|full| full.len() <= 254);
    let mut all: Vec<String> = searched.collect();
    if name.matches('.').count() >= ndots {
        all.insert(0, itself);
    } else {
        all.push(itself);
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|full| seen.insert(full.to_ascii_lowercase()));
    all
}

/// The IPv4 and IPv6 addresses that a hosts(5) file has for a name.
pub fn hosts(text: &str, name: &str) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let name = name.trim_end_matches('.');
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        let named = words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name));
        found.extend(address.filter(|_| named));
    }
    found.sort_unstable();
    found.dedup();
    found.into_iter().partition(IpAddr::is_ipv4)
}
