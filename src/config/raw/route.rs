//! `routes`: which requests, what becomes of them, and what is changed on the way.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::text::{
    Cidr, HeaderName, HeaderValue, Host, HostPattern, Label, Method, Pattern, Size, Timeout,
    UrlPath,
};
use super::{HashKey, OneOrMany, RedirectStatus};

/// Requests that match, and what becomes of them: exactly one of `pool`, `split`, `redirect` and `respond`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Used in logs, metrics and `/status`; default: made of the first match, such as `api.example.com/api`. Up to 128
    /// ASCII characters without spaces.
    pub name: Option<Label>,
    /// Which requests: one set of conditions, or a list of sets of which any must hold. `{}` is every request.
    #[serde(rename = "match")]
    pub matches: OneOrMany<Match>,
    /// Send the request to this pool.
    pub pool: Option<String>,
    /// Send the request to one of several pools, by weight. A client stays with its pool, and raising the weight of a
    /// later pool only moves clients to it: put the stable one first.
    #[schemars(length(min = 1, max = 100))]
    pub split: Option<Vec<SplitChoice>>,
    /// What a client is known by for `split`; default: `client_ip`.
    pub split_by: Option<HashKey>,
    /// Answer with a redirect.
    pub redirect: Option<Redirect>,
    /// Answer with a fixed response.
    pub respond: Option<Respond>,
    /// Change the path that the backend sees.
    pub rewrite: Option<Rewrite>,
    /// Change the request's headers before it is sent to a backend.
    #[serde(default)]
    pub request_headers: HeaderEdits,
    /// Change the response's headers before it is sent to the client.
    #[serde(default)]
    pub response_headers: HeaderEdits,
    /// Filters, each a mapping of one name to its own keys. They run in this order for requests, in reverse for responses.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub filters: Vec<FilterUse>,
    /// Replaces timeouts of the pool for this route.
    #[serde(default)]
    pub timeouts: TimeoutOverrides,
    /// Replaces the pool's retry setting for this route.
    #[serde(default)]
    pub retry: RetryOverride,
    /// Whether requests may be refused to save others: `sheddable` ones are answered with 503 and `Retry-After` while
    /// the instance is short of something; see `overload`.
    #[serde(default)]
    pub criticality: Criticality,
    /// Largest request body; more is answered with 413. Default: no limit, as bodies are streamed and never held.
    pub max_body: Option<Size>,
    /// Replaces `upstream.streaming` of the pool for this route: whether requests may be streams, whose bodies take any time.
    pub streaming: Option<bool>,
    /// Let GET, HEAD and OPTIONS requests without a body go to the backend before the TLS handshake is done, on listeners
    /// with `early_data`. Only where an attacker may repeat a request without harm: a page, not an account's balance.
    #[serde(default)]
    pub early_data: bool,
}

/// Conditions on a request, all of which must hold. One that is left out always holds. Of `path`, `path_prefix`,
/// `path_raw_prefix` and `path_regex` at most one is given.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Names of listeners, one or a list.
    pub listener: Option<OneOrMany<String>>,
    /// The host, without port: a name, or `*.example.com` for one label or more in front.
    pub host: Option<HostPattern>,
    /// Exactly this path, and no other: many servers give the same answer for `/admin/`, so protect with `path_prefix`.
    pub path: Option<UrlPath>,
    /// Whole segments: `/api` is `/api` and `/api/x`, not `/apix`.
    pub path_prefix: Option<UrlPath>,
    /// The first bytes of the path: `/api` is `/apix` too.
    pub path_raw_prefix: Option<UrlPath>,
    /// A regular expression for the whole path. Compiled size up to 1 MiB.
    pub path_regex: Option<Pattern>,
    /// Methods, one or a list, in capitals.
    pub method: Option<OneOrMany<Method>>,
    /// Request headers: a list of conditions with `name`, or a mapping of names to values or conditions.
    pub headers: Option<Conditions>,
    /// Query parameters, in the same two forms; names and values are percent-decoded.
    pub query: Option<Conditions>,
    /// Cookies, in the same two forms.
    pub cookies: Option<Conditions>,
    /// Networks of the client's address: PROXY header and trusted proxies are taken into account. A client that nobody knows
    /// (see `trusted_proxies`) is in none.
    #[serde(default)]
    pub client: Vec<Cidr>,
    /// The client's certificate, on listeners with `tls.client_auth`. `{}` is any that holds.
    pub client_certificate: Option<CertificateMatch>,
}

/// Conditions on a client's certificate, all of which must hold. Each is an exact value or a test of one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateMatch {
    /// The subject's common name.
    pub common_name: Option<ConditionValue>,
    /// One of its DNS names.
    pub dns: Option<ConditionValue>,
    /// One of its URIs, such as a SPIFFE id.
    pub uri: Option<ConditionValue>,
    /// SHA-256 of the certificate, 64 hexadecimal digits in lower case.
    pub sha256: Option<ConditionValue>,
}

/// Conditions on named values, all of which must hold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Conditions {
    List(Vec<NamedCondition>),
    Map(BTreeMap<String, ConditionValue>),
}

/// The exact value, or a test of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConditionValue {
    Exact(String),
    Test(ValueTest),
}

/// A test of one named value: exactly one of `exact`, `prefix`, `regex` and `present`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedCondition {
    /// Name of the header, query parameter or cookie.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The value is this one.
    pub exact: Option<String>,
    /// The value begins with this.
    pub prefix: Option<String>,
    /// A regular expression for the whole value.
    pub regex: Option<Pattern>,
    /// `true`: any value will do.
    pub present: Option<bool>,
}

/// Exactly one of `exact`, `prefix`, `regex` and `present`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueTest {
    /// The value is this one.
    pub exact: Option<String>,
    /// The value begins with this.
    pub prefix: Option<String>,
    /// A regular expression for the whole value.
    pub regex: Option<Pattern>,
    /// `true`: any value will do.
    pub present: Option<bool>,
}

/// One pool of a split.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitChoice {
    /// The pool's name.
    pub pool: String,
    /// Its share, against the sum of all weights.
    #[schemars(range(max = 10_000))]
    pub weight: u32,
}

/// A redirect. At least one of `scheme`, `host`, `port` and `path` is given; the rest is the request's own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    /// 308 and 307 keep the method; browsers remember 301 and 308.
    pub status: RedirectStatus,
    /// The scheme to go to.
    pub scheme: Option<Scheme>,
    /// The host to go to.
    pub host: Option<Host>,
    /// The port to go to; default: the scheme's own when `scheme` is given, else the request's.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Takes the place of the whole path; default: path and query stay.
    pub path: Option<UrlPath>,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            status: RedirectStatus(308),
            scheme: None,
            host: None,
            port: None,
            path: None,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Criticality {
    #[default]
    Normal,
    Sheddable,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Http,
    Https,
}

/// A fixed response.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Respond {
    /// The response's status.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// The response's body; 204, 205 and 304 have none.
    pub body: String,
    /// The body's media type.
    pub content_type: HeaderValue,
}

impl Default for Respond {
    fn default() -> Self {
        let content_type = HeaderValue(http::HeaderValue::from_static("text/plain; charset=utf-8"));
        Self {
            status: 200,
            body: String::new(),
            content_type,
        }
    }
}

/// Exactly one of `strip_prefix`, `replace_prefix` and `regex`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// `true` takes the matched `path_prefix` away: `/api/orders/1` under `/api/orders` becomes `/1`. What follows stays as
    /// the client sent it, but for slashes at the new beginning, of which one is left.
    #[serde(default)]
    pub strip_prefix: bool,
    /// Takes the place of the matched `path_prefix`.
    pub replace_prefix: Option<UrlPath>,
    /// Replaces by regular expression.
    pub regex: Option<RewriteRegex>,
}

/// Applies to the path in its normal form, never to the query. What the pattern does not match, and what its groups stand
/// for, stays as the client sent it. A result that could be read in two ways is answered with 400; see `listeners[].paths`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewriteRegex {
    /// What to look for; write `^` and `$` to bind it to the ends. Compiled size up to 1 MiB.
    pub pattern: Pattern,
    /// What to put there: `$1` or `$${name}` for groups of the pattern (`$$` as `${name}` would be a variable).
    pub replacement: String,
}

/// Changes to headers, in the order `remove`, `set`, `add`. Headers that frame a message or belong to one connection
/// (`Content-Length`, `Connection`, ...) cannot be changed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Headers to put in place of all of the same name.
    pub set: BTreeMap<String, HeaderValue>,
    /// Headers to add beside those of the same name.
    pub add: BTreeMap<String, HeaderValue>,
    /// Names of headers to take away.
    pub remove: Vec<HeaderName>,
}

/// One name of a filter, with the filter's own keys under it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FilterUse(pub serde_json::Map<String, serde_json::Value>);

impl JsonSchema for FilterUse {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FilterUse".into()
    }
    /// A placeholder: which filters there are is known from the catalogue only.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// Timeouts of a pool that a route replaces; see `pools.<name>.timeouts`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutOverrides {
    /// TCP and TLS handshake with the backend.
    pub connect: Option<Timeout>,
    /// From the request sent to the first byte of the response.
    pub first_byte: Option<Timeout>,
    /// Between two reads of a response.
    pub read: Option<Timeout>,
    /// One write of a request.
    pub write: Option<Timeout>,
    /// One attempt, from the choice of a backend to the response's head.
    pub per_try: Option<Timeout>,
    /// All attempts together, up to the response's head.
    pub total: Option<Timeout>,
    /// Silence of both sides after a 101.
    pub tunnel_idle_timeout: Option<Timeout>,
}

/// What a route changes of its pool's `retry`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryOverride {
    /// Further attempts after the first; 0 turns retries off for this route.
    #[schemars(range(max = 10))]
    pub attempts: Option<u32>,
}
