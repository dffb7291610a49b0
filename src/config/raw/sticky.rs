//! `sticky` and `cluster`: clients that keep their backend, and the secret that lets every instance know it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::text::{CookieName, HeaderName, Host, Timeout, UrlPath};
use super::{Factor, OneOrMany, OrOff, timeout};

/// Keeps a client at one backend. For new systems, better keep sessions outside of the backends (in Redis, say): one hop
/// more of a millisecond or two, and no client hangs on one machine. Give exactly one of `cookie`, `header` and
/// `app_cookie`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// The name of the cookie that remembers the backend: encrypted, and good on every instance with the same key.
    pub cookie: Option<CookieName>,
    /// A header that does the same, for API clients: they send back what they were last given.
    pub header: Option<HeaderName>,
    /// The application's own session cookie: its hash says which backend. Needs `policy: consistent_hash` with the same
    /// cookie as `hash.key`. A session's first request is served before it has that cookie, so this is for backends that
    /// cache sessions, not for those that hold the only copy.
    pub app_cookie: Option<CookieName>,
    /// How long a client stays, however busy it is: a bound on how uneven things can get. The backend's sessions should end
    /// sooner.
    #[serde(default = "ttl")]
    pub ttl: Timeout,
    /// A client that was silent for this long is new. Default: only `ttl` counts. The cookie is sent again once half of it
    /// is used.
    pub idle_ttl: Option<Timeout>,
    /// A backend whose requests in flight or request rate are over this many times its fair part gives clients away until
    /// it is half way back; `off` lets a few busy clients overload it.
    #[serde(default = "bounded_load")]
    pub bounded_load: OrOff<Factor>,
    /// `rehome` moves such a client for good, `spill` sends single requests elsewhere. A client is moved at most every 30 s,
    /// each time after twice as long.
    #[serde(default)]
    pub on_overload: OnOverload,
    /// Answer 503 with `Retry-After` while a client's backend is down, instead of giving it another. Only for clients whose
    /// data is nowhere else; set `bounded_load: off`, too, or load moves them.
    #[serde(default)]
    pub strict: bool,
    /// The cookie's path.
    #[serde(default = "path")]
    pub path: UrlPath,
    /// The cookie's domain, to have it on subdomains, too. Default: only the host that set it.
    pub domain: Option<Host>,
    /// When browsers send it along with requests from other sites; `none` makes it `Secure`.
    #[serde(default)]
    pub same_site: SameSite,
    /// Put `__Host-` in front of the name: browsers then take it over TLS only, from this very host, for all paths.
    #[serde(default)]
    pub host_prefix: bool,
    /// Add `Partitioned` (CHIPS) and `Secure`: browsers keep one such cookie for each site that embeds this one in a frame,
    /// and take it there where they block cookies of third parties. Needs `same_site: none`, without which no frame of
    /// another site sends cookies.
    #[serde(default)]
    pub partitioned: bool,
    /// Keys of this pool's own, instead of those made of `cluster.secret`: the first one seals, all open. To change a key,
    /// put the new one first on all instances, and take the old one away after `ttl`. Each at least 32 bytes, as from
    /// `openssl rand -base64 32`.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub keys: Vec<Secret>,
}

fn ttl() -> Timeout {
    timeout(3_600_000)
}

fn bounded_load() -> OrOff<Factor> {
    OrOff::On(Factor(1.25))
}

fn path() -> UrlPath {
    UrlPath("/".into())
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnOverload {
    #[default]
    Rehome,
    Spill,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    #[default]
    Lax,
    Strict,
    None,
}

/// What all instances of a cluster have in common.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// At least 32 bytes that are the same on every instance and known to nobody else, as from `openssl rand -base64 32`;
    /// best as `${file:/run/secrets/tidegate}`. Keys are made of it and rotate by themselves. Of a list, the first makes
    /// what is sealed, all make what is opened.
    pub secret: Option<OneOrMany<Secret>>,
    /// How long one key seals; it opens for as long as something it sealed may live. A change makes all clients new.
    pub key_rotation: Timeout,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            secret: None,
            key_rotation: timeout(6 * 3_600_000),
        }
    }
}

/// Never written anywhere. Its form is checked in `check/`, whose messages do not repeat it.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}
