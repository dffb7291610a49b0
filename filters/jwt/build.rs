//! The config of `jwt`, and the filter out of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use jsonwebtoken::Algorithm;
use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer};

use super::source::{FromFile, FromUrl, Source};
use super::token::Rules;
use super::{Jwt, keys};
use crate::filter::cache::Cache;
use crate::filter::units::{Header, Span};
use crate::filter::{Build, BuildError};
use crate::outbound::{self, Outbound};

/// Lets in whoever shows a valid JSON Web Token.
///
/// Exactly one of `secret`, `public_key_file`, `jwks_file` and `jwks_url` says which keys are good.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A shared secret for HS256, HS384 and HS512, at least 32 bytes; from `${file:...}`, not in the file itself.
    pub secret: Option<String>,
    /// A public key in PEM: RSA, P-256, P-384 or Ed25519. Relative to the working directory.
    pub public_key_file: Option<PathBuf>,
    /// A JWK set (RFC 7517), read again every `refresh`. Relative to the working directory.
    pub jwks_file: Option<PathBuf>,
    /// A JWK set, fetched at start, every `refresh`, and when a token names an unknown key (at most every 30 s).
    pub jwks_url: Option<String>,
    /// Algorithms that are good: HS, RS and PS with 256, 384 or 512, ES256, ES384, EdDSA (Ed25519); ES512 is not supported.
    /// Default: all that fit the keys, HS256 to HS512 only with `secret`.
    #[schemars(with = "Option<Vec<String>>")]
    pub algorithms: Option<Vec<Allowed>>,
    /// Who may have made the token (`iss`): one, or a list of which one.
    pub issuer: Option<OneOrMany>,
    /// Who it is for (`aud`): one, or a list of which one.
    pub audience: Option<OneOrMany>,
    /// How far clocks may differ, for `exp` and `nbf`. Default: 60s; at most 10m.
    #[serde(default = "leeway")]
    pub leeway: Span,
    /// Claims that must be there. Default: exp.
    #[serde(default = "required")]
    pub required_claims: Vec<String>,
    /// Claims to keep as attributes `jwt.<claim>`, for other filters and the access log. Default: sub.
    #[serde(default = "sub")]
    pub claims: Vec<String>,
    /// Claims to tell the backend, by header; what the client sent there is dropped.
    #[serde(default)]
    pub claims_to_headers: HashMap<String, Header>,
    /// Where the token is looked for. Several places may have it, but only the same one; a token that is there twice, or that
    /// disagrees with another place, is refused. Default: `Authorization: Bearer`.
    #[serde(default = "bearer")]
    pub from: Vec<Place>,
    /// Lets requests without any token through, and those with another scheme in `Authorization`, such as `Basic`. A token
    /// that is there but bad, unreadable or given twice is still refused. Default: false.
    #[serde(default)]
    pub optional: bool,
    /// How often keys are read again. Default: 10m; at least 10s.
    #[serde(default = "refresh")]
    pub refresh: Span,
    /// Tokens remembered as verified, until they expire or the keys change. Default: 10000; 0 remembers none.
    #[serde(default = "cached")]
    pub cache: usize,
}

/// Where a token may be.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Place {
    /// In a header, after a prefix such as `Bearer ` (any case, any number of spaces).
    Header {
        /// The header's name.
        name: Header,
        /// What stands before the token. Default: nothing.
        #[serde(default)]
        prefix: String,
    },
    /// In a cookie.
    Cookie {
        /// The cookie's name.
        name: String,
    },
    /// In a query parameter. The access log shows `***` in place of its value; logs of others will show it.
    Query {
        /// The parameter's name.
        name: String,
    },
}

/// The name of an algorithm (RFC 7518 section 3.1).
#[derive(Debug, Clone, Copy)]
pub struct Allowed(Algorithm);

impl<'de> Deserialize<'de> for Allowed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Allowed, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == "ES512" {
            let say = "ES512 is not supported; write ES256, ES384 or EdDSA";
            return Err(de::Error::custom(say));
        }
        let known = name.parse().map(Allowed);
        known.map_err(|_| de::Error::custom(format_args!("{name:?} is not an algorithm")))
    }
}

/// One text or several.
#[derive(Debug, Clone, serde::Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    fn list(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

fn leeway() -> Span {
    Span(Duration::from_mins(1))
}

fn required() -> Vec<String> {
    vec!["exp".into()]
}

fn sub() -> Vec<String> {
    vec!["sub".into()]
}

fn refresh() -> Span {
    Span(Duration::from_mins(10))
}

fn cached() -> usize {
    10_000
}

fn bearer() -> Vec<Place> {
    vec![Place::Header {
        name: Header(AUTHORIZATION),
        prefix: "Bearer ".into(),
    }]
}

pub(super) const SYMMETRIC: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
pub(super) const ASYMMETRIC: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Answers of a JWKS server.
const JWKS_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_JWKS: usize = 1024 * 1024;
const MAX_CACHE: usize = 1_000_000;

impl Build for Jwt {
    const NAME: &'static str = "jwt";
    type Config = Config;

    fn build(config: Config) -> Result<Jwt, BuildError> {
        check(&config)?;
        let source = Arc::new(source(&config)?);
        let attribute = |claim: &String| (claim.clone(), Cow::Owned(format!("jwt.{claim}")));
        let default = if config.secret.is_some() {
            &SYMMETRIC[..]
        } else {
            &ASYMMETRIC[..]
        };
        let headers: Vec<_> = config
            .claims_to_headers
            .into_iter()
            .map(|(c, h)| (c, h.0))
            .collect();
        let owned_headers = headers.iter().map(|(_, header)| header.clone()).collect();
        let list = |texts: Option<OneOrMany>| texts.map(OneOrMany::list).unwrap_or_default();
        Ok(Jwt {
            source,
            rules: Rules {
                algorithms: match config.algorithms {
                    Some(allowed) => allowed.into_iter().map(|a| a.0).collect(),
                    None => default.to_vec(),
                },
                issuers: list(config.issuer),
                audiences: list(config.audience),
                leeway: config.leeway.0,
                required: config.required_claims,
                attributes: config.claims.iter().map(attribute).collect(),
                headers,
            },
            places: config.from,
            optional: config.optional,
            challenge: HeaderValue::from_static("Bearer"),
            challenge_invalid: HeaderValue::from_static("Bearer error=\"invalid_token\""),
            owned_headers,
            verified: Cache::new(config.cache),
            hits: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }
}

fn check(config: &Config) -> Result<(), BuildError> {
    let refuse = |path, say| Err(BuildError::at(path, say));
    let empty = |list: &Option<OneOrMany>| list.clone().is_some_and(|list| list.list().is_empty());
    if empty(&config.issuer) {
        return refuse("issuer", "write at least one, or leave the key out");
    }
    if empty(&config.audience) {
        return refuse("audience", "write at least one, or leave the key out");
    }
    if config.algorithms.as_ref().is_some_and(Vec::is_empty) {
        return refuse("algorithms", "write at least one, or leave the key out");
    }
    if config.from.is_empty() {
        return refuse("from", "write at least one place, or leave the key out");
    }
    if config.leeway.0 > Duration::from_mins(10) {
        return refuse("leeway", "write at most 10m");
    }
    if config.refresh.0 < Duration::from_secs(10) {
        return refuse("refresh", "write at least 10s");
    }
    if config.cache > MAX_CACHE {
        return refuse("cache", "write at most 1000000");
    }
    Ok(())
}

fn source(config: &Config) -> Result<Source, BuildError> {
    let read = |file: &PathBuf, path: &str| {
        std::fs::read(file).map_err(|e| BuildError::at(path, format!("cannot be read: {e}")))
    };
    let given = (
        &config.secret,
        &config.public_key_file,
        &config.jwks_file,
        &config.jwks_url,
    );
    match given {
        (Some(secret), None, None, None) => {
            let key = keys::secret(secret.as_bytes());
            Ok(Source::fixed(vec![
                key.map_err(|say| BuildError::at("secret", say))?,
            ]))
        }
        (None, Some(file), None, None) => {
            let at = "public_key_file";
            let key = keys::pem(&read(file, at)?).map_err(|say| BuildError::at(at, say))?;
            Ok(Source::fixed(vec![key]))
        }
        (None, None, Some(file), None) => {
            let at = "jwks_file";
            let keys = keys::jwks(&read(file, at)?).map_err(|say| BuildError::at(at, say))?;
            let fetch = Box::new(FromFile(file.clone()));
            Ok(Source::fetched(keys, fetch, config.refresh.0))
        }
        (None, None, None, Some(url)) => {
            let url = outbound::url(url, "jwks_url")?;
            let client = Outbound::new(JWKS_TIMEOUT, MAX_JWKS)?;
            let fetch = Box::new(FromUrl { url, client });
            Ok(Source::fetched(Vec::new(), fetch, config.refresh.0))
        }
        _ => {
            let say = "write exactly one of secret, public_key_file, jwks_file and jwks_url";
            Err(BuildError::new(say))
        }
    }
}
