//! What a sticky session costs a request: opening the cookie, and the whole decision. To be had: at most 2 µs to open.
// A bench that can not be set up has nothing to measure, and nobody uses it as a library.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use tidegate::config::model::Secret;
use tidegate::sticky::{Keys, Source, Ticket, find, open, seal, strip};

const BOUND: &[u8] = b"tidegate sticky v1\0cookie\0srv_id\0";

fn sticky(c: &mut Criterion) {
    let source = Source::Secrets(
        vec![Secret("0123456789abcdef0123456789abcdef".into())],
        Duration::from_secs(21_600),
    );
    let keys = Keys::new(source, Duration::from_secs(86_400), 1_800_000_000).unwrap();
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
    let mut bad = sealed;
    bad[80] ^= 1;
    let line = format!(
        "theme=dark; session=0123456789abcdef; srv_id={}",
        std::str::from_utf8(&sealed).unwrap()
    );
    let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&line).unwrap())]);
    let find_and_open =
        |headers: &HeaderMap| open(find(headers, "srv_id").unwrap(), &keys.ring(), BOUND);
    c.bench_function("sticky/find_and_open", |b| {
        b.iter(|| find_and_open(black_box(&headers)))
    });
    c.bench_function("sticky/open", |b| {
        b.iter(|| open(black_box(&sealed), &keys.ring(), BOUND))
    });
    c.bench_function("sticky/refuse", |b| {
        b.iter(|| open(black_box(&bad), &keys.ring(), BOUND))
    });
    c.bench_function("sticky/seal", |b| {
        b.iter(|| {
            seal(
                black_box(&ticket),
                keys.ring().sealing().unwrap(),
                [1; 12],
                BOUND,
            )
        })
    });
    c.bench_function("sticky/strip", |b| {
        b.iter(|| strip(black_box(&headers), "srv_id"))
    });
    decisions(c);
}

/// Read, decide, pick and drop, over 100 backends.
fn decisions(c: &mut Criterion) {
    use std::sync::Arc;
    use std::time::Instant;
    use tidegate::pool::{Pick, Pool, Silent};
    use tidegate::sticky::{Clock, Sticky};

    let text = r#"
version: 1
cluster: {secret: "0123456789abcdef0123456789abcdef"}
listeners: [{name: web, listen: "127.0.0.1:8080"}]
routes: [{match: {}, pool: web}]
pools: {web: {sticky: {cookie: srv_id}, backends: [BACKENDS]}}
"#;
    let backends: Vec<String> = (1..=100).map(|n| format!("\"10.0.0.{n}:80\"")).collect();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), text.replace("BACKENDS", &backends.join(", "))).unwrap();
    let filters = tidegate::config::FilterCatalog::default();
    let loaded =
        tidegate::config::load(file.path(), &tidegate::config::ProcessEnv, &filters).unwrap();
    let (settings, origin) = (&loaded.config.pools["web"], Instant::now());
    let source = Source::Secrets(
        loaded.config.cluster.secrets.clone(),
        loaded.config.cluster.key_rotation,
    );
    let keys = Arc::new(Keys::new(source, Duration::from_secs(3_600), 1_800_000_000).unwrap());
    let pool = Pool::build(settings, None, origin, true, Arc::new(Silent));
    let sticky = Sticky::new(&pool, &keys, None, origin).unwrap();
    let clock = |millis: u64| Clock {
        now: origin + Duration::from_millis(millis),
        unix: 1_800_000_000 + millis / 1_000,
    };
    let cookies: Vec<HeaderMap> = (0..1_000)
        .map(|_| {
            let mut new = sticky.decide(sticky.read(&HeaderMap::new()), &pool, clock(0));
            drop(
                sticky
                    .pick(&mut new, &pool, &Pick::default(), origin)
                    .unwrap(),
            );
            let (_, value) = sticky.set_header(&new, true).unwrap();
            let pair = value
                .to_str()
                .unwrap()
                .split(';')
                .next()
                .unwrap()
                .to_owned();
            HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&pair).unwrap())])
        })
        .collect();
    let mut n = 0;
    c.bench_function("sticky/read_decide_pick_of_100", |b| {
        b.iter(|| {
            n += 1;
            let clock = clock(n / 30);
            let claim = sticky.read(&cookies[n as usize % cookies.len()]);
            let mut decision = sticky.decide(claim, &pool, clock);
            sticky.pick(&mut decision, &pool, &Pick::default(), clock.now)
        })
    });
}

criterion_group!(benches, sticky);
criterion_main!(benches);
