//! A token says what key and algorithm it wants; it does not get to choose.

use super::*;

/// What an attacker may take for the secret when a server holds an RSA public key.
fn public_forms() -> Vec<Vec<u8>> {
    let n = URL_SAFE_NO_PAD.decode(A2_N).unwrap();
    let mut der = hex("30820122300d06092a864886f70d01010105000382010f003082010a0282010100");
    der.extend(&n);
    der.extend(hex("0203010001"));
    let body = STANDARD.encode(&der);
    let lines: Vec<_> = body
        .as_bytes()
        .chunks(64)
        .map(|l| std::str::from_utf8(l).unwrap())
        .collect();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    );
    vec![
        n,
        der,
        pem.clone().into_bytes(),
        pem.trim_end().into(),
        rsa_jwk().to_string().into_bytes(),
    ]
}

#[test]
fn a_public_key_is_never_a_secret() {
    let pem = public_forms()[2].clone();
    for secret in public_forms() {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let forged = encode(
                &Header::new(algorithm),
                &good(),
                &EncodingKey::from_secret(&secret),
            );
            let forged = forged.unwrap();
            let seen = on_jwks(&[rsa_jwk()], json!({})).send(bearer(&forged));
            assert_eq!(refused(&seen), "jwt: algorithm not allowed");
            // Even where the operator allows both families.
            let rules = lax(&[algorithm, Algorithm::RS256]);
            let sole = KeySet {
                number: 1,
                keys: vec![keys::pem(&pem).unwrap()],
            };
            for keys in [set(&[rsa_jwk()]), sole] {
                assert_eq!(
                    rules.signed_payload(&forged, &keys).unwrap_err(),
                    Refused::WrongKey
                );
            }
        }
    }
}

#[test]
fn an_ed25519_key_of_another_length_is_left_out() {
    for length in [0, 1, 31, 33, 64] {
        let x = URL_SAFE_NO_PAD.encode(vec![1; length]);
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "a" });
        let set = json!({ "keys": [key, ed_jwk()] }).to_string();
        let kept = keys::jwks(set.as_bytes()).unwrap();
        assert_eq!(kept.len(), 1, "{length}");
    }
}

#[test]
fn a_kid_of_another_key_type_is_refused() {
    let keys = [
        named(rsa_jwk(), "rsa"),
        named(ec_jwk(), "ec"),
        named(ed_jwk(), "ed"),
    ];
    for (kid, reason) in [
        ("rsa", "jwt: key is not for this algorithm"),
        ("ec", "jwt: key is not for this algorithm"),
        ("gone", "jwt: unknown kid"),
    ] {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(kid.into());
        let token = encode(&header, &good(), &ed_key()).unwrap();
        let rules = lax(&[Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256]);
        let verdict = rules.signed_payload(&token, &set(&keys));
        assert_eq!(verdict.unwrap_err().reason(), reason);
    }
}

#[test]
fn none_is_not_an_algorithm_in_any_spelling() {
    let keys = [rsa_jwk(), ed_jwk()];
    assert_eq!(
        refused(&on_jwks(&keys, json!({})).send(bearer(A5_TOKEN))),
        "jwt: algorithm not allowed"
    );
    let payload = URL_SAFE_NO_PAD.encode(good().to_string());
    let (_, signature) = ED_TOKEN.rsplit_once('.').unwrap();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg }).to_string());
        for signature in ["", signature] {
            let token = format!("{header}.{payload}.{signature}");
            let seen = on_jwks(&keys, json!({})).send(bearer(&token));
            assert_eq!(refused(&seen), "jwt: algorithm not allowed");
        }
    }
    let config = json!({ "secret": "x".repeat(32), "algorithms": ["none"] });
    assert_eq!(refusal::<Jwt>(&config).path, "algorithms[0]");
}

#[test]
fn keys_in_the_token_are_not_keys() {
    let attacker = json!({ "alg": "EdDSA", "jwk": ed_jwk(), "jku": "http://evil.example/", "x5u": "http://evil.example/" });
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(attacker.to_string()),
        URL_SAFE_NO_PAD.encode(good().to_string())
    );
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &ed_key(), Algorithm::EdDSA).unwrap();
    let seen = on_jwks(&[ec_jwk()], json!({})).send(bearer(&format!("{message}.{signature}")));
    assert_eq!(refused(&seen), "jwt: key is not for this algorithm");
}

#[test]
fn an_alg_or_use_in_a_jwk_narrows_it() {
    let with = |name: &str, value: Value| {
        let mut jwk = rsa_jwk();
        jwk[name] = value;
        let text = json!({ "keys": [jwk] }).to_string();
        keys::jwks(text.as_bytes()).map(|keys| keys[0].algorithms.clone())
    };
    assert_eq!(with("alg", json!("PS256")).unwrap(), [Algorithm::PS256]);
    assert!(with("alg", json!("HS256")).is_err());
    assert!(with("use", json!("enc")).is_err());
    assert!(with("key_ops", json!(["encrypt"])).is_err());
    assert_eq!(with("key_ops", json!(["verify"])).unwrap().len(), 6);
    let weak = json!({ "keys": [{ "kty": "RSA", "n": "x".repeat(170), "e": "AQAB" }] });
    assert!(keys::jwks(weak.to_string().as_bytes()).is_err());
    let short = json!({ "keys": [{ "kty": "oct", "k": "c2hvcnQ" }] });
    assert!(keys::jwks(short.to_string().as_bytes()).is_err());
}

#[test]
fn unknown_keys_of_a_set_are_left_out() {
    let text = json!({ "keys": [{ "kty": "XYZ" }, { "kty": "EC", "crv": "P-521", "x": "", "y": "" }, 7, ed_jwk()] });
    assert_eq!(keys::jwks(text.to_string().as_bytes()).unwrap().len(), 1);
    for bad in ["", "{}", "[]", "{\"keys\":[]}", "{\"keys\":7}"] {
        assert!(keys::jwks(bad.as_bytes()).is_err());
    }
}

proptest::proptest! {
    /// Whatever comes as a token, with a header and claims of any shape: refused, and no panic.
    #[test]
    fn nothing_unsigned_passes(header in ".{0,60}", payload in ".{0,60}", rest in "[A-Za-z0-9_.=-]{0,200}") {
        let keys = set(&[rsa_jwk(), ec_jwk(), ed_jwk()]);
        let rules = lax(&[Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]);
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let alg = format!("{{\"alg\":\"ES256\",\"x\":{header:?}}}");
        for token in [rest.clone(), format!("{}.{}.{rest}", encode(&alg), encode(&payload)), format!("{header}.{payload}.{rest}")] {
            proptest::prop_assert!(rules.signed_payload(&token, &keys).is_err());
        }
    }
}
