use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::round_robin::cycle;
use crate::config::model::{HashKey, Policy};
use crate::hash::mix;
use crate::pool::fixture::settings;
use crate::pool::{InFlight, Pick, Pool, Silent};

fn every() -> Vec<Policy> {
    vec![
        Policy::RoundRobin,
        Policy::LeastRequest,
        Policy::PeakEwma,
        Policy::Random,
        Policy::IpHash,
        hashed(None),
        hashed(Some(1.25)),
    ]
}

fn hashed(bounded_load: Option<f64>) -> Policy {
    Policy::ConsistentHash {
        key: HashKey::ClientIp,
        bounded_load,
    }
}

fn pool(policy: Policy, weights: &[u32]) -> Pool {
    let mut settings = settings(policy, weights.len());
    settings
        .backends
        .iter_mut()
        .zip(weights)
        .for_each(|(one, weight)| one.weight = *weight);
    Pool::build(&settings, None, Instant::now(), true, Arc::new(Silent))
}

fn pick(pool: &Pool, request: &Pick<'_>) -> InFlight {
    pool.pick(request, Instant::now()).unwrap().in_flight
}

fn owner(pool: &Pool, key: u64) -> String {
    let request = Pick {
        hash: Some(mix(key)),
        ..Pick::default()
    };
    pick(pool, &request).backend().id().to_owned()
}

fn shares(pool: &Pool, picks: usize) -> HashMap<String, usize> {
    let mut seen = HashMap::new();
    for _ in 0..picks {
        *seen
            .entry(pick(pool, &Pick::default()).backend().id().to_owned())
            .or_insert(0) += 1;
    }
    seen
}

#[test]
fn none_repeats_a_tried_backend_while_others_exist() {
    fastrand::seed(1);
    for policy in every() {
        for n in [2, 3, 9, 20] {
            let pool = pool(policy.clone(), &vec![1; n]);
            let mut tried = Vec::new();
            for _ in 0..n {
                let key = pick(
                    &pool,
                    &Pick {
                        exclude: &tried,
                        hash: Some(5),
                        ..Pick::default()
                    },
                )
                .backend()
                .key();
                assert!(!tried.contains(&key), "{policy:?} with {n}");
                tried.push(key);
            }
            assert!(
                pick(
                    &pool,
                    &Pick {
                        exclude: &tried,
                        ..Pick::default()
                    }
                )
                .repeated
            );
        }
    }
}

#[test]
fn each_honours_weights() {
    fastrand::seed(2);
    for policy in every()
        .into_iter()
        .filter(|policy| *policy != Policy::PeakEwma)
    {
        let seen = shares(&pool(policy.clone(), &[1, 9]), 10_000);
        let light = seen.get("b0").copied().unwrap_or(0);
        assert!((600..=1_400).contains(&light), "{policy:?}: {light}");
    }
}

#[test]
fn round_robin_is_smooth() {
    for (weights, longest) in [
        ([5, 1, 1], 4),
        ([1, 9, 1], 7),
        ([3, 3, 3], 1),
        ([4, 2, 2], 2),
    ] {
        let cycle = cycle(&weights);
        let around: Vec<u32> = cycle.iter().chain(&*cycle).copied().collect();
        let run = around
            .chunk_by(|a, b| a == b)
            .map(<[u32]>::len)
            .max()
            .unwrap();
        assert!(run <= longest, "{weights:?}: {cycle:?}");
    }
    let pool = pool(Policy::RoundRobin, &[1; 4]);
    let seen = shares(&pool, 400);
    assert!(seen.values().all(|count| *count == 100), "{seen:?}");
}

#[test]
fn a_hundred_streams_are_spread_evenly() {
    fastrand::seed(3);
    for n in [4, 10] {
        let pool = pool(Policy::LeastRequest, &vec![1; n]);
        let held: Vec<InFlight> = (0..25 * n).map(|_| pick(&pool, &Pick::default())).collect();
        for backend in pool.backends() {
            assert!(
                (22..=28).contains(&backend.in_flight()),
                "{}",
                backend.in_flight()
            );
        }
        drop(held);
        assert!(pool.backends().all(|backend| backend.in_flight() == 0));
    }
}

#[test]
fn peak_ewma_avoids_the_slow_one() {
    fastrand::seed(4);
    let pool = pool(Policy::PeakEwma, &[1; 4]);
    for (i, backend) in pool.backends().enumerate() {
        backend
            .hot
            .latency
            .observe(if i == 0 { 300_000.0 } else { 30_000.0 }, 0);
    }
    let held: Vec<InFlight> = (0..90).map(|_| pick(&pool, &Pick::default())).collect();
    let slow = held.iter().filter(|one| one.backend().id() == "b0").count();
    assert!(slow <= 5, "{slow}");
}

#[test]
fn bounded_load_spreads_one_hot_key() {
    let pool = pool(hashed(Some(1.25)), &[1; 4]);
    let hot = Pick {
        hash: Some(42),
        ..Pick::default()
    };
    let held: Vec<InFlight> = (0..100).map(|_| pick(&pool, &hot)).collect();
    let most = pool
        .backends()
        .map(|backend| backend.in_flight())
        .max()
        .unwrap();
    assert!((25..=32).contains(&most), "{most}");
    drop(held);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_cycle_is_exact(weights in proptest::collection::vec(1u64..60, 1..20)) {
        let cycle = cycle(&weights);
        let total: u64 = weights.iter().sum();
        let whole = total / cycle.len() as u64;
        for (i, weight) in weights.iter().enumerate() {
            let turns = cycle.iter().filter(|turn| **turn as usize == i).count() as u64;
            prop_assert_eq!(turns * whole, *weight);
        }
    }

    #[test]
    fn one_more_backend_takes_its_part_and_moves_no_other_key(n in 2usize..12) {
        let (before, after) = (pool(hashed(None), &vec![1; n]), pool(hashed(None), &vec![1; n + 1]));
        let (keys, new) = (2_000, format!("b{n}"));
        let mut moved = 0.0;
        for key in 0..keys {
            let now = owner(&after, key);
            if now != owner(&before, key) {
                prop_assert_eq!(&now, &new);
                moved += 1.0;
            }
        }
        prop_assert!(moved / keys as f64 <= 1.4 / (n as f64 + 1.0), "{moved} of {keys} with {n}");
    }

    #[test]
    fn in_flight_returns_to_zero(steps in proptest::collection::vec((0usize..7, any::<bool>(), 0usize..8), 1..80)) {
        let mut held: Vec<InFlight> = Vec::new();
        let pools: Vec<Pool> = every().into_iter().map(|policy| pool(policy, &[1, 2, 3])).collect();
        for (which, take, place) in steps {
            if take {
                held.push(pick(&pools[which], &Pick { hash: Some(place as u64), ..Pick::default() }));
            } else if place < held.len() {
                held.swap_remove(place).answered();
            }
        }
        held.clear();
        for pool in &pools {
            prop_assert!(pool.backends().all(|backend| backend.in_flight() == 0));
            prop_assert_eq!(pool.status(Instant::now()).in_flight, 0);
        }
    }
}
