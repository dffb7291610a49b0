//! Takes whoever asks for it to another pool.
//! ```yaml
//! - canary: { pool: web_canary, header: { name: x-canary, value: always }, cookie: { name: canary } }
//! ```
//! For a share of all clients use the route's `split`.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::Header;
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, PoolChoice};

/// Takes whoever asks for it to another pool.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The pool to go to.
    pub pool: String,
    /// Requests with this header.
    pub header: Option<ByHeader>,
    /// Requests with this cookie.
    pub cookie: Option<ByCookie>,
}

/// A header that opts in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByHeader {
    /// Its name.
    pub name: Header,
    /// Its value. Default: any.
    pub value: Option<String>,
}

/// A cookie that opts in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ByCookie {
    /// Its name.
    pub name: String,
    /// Its value. Default: any.
    pub value: Option<String>,
}

/// See the module.
pub struct Canary {
    pool: Arc<str>,
    header: Option<(HeaderName, Option<String>)>,
    cookie: Option<(String, Option<String>)>,
}

impl Canary {
    fn opted_in(&self, exchange: &Exchange) -> bool {
        let is = |found: Option<&str>, wanted: &Option<String>| {
            found.is_some_and(|found| wanted.as_deref().is_none_or(|wanted| wanted == found))
        };
        let header = self.header.as_ref();
        let cookie = self.cookie.as_ref();
        header.is_some_and(|(name, value)| is(exchange.header(name), value))
            || cookie.is_some_and(|(name, value)| is(exchange.cookie(name), value))
    }
}

#[async_trait]
impl Filter for Canary {
    fn hooks(&self) -> Hooks {
        Hooks::POOL
    }

    fn owned_headers(&self) -> Vec<HeaderName> {
        self.header.iter().map(|(name, _)| name.clone()).collect()
    }

    async fn on_pool(&self, exchange: &mut Exchange, choice: &mut PoolChoice) {
        if self.opted_in(exchange) {
            choice.pool = Arc::clone(&self.pool);
            exchange.attributes.set("canary", true);
        }
    }

    fn pools(&self) -> Vec<&str> {
        vec![&self.pool]
    }
}

impl Build for Canary {
    const NAME: &'static str = "canary";
    type Config = Config;

    fn build(config: Config) -> Result<Canary, BuildError> {
        if config.header.is_none() && config.cookie.is_none() {
            return Err(BuildError::new("write header, cookie or both"));
        }
        Ok(Canary {
            pool: config.pool.into(),
            header: config.header.map(|header| (header.name.0, header.value)),
            cookie: config.cookie.map(|cookie| (cookie.name, cookie.value)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route, refusal};
    use serde_json::json;

    fn pool(call: Call) -> String {
        let route = Route::of::<Canary>(json!({
            "pool": "new", "header": { "name": "x-canary", "value": "yes" }, "cookie": { "name": "canary" },
        }));
        assert_eq!(route.filters().pools().collect::<Vec<_>>(), [(0, "new")]);
        route.send(call).backend().pool.clone()
    }

    #[test]
    fn header_or_cookie_opt_in() {
        assert_eq!(pool(Call::get("/")), "web");
        assert_eq!(pool(Call::get("/").header("x-canary", "yes")), "new");
        assert_eq!(pool(Call::get("/").header("x-canary", "no")), "web");
        assert_eq!(
            pool(Call::get("/").header("cookie", "a=b; canary=1")),
            "new"
        );
    }

    #[test]
    fn bad_configs() {
        assert_eq!(refusal::<Canary>(&json!({ "pool": "new" })).path, "");
        assert!(
            refusal::<Canary>(&json!({ "header": { "name": "x" } }))
                .message
                .contains("pool")
        );
    }
}
