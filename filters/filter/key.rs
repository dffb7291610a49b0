//! What clients are told apart by, for filters that count.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Exchange;
use super::units::Header;

/// What requests are counted by. A request that lacks it is counted by its address, and one whose client is not known
/// with all others of unknown clients that came by the same peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// The client's address; IPv6 by /64, which is what one customer is given.
    #[default]
    ClientIp,
    /// All requests of the route together.
    Route,
    /// A request header's value.
    Header(Header),
    /// A cookie's value.
    Cookie(String),
    /// A claim of the token that `jwt` has verified further up in the chain.
    Claim(String),
    /// An attribute that another filter has set.
    Attribute(String),
}

/// The bytes of a key, with what kind it is, so that an address never meets a header of the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyBytes<'a> {
    /// IPv4 as is, IPv6 cut to its /64.
    Address(IpAddr),
    /// All unknown clients that come by this peer, as above. The peer's own requests are an [`Address`](KeyBytes::Address).
    UnknownBy(IpAddr),
    /// Any other.
    Text(&'a str),
}

impl Key {
    /// This request's key. Call it on a [`compiled`](Key::compiled) key.
    #[must_use]
    pub fn of<'a>(&self, exchange: &'a Exchange) -> KeyBytes<'a> {
        let text = match self {
            Key::ClientIp => None,
            Key::Route => Some(exchange.route()),
            Key::Header(name) => exchange.header(&name.0),
            Key::Cookie(name) => exchange.cookie(name),
            Key::Claim(name) | Key::Attribute(name) => exchange.attributes.text(name),
        };
        text.map_or_else(|| by_address(exchange), KeyBytes::Text)
    }

    /// Names the attribute that a claim is kept under, once, when the config is read.
    #[must_use]
    pub fn compiled(self) -> Key {
        match self {
            Key::Claim(claim) => Key::Attribute(format!("jwt.{claim}")),
            other => other,
        }
    }
}

fn by_address(exchange: &Exchange) -> KeyBytes<'static> {
    match exchange.client() {
        Some(client) => KeyBytes::Address(network(client)),
        None => KeyBytes::UnknownBy(network(exchange.peer().ip())),
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 => v4,
    }
}
