//! What is promised of tokens and key sets, whatever anybody sends: the fuzz targets `jwt` and `jwks` give their bytes to these.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::HeaderName;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Map, Value};

use super::keys::{self, KeyId, KeySet, VerifyKey};
use super::token::{Rules, Verified};

/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;
const LEEWAY: u64 = 60;
const SECRET: &[u8] = b"the secret of the fuzz targets, 32";
/// The set of public keys that tokens are held against: RFC 7515, appendix A.2 and A.3, and RFC 8037, appendix A.2.
const PUBLIC: &[u8] = br#"{"keys":[
{"kty":"RSA","kid":"r","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
{"kty":"EC","kid":"e","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
{"kty":"OKP","kid":"o","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A token, in three ways: as it stands, held against our secret and against public keys; as a header and claims, a newline between
/// them, that are signed with our secret; and as such a token that is changed somewhere.
pub fn jwt(data: &[u8]) {
    foreign(data);
    signed(data);
    changed(data);
}

/// Nobody knows a private key here, and a token of ours has our secret's signature.
fn foreign(data: &[u8]) {
    let (Ok(token), Ok(public)) = (std::str::from_utf8(data), keys::jwks(PUBLIC)) else {
        return;
    };
    let keys = KeySet {
        number: 1,
        keys: public,
    };
    let every = [
        ours(&Algorithms::Symmetric).algorithms,
        ours(&Algorithms::Asymmetric).algorithms,
    ]
    .concat();
    let rules = Rules {
        algorithms: every,
        ..ours(&Algorithms::Symmetric)
    };
    // Those of the RFCs, which expired long ago, are the only ones with a good signature.
    assert!(rules.verify(token, &keys, now()).is_err());
    if let Some(keys) = secret()
        && let Ok(verified) = ours(&Algorithms::Symmetric).verify(token, &keys, now())
    {
        let [header, payload] = parts(token);
        agrees(&header, &payload, &verified);
        assert!(token.starts_with(&sign(&header, &payload)));
    }
}

/// What is taken is what a plain reading of it takes.
fn signed(data: &[u8]) {
    let (header, payload) = halves(data);
    let (token, Some(keys)) = (sign(header, payload), secret()) else {
        return;
    };
    let rules = ours(&Algorithms::Symmetric);
    if let Ok(verified) = rules.verify(&token, &keys, now()) {
        agrees(header, payload, &verified);
    }
    // The same words by another kind of key are not taken, and no other algorithm takes our secret.
    let others = ours(&Algorithms::Asymmetric);
    assert!(others.verify(&token, &keys, now()).is_err());
    if let Ok(public) = keys::jwks(PUBLIC) {
        let public = KeySet {
            number: 2,
            keys: public,
        };
        assert!(rules.verify(&token, &public, now()).is_err());
    }
}

/// A token that was changed anywhere is not taken. Its first two bytes say where, and how.
fn changed(data: &[u8]) {
    let &[place, by, ..] = data else { return };
    let (header, payload) = halves(data);
    let mut token = sign(header, payload).into_bytes();
    let at = usize::from(place) * token.len() / 256;
    let Some(byte) = token.get_mut(at) else {
        return;
    };
    *byte ^= by;
    let (Ok(token), Some(keys), true) = (String::from_utf8(token), secret(), by != 0) else {
        return;
    };
    let rules = ours(&Algorithms::Symmetric);
    assert!(rules.signed_payload(&token, &keys).is_err());
}

fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let line = data.iter().position(|byte| *byte == b'\n');
    let (header, rest) = data.split_at(line.unwrap_or(data.len()));
    (header, rest.get(1..).unwrap_or_default())
}

fn parts(token: &str) -> [Vec<u8>; 2] {
    let mut parts = token
        .split('.')
        .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap_or_default());
    [
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    ]
}

fn sign(header: &[u8], payload: &[u8]) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = crypto::sign(
        message.as_bytes(),
        &EncodingKey::from_secret(SECRET),
        Algorithm::HS256,
    );
    format!("{message}.{}", signature.unwrap_or_default())
}

fn secret() -> Option<KeySet> {
    let key = keys::secret(SECRET).ok()?;
    Some(KeySet {
        number: 3,
        keys: vec![key],
    })
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

enum Algorithms {
    Symmetric,
    Asymmetric,
}

fn ours(algorithms: &Algorithms) -> Rules {
    let algorithms = match algorithms {
        Algorithms::Symmetric => super::build::SYMMETRIC.to_vec(),
        Algorithms::Asymmetric => super::build::ASYMMETRIC.to_vec(),
    };
    Rules {
        algorithms,
        issuers: vec!["me".into()],
        audiences: vec!["orders".into()],
        leeway: Duration::from_secs(LEEWAY),
        required: vec!["exp".into(), "sub".into()],
        attributes: vec![("sub".into(), Cow::Borrowed("jwt.sub"))],
        headers: vec![("sub".into(), HeaderName::from_static("x-user"))],
    }
}

/// A reading of its own of what a taken token says.
fn agrees(header: &[u8], payload: &[u8], verified: &Verified) {
    let (header, payload) = (object(header), object(payload));
    assert_eq!(header.get("alg"), Some(&Value::from("HS256")));
    assert!(!header.contains_key("crit"));
    let seconds = |name: &str| {
        payload
            .get(name)
            .map(|date| date.as_f64().unwrap_or(f64::NAN))
    };
    let (now, leeway) = (NOW as f64, LEEWAY as f64);
    assert!(seconds("exp").is_some_and(|expires| expires + leeway > now));
    assert!(seconds("nbf").is_none_or(|from| from - leeway <= now));
    assert_eq!(payload.get("iss"), Some(&Value::from("me")));
    let orders = Value::from("orders");
    let audience = payload.get("aud");
    assert!(
        audience == Some(&orders)
            || audience
                .and_then(Value::as_array)
                .is_some_and(|list| list.contains(&orders))
    );
    assert!(payload.get("sub").is_some_and(|sub| !sub.is_null()));
    assert!(
        verified
            .expires
            .is_some_and(|expires| expires > self::now())
    );
    if let (Some(Value::String(sub)), Some((_, value))) =
        (payload.get("sub"), verified.headers.first())
    {
        assert_eq!(value.as_bytes(), sub.as_bytes());
    }
}

fn object(json: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(json).unwrap_or_default()
}

/// A JWK set. Every key that is kept is for the algorithms of its own type and for nothing else, and takes no signature that is none.
pub fn jwks(data: &[u8]) {
    let Ok(usable) = keys::jwks(data) else {
        return;
    };
    assert!((1..=100).contains(&usable.len()));
    let set: Value = serde_json::from_slice(data).unwrap_or_default();
    let listed = set
        .get("keys")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    for key in &usable {
        let KeyId::Named(id) = &key.id else {
            unreachable!("a key of a set that any token may use")
        };
        let fitting = |value: &&Value| value.get("kid").and_then(Value::as_str) == id.as_deref();
        assert!(
            listed
                .iter()
                .filter(fitting)
                .any(|value| is_for(value, &key.algorithms))
        );
        for algorithm in &key.algorithms {
            assert!(!takes_garbage(key, *algorithm));
        }
    }
    let again = keys::jwks(data).unwrap_or_default();
    let facts = |keys: &[VerifyKey]| {
        keys.iter()
            .map(|key| format!("{:?} {:?}", key.id, key.algorithms))
            .collect::<Vec<_>>()
    };
    assert_eq!(facts(&usable), facts(&again));
    for id in ["", "a", "r"] {
        found_by_name(
            &KeySet {
                number: 4,
                keys: keys::jwks(data).unwrap_or_default(),
            },
            id,
        );
    }
}

/// Whether the key, as it stands in the set, may be used for all of these.
fn is_for(value: &Value, algorithms: &[Algorithm]) -> bool {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let family = match (text("kty"), text("crv")) {
        ("RSA", _) => &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..],
        ("EC", "P-256") => &["ES256"],
        ("EC", "P-384") => &["ES384"],
        ("OKP", "Ed25519") => &["EdDSA"],
        ("oct", _) => &["HS256", "HS384", "HS512"],
        _ => &[],
    };
    let narrowed = |name: &str| text("alg").is_empty() || text("alg") == name;
    let mut names = algorithms.iter().map(|algorithm| format!("{algorithm:?}"));
    let fits = |name: String| family.contains(&name.as_str()) && narrowed(&name);
    text("use") != "enc" && names.all(fits)
}

fn takes_garbage(key: &VerifyKey, algorithm: Algorithm) -> bool {
    ["", "AAAA", &"A".repeat(86), &"A".repeat(342)]
        .iter()
        .any(|signature| {
            matches!(
                crypto::verify(signature, b"message", &key.key, algorithm),
                Ok(true)
            )
        })
}

fn found_by_name(keys: &KeySet, id: &str) {
    for algorithm in super::build::SYMMETRIC
        .iter()
        .chain(&super::build::ASYMMETRIC)
    {
        if let Ok(key) = keys.find(Some(id), *algorithm) {
            assert_eq!(key.id, KeyId::Named(Some(id.to_owned())));
            assert!(key.algorithms.contains(algorithm));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::token::Refused;

    const HEADER: &[u8] = br#"{"alg":"HS256"}"#;
    const PAYLOAD: &[u8] = br#"{"sub":"a","iss":"me","aud":"orders","exp":1800000000}"#;

    fn verify(header: &[u8], payload: &[u8]) -> Result<Verified, Refused> {
        ours(&Algorithms::Symmetric).verify(&sign(header, payload), &secret().unwrap(), now())
    }

    #[test]
    fn a_good_token_gets_as_far_as_the_promises() {
        let verified = verify(HEADER, PAYLOAD).unwrap();
        agrees(HEADER, PAYLOAD, &verified);
        let [header, payload] = parts(&sign(HEADER, PAYLOAD));
        assert_eq!((header.as_slice(), payload.as_slice()), (HEADER, PAYLOAD));
    }

    #[test]
    #[should_panic(expected = "expires + leeway > now")]
    fn a_token_that_expired_would_be_seen() {
        let verified = verify(HEADER, PAYLOAD).unwrap();
        agrees(HEADER, br#"{"exp":1}"#, &verified);
    }
}
