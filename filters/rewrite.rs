//! Changes the path, query or host that the backend sees.
//! ```yaml
//! - rewrite: { pattern: "^/api/v1/(.*)$", replacement: "/$1" }
//! - rewrite: { host: internal.example, remove_query: [utm_source] }
//! ```

use async_trait::async_trait;
use http::header::{HOST, HeaderValue};
use http::uri::Uri;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::{Pattern, Value};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Verdict};

/// Changes the path, query or host that the backend sees.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What to replace in the path; the first match only. Needs `replacement`.
    pub pattern: Option<Pattern>,
    /// What to put there; `$1` and `${name}` are groups of `pattern`.
    pub replacement: Option<String>,
    /// The `Host` for the backend.
    pub host: Option<Value>,
    /// Query parameters to take away.
    #[serde(default)]
    pub remove_query: Vec<String>,
}

/// See the module.
pub struct Rewrite {
    path: Option<(Regex, String)>,
    host: Option<HeaderValue>,
    remove_query: Vec<String>,
}

impl Rewrite {
    /// The new path and query; `None` when nothing changes.
    fn target(&self, uri: &Uri) -> Option<String> {
        let path = match &self.path {
            Some((pattern, by)) => pattern.replace(uri.path(), by),
            None => uri.path().into(),
        };
        let query = uri.query().map(|query| self.query(query));
        if path == uri.path() && query.as_deref() == uri.query() {
            return None;
        }
        // `//host` would be read as another host by whoever gets it as a URL.
        let path = format!("/{}", path.trim_start_matches('/'));
        Some(match query.as_deref() {
            None | Some("") => path,
            Some(query) => format!("{path}?{query}"),
        })
    }

    /// Without the parameters to remove; what stays keeps its encoding.
    fn query(&self, query: &str) -> String {
        let stays = |pair: &&str| {
            let mut parsed = form_urlencoded::parse(pair.as_bytes());
            let name = parsed.next().map(|(name, _)| name);
            !name.is_some_and(|name| self.remove_query.iter().any(|r| *r == name))
        };
        let kept: Vec<&str> = query.split('&').filter(stays).collect();
        kept.join("&")
    }
}

#[async_trait]
impl Filter for Rewrite {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        if let Some(target) = self.target(&exchange.request.uri) {
            // A group may hold what no target may; the request then goes on as it came.
            let _ = exchange.set_path_and_query(&target);
        }
        if let Some(host) = &self.host {
            exchange.request.headers.insert(HOST, host.clone());
        }
        Verdict::Continue
    }
}

impl Build for Rewrite {
    const NAME: &'static str = "rewrite";
    type Config = Config;

    fn build(config: Config) -> Result<Rewrite, BuildError> {
        let path = match (config.pattern, config.replacement) {
            (Some(pattern), Some(by)) => Some((pattern.0, by)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(BuildError::at("pattern", "needs replacement beside it"));
            }
            (None, Some(_)) => {
                return Err(BuildError::at("replacement", "needs pattern beside it"));
            }
        };
        if path.is_none() && config.host.is_none() && config.remove_query.is_empty() {
            return Err(BuildError::new(
                "write at least one of pattern, host and remove_query",
            ));
        }
        Ok(Rewrite {
            path,
            host: config.host.map(|host| host.0),
            remove_query: config.remove_query,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route, refusal};
    use serde_json::{Value, json};

    fn rewritten(config: Value, target: &str) -> String {
        let seen = Route::of::<Rewrite>(config).send(Call::get(target));
        seen.backend().target().to_string()
    }

    #[test]
    fn paths() {
        let config = json!({ "pattern": "^/api/v1/(.*)$", "replacement": "/$1" });
        assert_eq!(rewritten(config.clone(), "/api/v1/users?x=1"), "/users?x=1");
        assert_eq!(rewritten(config.clone(), "/other?x=1"), "/other?x=1");
        assert_eq!(
            rewritten(config.clone(), "/api/v1//evil.example"),
            "/evil.example"
        );
        let bare = json!({ "pattern": "^/api", "replacement": "" });
        assert_eq!(rewritten(bare, "/api"), "/");
    }

    #[test]
    fn query_parameters_go_and_the_rest_keeps_its_encoding() {
        let config = json!({ "remove_query": ["a", "sp ace"] });
        assert_eq!(
            rewritten(config.clone(), "/?a=1&b=%41&sp%20ace=2&c"),
            "/?b=%41&c"
        );
        assert_eq!(rewritten(config, "/x?a=1"), "/x");
    }

    #[test]
    fn hosts() {
        let seen = Route::of::<Rewrite>(json!({ "host": "internal" })).send(Call::get("/"));
        assert_eq!(seen.backend().header("host"), Some("internal"));
    }

    #[test]
    fn bad_configs() {
        assert_eq!(
            refusal::<Rewrite>(&json!({ "pattern": "a" })).path,
            "pattern"
        );
        assert_eq!(
            refusal::<Rewrite>(&json!({ "replacement": "a" })).path,
            "replacement"
        );
        assert_eq!(refusal::<Rewrite>(&json!({})).path, "");
    }
}
