//! One token: its form, its signature, its claims. Pure: keys and time are arguments.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, crypto};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::{KeySet, Missing};
use crate::filter::Attribute;

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    Missing,
    TooLong,
    Malformed(&'static str),
    Algorithm,
    NoKeys,
    UnknownKey,
    WrongKey,
    Signature,
    Expired,
    NotYet,
    Issuer,
    Audience,
    Claim(String),
}

impl Refused {
    pub fn reason(&self) -> Cow<'static, str> {
        match self {
            Refused::Missing => "jwt: no token".into(),
            Refused::TooLong => "jwt: token too long".into(),
            Refused::Malformed(what) => format!("jwt: malformed {what}").into(),
            Refused::Algorithm => "jwt: algorithm not allowed".into(),
            Refused::NoKeys => "jwt: no keys yet".into(),
            Refused::UnknownKey => "jwt: unknown kid".into(),
            Refused::WrongKey => "jwt: key is not for this algorithm".into(),
            Refused::Signature => "jwt: wrong signature".into(),
            Refused::Expired => "jwt: expired".into(),
            Refused::NotYet => "jwt: not yet valid".into(),
            Refused::Issuer => "jwt: wrong issuer".into(),
            Refused::Audience => "jwt: wrong audience".into(),
            Refused::Claim(name) => format!("jwt: claim {name} missing or wrong").into(),
        }
    }
}

/// What is asked of a token beyond its signature.
pub(super) struct Rules {
    pub algorithms: Vec<Algorithm>,
    /// Any of these; empty is any.
    pub issuers: Vec<String>,
    /// Any of these; empty is any.
    pub audiences: Vec<String>,
    pub leeway: Duration,
    pub required: Vec<String>,
    /// Claim to attribute.
    pub attributes: Vec<(String, Cow<'static, str>)>,
    /// Claim to header.
    pub headers: Vec<(String, HeaderName)>,
}

/// What a token that was found good says.
#[derive(Debug)]
pub(super) struct Verified {
    pub expires: Option<SystemTime>,
    pub attributes: Vec<(Cow<'static, str>, Attribute)>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The part of the header that matters. An algorithm that is not known, `none` among them, does not parse.
#[derive(Deserialize)]
struct JoseHeader {
    alg: Algorithm,
    kid: Option<String>,
    /// Nothing critical is understood (RFC 7515 section 4.1.11).
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct AlgorithmName {
    #[serde(rename = "alg")]
    _alg: String,
}

impl Rules {
    pub fn verify(&self, token: &str, keys: &KeySet, now: SystemTime) -> Result<Verified, Refused> {
        let payload = self.signed_payload(token, keys)?;
        let claims: Map<String, Value> =
            serde_json::from_slice(&payload).map_err(|_| Refused::Malformed("payload"))?;
        self.check(&claims, now)?;
        let expires = date(&claims, "exp")?.map(|date| date + self.leeway);
        Ok(Verified {
            expires,
            attributes: self.attributes(&claims),
            headers: self.headers(&claims),
        })
    }

    /// The payload of a token (compact serialization, RFC 7515 section 7.1) whose signature is right.
    pub fn signed_payload(&self, token: &str, keys: &KeySet) -> Result<Vec<u8>, Refused> {
        let (message, signature) = token.rsplit_once('.').ok_or(Refused::Malformed("token"))?;
        let (header, payload) = message.split_once('.').ok_or(Refused::Malformed("token"))?;
        if payload.contains('.') {
            return Err(Refused::Malformed("token"));
        }
        let header = jose_header(header)?;
        if header.crit.is_some() {
            return Err(Refused::Malformed("header: crit"));
        }
        if !self.algorithms.contains(&header.alg) {
            return Err(Refused::Algorithm);
        }
        if keys.keys.is_empty() {
            return Err(Refused::NoKeys);
        }
        let key = keys.find(header.kid.as_deref(), header.alg);
        let key = key.map_err(|missing| match missing {
            Missing::Key => Refused::UnknownKey,
            Missing::Algorithm => Refused::WrongKey,
        })?;
        match crypto::verify(signature, message.as_bytes(), &key.key, header.alg) {
            Ok(true) => URL_SAFE_NO_PAD
                .decode(payload)
                .map_err(|_| Refused::Malformed("payload")),
            _ => Err(Refused::Signature),
        }
    }

    fn check(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<(), Refused> {
        let expires = date(claims, "exp")?;
        if expires.is_some_and(|expires| now >= expires + self.leeway) {
            return Err(Refused::Expired);
        }
        let not_before = date(claims, "nbf")?;
        if not_before.is_some_and(|from| now + self.leeway < from) {
            return Err(Refused::NotYet);
        }
        if !self.issuers.is_empty() {
            let issuer = claims.get("iss").and_then(Value::as_str);
            let right = issuer.is_some_and(|issuer| self.issuers.iter().any(|i| i == issuer));
            right.then_some(()).ok_or(Refused::Issuer)?;
        }
        if !self.audiences.is_empty() {
            let right = claims.get("aud").is_some_and(|aud| self.is_audience(aud));
            right.then_some(()).ok_or(Refused::Audience)?;
        }
        let missing = |name: &&String| claim(claims, name).is_none_or(Value::is_null);
        let missing = self.required.iter().find(missing);
        missing.map_or(Ok(()), |name| Err(Refused::Claim(name.clone())))
    }

    /// `aud` is one string or a list (RFC 7519 section 4.1.3).
    fn is_audience(&self, aud: &Value) -> bool {
        let known = |aud: &Value| {
            let aud = aud.as_str();
            aud.is_some_and(|aud| self.audiences.iter().any(|ours| ours == aud))
        };
        match aud {
            Value::Array(list) => list.iter().any(known),
            one => known(one),
        }
    }

    fn attributes(&self, claims: &Map<String, Value>) -> Vec<(Cow<'static, str>, Attribute)> {
        let wanted = self.attributes.iter();
        let found = wanted.filter_map(|(name, attribute)| {
            let value = match claim(claims, name)? {
                Value::Bool(flag) => Attribute::Flag(*flag),
                Value::Number(number) if number.is_i64() => Attribute::Number(number.as_i64()?),
                other => Attribute::from(text(other)?),
            };
            Some((attribute.clone(), value))
        });
        found.collect()
    }

    fn headers(&self, claims: &Map<String, Value>) -> Vec<(HeaderName, HeaderValue)> {
        let wanted = self.headers.iter();
        let found = wanted.filter_map(|(name, header)| {
            let value = text(claim(claims, name)?)?;
            Some((header.clone(), HeaderValue::try_from(value).ok()?))
        });
        found.collect()
    }
}

fn jose_header(encoded: &str) -> Result<JoseHeader, Refused> {
    let malformed = |_| Refused::Malformed("header");
    let json = URL_SAFE_NO_PAD.decode(encoded);
    let json = json.map_err(|_| Refused::Malformed("header"))?;
    serde_json::from_slice(&json).or_else(|_| {
        // Tells an algorithm that is not known from a header that is none.
        let named: AlgorithmName = serde_json::from_slice(&json).map_err(malformed)?;
        drop(named);
        Err(Refused::Algorithm)
    })
}

/// A claim by its name, or by the path to it: `realm_access.roles`.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        claim(claims.get(first)?.as_object()?, rest)
    })
}

/// Strings as they are, lists of strings joined by commas, numbers and flags as JSON writes them.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}

/// A NumericDate (RFC 7519 section 2): seconds, which may have a fraction.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<SystemTime>, Refused> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let wrong = || Refused::Claim(name.to_string());
    let seconds = value.as_f64().filter(|s| (0.0..1e11).contains(s));
    let seconds = Duration::from_secs_f64(seconds.ok_or_else(wrong)?);
    Ok(Some(SystemTime::UNIX_EPOCH + seconds))
}
