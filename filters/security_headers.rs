//! Sets the response headers that keep browsers on the safe side.
//! ```yaml
//! - security_headers:
//!     content_security_policy: "default-src 'self'"
//!     frame_options: SAMEORIGIN
//! ```
//! A header that the backend has set stays. `Strict-Transport-Security` goes out over https only (RFC 6797 section 7.2).

use async_trait::async_trait;
use http::header::{self, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::{Span, Value};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, ResponseHead, Verdict};

/// Sets the response headers that keep browsers on the safe side.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `max-age` of `Strict-Transport-Security`; `0s` sends none. Default: 365d.
    pub hsts: Span,
    /// Adds `includeSubDomains`. Default: false.
    pub hsts_subdomains: bool,
    /// Adds `preload`, which asks for `hsts_subdomains` and at least 365d. Default: false.
    pub hsts_preload: bool,
    /// `X-Content-Type-Options: nosniff`. Default: true.
    pub nosniff: bool,
    /// `X-Frame-Options`; `null` sends none. Default: DENY.
    pub frame_options: Option<FrameOptions>,
    /// `Referrer-Policy`; `null` sends none. Default: strict-origin-when-cross-origin.
    pub referrer_policy: Option<Value>,
    /// `Content-Security-Policy`. Default: none, since it depends on the site.
    pub content_security_policy: Option<Value>,
    /// `Permissions-Policy`. Default: none.
    pub permissions_policy: Option<Value>,
    /// `Cross-Origin-Opener-Policy`. Default: none.
    pub cross_origin_opener_policy: Option<Value>,
}

/// Who may show the page in a frame.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum FrameOptions {
    /// Nobody.
    Deny,
    /// Pages of the same origin.
    SameOrigin,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            hsts: Span(YEAR),
            hsts_subdomains: false,
            hsts_preload: false,
            nosniff: true,
            frame_options: Some(FrameOptions::Deny),
            referrer_policy: Some(Value(HeaderValue::from_static(
                "strict-origin-when-cross-origin",
            ))),
            content_security_policy: None,
            permissions_policy: None,
            cross_origin_opener_policy: None,
        }
    }
}

const YEAR: std::time::Duration = std::time::Duration::from_secs(365 * 86_400);
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// See the module.
pub struct SecurityHeaders {
    always: Vec<(HeaderName, HeaderValue)>,
    hsts: Option<HeaderValue>,
}

#[async_trait]
impl Filter for SecurityHeaders {
    fn hooks(&self) -> Hooks {
        Hooks::RESPONSE
    }

    async fn on_response(&self, exchange: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        for (name, value) in &self.always {
            let slot = head.headers.entry(name);
            slot.or_insert_with(|| value.clone());
        }
        if let (Some(hsts), "https") = (&self.hsts, exchange.scheme()) {
            let slot = head.headers.entry(header::STRICT_TRANSPORT_SECURITY);
            slot.or_insert_with(|| hsts.clone());
        }
        Verdict::Continue
    }
}

impl Build for SecurityHeaders {
    const NAME: &'static str = "security_headers";
    type Config = Config;

    fn build(config: Config) -> Result<SecurityHeaders, BuildError> {
        if config.hsts_preload && !(config.hsts_subdomains && config.hsts.0 >= YEAR) {
            let say = "preload lists ask for hsts_subdomains: true and hsts of at least 365d";
            return Err(BuildError::at("hsts_preload", say));
        }
        let hsts = hsts(&config);
        let frames = config.frame_options.map(|who| match who {
            FrameOptions::Deny => "DENY",
            FrameOptions::SameOrigin => "SAMEORIGIN",
        });
        let fixed = HeaderValue::from_static;
        let given = |value: Option<Value>| value.map(|value| value.0);
        let all = [
            (
                header::X_CONTENT_TYPE_OPTIONS,
                config.nosniff.then(|| fixed("nosniff")),
            ),
            (header::X_FRAME_OPTIONS, frames.map(fixed)),
            (header::REFERRER_POLICY, given(config.referrer_policy)),
            (
                header::CONTENT_SECURITY_POLICY,
                given(config.content_security_policy),
            ),
            (PERMISSIONS_POLICY, given(config.permissions_policy)),
            (OPENER_POLICY, given(config.cross_origin_opener_policy)),
        ];
        let set = all.into_iter();
        Ok(SecurityHeaders {
            always: set
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            hsts,
        })
    }
}

fn hsts(config: &Config) -> Option<HeaderValue> {
    let seconds = config.hsts.0.as_secs();
    let subdomains = if config.hsts_subdomains {
        "; includeSubDomains"
    } else {
        ""
    };
    let preload = if config.hsts_preload { "; preload" } else { "" };
    let text = format!("max-age={seconds}{subdomains}{preload}");
    let value = HeaderValue::try_from(text).ok();
    value.filter(|_| seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Response, TlsFacts};
    use crate::testing::{Call, Route, refusal};
    use http::StatusCode;
    use serde_json::json;

    #[test]
    fn defaults() {
        let route = Route::of::<SecurityHeaders>(json!(null));
        let seen = route.send(Call::get("/").tls(TlsFacts::default()));
        assert_eq!(
            seen.header("strict-transport-security"),
            Some("max-age=31536000")
        );
        assert_eq!(seen.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(seen.header("x-frame-options"), Some("DENY"));
        assert_eq!(
            seen.header("referrer-policy"),
            Some("strict-origin-when-cross-origin")
        );
        assert_eq!(seen.header("content-security-policy"), None);
    }

    #[test]
    fn no_hsts_over_plain_http() {
        let seen = Route::of::<SecurityHeaders>(json!({})).send(Call::get("/"));
        assert_eq!(seen.header("strict-transport-security"), None);
    }

    #[test]
    fn what_the_backend_says_stays() {
        let own = Response::new(StatusCode::OK).header(
            header::X_FRAME_OPTIONS,
            HeaderValue::from_static("SAMEORIGIN"),
        );
        let seen = Route::of::<SecurityHeaders>(json!({})).send(Call::get("/").answered(own));
        assert_eq!(seen.header("x-frame-options"), Some("SAMEORIGIN"));
    }

    #[test]
    fn null_turns_one_off() {
        let seen =
            Route::of::<SecurityHeaders>(json!({ "frame_options": null })).send(Call::get("/"));
        assert_eq!(seen.header("x-frame-options"), None);
        assert_eq!(seen.header("x-content-type-options"), Some("nosniff"));
    }

    #[test]
    fn preload_needs_its_conditions() {
        assert_eq!(
            refusal::<SecurityHeaders>(&json!({ "hsts_preload": true })).path,
            "hsts_preload"
        );
    }

    #[test]
    fn replies_of_the_core_have_them_too() {
        let seen = Route::of::<SecurityHeaders>(json!({})).send(Call::get("/").unanswered());
        assert_eq!(
            (seen.status(), seen.header("x-frame-options")),
            (502, Some("DENY"))
        );
    }
}
