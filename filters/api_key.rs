//! Lets in whoever shows a known key.
//! ```yaml
//! - api_key:
//!     header: x-api-key
//!     keys:
//!       - { name: partner, key: "${file:/run/secrets/partner_key}" }
//!       - { name: legacy, sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" }
//! ```
//! Where several places are configured, each may hold the key, but only the same one: a request that shows two is refused.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::credentials::{self, Shown};
use crate::filter::units::Header;
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, Verdict};

/// Lets in whoever shows a known key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The header that holds the key. Default: x-api-key, if neither cookie nor query is given.
    pub header: Option<Header>,
    /// The cookie that holds it.
    pub cookie: Option<String>,
    /// The query parameter that holds it. The access log shows `***` in place of its value; logs of others will show it.
    pub query: Option<String>,
    /// The keys.
    pub keys: Vec<KeyConfig>,
    /// Tells the backend the key's name in this header; what the client sent there is dropped.
    pub name_header: Option<Header>,
    /// Lets the key through to the backend (header only). Default: false.
    #[serde(default)]
    pub forward: bool,
}

/// One key: `key` or `sha256`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Who it belongs to, for the log.
    pub name: String,
    /// The key itself, at least 16 characters.
    pub key: Option<String>,
    /// Or the hex SHA-256 of it.
    pub sha256: Option<String>,
}

/// See the module.
pub struct ApiKey {
    header: Option<HeaderName>,
    cookie: Option<String>,
    query: Option<String>,
    /// Name by digest: what a look-up's time can tell is about digests, from which no key follows.
    names: HashMap<[u8; 32], Arc<str>>,
    name_header: Option<HeaderName>,
    forward: bool,
}

impl ApiKey {
    /// The key, wherever it is. One that is there twice, or that another place disagrees with, is no key.
    fn shown<'a>(&self, exchange: &'a Exchange) -> Shown<'a> {
        let headers = &exchange.request.headers;
        let header = self.header.as_ref();
        let header = header.map(|name| credentials::in_header(headers, name, ""));
        let cookie = self.cookie.as_ref();
        let cookie = cookie.map(|name| credentials::in_cookie(headers, name));
        let query = self.query.as_ref();
        let query = query.map(|name| credentials::in_query(exchange.request.uri.query(), name));
        let places = [header, cookie, query].into_iter().flatten();
        places.fold(Shown::Nothing, Shown::and)
    }

    /// Whose key it is, or why it is none.
    fn owner(&self, exchange: &Exchange) -> Result<&Arc<str>, &'static str> {
        match self.shown(exchange) {
            Shown::Nothing => Err("api_key: no key"),
            Shown::Unusable => Err("api_key: more than one key"),
            Shown::One(key) => {
                let digest: [u8; 32] = Sha256::digest(&key).into();
                self.names.get(&digest).ok_or("api_key: unknown key")
            }
        }
    }
}

#[async_trait]
impl Filter for ApiKey {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn owned_headers(&self) -> Vec<HeaderName> {
        self.header
            .iter()
            .chain(&self.name_header)
            .cloned()
            .collect()
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let name = match self.owner(exchange) {
            Ok(name) => name,
            Err(reason) => {
                exchange.set_reason(reason);
                let challenge = HeaderValue::from_static("ApiKey");
                let response = Response::plain(StatusCode::UNAUTHORIZED);
                return response.header(WWW_AUTHENTICATE, challenge).into();
            }
        };
        let headers = &mut exchange.request.headers;
        if let Some(header) = self.header.as_ref().filter(|_| !self.forward) {
            headers.remove(header);
        }
        if let (Some(header), Ok(value)) = (&self.name_header, HeaderValue::from_str(name)) {
            headers.insert(header, value);
        }
        exchange.attributes.set("api_key.name", name.to_string());
        Verdict::Continue
    }

    fn secret_query_names(&self) -> Vec<&str> {
        self.query.as_deref().into_iter().collect()
    }
}

impl Build for ApiKey {
    const NAME: &'static str = "api_key";
    type Config = Config;

    fn build(config: Config) -> Result<ApiKey, BuildError> {
        let mut names = HashMap::new();
        for (at, key) in config.keys.iter().enumerate() {
            let at = format!("keys[{at}]");
            if HeaderValue::from_str(&key.name).is_err() {
                return Err(BuildError::at(format!("{at}.name"), "write plain ASCII"));
            }
            if names
                .insert(digest(key, &at)?, key.name.as_str().into())
                .is_some()
            {
                return Err(BuildError::at(at, "the same key stands above"));
            }
        }
        if names.is_empty() {
            return Err(BuildError::at("keys", "write at least one key"));
        }
        let elsewhere = config.cookie.is_some() || config.query.is_some();
        let usual = (!elsewhere).then(|| HeaderName::from_static("x-api-key"));
        Ok(ApiKey {
            header: config.header.map(|header| header.0).or(usual),
            cookie: config.cookie,
            query: config.query,
            names,
            name_header: config.name_header.map(|header| header.0),
            forward: config.forward,
        })
    }
}

fn digest(key: &KeyConfig, at: &str) -> Result<[u8; 32], BuildError> {
    match (&key.key, &key.sha256) {
        (Some(key), None) if key.len() >= 16 => Ok(Sha256::digest(key.as_bytes()).into()),
        (Some(_), None) => Err(BuildError::at(
            format!("{at}.key"),
            "write at least 16 characters",
        )),
        (None, Some(hex)) => unhex(hex)
            .ok_or_else(|| BuildError::at(format!("{at}.sha256"), "write 64 hexadecimal digits")),
        _ => Err(BuildError::at(at, "write either key or sha256")),
    }
}

fn unhex(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route, refusal};
    use serde_json::json;

    const KEY: &str = "0123456789abcdef";
    /// SHA-256 of `test`.
    const TEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn known_keys_get_in_and_stay_here() {
        let route = Route::of::<ApiKey>(json!({
            "keys": [{ "name": "a", "key": KEY }, { "name": "b", "sha256": TEST }], "name_header": "x-who",
        }));
        for (key, name) in [(KEY, "a"), ("test", "b")] {
            let seen = route.send(
                Call::get("/")
                    .header("x-api-key", key)
                    .header("x-who", "root"),
            );
            assert_eq!(seen.backend().header("x-who"), Some(name));
            assert_eq!(seen.backend().header("x-api-key"), None);
            assert_eq!(seen.attribute("api_key.name").as_deref(), Some(name));
        }
    }

    #[test]
    fn others_do_not() {
        let route = Route::of::<ApiKey>(json!({ "keys": [{ "name": "a", "key": KEY }] }));
        let seen = route.send(Call::get("/"));
        assert_eq!(
            (seen.status(), seen.reason()),
            (401, Some("api_key: no key"))
        );
        assert_eq!(seen.header("www-authenticate"), Some("ApiKey"));
        let long = "x".repeat(100_000);
        for bad in ["", "0123456789abcde", "0123456789abcdeF", &long] {
            assert_eq!(
                route.send(Call::get("/").header("x-api-key", bad)).status(),
                401
            );
        }
    }

    #[test]
    fn two_keys_are_none() {
        let route = Route::of::<ApiKey>(json!({
            "header": "x-api-key", "cookie": "k", "query": "key", "forward": true,
            "keys": [{ "name": "a", "key": KEY }],
        }));
        let good = format!("k={KEY}");
        for (target, fields, passes) in [
            (format!("/?key={KEY}"), vec![("x-api-key", KEY)], true),
            (format!("/?key={KEY}"), vec![("cookie", &*good)], true),
            ("/?key=x".into(), vec![("x-api-key", KEY)], false),
            (format!("/?key={KEY}&k%65y={KEY}"), vec![], false),
            (format!("/?a=b;key=x&key={KEY}"), vec![], false),
            (
                "/".into(),
                vec![("x-api-key", KEY), ("x-api-key", "x")],
                false,
            ),
            (
                "/".into(),
                vec![("x-api-key", KEY), ("cookie", "k=x")],
                false,
            ),
            (
                "/".into(),
                vec![("cookie", &*good), ("cookie", "k=x")],
                false,
            ),
        ] {
            let call = fields
                .iter()
                .fold(Call::get(&target), |call, (name, value)| {
                    call.header(name, value)
                });
            let seen = route.send(call);
            assert_eq!(seen.reached_backend(), passes, "{target} {fields:?}");
            if !passes {
                assert_eq!(seen.reason(), Some("api_key: more than one key"));
            }
        }
        assert_eq!(route.filters().secret_query_names(), [Box::from("key")]);
    }

    #[test]
    fn cookie_and_query() {
        let route = Route::of::<ApiKey>(json!({
            "cookie": "k", "query": "key", "keys": [{ "name": "a", "key": KEY }],
        }));
        assert_eq!(
            route
                .send(Call::get("/").header("cookie", format!("k={KEY}")))
                .status(),
            200
        );
        assert_eq!(route.send(Call::get(&format!("/?key={KEY}"))).status(), 200);
        assert_eq!(
            route.send(Call::get("/").header("x-api-key", KEY)).status(),
            401
        );
    }

    #[test]
    fn bad_configs() {
        let path = |key| refusal::<ApiKey>(&json!({ "keys": [key] })).path;
        assert_eq!(path(json!({ "name": "a", "key": "short" })), "keys[0].key");
        assert_eq!(
            path(json!({ "name": "a", "sha256": "zz" })),
            "keys[0].sha256"
        );
        assert_eq!(path(json!({ "name": "a" })), "keys[0]");
        assert_eq!(refusal::<ApiKey>(&json!({ "keys": [] })).path, "keys");
        let twice =
            json!({ "keys": [{ "name": "a", "sha256": TEST }, { "name": "b", "sha256": TEST }] });
        assert_eq!(refusal::<ApiKey>(&twice).path, "keys[1]");
    }
}
