//! Keys and what each may be used for: this is where key confusion ends.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// Keys of one set that are looked at.
const MAX_KEYS: usize = 100;

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// One key with the algorithms that its type allows; no other is ever tried with it.
pub(super) struct VerifyKey {
    pub id: KeyId,
    pub algorithms: Vec<Algorithm>,
    pub key: DecodingKey,
}

/// Which tokens a key is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyId {
    /// The only key there is, given by itself: tokens need not name it.
    Sole,
    /// Tokens with that `kid`, or with none.
    Named(Option<String>),
}

/// A set of keys. `number` differs between sets that have been in use.
pub(super) struct KeySet {
    pub number: u64,
    pub keys: Vec<VerifyKey>,
}

impl KeySet {
    /// The key for a token, if there is one: the right name and an algorithm of its type.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&VerifyKey, Missing> {
        let named = |key: &&VerifyKey| match &key.id {
            KeyId::Sole => true,
            KeyId::Named(name) => name.as_deref() == kid,
        };
        let mut named = self.keys.iter().filter(named).peekable();
        if named.peek().is_none() {
            return Err(Missing::Key);
        }
        let fits = |key: &&VerifyKey| key.algorithms.contains(&algorithm);
        named.find(fits).ok_or(Missing::Algorithm)
    }
}

/// Why no key was found.
pub(super) enum Missing {
    Key,
    Algorithm,
}

/// A shared secret. At least 32 bytes (RFC 7518 section 3.2).
pub(super) fn secret(secret: &[u8]) -> Result<VerifyKey, &'static str> {
    let algorithms = match secret.len() {
        0..32 => return Err("write a secret of at least 32 bytes"),
        32..48 => &HMAC[..1],
        48..64 => &HMAC[..2],
        _ => HMAC,
    };
    Ok(VerifyKey {
        id: KeyId::Sole,
        algorithms: algorithms.to_vec(),
        key: DecodingKey::from_secret(secret),
    })
}

/// A public key in PEM: RSA, P-256, P-384 or Ed25519.
pub(super) fn pem(pem: &[u8]) -> Result<VerifyKey, &'static str> {
    let sole = |algorithms: &[Algorithm], key| VerifyKey {
        id: KeyId::Sole,
        algorithms: algorithms.to_vec(),
        key,
    };
    if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        return Ok(sole(RSA, key));
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        // An uncompressed point: 65 bytes on P-256, 97 on P-384.
        return match key.try_get_as_bytes().map(<[u8]>::len) {
            Ok(65) => Ok(sole(&[Algorithm::ES256], key)),
            Ok(97) => Ok(sole(&[Algorithm::ES384], key)),
            _ => Err("this curve is not supported: P-256 or P-384"),
        };
    }
    let key = DecodingKey::from_ed_pem(pem);
    key.map(|key| sole(&[Algorithm::EdDSA], key))
        .map_err(|_| "not a public key in PEM")
}

/// The usable keys of a JWK set (RFC 7517 section 5). Keys of unknown types, for encryption, or too weak are left
/// out, as the RFC asks for.
pub(super) fn jwks(text: &[u8]) -> Result<Vec<VerifyKey>, String> {
    let set: Value = serde_json::from_slice(text).map_err(|e| format!("not JSON: {e}"))?;
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or("not a JWK set: no `keys`")?;
    let usable: Vec<_> = keys.iter().take(MAX_KEYS).filter_map(jwk).collect();
    if usable.is_empty() {
        return Err("no usable key in the set".into());
    }
    Ok(usable)
}

fn jwk(value: &Value) -> Option<VerifyKey> {
    // A null is not the same as nothing: what should narrow the key's use is there, but can't be read.
    let mut narrowing = ["kid", "use", "key_ops", "alg"].iter();
    if narrowing.any(|name| value.get(name).is_some_and(Value::is_null)) {
        return None;
    }
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let common = &jwk.common;
    let signs = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let operations = common.key_operations.as_ref();
    let verifies = operations.is_none_or(|list| list.contains(&KeyOperations::Verify));
    if !signs || !verifies {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let mut algorithms = algorithms_of(&jwk, &key)?.to_vec();
    // `alg` of the key narrows it; one that does not belong to the type leaves nothing.
    if let Some(alg) = value.get("alg").and_then(Value::as_str) {
        algorithms.retain(|algorithm| format!("{algorithm:?}") == alg);
    }
    (!algorithms.is_empty()).then(|| VerifyKey {
        id: KeyId::Named(common.key_id.clone()),
        algorithms,
        key,
    })
}

fn algorithms_of(jwk: &Jwk, key: &DecodingKey) -> Option<&'static [Algorithm]> {
    match &jwk.algorithm {
        // 2048 bits at least (RFC 7518 section 3.3).
        AlgorithmParameters::RSA(rsa) => (rsa.n.len() >= 2048 / 6).then_some(RSA),
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => Some(&[Algorithm::ES256]),
            EllipticCurve::P384 => Some(&[Algorithm::ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(okp) => match okp.curve {
            // Anything but 32 bytes (RFC 8032 section 5.1.5) would make the verifier panic when a token names the key.
            EllipticCurve::Ed25519 => {
                let length = key.try_get_as_bytes().ok()?.len();
                (length == 32).then_some(&[Algorithm::EdDSA])
            }
            _ => None,
        },
        AlgorithmParameters::OctetKey(_) => match key.try_get_as_bytes().ok()?.len() {
            0..32 => None,
            32..48 => Some(&HMAC[..1]),
            48..64 => Some(&HMAC[..2]),
            _ => Some(HMAC),
        },
        _ => None,
    }
}
