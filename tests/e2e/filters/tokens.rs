//! `jwt`: whose token is good, what is wrong with the others, and keys that come, go and change.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::backend::{Raw, read_head};
use crate::setup::demo;

// The key of RFC 8037 appendix A.1.
const D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn jwk(kid: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "x": X, "kid": kid })
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn good() -> Value {
    json!({ "sub": "ann", "iss": "me", "aud": "orders", "exp": now() + 600 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

/// Signed by the key of that name.
fn token(kid: Option<&str>, claims: &Value) -> String {
    // PKCS #8 around an Ed25519 key (RFC 8410 section 7).
    let mut der = vec![
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    der.extend(URL_SAFE_NO_PAD.decode(D).unwrap());
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = kid.map(Into::into);
    encode(&header, claims, &EncodingKey::from_ed_der(&der)).unwrap()
}

async fn show(tidegate: &Tidegate, path: &str, token: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    ask(tidegate, path, &[("authorization", &bearer)]).await
}

/// A server of keys; `None` is one that cuts every connection.
struct Issuer {
    server: Raw,
    keys: Arc<Mutex<Option<Vec<Value>>>>,
}

impl Issuer {
    async fn start(keys: Option<Vec<Value>>) -> Issuer {
        let keys = Arc::new(Mutex::new(keys));
        let served = keys.clone();
        let server = Raw::start(move |mut stream, seen, index| {
            let keys = served.lock().unwrap().clone();
            async move {
                read_head(&mut stream, &seen, index).await;
                if let Some(keys) = keys {
                    let body = json!({ "keys": keys }).to_string();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all((head + &body).as_bytes()).await;
                }
            }
        })
        .await;
        Issuer { server, keys }
    }

    fn serve(&self, keys: Option<Vec<Value>>) {
        *self.keys.lock().unwrap() = keys;
    }

    fn filter(&self) -> String {
        format!(
            "{{ jwt: {{ jwks_url: \"http://{}/\" }} }}",
            self.server.address
        )
    }

    fn asked(&self) -> usize {
        self.server.seen().len()
    }
}

#[tokio::test]
async fn a_good_token_passes_and_its_claims_go_along() {
    let backend = demo().await;
    let issuer = Issuer::start(Some(vec![jwk("one")])).await;
    let filters = format!(
        "{{ jwt: {{ jwks_url: \"http://{}/\", issuer: me, audience: orders, claims_to_headers: {{ sub: x-user }}, from: [{{ header: {{ name: authorization, prefix: \"Bearer \" }} }}, {{ cookie: {{ name: token }} }}, {{ query: {{ name: token }} }}] }} }}, {{ rate_limit: {{ key: {{ claim: sub }}, requests: 4, per: 1h }} }}",
        issuer.server.address
    );
    let tidegate = behind(backend.address, &filters).await;
    let token = token(Some("one"), &good());
    let bearer = format!("bearer {token}");
    let cookie = format!("a=b; token={token}");
    let query = format!("/headers?token={token}");
    for (path, header) in [
        ("/headers", ("authorization", &*bearer)),
        ("/headers", ("cookie", &*cookie)),
        (&*query, ("x-other", "o")),
    ] {
        let reply = ask(&tidegate, path, &[header, ("x-user", "root")]).await;
        assert_eq!(saw(&reply, "x-user").as_deref(), Some("ann"));
    }
    let line = logged(&tidegate, "/headers").await;
    assert_eq!(line["attributes"]["jwt.sub"], "ann");
    // Ann has had three requests, Bob none.
    let of_bob = self::token(Some("one"), &with("sub", "bob".into()));
    assert_eq!(
        show(&tidegate, "/headers", &of_bob)
            .await
            .header("ratelimit-remaining"),
        "3"
    );
    assert_eq!(
        show(&tidegate, "/headers", &token)
            .await
            .header("ratelimit-remaining"),
        "0"
    );
    for (event, count) in [("checked", 2.0), ("cached", 3.0), ("refused", 0.0)] {
        let series = format!("tidegate_filter_events_total{{filter=\"jwt\",event=\"{event}\"}}");
        assert_eq!(tidegate.metric(&series).await, count, "{event}");
    }
}

/// HS256 with the public key for a secret, as the attack on careless verifiers has it.
fn by_public_key() -> String {
    let secret = EncodingKey::from_secret(&URL_SAFE_NO_PAD.decode(X).unwrap());
    encode(&Header::new(Algorithm::HS256), &good(), &secret).unwrap()
}

/// What it is, itself, and what the log must say of it.
fn bad_tokens() -> Vec<(&'static str, String, &'static str)> {
    let one = Some("one");
    let right = token(one, &good());
    let (message, signature) = right.rsplit_once('.').unwrap();
    let (_, payload) = message.split_once('.').unwrap();
    let header = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let none = header("{\"alg\":\"none\"}");
    vec![
        (
            "expired",
            token(one, &with("exp", (now() - 11).into())),
            "jwt: expired",
        ),
        (
            "nbf",
            token(one, &with("nbf", (now() + 60).into())),
            "jwt: not yet valid",
        ),
        (
            "audience",
            token(one, &with("aud", "bills".into())),
            "jwt: wrong audience",
        ),
        (
            "issuer",
            token(one, &with("iss", "you".into())),
            "jwt: wrong issuer",
        ),
        ("algorithm", by_public_key(), "jwt: algorithm not allowed"),
        (
            "none",
            format!("{none}.{payload}."),
            "jwt: algorithm not allowed",
        ),
        (
            "none-signed",
            format!("{none}.{payload}.{signature}"),
            "jwt: algorithm not allowed",
        ),
        (
            "truncated",
            right[..right.len() - 10].into(),
            "jwt: wrong signature",
        ),
        ("two-parts", message.into(), "jwt: malformed token"),
        ("one-part", "x".into(), "jwt: malformed token"),
        (
            "long",
            format!("{right}{}", "A".repeat(100 * 1024)),
            "jwt: token too long",
        ),
        ("base64", format!("!{right}"), "jwt: malformed header"),
        (
            "base64-signature",
            format!("{message}.{}!", &signature[1..]),
            "jwt: wrong signature",
        ),
        ("no-kid", token(None, &good()), "jwt: unknown kid"),
    ]
}

#[tokio::test]
async fn bad_tokens_are_401_and_only_the_log_says_why() {
    let backend = demo().await;
    let issuer = Issuer::start(Some(vec![jwk("one")])).await;
    let filters = format!(
        "{{ jwt: {{ jwks_url: \"http://{}/\", issuer: me, audience: orders, leeway: 10s }} }}",
        issuer.server.address
    );
    let config = config(&[backend.address], &filters).replace(
        "listen: \"127.0.0.1:0\" }]",
        "listen: \"127.0.0.1:0\", limits: { max_header_bytes: 256KiB } }]",
    );
    let tidegate = Tidegate::start(&config).await;
    for (name, token, reason) in bad_tokens() {
        let path = format!("/{name}");
        let reply = show(&tidegate, &path, &token).await;
        let seen = (reply.status, reply.header("www-authenticate"));
        assert_eq!(seen, (401, "Bearer error=\"invalid_token\""), "{name}");
        assert_eq!(reply.text(), "401 Unauthorized\n", "{name}");
        assert_eq!(logged(&tidegate, &path).await["reason"], reason, "{name}");
    }
    let missing = ask(&tidegate, "/missing", &[]).await;
    let seen = (missing.status, missing.header("www-authenticate"));
    assert_eq!(seen, (401, "Bearer"), "no error is named without a token");
    let line = logged(&tidegate, "/missing").await;
    assert_eq!(line["reason"], "jwt: no token");
    assert_eq!(backend.requests(), 0);
    let right = token(Some("one"), &good());
    assert_eq!(show(&tidegate, "/headers", &right).await.status, 200);
}

#[tokio::test]
async fn keys_rotate_and_the_last_good_ones_outlive_their_server() {
    let backend = demo().await;
    let issuer = Issuer::start(Some(vec![jwk("one")])).await;
    let tidegate = behind(backend.address, &issuer.filter()).await;
    let one = token(Some("one"), &good());
    assert_eq!(show(&tidegate, "/headers", &one).await.status, 200);
    assert_eq!(issuer.asked(), 1);
    // Unknown to the keys in use: fetched at once, and no second time soon, however many ask.
    issuer.serve(Some(vec![jwk("one"), jwk("two")]));
    let two = token(Some("two"), &good());
    assert_eq!(show(&tidegate, "/headers", &two).await.status, 200);
    for _ in 0..20 {
        let unknown = token(Some("three"), &good());
        assert_eq!(show(&tidegate, "/headers", &unknown).await.status, 401);
    }
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn without_its_server_the_keys_in_use_stay() {
    let backend = demo().await;
    let issuer = Issuer::start(Some(vec![jwk("one")])).await;
    let tidegate = behind(backend.address, &issuer.filter()).await;
    let one = token(Some("one"), &good());
    assert_eq!(show(&tidegate, "/headers", &one).await.status, 200);
    issuer.serve(None);
    let unknown = token(Some("two"), &good());
    assert_eq!(show(&tidegate, "/unknown", &unknown).await.status, 401);
    tidegate
        .events
        .wait("the failed fetch", |l| {
            l["message"].as_str().is_some_and(|m| {
                m.starts_with("jwt: http://") && m.ends_with("the keys in use stay")
            })
        })
        .await;
    let other = token(Some("one"), &with("sub", "bob".into()));
    assert_eq!(show(&tidegate, "/headers", &other).await.status, 200);
    // A reload to the same place does not lose them either.
    let filters = issuer.filter().replace(" } }", ", leeway: 5s } }");
    let mut tidegate = tidegate;
    let outcome = tidegate.reload(&config(&[backend.address], &filters)).await;
    assert_eq!(outcome["result"], "taken", "{outcome}");
    assert_eq!(show(&tidegate, "/headers", &one).await.status, 200);
}

#[tokio::test]
async fn with_its_server_down_from_the_start_it_is_401() {
    let backend = demo().await;
    let issuer = Issuer::start(None).await;
    let tidegate = behind(backend.address, &issuer.filter()).await;
    let one = token(Some("one"), &good());
    let reply = show(&tidegate, "/down", &one).await;
    assert_eq!(reply.status, 401);
    assert_eq!(
        logged(&tidegate, "/down").await["reason"],
        "jwt: no keys yet"
    );
    issuer.serve(Some(vec![jwk("one")]));
    crate::harness::eventually("keys come", || async {
        show(&tidegate, "/headers", &one).await.status == 200
    })
    .await;
}
