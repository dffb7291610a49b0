//! The RFCs' examples, and what an altered signature is worth.

use super::*;
use crate::filter::Attribute;

#[test]
fn rfc_7515_and_8037_examples() {
    let hs = set(&[json!({ "kty": "oct", "k": A1_KEY })]);
    for (algorithm, token, keys) in [
        (Algorithm::HS256, A1_TOKEN, hs),
        (Algorithm::RS256, A2_TOKEN, set(&[rsa_jwk()])),
        (Algorithm::ES256, A3_TOKEN, set(&[ec_jwk()])),
    ] {
        let rules = lax(&[algorithm]);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_300_819_379);
        let verified = rules.verify(token, &keys, at);
        let verified = verified.unwrap_or_else(|e| panic!("{algorithm:?}: {e:?}"));
        assert_eq!(verified.expires, Some(at + Duration::from_secs(1)));
        let late = rules.verify(token, &keys, at + Duration::from_secs(1));
        assert_eq!(late.unwrap_err(), Refused::Expired);
    }
    let payload = lax(&[Algorithm::EdDSA]).signed_payload(ED_TOKEN, &set(&[ed_jwk()]));
    assert_eq!(payload.unwrap(), b"Example of Ed25519 signing");
}

/// RFC 7519 section 3.1: the token of RFC 7515 appendix A.1, as claims.
#[test]
fn rfc_7519_example() {
    let mut rules = lax(&[Algorithm::HS256]);
    rules.issuers = vec!["joe".into()];
    rules.required = vec!["exp".into(), "http://example.com/is_root".into()];
    rules.attributes = vec![("http://example.com/is_root".into(), "jwt.is_root".into())];
    let keys = set(&[json!({ "kty": "oct", "k": A1_KEY })]);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_300_819_379);
    let verified = rules.verify(A1_TOKEN, &keys, at).unwrap();
    assert_eq!(
        verified.attributes,
        [("jwt.is_root".into(), Attribute::Flag(true))]
    );
    // Section 6.1: the same claims without a signature.
    let unsecured = rules.verify(A5_TOKEN, &keys, at);
    assert_eq!(unsecured.unwrap_err(), Refused::Algorithm);
}

/// RFC 7515 appendix A.4 and RFC 7518 section 3.4: ES512 is told from a token that is none, and refused everywhere.
#[test]
fn es512_is_refused_by_name() {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES512"}"#);
    let token = format!("{header}.UGF5bG9hZA.{}", "A".repeat(176));
    let verdict = lax(&[Algorithm::ES256]).signed_payload(&token, &set(&[ec_jwk()]));
    assert_eq!(verdict.unwrap_err(), Refused::Algorithm);
    let config = json!({ "secret": "x".repeat(32), "algorithms": ["ES256", "ES512"] });
    let refusal = refusal::<Jwt>(&config);
    assert_eq!(refusal.path, "algorithms[1]");
    assert_eq!(
        refusal.message,
        "ES512 is not supported; write ES256, ES384 or EdDSA"
    );
}

#[test]
fn every_changed_byte_of_a_signature_is_found() {
    for (algorithm, token, keys) in [
        (Algorithm::RS256, A2_TOKEN, set(&[rsa_jwk()])),
        (Algorithm::ES256, A3_TOKEN, set(&[ec_jwk()])),
        (Algorithm::EdDSA, ED_TOKEN, set(&[ed_jwk()])),
    ] {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes));
            let verdict = lax(&[algorithm]).signed_payload(&forged, &keys);
            assert_eq!(verdict.unwrap_err(), Refused::Signature);
        }
    }
}
