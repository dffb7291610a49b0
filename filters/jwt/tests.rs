#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::keys::KeySet;
use super::source::Fetch;
use super::*;
use crate::filter::{Build, entry};
use crate::testing::{Call, Route, Seen, refusal};

/// 2026-01-01T00:00:00Z, when test calls begin.
const NOW: u64 = 1_767_225_600;

// RFC 7515 appendix A.1: HS256.
const A1_KEY: &str =
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const A1_TOKEN: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
// RFC 7515 appendix A.2: RS256.
const A2_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const A2_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
// RFC 7515 appendix A.3: ES256.
const A3_D: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
const A3_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const A3_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const A3_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
// RFC 7515 appendix A.5: no signature.
const A5_TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
// RFC 8037 appendix A.1, A.2 and A.4: Ed25519.
const ED_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const ED_TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn rsa_jwk() -> Value {
    json!({ "kty": "RSA", "n": A2_N, "e": "AQAB" })
}

fn ec_jwk() -> Value {
    json!({ "kty": "EC", "crv": "P-256", "x": A3_X, "y": A3_Y })
}

fn ed_jwk() -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": ED_X })
}

fn named(mut jwk: Value, kid: &str) -> Value {
    jwk["kid"] = kid.into();
    jwk
}

fn set(keys: &[Value]) -> KeySet {
    let text = json!({ "keys": keys }).to_string();
    KeySet {
        number: 1,
        keys: keys::jwks(text.as_bytes()).unwrap(),
    }
}

/// Rules that ask for nothing.
fn lax(algorithms: &[Algorithm]) -> Rules {
    Rules {
        algorithms: algorithms.to_vec(),
        issuers: vec![],
        audiences: vec![],
        leeway: Duration::ZERO,
        required: vec![],
        attributes: vec![],
        headers: vec![],
    }
}

/// A filter on a JWK set in a file, with more config.
fn on_jwks(keys: &[Value], more: Value) -> Route {
    static FILES: AtomicU64 = AtomicU64::new(0);
    let name = format!(
        "tidegate-jwks-{}-{}",
        std::process::id(),
        FILES.fetch_add(1, Relaxed)
    );
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, json!({ "keys": keys }).to_string()).unwrap();
    let mut config = json!({ "jwks_file": file });
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let route = Route::of::<Jwt>(config);
    std::fs::remove_file(file).unwrap();
    route
}

fn ed_key() -> EncodingKey {
    let mut der = vec![
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    der.extend(URL_SAFE_NO_PAD.decode(ED_D).unwrap());
    EncodingKey::from_ed_der(&der)
}

fn token(claims: &Value) -> String {
    encode(&Header::new(Algorithm::EdDSA), claims, &ed_key()).unwrap()
}

fn good() -> Value {
    json!({ "sub": "ann", "exp": NOW + 300, "iss": "me", "aud": ["x", "orders"], "n": 7, "roles": ["a", "b"], "deep": { "er": true } })
}

fn bearer(token: &str) -> Call {
    Call::get("/").header("authorization", format!("Bearer {token}"))
}

fn refused(seen: &Seen) -> &str {
    assert_eq!((seen.status(), seen.reached_backend()), (401, false));
    assert_eq!(
        seen.text(),
        "401 Unauthorized\n",
        "the reason is not for the client"
    );
    assert_eq!(
        seen.header("www-authenticate"),
        Some("Bearer error=\"invalid_token\"")
    );
    seen.reason().unwrap()
}

// --- vectors ---

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

// --- key confusion ---

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

fn hex(text: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(pair).collect()
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

// --- the filter ---

#[test]
fn a_good_token_passes_and_says_who_it_is() {
    let route = on_jwks(
        &[ed_jwk()],
        json!({
            "issuer": "me", "audience": ["orders", "other"], "required_claims": ["exp", "sub", "deep.er"],
            "claims": ["sub", "n", "roles", "deep.er"], "claims_to_headers": { "sub": "x-user", "roles": "x-roles", "nothing": "x-nothing" },
        }),
    );
    for _ in 0..3 {
        let call = bearer(&token(&good()))
            .header("x-user", "root")
            .header("x-nothing", "spoofed");
        let seen = route.send(call);
        assert_eq!(seen.backend().header("x-user"), Some("ann"));
        assert_eq!(seen.backend().header("x-roles"), Some("a,b"));
        assert_eq!(seen.backend().header("x-nothing"), None);
        let attributes: Vec<_> = seen
            .exchange
            .attributes
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        assert_eq!(
            attributes,
            [
                "jwt.sub=ann",
                "jwt.n=7",
                "jwt.roles=a,b",
                "jwt.deep.er=true"
            ]
        );
    }
    let counts = route.filters().counts();
    assert!(counts.contains(&("jwt", "checked", 1)) && counts.contains(&("jwt", "cached", 2)));
}

#[test]
fn bad_claims_are_refused() {
    let route = on_jwks(
        &[ed_jwk()],
        json!({ "issuer": "me", "audience": "orders", "leeway": "10s", "required_claims": ["exp", "sub"] }),
    );
    for (claim, value, reason) in [
        ("exp", json!(NOW - 10), "jwt: expired"),
        ("exp", json!("tomorrow"), "jwt: claim exp missing or wrong"),
        ("exp", json!(-1), "jwt: claim exp missing or wrong"),
        ("exp", json!(1e300), "jwt: claim exp missing or wrong"),
        ("exp", json!(null), "jwt: claim exp missing or wrong"),
        ("nbf", json!(NOW + 11), "jwt: not yet valid"),
        ("iss", json!("you"), "jwt: wrong issuer"),
        ("iss", json!(["me"]), "jwt: wrong issuer"),
        ("aud", json!("orders2"), "jwt: wrong audience"),
        ("aud", json!([]), "jwt: wrong audience"),
        ("sub", json!(null), "jwt: claim sub missing or wrong"),
    ] {
        let mut claims = good();
        claims[claim] = value;
        assert_eq!(refused(&route.send(bearer(&token(&claims)))), reason);
    }
    for (claim, reason) in [
        ("exp", "jwt: claim exp missing or wrong"),
        ("iss", "jwt: wrong issuer"),
        ("aud", "jwt: wrong audience"),
    ] {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(claim);
        assert_eq!(refused(&route.send(bearer(&token(&claims)))), reason);
    }
    for (claim, value) in [("exp", NOW - 9), ("nbf", NOW + 10)] {
        let mut claims = good();
        claims[claim] = value.into();
        assert_eq!(route.send(bearer(&token(&claims))).status(), 200, "leeway");
    }
}

#[test]
fn a_cached_token_expires() {
    let route = on_jwks(&[ed_jwk()], json!({ "leeway": "0s" }));
    let call = || bearer(&token(&good()));
    assert_eq!(route.send(call()).status(), 200);
    assert_eq!(
        route.send(call().after(Duration::from_secs(299))).status(),
        200
    );
    assert_eq!(
        refused(&route.send(call().after(Duration::from_secs(300)))),
        "jwt: expired"
    );
}

#[test]
fn what_is_no_token_is_refused() {
    let route = on_jwks(&[ed_jwk()], json!({}));
    let good = token(&good());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let long = format!("{}.{signature}", "A".repeat(100 * 1024));
    let crit = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#);
    for (bad, reason) in [
        (long.as_str(), "jwt: token too long"),
        ("", "jwt: malformed token"),
        ("abc", "jwt: malformed token"),
        ("..", "jwt: malformed header"),
        ("a.b.c.d", "jwt: malformed token"),
        (message, "jwt: malformed token"),
        (&good[..good.len() - 5], "jwt: wrong signature"),
        (&good.replace('.', ".!"), "jwt: wrong signature"),
        (&format!("{good}="), "jwt: wrong signature"),
        (
            &format!("{crit}.e30.{signature}"),
            "jwt: malformed header: crit",
        ),
    ] {
        assert_eq!(refused(&route.send(bearer(bad))), reason, "{bad}");
    }
    let two = bearer(&good).header("authorization", format!("Bearer {A2_TOKEN}"));
    assert_eq!(
        refused(&route.send(two)),
        "jwt: malformed token",
        "which one would the backend read?"
    );
    let array = URL_SAFE_NO_PAD.encode("[]");
    let message = format!("{}.{array}", message.split_once('.').unwrap().0);
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &ed_key(), Algorithm::EdDSA).unwrap();
    assert_eq!(
        refused(&route.send(bearer(&format!("{message}.{signature}")))),
        "jwt: malformed payload"
    );
}

#[test]
fn without_a_token() {
    let seen = on_jwks(&[ed_jwk()], json!({})).send(Call::get("/"));
    assert_eq!(
        (seen.status(), seen.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    let optional = on_jwks(
        &[ed_jwk()],
        json!({ "optional": true, "claims_to_headers": { "sub": "x-user" } }),
    );
    let seen = optional.send(Call::get("/").header("x-user", "root"));
    assert_eq!(seen.backend().header("x-user"), None);
    assert_eq!(
        refused(&optional.send(bearer("bad"))),
        "jwt: malformed token"
    );
}

#[test]
fn other_places() {
    let route = on_jwks(
        &[ed_jwk()],
        json!({ "from": [
            { "header": { "name": "x-token" } }, { "cookie": { "name": "t" } }, { "query": { "name": "token" } },
        ]}),
    );
    let good = token(&good());
    assert_eq!(
        route.send(Call::get("/").header("x-token", &good)).status(),
        200
    );
    assert_eq!(
        route
            .send(Call::get("/").header("cookie", format!("t={good}")))
            .status(),
        200
    );
    assert_eq!(
        route.send(Call::get(&format!("/?token={good}"))).status(),
        200
    );
    assert_eq!(route.send(bearer(&good)).status(), 401);
}

#[test]
fn secrets_and_ec_keys_verify_what_they_signed() {
    let secret = "0123456789abcdef0123456789abcdef";
    let route = Route::of::<Jwt>(json!({ "secret": secret }));
    let signed = |alg| {
        encode(
            &Header::new(alg),
            &good(),
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .unwrap()
    };
    assert_eq!(route.send(bearer(&signed(Algorithm::HS256))).status(), 200);
    let seen = route.send(bearer(&signed(Algorithm::HS512)));
    assert_eq!(
        refused(&seen),
        "jwt: key is not for this algorithm",
        "too short a secret for HS512"
    );
    let mut der = hex("3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420");
    der.extend(URL_SAFE_NO_PAD.decode(A3_D).unwrap());
    let signed = encode(
        &Header::new(Algorithm::ES256),
        &good(),
        &EncodingKey::from_ec_der(&der),
    );
    assert_eq!(
        on_jwks(&[ec_jwk()], json!({}))
            .send(bearer(&signed.unwrap()))
            .status(),
        200
    );
}

#[test]
fn bad_configs() {
    assert_eq!(refusal::<Jwt>(&json!({})).path, "");
    assert_eq!(refusal::<Jwt>(&json!({ "secret": "short" })).path, "secret");
    assert_eq!(
        refusal::<Jwt>(&json!({ "jwks_file": "/nonexistent" })).path,
        "jwks_file"
    );
    assert_eq!(
        refusal::<Jwt>(&json!({ "jwks_url": "ftp://x/" })).path,
        "jwks_url"
    );
    let both = json!({ "secret": "x".repeat(32), "jwks_url": "http://x/" });
    assert_eq!(refusal::<Jwt>(&both).path, "");
    for (key, value) in [
        ("algorithms", json!([])),
        ("from", json!([])),
        ("leeway", json!("1h")),
        ("audience", json!([])),
    ] {
        let mut config = json!({ "secret": "x".repeat(32) });
        config[key] = value;
        assert_eq!(refusal::<Jwt>(&config).path, key);
    }
}

// --- keys that come and go ---

/// Answers what it is told to, and counts.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<(Option<Value>, u32)>>);

impl Server {
    fn serve(&self, keys: Option<&[Value]>) {
        self.0.lock().unwrap().0 = keys.map(|keys| json!({ "keys": keys }));
    }
    fn asked(&self) -> u32 {
        self.0.lock().unwrap().1
    }
}

#[async_trait]
impl Fetch for Server {
    async fn fetch(&self) -> Result<bytes::Bytes, String> {
        let mut state = self.0.lock().unwrap();
        state.1 += 1;
        let answer = state.0.as_ref().map(|keys| keys.to_string().into());
        answer.ok_or("down".to_string())
    }
    fn place(&self) -> String {
        "http://keys.example/".into()
    }
}

fn fetching(server: &Server) -> Jwt {
    let config = json!({ "jwks_url": "http://keys.example/" });
    let mut jwt = Jwt::build(serde_json::from_value(config).unwrap()).unwrap();
    let refresh = Duration::from_mins(10);
    jwt.source = Arc::new(Source::fetched(
        Vec::new(),
        Box::new(server.clone()),
        refresh,
    ));
    jwt
}

fn signed_by(kid: &str) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(kid.into());
    encode(&header, &good(), &ed_key()).unwrap()
}

async fn passes(jwt: &Jwt, kid: &str) -> bool {
    let mut exchange = bearer(&signed_by(kid)).exchange();
    matches!(jwt.on_request(&mut exchange).await, Verdict::Continue)
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_rotated_and_kept_when_the_server_goes_away() {
    let server = Server::default();
    server.serve(Some(&[named(ed_jwk(), "one")]));
    let jwt = fetching(&server);
    let source = Arc::clone(&jwt.source);
    let task = tokio::spawn(async move { source.refresh_forever().await });
    assert!(
        passes(&jwt, "one").await,
        "the first request waits for the first fetch"
    );
    assert_eq!(server.asked(), 1);

    server.serve(Some(&[named(ed_jwk(), "two")]));
    assert!(
        passes(&jwt, "two").await,
        "an unknown kid fetches and waits"
    );
    assert!(
        !passes(&jwt, "one").await,
        "a cached token of a key that is gone"
    );
    assert_eq!(server.asked(), 2);
    for _ in 0..100 {
        assert!(!passes(&jwt, "three").await);
    }
    assert_eq!(server.asked(), 2, "not again within 30 s");

    server.serve(None);
    tokio::time::sleep(Duration::from_mins(30)).await;
    assert!(passes(&jwt, "two").await, "the last good keys stay");
    assert!(jwt.source.failures() > 1);
    server.serve(Some(&[named(ed_jwk(), "three")]));
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert!(passes(&jwt, "three").await, "and are replaced by the clock");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn with_the_server_down_from_the_start_it_is_401() {
    let server = Server::default();
    let jwt = fetching(&server);
    let source = Arc::clone(&jwt.source);
    let task = tokio::spawn(async move { source.refresh_forever().await });
    let mut exchange = bearer(&signed_by("one")).exchange();
    assert!(matches!(
        jwt.on_request(&mut exchange).await,
        Verdict::Respond(_)
    ));
    assert_eq!(exchange.reason(), Some("jwt: no keys yet"));
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_keys_of_the_same_place() {
    let server = Server::default();
    server.serve(Some(&[named(ed_jwk(), "one")]));
    let before = fetching(&server);
    let source = Arc::clone(&before.source);
    let task = tokio::spawn(async move { source.refresh_forever().await });
    assert!(passes(&before, "one").await);
    task.abort();
    let mut after = fetching(&server);
    after.adopt(&before);
    assert!(passes(&after, "one").await, "without a fetch");
    assert_eq!(server.asked(), 1);
}

#[test]
fn the_table_knows_it() {
    assert_eq!(entry::<Jwt>().name, "jwt");
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
