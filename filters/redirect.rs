//! Sends clients elsewhere.
//! ```yaml
//! - redirect: { https: true }
//! - redirect: { from: "^/old/(.*)$", to: "/new/$1", status: 301 }
//! ```
//! `from` is matched against the path's normal form, which routes are matched against, too; its groups stand for what the
//! client sent there.

use async_trait::async_trait;
use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::{Pattern, Status};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, Verdict};

/// Sends clients elsewhere: to https, to another host, to another path.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Sends what came by http to https, on the same host and port 443. Default: false.
    #[serde(default)]
    pub https: bool,
    /// Another host, without scheme: `www.example.com` or `www.example.com:8443`.
    pub host: Option<String>,
    /// Only paths whose normal form matches are redirected. Default: all of them.
    pub from: Option<Pattern>,
    /// The path to go to, or a whole URL; `$1` and `${name}` are groups of `from`. The query is kept unless there is
    /// one here. Default: the same path.
    pub to: Option<String>,
    /// 301, 302, 303, 307 or 308. Default: 308, which keeps method and body (RFC 9110 section 15.4.9).
    pub status: Option<Status>,
}

/// See the module.
pub struct Redirect {
    https: bool,
    host: Option<String>,
    from: Option<Regex>,
    to: Option<String>,
    status: StatusCode,
}

impl Redirect {
    /// Where to; `None` when the request is already there.
    fn target(&self, exchange: &Exchange) -> Option<String> {
        let query = exchange.request.uri.query();
        let path = self.path(exchange)?;
        if self.to.as_ref().is_some_and(|to| !to.starts_with('/')) {
            return Some(with_query(path, query));
        }
        if !path.starts_with('/') {
            // `OPTIONS *` is about the server, not a place on it.
            return None;
        }
        let here = exchange.host()?;
        let scheme = if self.https {
            "https"
        } else {
            exchange.scheme()
        };
        let host = self.host.as_deref().unwrap_or(here);
        let moves = scheme != exchange.scheme()
            || !host.eq_ignore_ascii_case(here)
            || path != exchange.request.uri.path();
        moves.then(|| format!("{scheme}://{host}{}", with_query(path, query)))
    }

    fn path(&self, exchange: &Exchange) -> Option<String> {
        let same = exchange.request.uri.path();
        let to = self.to.as_deref();
        let Some(from) = &self.from else {
            return Some(to.unwrap_or(same).to_owned());
        };
        let path = exchange.read_path().ok()?;
        let groups = from.captures(path.normal())?;
        let mut target = String::new();
        match to {
            Some(to) => path.expand(from, &groups, to, &mut target),
            None => target.push_str(same),
        }
        Some(target)
    }
}

fn with_query(mut target: String, query: Option<&str>) -> String {
    if let Some(query) = query.filter(|_| !target.contains('?')) {
        target.push('?');
        target.push_str(query);
    }
    target
}

#[async_trait]
impl Filter for Redirect {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let target = self.target(exchange);
        // Browsers take `\` for `/`, which may make another host of what follows.
        let target = target.map(|target| target.replace('\\', "%5C"));
        let location = target.and_then(|target| HeaderValue::try_from(target).ok());
        match location {
            Some(location) => Response::plain(self.status)
                .header(LOCATION, location)
                .into(),
            None => Verdict::Continue,
        }
    }
}

impl Build for Redirect {
    const NAME: &'static str = "redirect";
    type Config = Config;

    fn build(config: Config) -> Result<Redirect, BuildError> {
        let status = config
            .status
            .map_or(StatusCode::PERMANENT_REDIRECT, |s| s.0);
        if ![301, 302, 303, 307, 308].contains(&status.as_u16()) {
            return Err(BuildError::at("status", "write 301, 302, 303, 307 or 308"));
        }
        if !config.https && config.host.is_none() && config.to.is_none() {
            return Err(BuildError::new("write at least one of https, host and to"));
        }
        if let Some(to) = &config.to
            && !to.starts_with('/')
            && !to.contains("://")
        {
            return Err(BuildError::at(
                "to",
                "write a path from / or a URL with its scheme",
            ));
        }
        Ok(Redirect {
            https: config.https,
            host: config.host,
            from: config.from.map(|pattern| pattern.0),
            to: config.to,
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::TlsFacts;
    use crate::testing::{Call, Route, refusal};
    use serde_json::{Value, json};

    fn location(config: Value, call: Call) -> Option<String> {
        let seen = Route::of::<Redirect>(config).send(call);
        assert_eq!(seen.header("location").is_none(), seen.reached_backend());
        seen.header("location").map(str::to_string)
    }

    #[test]
    fn http_goes_to_https_and_https_stays() {
        let config = json!({ "https": true });
        let to = location(
            config.clone(),
            Call::get("/a?b=c").header("host", "example.com:8080"),
        );
        assert_eq!(to.as_deref(), Some("https://example.com/a?b=c"));
        assert_eq!(
            location(config, Call::get("/a").tls(TlsFacts::default())),
            None
        );
    }

    #[test]
    fn paths_are_rewritten_by_groups() {
        let config = json!({ "from": "^/old/(.*)$", "to": "/new/$1", "status": 301 });
        let to = location(config.clone(), Call::get("/old/x?q=1"));
        assert_eq!(to.as_deref(), Some("http://example.com/new/x?q=1"));
        assert_eq!(location(config.clone(), Call::get("/older")), None);
        let seen = Route::of::<Redirect>(config).send(Call::get("/old/"));
        assert_eq!(seen.status(), 301);
    }

    #[test]
    fn another_host_does_not_loop() {
        let config = json!({ "host": "www.example.com" });
        assert_eq!(
            location(config.clone(), Call::get("/")).as_deref(),
            Some("http://www.example.com/")
        );
        assert_eq!(
            location(config, Call::get("/").header("host", "WWW.example.com")),
            None
        );
    }

    #[test]
    fn a_whole_url_and_its_own_query() {
        let config = json!({ "to": "https://elsewhere.example/?from=here" });
        let to = location(config, Call::get("/x?y=z"));
        assert_eq!(to.as_deref(), Some("https://elsewhere.example/?from=here"));
    }

    #[test]
    fn a_path_with_two_slashes_stays_on_this_host() {
        let config = json!({ "from": "^/go(.*)$", "to": "$1" });
        assert_eq!(refusal::<Redirect>(&config).path, "to");
        let to = location(
            json!({ "from": "^/go(.*)$", "to": "/$1" }),
            Call::get("/go/evil.example"),
        );
        assert_eq!(to.as_deref(), Some("http://example.com//evil.example"));
        let to = location(json!({ "https": true }), Call::get("/x://y"));
        assert_eq!(to.as_deref(), Some("https://example.com/x://y"));
        assert_eq!(location(json!({ "https": true }), Call::get("*")), None);
    }

    #[test]
    fn no_spelling_passes_a_pattern_by() {
        let config = json!({ "from": "^/old/(.*)$", "to": "/new/$1" });
        for (from, to) in [
            ("//old/x", "/new/x"),
            ("/%6fld/x//y%7e", "/new/x//y%7e"),
            ("/a/../old/x", "/new/x"),
        ] {
            let to = format!("http://example.com{to}");
            assert_eq!(
                location(config.clone(), Call::get(from)),
                Some(to),
                "{from}"
            );
        }
    }

    #[test]
    fn a_backslash_makes_no_host() {
        let call = Call::get("/go/\\evil.example").paths(crate::path::PathMode::AsIs);
        let config = json!({ "from": "^/go/(.*)$", "to": "/$1" });
        let to = location(config, call);
        assert_eq!(to.as_deref(), Some("http://example.com/%5Cevil.example"));
    }

    #[test]
    fn bad_configs() {
        assert_eq!(
            refusal::<Redirect>(&json!({ "https": true, "status": 200 })).path,
            "status"
        );
        assert_eq!(refusal::<Redirect>(&json!({})).path, "");
        assert_eq!(
            refusal::<Redirect>(&json!({ "from": "(", "to": "/" })).path,
            "from"
        );
    }
}
