//! Sticky sessions and the secret that instances share.

use std::time::Duration;

use http::HeaderName;

/// Keeps a client at one backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Sticky {
    pub carrier: Carrier,
    /// From its first request on; then the client is given a backend anew.
    pub ttl: Duration,
    /// Without a request for this long the client is taken as new; `None`: only `ttl` counts.
    pub idle_ttl: Option<Duration>,
    /// A backend over this many times its fair part of the load gives sessions away; `None` never.
    pub bounded_load: Option<f64>,
    pub on_overload: OnOverload,
    /// Answer 503 when the client's backend is down, instead of choosing another.
    pub strict: bool,
    /// The first seals, all open; empty: keys are derived from `Cluster::secrets`.
    pub keys: Vec<Secret>,
}

/// Where a client's backend is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    Cookie(StickyCookie),
    /// In a header of requests and responses, for clients that keep no cookies.
    Header(HeaderName),
    /// Nowhere: the backend follows from the hash of this cookie, which the application sets.
    AppCookie(String),
}

/// A cookie with its attributes (RFC 6265, section 4.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyCookie {
    /// With `__Host-` in front where the file asks for it.
    pub name: String,
    pub path: String,
    pub domain: Option<String>,
    pub same_site: SameSite,
    /// `Secure` on clear-text connections too.
    pub always_secure: bool,
    /// Kept apart for each site that embeds this one.
    pub partitioned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOverload {
    /// The session moves to a backend with room.
    Rehome,
    /// This one request goes there, the session stays.
    Spill,
}

/// What instances have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The first derives what is sealed, all what is opened. Empty: there is none.
    pub secrets: Vec<Secret>,
    /// How long one derived key seals.
    pub key_rotation: Duration,
}

/// At least 32 bytes that nobody else knows. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Box<str>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}
