//! What a pick costs, guard dropped, by policy and number of backends. `cargo bench --bench pick`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate::config::model::{HashKey, Policy};
use tidegate::pool::{Pick, Pool, Silent};

use tidegate::config;
#[allow(dead_code)]
#[path = "../src/pool/fixture.rs"]
mod fixture;

fn policies() -> Vec<(&'static str, Policy)> {
    let hashed = |bounded_load| Policy::ConsistentHash {
        key: HashKey::ClientIp,
        bounded_load,
    };
    vec![
        ("round_robin", Policy::RoundRobin),
        ("least_request", Policy::LeastRequest),
        ("peak_ewma", Policy::PeakEwma),
        ("random", Policy::Random),
        ("ip_hash", Policy::IpHash),
        ("consistent_hash", hashed(None)),
        ("consistent_hash_bounded", hashed(Some(1.25))),
    ]
}

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for (name, policy) in policies() {
        for n in [1, 10, 100, 1000] {
            let now = Instant::now();
            let pool = Pool::build(
                &fixture::settings(policy.clone(), n),
                None,
                now,
                true,
                Arc::new(Silent),
            );
            let mut key = 0u64;
            group.bench_function(BenchmarkId::new(name, n), |b| {
                b.iter(|| {
                    key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    black_box(pool.pick(
                        &Pick {
                            hash: Some(key),
                            ..Pick::default()
                        },
                        now,
                    ))
                    .is_ok()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, pick);
criterion_main!(benches);
