//! What a route pays for its filters: none, one and five that do nothing, metered as in the whole process; a token verified,
//! and one remembered.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto, encode};
use serde_json::json;
use tidegate_filters::chain::{Chain, Meter, Observer, Phase};
use tidegate_filters::filter::{
    Admission, Connection, Exchange, Filter, Hooks, Response, ResponseHead, Verdict,
};
use tidegate_filters::jwt::Jwt;
use tidegate_filters::testing::{Call, Route};

struct Idle;

#[async_trait]
impl Filter for Idle {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST | Hooks::RESPONSE
    }
    async fn on_request(&self, _: &mut Exchange) -> Verdict {
        Verdict::Continue
    }
    async fn on_response(&self, _: &mut Exchange, _: &mut ResponseHead) -> Verdict {
        Verdict::Continue
    }
}

/// Has hooks, but for requests and responses.
struct Elsewhere;

#[async_trait]
impl Filter for Elsewhere {
    fn hooks(&self) -> Hooks {
        Hooks::CONNECTION
    }
    async fn on_connection(&self, _: &Connection) -> Admission {
        Admission::Accept
    }
}

/// What the metrics do with each call: one bucket of twelve, and the sum.
struct Histograms;

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; 12],
    sum: AtomicU64,
}

const BOUNDS: [u64; 11] = [
    1_000,
    5_000,
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

impl Observer for Histograms {
    fn meter(&self, _: &'static str, _: Phase) -> Arc<dyn Meter> {
        Arc::new(Histogram::default())
    }
}

impl Meter for Histogram {
    fn took(&self, elapsed: Duration) {
        let nanos = elapsed.as_nanos() as u64;
        let bucket = BOUNDS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(nanos, Relaxed);
    }
    fn panicked(&self) {}
}

fn browser() -> Exchange {
    let mut call = Call::get("/orders/1?view=full");
    for (name, value) in [
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101",
        ),
        (
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9",
        ),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        (
            "cookie",
            "session=0123456789abcdef0123456789abcdef; theme=dark",
        ),
        ("x-request-id", "01a20965-dc49-73f2-8c47-edef04986802"),
    ] {
        call = call.header(name, value);
    }
    call.exchange()
}

fn there_and_back(chain: &Chain, exchange: &mut Exchange, head: &mut ResponseHead) {
    let request = chain.request(exchange).now_or_never().unwrap();
    let response = chain.response(exchange, head).now_or_never().unwrap();
    black_box((request, response));
}

fn chains(criterion: &mut Criterion) {
    type Make = fn() -> Box<dyn Filter>;
    let (idle, elsewhere): (Make, Make) = (|| Box::new(Idle), || Box::new(Elsewhere));
    let mut exchange = browser();
    let mut head = Response::new(http::StatusCode::OK).head;
    for (name, count, make) in [
        ("no filters", 0, idle),
        ("5 filters without a hook here", 5, elsewhere),
        ("1 filter", 1, idle),
        ("5 filters", 5, idle),
    ] {
        let filters = (0..count).map(|_| ("idle", make()));
        let chain = Chain::new(filters.collect(), None, &Histograms);
        criterion.bench_function(&format!("request and response, {name}"), |bencher| {
            bencher.iter(|| there_and_back(&chain, &mut exchange, &mut head));
        });
    }
}

// The key of RFC 7515 appendix A.3.
const D: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
/// PKCS #8 around a P-256 key of 32 bytes.
const PKCS8: [u8; 35] = [
    0x30, 0x41, 2, 1, 0, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 3, 1, 7, 4, 0x27, 0x30, 0x25, 2, 1, 1, 4, 0x20,
];

fn tokens(criterion: &mut Criterion) {
    let der = [&PKCS8[..], &URL_SAFE_NO_PAD.decode(D).unwrap()].concat();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = json!({ "sub": "ann", "exp": now + 3600 });
    let key = EncodingKey::from_ec_der(&der);
    let token = encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap();
    let file = std::env::temp_dir().join(format!("tidegate-bench-{}", std::process::id()));
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": X, "y": Y });
    std::fs::write(&file, json!({ "keys": [jwk] }).to_string()).unwrap();
    for (name, cache) in [("jwt ES256, not cached", 0), ("jwt ES256, cached", 1000)] {
        let route = Route::of::<Jwt>(json!({ "jwks_file": file, "cache": cache }));
        let call = Call::get("/").header("authorization", format!("Bearer {token}"));
        let mut exchange = call.exchange();
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let verdict = route
                    .filters()
                    .request(&mut exchange)
                    .now_or_never()
                    .unwrap();
                assert!(verdict.is_none());
            });
        });
    }
    std::fs::remove_file(file).unwrap();
    let public = DecodingKey::from_ec_components(X, Y).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    criterion.bench_function("jsonwebtoken alone, ES256", |bencher| {
        let verify = || crypto::verify(signature, message.as_bytes(), &public, Algorithm::ES256);
        bencher.iter(|| assert!(verify().unwrap()));
    });
}

criterion_group!(benches, chains, tokens);
criterion_main!(benches);
