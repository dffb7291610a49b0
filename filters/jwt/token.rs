//! One token: its form, its signature, its claims. Pure: keys and time are arguments.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HeaderName, HeaderValue};
use jsonwebtoken::{Algorithm, crypto};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
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

/// The part of the header that matters.
struct JoseHeader {
    alg: Algorithm,
    kid: Option<String>,
}

/// The members of an object in which no name stands twice: of two, other readers may take the other one (RFC 7515
/// section 4, RFC 7519 section 4).
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Map::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("a name stands twice"));
            }
        }
        Ok(Members(members))
    }
}

impl Rules {
    pub fn verify(&self, token: &str, keys: &KeySet, now: SystemTime) -> Result<Verified, Refused> {
        let payload = self.signed_payload(token, keys)?;
        let claims: Members =
            serde_json::from_slice(&payload).map_err(|_| Refused::Malformed("payload"))?;
        let claims = claims.0;
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

/// Reads the header of a token strictly: what says how the rest is to be read must have the type that its RFC gives it.
///
/// `crit` is refused in any form, as nothing critical is understood, and a malformed one is invalid by itself (RFC 7515
/// section 4.1.11); so is a `b64` that says that the payload is not encoded (RFC 7797). `none` is not an algorithm.
fn jose_header(encoded: &str) -> Result<JoseHeader, Refused> {
    let json = URL_SAFE_NO_PAD.decode(encoded).ok();
    let members = json.and_then(|json| serde_json::from_slice::<Members>(&json).ok());
    let members = members.ok_or(Refused::Malformed("header"))?.0;
    if members.contains_key("crit") {
        return Err(Refused::Malformed("header: crit"));
    }
    if members
        .get("b64")
        .is_some_and(|b64| *b64 != Value::Bool(true))
    {
        return Err(Refused::Malformed("header: b64"));
    }
    let text = |name: &'static str, wrong: &'static str| match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refused::Malformed(wrong)),
    };
    text("typ", "header: typ")?;
    text("cty", "header: cty")?;
    let kid = text("kid", "header: kid")?.cloned();
    let alg = text("alg", "header: alg")?.ok_or(Refused::Malformed("header: alg"))?;
    let alg = alg.parse().map_err(|_| Refused::Algorithm)?;
    Ok(JoseHeader { alg, kid })
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
