//! Lets addresses in or keeps them out.
//! ```yaml
//! - ip_access: { allow: ["10.0.0.0/8", "2001:db8::/32"], deny: ["10.6.6.6/32"] }
//! ```
//! `deny` comes first; with an `allow` list, whoever is not on it is refused. On a route the answer is 403; on a
//! listener the connection is closed before TLS begins.
//!
//! A client that nobody knows, because a trusted proxy named it in a way that can't be read, is refused by either list: it
//! is on no `allow` list, and nobody can say that it is not on `deny`.

use std::net::IpAddr;

use async_trait::async_trait;
use http::StatusCode;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::{
    Admission, Build, BuildError, Connection, Exchange, Filter, Hooks, Response, Verdict,
};

/// Lets addresses in or keeps them out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Networks that get in; everyone, when the list is missing. A client that nobody knows is in none.
    #[schemars(with = "Option<Vec<String>>")]
    pub allow: Option<Vec<IpNet>>,
    /// Networks that do not, even if `allow` holds them. Neither does a client that nobody knows: it may be in one of them.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub deny: Vec<IpNet>,
}

/// See the module.
pub struct IpAccess {
    allow: Option<Vec<IpNet>>,
    deny: Vec<IpNet>,
}

impl IpAccess {
    fn admits(&self, client: IpAddr) -> bool {
        // On a dual-stack socket an IPv4 client shows as ::ffff:a.b.c.d.
        let client = client.to_canonical();
        let on = |list: &[IpNet]| list.iter().any(|net| net.contains(&client));
        !on(&self.deny) && self.allow.as_deref().is_none_or(on)
    }
}

#[async_trait]
impl Filter for IpAccess {
    fn hooks(&self) -> Hooks {
        Hooks::CONNECTION | Hooks::REQUEST
    }

    async fn on_connection(&self, connection: &Connection) -> Admission {
        if self.admits(connection.client) {
            Admission::Accept
        } else {
            Admission::Close
        }
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        exchange.set_reason(match exchange.client() {
            Some(client) if self.admits(client) => return Verdict::Continue,
            Some(_) => "ip_access: address refused",
            None => "ip_access: client unknown",
        });
        Response::plain(StatusCode::FORBIDDEN).into()
    }
}

impl Build for IpAccess {
    const NAME: &'static str = "ip_access";
    type Config = Config;

    fn build(config: Config) -> Result<IpAccess, BuildError> {
        if config.allow.is_none() && config.deny.is_empty() {
            return Err(BuildError::new("write allow, deny or both"));
        }
        Ok(IpAccess {
            allow: config.allow,
            deny: config.deny,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route, refusal};
    use serde_json::{Value, json};

    fn status(config: Value, client: &str) -> u16 {
        let seen = Route::of::<IpAccess>(config).send(Call::get("/").client(client));
        assert_eq!(seen.reached_backend(), seen.status() == 200);
        seen.status()
    }

    #[test]
    fn deny_wins_over_allow() {
        let config = json!({ "allow": ["10.0.0.0/8"], "deny": ["10.6.6.6/32"] });
        assert_eq!(status(config.clone(), "10.1.1.1"), 200);
        assert_eq!(status(config.clone(), "10.6.6.6"), 403);
        assert_eq!(status(config, "192.0.2.1"), 403);
    }

    #[test]
    fn deny_alone_lets_the_others_in_and_an_empty_allow_nobody() {
        let config = json!({ "deny": ["2001:db8::/32"] });
        assert_eq!(status(config.clone(), "2001:db8::1"), 403);
        assert_eq!(status(config, "192.0.2.1"), 200);
        assert_eq!(status(json!({ "allow": [] }), "192.0.2.1"), 403);
    }

    #[test]
    fn unknown_clients_are_on_no_list_and_get_in_by_none() {
        for config in [
            json!({ "allow": ["0.0.0.0/0", "::/0"] }),
            json!({ "allow": ["192.0.2.1/32"] }),
            json!({ "deny": ["198.51.100.0/24"] }),
            json!({ "deny": [] , "allow": ["192.0.2.0/24"] }),
        ] {
            let route = Route::of::<IpAccess>(config.clone());
            let seen = route.send(Call::get("/").unknown_client());
            assert_eq!(
                (seen.status(), seen.reached_backend()),
                (403, false),
                "{config}"
            );
            assert_eq!(seen.reason(), Some("ip_access: client unknown"));
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert_eq!(
            status(json!({ "deny": ["192.0.2.0/24"] }), "::ffff:192.0.2.7"),
            403
        );
    }

    #[test]
    fn connections_are_closed() {
        let route = Route::of::<IpAccess>(json!({ "deny": ["192.0.2.0/24"] }));
        assert_eq!(route.connect("192.0.2.7"), Admission::Close);
        assert_eq!(route.connect("192.0.3.7"), Admission::Accept);
    }

    #[test]
    fn bad_configs() {
        assert_eq!(refusal::<IpAccess>(&json!({})).path, "");
        assert_eq!(
            refusal::<IpAccess>(&json!({ "deny": ["10.0.0.1/8/9"] })).path,
            "deny[0]"
        );
    }
}
