//! Changes the path, query or host that the backend sees.
//! ```yaml
//! - rewrite: { pattern: "^/api/v1/(.*)$", replacement: "/$1" }
//! - rewrite: { host: internal.example, remove_query: [utm_source] }
//! ```
//! The pattern is matched against the path's normal form, which routes are matched against, too: `//api/v1/x` and
//! `/%61pi/v1/x` don't pass it by. What it does not match, and what its groups stand for, stays as the client sent it. A new
//! path that could be read in two ways, or that leads above `/`, is refused with 400.

use async_trait::async_trait;
use http::StatusCode;
use http::header::{HOST, HeaderValue};
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::{Pattern, Value};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, Verdict};
use crate::path::push_encoded;

/// Changes the path, query or host that the backend sees.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What to replace in the path's normal form; the first match only. Needs `replacement`.
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
    fn target(&self, exchange: &Exchange) -> Option<String> {
        let uri = &exchange.request.uri;
        let path = self.path(exchange);
        let query = uri.query().map(|query| self.query(query));
        if path.is_none() && query.as_deref() == uri.query() {
            return None;
        }
        let path = path.unwrap_or_else(|| uri.path().to_owned());
        Some(match query.as_deref() {
            None | Some("") => path,
            Some(query) => format!("{path}?{query}"),
        })
    }

    /// The new path, if the pattern matches.
    fn path(&self, exchange: &Exchange) -> Option<String> {
        let (pattern, replacement) = self.path.as_ref()?;
        let path = exchange.read_path().ok()?;
        let new = path.replace(pattern, replacement)?;
        let mut target = String::with_capacity(new.len());
        push_encoded(&mut target, &new, "#");
        Some(target)
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
        if let Some(target) = self.target(exchange)
            && !exchange.set_path_and_query(&target)
        {
            exchange.set_reason("rewrite: the new path can't be used");
            return Response::plain(StatusCode::BAD_REQUEST).into();
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
    fn no_spelling_passes_a_pattern_by_and_what_it_does_not_name_stays() {
        let config = json!({ "pattern": "^/rw/", "replacement": "/tenant-a/" });
        for (from, to) in [
            ("/rw/x", "/tenant-a/x"),
            ("//rw/x", "/tenant-a/x"),
            ("/%72w/x", "/tenant-a/x"),
            ("/rw//x%7e//y?a//b", "/tenant-a/x%7e//y?a//b"),
            ("/rw/../rw/x", "/tenant-a/x"),
            ("/y/../rw/x", "/tenant-a/x"),
            ("/rwx//y", "/rwx//y"),
        ] {
            assert_eq!(rewritten(config.clone(), from), to, "{from}");
        }
    }

    #[test]
    fn a_new_path_that_can_not_be_used_is_refused() {
        for (pattern, replacement, from) in [
            ("^/a(.*)$", "/$1", "/a../b"),
            ("/x/", "", "/a%25/x/2Fb"),
            ("^/a", "/b;c", "/a"),
            ("^/a", "/%zz", "/a"),
        ] {
            let config = json!({ "pattern": pattern, "replacement": replacement });
            let seen = Route::of::<Rewrite>(config).send(Call::get(from));
            assert_eq!(seen.status(), 400, "{from}");
            assert_eq!(seen.reason(), Some("rewrite: the new path can't be used"));
        }
    }

    #[test]
    fn a_replacement_is_encoded() {
        let config = json!({ "pattern": "^/a", "replacement": "/b c<\u{e9}" });
        assert_eq!(rewritten(config, "/a/x"), "/b%20c%3C%C3%A9/x");
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
