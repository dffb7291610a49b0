//! What a route pays for its filters: none, one and five that do nothing; a token verified, and one remembered.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::time::SystemTime;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto, encode};
use serde_json::json;
use tidegate_filters::chain::{Chain, Unobserved};
use tidegate_filters::filter::{Exchange, Filter, Hooks, Response, ResponseHead, Verdict};
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

fn chains(criterion: &mut Criterion) {
    for filters in [0, 1, 5] {
        let idle = (0..filters).map(|_| ("idle", Box::new(Idle) as Box<dyn Filter>));
        let chain = Chain::new(idle.collect(), None, &Unobserved);
        let mut exchange = Call::get("/").exchange();
        let mut head = Response::new(http::StatusCode::OK).head;
        criterion.bench_function(&format!("request, {filters} filters"), |bencher| {
            bencher.iter(|| black_box(chain.request(&mut exchange).now_or_never()));
        });
        criterion.bench_function(
            &format!("request and response, {filters} filters"),
            |bencher| {
                bencher.iter(|| {
                    let request = chain.request(&mut exchange).now_or_never().unwrap();
                    let response = chain
                        .response(&mut exchange, &mut head)
                        .now_or_never()
                        .unwrap();
                    black_box((request, response))
                });
            },
        );
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
    for (name, cache) in [("jwt ES256, verified", 0), ("jwt ES256, remembered", 1000)] {
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
