//! A pick, the guard's drop, the record of a usual outcome and opening a sticky cookie allocate nothing.
#![allow(unsafe_code, missing_docs, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::config;
use tidegate::config::model::{HashKey, Policy};
use tidegate::outcome::Outcome;
use tidegate::pool::{Attempt, Pick, Pool, Silent};
use tidegate::sticky::{Keys, Source, Ticket, find, open, seal};

#[allow(dead_code)]
#[path = "../src/pool/fixture.rs"]
mod fixture;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on unchanged; counting touches only a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_hot_path_allocates_nothing() {
    let hashed = |bounded_load| Policy::ConsistentHash {
        key: HashKey::ClientIp,
        bounded_load,
    };
    let policies = [
        Policy::RoundRobin,
        Policy::LeastRequest,
        Policy::PeakEwma,
        Policy::Random,
        Policy::IpHash,
        hashed(None),
        hashed(Some(1.25)),
    ];
    for policy in policies {
        for n in [1, 8, 100] {
            let now = Instant::now();
            let pool = Pool::build(
                &fixture::settings(policy.clone(), n),
                None,
                now,
                true,
                Arc::new(Silent),
            );
            let good = Attempt {
                outcome: Outcome::Status(200),
                latency: Some(Duration::from_millis(3)),
                drain: false,
            };
            let once = |key: u64| {
                let picked = pool
                    .pick(
                        &Pick {
                            hash: Some(key),
                            exclude: &[key],
                            ..Pick::default()
                        },
                        now,
                    )
                    .unwrap();
                pool.record(&picked.in_flight, &good, now);
            };
            // Thread-locals of others are made at the first use.
            once(0);
            let before = ALLOCATIONS.with(Cell::get);
            (1..10_000).for_each(|key| once(key << 32));
            assert_eq!(
                ALLOCATIONS.with(Cell::get) - before,
                0,
                "{policy:?} with {n}"
            );
        }
    }
    let before = ALLOCATIONS.with(Cell::get);
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(
        ALLOCATIONS.with(Cell::get) - before,
        1,
        "the counter counts"
    );
}

#[test]
fn opening_a_sticky_cookie_allocates_nothing() {
    const BOUND: &[u8] = b"bound";
    let secret = config::model::Secret("0123456789abcdef0123456789abcdef".into());
    let source = Source::Secrets(vec![secret], Duration::from_secs(21_600));
    let keys = Keys::new(source, Duration::from_secs(3_600), 1_800_000_000).unwrap();
    let ticket = Ticket {
        pool: 1,
        backend: 2,
        session: 3,
        issued: 1_800_000_000,
        expires: 1_800_003_600,
        last_seen: 1_800_000_000,
        moved_from: 0,
        moved_at: 0,
        moves: 0,
    };
    let sealed = seal(&ticket, keys.ring().sealing().unwrap(), [1; 12], BOUND).unwrap();
    let line = format!(
        "theme=dark; srv_id={}",
        std::str::from_utf8(&sealed).unwrap()
    );
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::COOKIE, line.parse().unwrap());
    let once = || open(find(&headers, "srv_id").unwrap(), &keys.ring(), BOUND).is_ok();
    assert!(once());
    let before = ALLOCATIONS.with(Cell::get);
    assert!((0..1_000).all(|_| once()));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
}
