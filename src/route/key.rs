//! The part of a request that a split or a consistent hash is made of.

use std::net::IpAddr;

use super::Head;
use super::head::{cookie_pairs, query_pairs};
use crate::config::model::HashKey;
use crate::hash::hash;

/// The stable hash of this part of a request. One that lacks it is keyed by the address of its client, so that a
/// client without the cookie still comes to one place every time. Clients that nobody knows have one key together.
pub fn request_key(key: &HashKey, head: &Head<'_>) -> u64 {
    let found = match key {
        HashKey::ClientIp => None,
        HashKey::Header(name) => head.headers.get(name).map(|value| hash(value.as_bytes())),
        HashKey::Cookie(name) => cookie_pairs(head)
            .find(|(n, _)| n == name)
            .map(|(_, value)| hash(value.as_bytes())),
        HashKey::Query(name) => query_pairs(head)
            .find(|(n, _)| n == name)
            .map(|(_, value)| hash(value.as_bytes())),
        HashKey::Path => Some(hash(head.path.normal().as_bytes())),
    };
    found.unwrap_or_else(|| client_key(head.client))
}

fn client_key(client: Option<IpAddr>) -> u64 {
    match client.map(|client| client.to_canonical()) {
        Some(IpAddr::V4(address)) => hash(&address.octets()),
        Some(IpAddr::V6(address)) => hash(&address.octets()),
        None => hash(b"unknown"),
    }
}
