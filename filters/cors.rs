//! Answers preflights and marks responses for other origins (Fetch standard, CORS protocol).
//! ```yaml
//! - cors:
//!     origins: ["https://app.example.com", "https://*.example.org"]
//!     methods: [GET, POST]
//!     headers: [authorization, content-type]
//!     credentials: true
//!     max_age: 10m
//! ```

use std::time::Duration;

use async_trait::async_trait;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::{Header, Span};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, ResponseHead, Verdict};

/// Answers preflights and marks responses for other origins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https://app.example.com`, `https://*.example.com` (any subdomain, not the domain itself) or `*`.
    pub origins: Vec<String>,
    /// Default: GET, HEAD, POST.
    #[serde(default = "methods")]
    pub methods: Vec<String>,
    /// Request headers that scripts may set. Default: none beyond the safelisted ones.
    #[serde(default)]
    pub headers: Vec<Header>,
    /// Response headers that scripts may read. Default: none beyond the safelisted ones.
    #[serde(default)]
    pub expose: Vec<Header>,
    /// Cookies and `Authorization` may be sent; not with the origin `*`. Default: false.
    #[serde(default)]
    pub credentials: bool,
    /// How long a browser may remember a preflight. Default: 10m.
    #[serde(default = "max_age")]
    pub max_age: Span,
}

fn methods() -> Vec<String> {
    ["GET", "HEAD", "POST"].map(String::from).into()
}

fn max_age() -> Span {
    Span(Duration::from_mins(10))
}

/// See the module.
pub struct Cors {
    origins: Vec<Origin>,
    credentials: bool,
    /// Same for every response.
    response: Vec<(HeaderName, HeaderValue)>,
    /// Same for every preflight.
    preflight: Vec<(HeaderName, HeaderValue)>,
}

enum Origin {
    Any,
    Exact(String),
    /// `https://` and `.example.com`.
    Below(String, String),
}

impl Origin {
    fn parse(text: &str) -> Option<Origin> {
        if text == "*" {
            return Some(Origin::Any);
        }
        let (scheme, host) = text.split_once("://")?;
        let bare = !host.is_empty() && !host.contains(['/', '?', '#', '@']);
        let text = text.to_ascii_lowercase();
        match host.strip_prefix('*') {
            Some(rest) if bare && rest.starts_with('.') && !rest.contains('*') => Some(
                Origin::Below(format!("{scheme}://"), rest.to_ascii_lowercase()),
            ),
            None if bare && !host.contains('*') => Some(Origin::Exact(text)),
            _ => None,
        }
    }

    fn allows(&self, origin: &str) -> bool {
        match self {
            Origin::Any => true,
            Origin::Exact(allowed) => origin == allowed,
            Origin::Below(scheme, domain) => origin
                .strip_prefix(scheme.as_str())
                .and_then(|host| host.strip_suffix(domain.as_str()))
                .is_some_and(|labels| !labels.is_empty() && !labels.contains(['/', '@', ':'])),
        }
    }
}

/// What `on_response` puts on the response.
struct Allowed(HeaderValue);

impl Cors {
    /// The value for `Access-Control-Allow-Origin`, if this origin gets one.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        let text = origin.to_str().ok()?;
        if !self.origins.iter().any(|allowed| allowed.allows(text)) {
            return None;
        }
        let any = self.origins.iter().any(|o| matches!(o, Origin::Any));
        Some(if any {
            HeaderValue::from_static("*")
        } else {
            origin.clone()
        })
    }

    fn mark(
        &self,
        headers: &mut HeaderMap,
        origin: HeaderValue,
        rest: &[(HeaderName, HeaderValue)],
    ) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        for (name, value) in rest {
            headers.insert(name, value.clone());
        }
    }
}

#[async_trait]
impl Filter for Cors {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST | Hooks::RESPONSE
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let Some(origin) = exchange.request.headers.get(ORIGIN) else {
            return Verdict::Continue;
        };
        let allowed = self.allowed(origin);
        let preflight = exchange.request.method == Method::OPTIONS
            && exchange
                .request
                .headers
                .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if preflight {
            let mut response = Response::new(StatusCode::NO_CONTENT);
            let vary = "origin, access-control-request-method, access-control-request-headers";
            response = response.header(VARY, HeaderValue::from_static(vary));
            if let Some(origin) = allowed {
                self.mark(&mut response.head.headers, origin, &self.preflight);
            }
            return response.into();
        }
        if let Some(origin) = allowed {
            exchange.set_state(Allowed(origin));
        }
        Verdict::Continue
    }

    async fn on_response(&self, exchange: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        // Also without an origin: a cache must not give that answer to one.
        head.headers
            .append(VARY, HeaderValue::from_static("origin"));
        head.headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
        head.headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
        if let Some(Allowed(origin)) = exchange.take_state() {
            self.mark(&mut head.headers, origin, &self.response);
        }
        Verdict::Continue
    }
}

impl Build for Cors {
    const NAME: &'static str = "cors";
    type Config = Config;

    fn build(config: Config) -> Result<Cors, BuildError> {
        let mut origins = Vec::new();
        for (at, text) in config.origins.iter().enumerate() {
            let say = "write scheme://host, scheme://*.domain or *, without a path";
            let origin = Origin::parse(text);
            origins.push(origin.ok_or_else(|| BuildError::at(format!("origins[{at}]"), say))?);
        }
        if config.credentials && origins.iter().any(|o| matches!(o, Origin::Any)) {
            let say = "not with the origin *: name the origins";
            return Err(BuildError::at("credentials", say));
        }
        for (at, method) in config.methods.iter().enumerate() {
            Method::from_bytes(method.as_bytes())
                .map_err(|_| BuildError::at(format!("methods[{at}]"), "not a method"))?;
        }
        let names = |list: &[Header]| {
            let names: Vec<&str> = list.iter().map(|name| name.0.as_str()).collect();
            HeaderValue::try_from(names.join(", "))
                .ok()
                .filter(|list| !list.is_empty())
        };
        let methods = HeaderValue::try_from(config.methods.join(", ")).ok();
        let age = Some(config.max_age.0.as_secs().into());
        let some = |(name, value): (HeaderName, Option<HeaderValue>)| Some((name, value?));
        let preflight = [
            (ACCESS_CONTROL_ALLOW_METHODS, methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, names(&config.headers)),
            (ACCESS_CONTROL_MAX_AGE, age),
        ];
        let response = [(ACCESS_CONTROL_EXPOSE_HEADERS, names(&config.expose))];
        Ok(Cors {
            origins,
            credentials: config.credentials,
            response: response.into_iter().filter_map(some).collect(),
            preflight: preflight.into_iter().filter_map(some).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route, refusal};
    use serde_json::json;

    fn route() -> Route {
        Route::of::<Cors>(json!({
            "origins": ["https://app.example.com", "https://*.example.org"],
            "methods": ["GET", "PUT"], "headers": ["X-Token"], "expose": ["x-total"],
            "credentials": true, "max_age": "1h",
        }))
    }

    fn preflight(origin: &str) -> Call {
        let call = Call::new(Method::OPTIONS, "/").header("origin", origin);
        call.header("access-control-request-method", "PUT")
    }

    #[test]
    fn a_preflight_is_answered_here() {
        let seen = route().send(preflight("https://app.example.com"));
        assert_eq!((seen.status(), seen.reached_backend()), (204, false));
        assert_eq!(
            seen.header("access-control-allow-origin"),
            Some("https://app.example.com")
        );
        assert_eq!(
            seen.header("access-control-allow-methods"),
            Some("GET, PUT")
        );
        assert_eq!(seen.header("access-control-allow-headers"), Some("x-token"));
        assert_eq!(
            seen.header("access-control-allow-credentials"),
            Some("true")
        );
        assert_eq!(seen.header("access-control-max-age"), Some("3600"));
        assert!(seen.header("vary").unwrap().contains("origin"));
    }

    #[test]
    fn other_origins_get_no_permission() {
        for origin in [
            "https://evil.example",
            "http://app.example.com",
            "https://app.example.com.evil.example",
            "https://example.org",
            "https://evil.example/.example.org",
            "https://a.example.org:8443",
            "null",
        ] {
            let seen = route().send(preflight(origin));
            assert_eq!(seen.header("access-control-allow-origin"), None, "{origin}");
            let seen = route().send(Call::get("/").header("origin", origin));
            assert_eq!(seen.status(), 200);
            assert_eq!(seen.header("access-control-allow-origin"), None, "{origin}");
        }
    }

    #[test]
    fn responses_are_marked_for_allowed_origins() {
        let seen = route().send(Call::get("/").header("origin", "https://a.b.example.org"));
        assert_eq!(
            seen.header("access-control-allow-origin"),
            Some("https://a.b.example.org")
        );
        assert_eq!(
            seen.header("access-control-expose-headers"),
            Some("x-total")
        );
        assert_eq!(seen.header("vary"), Some("origin"));
    }

    #[test]
    fn options_without_request_method_is_for_the_backend() {
        let call = Call::new(Method::OPTIONS, "/").header("origin", "https://app.example.com");
        assert!(route().send(call).reached_backend());
    }

    #[test]
    fn any_origin_is_a_star() {
        let route = Route::of::<Cors>(json!({ "origins": ["*"] }));
        let seen = route.send(Call::get("/").header("origin", "https://x.example"));
        assert_eq!(seen.header("access-control-allow-origin"), Some("*"));
        assert_eq!(seen.header("access-control-allow-credentials"), None);
    }

    #[test]
    fn bad_configs() {
        let star = json!({ "origins": ["*"], "credentials": true });
        assert_eq!(refusal::<Cors>(&star).path, "credentials");
        for bad in [
            "app.example.com",
            "https://a.example/",
            "https://*",
            "https://a.*.com",
        ] {
            let config = json!({ "origins": ["*", bad] });
            assert_eq!(refusal::<Cors>(&config).path, "origins[1]", "{bad}");
        }
        let method = json!({ "origins": ["*"], "methods": ["GE T"] });
        assert_eq!(refusal::<Cors>(&method).path, "methods[0]");
    }
}
