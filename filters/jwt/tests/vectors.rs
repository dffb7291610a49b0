//! The RFCs' examples, and what an altered signature is worth.

use super::*;

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
