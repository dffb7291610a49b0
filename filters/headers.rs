//! Adds, sets and removes headers of requests and responses.
//! ```yaml
//! - headers:
//!     request: { remove: [x-debug], set: { x-env: prod } }
//!     response: { remove: [server], add: { cache-control: no-store } }
//! ```

use std::collections::HashMap;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::{Header, Value};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, ResponseHead, Verdict};

/// Adds, sets and removes headers of requests and responses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is done to the request before it goes on.
    #[serde(default)]
    pub request: Edits,
    /// What is done to the response before it goes to the client.
    #[serde(default)]
    pub response: Edits,
}

/// Done in this order: remove, set, add.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edits {
    /// Headers to take away.
    #[serde(default)]
    pub remove: Vec<Header>,
    /// Headers to put in place of any of the same name.
    #[serde(default)]
    pub set: HashMap<Header, Value>,
    /// Headers to put beside any of the same name.
    #[serde(default)]
    pub add: HashMap<Header, Value>,
}

/// See the module.
pub struct Headers {
    request: Compiled,
    response: Compiled,
}

struct Compiled {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl Compiled {
    fn new(edits: Edits) -> Compiled {
        let pair = |(name, value): (Header, Value)| (name.0, value.0);
        Compiled {
            remove: edits.remove.into_iter().map(|name| name.0).collect(),
            set: edits.set.into_iter().map(pair).collect(),
            add: edits.add.into_iter().map(pair).collect(),
        }
    }

    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

#[async_trait]
impl Filter for Headers {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST | Hooks::RESPONSE
    }

    fn owned_headers(&self) -> Vec<HeaderName> {
        let edits = &self.request;
        let named = edits.set.iter().chain(&edits.add).map(|(name, _)| name);
        edits.remove.iter().chain(named).cloned().collect()
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        self.request.apply(&mut exchange.request.headers);
        Verdict::Continue
    }

    async fn on_response(&self, _: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        self.response.apply(&mut head.headers);
        Verdict::Continue
    }
}

impl Build for Headers {
    const NAME: &'static str = "headers";
    type Config = Config;

    fn build(config: Config) -> Result<Headers, BuildError> {
        Ok(Headers {
            request: Compiled::new(config.request),
            response: Compiled::new(config.response),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route, refusal};
    use serde_json::json;

    #[test]
    fn requests_and_responses_are_edited() {
        let route = Route::of::<Headers>(json!({
            "request": { "remove": ["X-Debug"], "set": { "X-Env": "prod" } },
            "response": { "add": { "vary": "cookie" }, "remove": ["content-type"] },
        }));
        let call = Call::get("/")
            .header("x-debug", "1")
            .header("x-env", "a")
            .header("x-env", "b");
        let seen = route.send(call);
        assert_eq!(seen.backend().header("x-debug"), None);
        assert_eq!(
            seen.backend().head.headers.get_all("x-env").iter().count(),
            1
        );
        assert_eq!(seen.backend().header("x-env"), Some("prod"));
        assert_eq!(seen.header("vary"), Some("cookie"));
        assert_eq!(seen.header("content-type"), None);
    }

    #[test]
    fn remove_comes_before_set_and_set_before_add() {
        let edit = json!({ "remove": ["x-a"], "set": { "x-a": "1" }, "add": { "x-a": "2" } });
        let seen = Route::of::<Headers>(json!({ "request": edit }))
            .send(Call::get("/").header("x-a", "0"));
        let values: Vec<_> = seen.backend().head.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
    }

    #[test]
    fn config_errors_name_the_key() {
        let error = refusal::<Headers>(&json!({ "request": { "set": { "x-a": "b\n" } } }));
        assert_eq!(error.path, "request.set.x-a");
        let error = refusal::<Headers>(&json!({ "request": { "sets": {} } }));
        assert_eq!(error.path, "request.sets");
        assert!(error.message.contains("unknown field"));
        assert_eq!(
            refusal::<Headers>(&json!({ "request": { "remove": ["a", "b c"] } })).path,
            "request.remove[1]"
        );
    }
}
