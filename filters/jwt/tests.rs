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

mod fetching;
mod key_confusion;
mod signatures;
mod vectors;

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

fn hex(text: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(pair).collect()
}

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

/// Headers of tokens, and why they are refused.
const HEADERS: &[(&str, Option<&str>)] = &[
    (r#"{"alg":"EdDSA"}"#, None),
    (
        r#"{"alg":"EdDSA","typ":"JWT","cty":"x","b64":true,"jku":null}"#,
        None,
    ),
    (
        r#"{"alg":"EdDSA","crit":null}"#,
        Some("jwt: malformed header: crit"),
    ),
    (
        r#"{"alg":"EdDSA","crit":[]}"#,
        Some("jwt: malformed header: crit"),
    ),
    (
        r#"{"alg":"EdDSA","crit":["b64"],"b64":true}"#,
        Some("jwt: malformed header: crit"),
    ),
    (
        r#"{"alg":"EdDSA","crit":"b64"}"#,
        Some("jwt: malformed header: crit"),
    ),
    (
        r#"{"alg":"EdDSA","crit":0}"#,
        Some("jwt: malformed header: crit"),
    ),
    (
        r#"{"alg":"EdDSA","crit":false}"#,
        Some("jwt: malformed header: crit"),
    ),
    (
        r#"{"alg":"EdDSA","crit":{}}"#,
        Some("jwt: malformed header: crit"),
    ),
    (
        r#"{"alg":"EdDSA","b64":false}"#,
        Some("jwt: malformed header: b64"),
    ),
    (
        r#"{"alg":"EdDSA","b64":null}"#,
        Some("jwt: malformed header: b64"),
    ),
    (
        r#"{"alg":"EdDSA","b64":"true"}"#,
        Some("jwt: malformed header: b64"),
    ),
    (
        r#"{"alg":"EdDSA","kid":null}"#,
        Some("jwt: malformed header: kid"),
    ),
    (
        r#"{"alg":"EdDSA","kid":7}"#,
        Some("jwt: malformed header: kid"),
    ),
    (
        r#"{"alg":"EdDSA","typ":null}"#,
        Some("jwt: malformed header: typ"),
    ),
    (
        r#"{"alg":"EdDSA","typ":["JWT"]}"#,
        Some("jwt: malformed header: typ"),
    ),
    (
        r#"{"alg":"EdDSA","cty":{}}"#,
        Some("jwt: malformed header: cty"),
    ),
    (r#"{"alg":null}"#, Some("jwt: malformed header: alg")),
    (r#"{"alg":["EdDSA"]}"#, Some("jwt: malformed header: alg")),
    (r#"{}"#, Some("jwt: malformed header: alg")),
    (r#"{"alg":"eddsa"}"#, Some("jwt: algorithm not allowed")),
    (r#"{"alg":""}"#, Some("jwt: algorithm not allowed")),
    (
        r#"{"alg":"EdDSA","alg":"EdDSA"}"#,
        Some("jwt: malformed header"),
    ),
    (
        r#"{"alg":"none","alg":"EdDSA"}"#,
        Some("jwt: malformed header"),
    ),
    (
        r#"{"alg":"EdDSA","x":1,"x":2}"#,
        Some("jwt: malformed header"),
    ),
    (r#"["EdDSA"]"#, Some("jwt: malformed header")),
    (r#"null"#, Some("jwt: malformed header")),
    (r#"{"alg":"EdDSA"} x"#, Some("jwt: malformed header")),
];

#[test]
fn a_bad_header_is_refused_whoever_signed_it() {
    let rules = lax(&[Algorithm::EdDSA]);
    for (header, reason) in HEADERS {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", encode(header), encode("{}"));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &ed_key(), Algorithm::EdDSA).unwrap();
        let token = format!("{message}.{signature}");
        let verdict = rules.verify(&token, &set(&[ed_jwk()]), SystemTime::UNIX_EPOCH);
        let seen = verdict.err().map(|refused| refused.reason().into_owned());
        assert_eq!(seen.as_deref(), *reason, "{header}");
    }
}

#[test]
fn keys_that_can_not_be_read_whole_are_left_out() {
    let with = |name: &str, value: Value| {
        let mut key = ed_jwk();
        key[name] = value;
        key
    };
    for (key, usable) in [
        (ed_jwk(), true),
        (with("kid", json!("a")), true),
        (with("kid", json!(null)), false),
        (with("kid", json!(7)), false),
        (with("use", json!(null)), false),
        (with("use", json!("enc")), false),
        (with("alg", json!(null)), false),
        (with("alg", json!("ES256")), false),
        (with("alg", json!("EdDSA")), true),
        (with("key_ops", json!(null)), false),
        (with("key_ops", json!(["sign"])), false),
    ] {
        let text = json!({ "keys": [key] }).to_string();
        assert_eq!(keys::jwks(text.as_bytes()).is_ok(), usable, "{text}");
    }
}

/// A token may be in a header with and without a prefix, in a cookie and in the query.
fn optional_anywhere() -> Route {
    let from = json!([
        { "header": { "name": "authorization", "prefix": "Bearer " } },
        { "header": { "name": "x-token" } },
        { "cookie": { "name": "t" } },
        { "query": { "name": "token" } },
    ]);
    on_jwks(&[ed_jwk()], json!({ "optional": true, "from": from }))
}

/// Sends these fields, each written `name: value`, with GOOD in place of a good token.
fn sent(route: &Route, target: &str, fields: &[&str]) -> Seen {
    let good = token(&good());
    let call = Call::get(&target.replace("GOOD", &good));
    let call = fields.iter().fold(call, |call, field| {
        let (name, value) = field.split_once(": ").unwrap();
        call.header(name, value.replace("GOOD", &good))
    });
    route.send(call)
}

#[test]
fn optional_lets_requests_pass_with_one_good_token_or_none() {
    let route = optional_anywhere();
    for (target, fields) in [
        ("/", &[][..]),
        ("/", &["authorization: Basic YW5uOng="][..]),
        ("/", &["authorization: Bearer GOOD"]),
        ("/", &["authorization: Basic YW5uOng=", "cookie: t=GOOD"]),
        ("/", &["x-token: GOOD"]),
        ("/", &["cookie: t=GOOD", "cookie: a=b"]),
        ("/?token=GOOD", &[]),
        (
            "/?token=GOOD",
            &["authorization: Bearer GOOD", "cookie: t=GOOD"],
        ),
    ] {
        let seen = sent(&route, target, fields);
        assert!(seen.reached_backend(), "{target} {fields:?}");
    }
    assert_eq!(route.filters().secret_query_names(), [Box::from("token")]);
}

/// What is there but unusable is a bad token.
#[test]
fn optional_lets_nothing_pass_that_a_backend_could_take_for_a_token() {
    let route = optional_anywhere();
    for (target, fields) in [
        ("/", &["authorization: Bearer\tx.y.z"][..]),
        ("/", &["authorization: BEARER x.y.z"]),
        ("/", &["authorization: Bearer"]),
        ("/", &["authorization: "]),
        ("/", &["authorization: Bearer a b"]),
        (
            "/",
            &["authorization: Bearer GOOD", "authorization: Basic x"],
        ),
        ("/", &["x-token: "]),
        ("/", &["x-token: a b"]),
        ("/", &["x-token: GOOD", "x-token: GOOD"]),
        ("/", &["cookie: t="]),
        ("/", &["cookie: t=x"]),
        ("/", &["cookie: t=\"x.y.z\""]),
        ("/", &["cookie: t=GOOD", "cookie: t=x"]),
        ("/", &["cookie: a=b, t=x"]),
        ("/?token=x", &[]),
        ("/?token", &[]),
        ("/?to%6ben=x", &[]),
        ("/?a=b;token=x", &[]),
        ("/?token=GOOD&token=GOOD", &[]),
        ("/?token=x", &["authorization: Bearer GOOD"]),
        ("/", &["authorization: Bearer GOOD", "cookie: t=x"]),
        ("/", &["x-token: x", "cookie: t=GOOD"]),
    ] {
        let seen = sent(&route, target, fields);
        assert!(!seen.reached_backend(), "{target} {fields:?}");
        refused(&seen);
    }
    for bytes in [
        &b"Bearer x.y.z\xff"[..],
        b"Bearer \xff",
        b"\xffBearer x.y.z",
        b"bearer\xa0x",
    ] {
        let seen = route.send(Call::get("/").header("authorization", bytes));
        assert_eq!(refused(&seen), "jwt: malformed token", "{bytes:?}");
    }
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

#[test]
fn the_table_knows_it() {
    assert_eq!(entry::<Jwt>().name, "jwt");
}
