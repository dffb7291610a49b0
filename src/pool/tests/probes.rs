//! When probes go out, and how fast they find a dead process.

use super::*;

fn checked(n: usize) -> model::Pool {
    let mut settings = settings(Policy::RoundRobin, n);
    settings.health_check = Some(health_check());
    settings
}

/// Runs due probes ten times a second; those of dead backends take their whole timeout.
fn probe(
    pool: &Pool,
    from: Instant,
    millis: u64,
    dead: &dyn Fn(&str) -> bool,
) -> Vec<(String, u64)> {
    let (mut sent, mut running) = (Vec::new(), Vec::new());
    for at in (0..millis).step_by(100) {
        let now = from + Duration::from_millis(at);
        for backend in pool.due_probes(now) {
            sent.push((backend.id().to_owned(), at));
            running.push((at + if dead(backend.id()) { 2_000 } else { 0 }, backend));
        }
        let (ended, left): (Vec<_>, Vec<_>) = running.into_iter().partition(|(end, _)| *end <= at);
        running = left;
        for (_, backend) in ended {
            let failed = ProbeResult::Fail(ProbeFailure::Timeout);
            pool.probe_result(
                backend.id(),
                if dead(backend.id()) {
                    failed
                } else {
                    ProbeResult::Pass
                },
                now,
            );
        }
        pool.tick(now);
    }
    sent
}

#[test]
fn a_cold_start_is_ready_after_one_quick_round() {
    let now = Instant::now();
    let (pool, _) = build(&checked(20), now);
    assert_eq!(
        pool.pick(&Pick::default(), now).unwrap_err(),
        Refused::AllDown
    );
    let sent = probe(&pool, now, 1_000, &|_| false);
    // Each once; a few already have their place in the interval within this second.
    assert!((20..=28).contains(&sent.len()), "{}", sent.len());
    assert!(
        pool.backends()
            .all(|backend| backend.state() == State::Healthy)
    );
}

#[test]
fn a_dead_process_is_down_within_fifteen_seconds() {
    for seed in 0..20 {
        fastrand::seed(seed);
        let now = Instant::now();
        let (pool, _) = build(&checked(4), now);
        probe(&pool, now, 20_000 + seed * 237, &|_| false);
        let died = now + Duration::from_millis(20_000 + seed * 237);
        probe(&pool, died, 15_000, &|id| id == "b2");
        assert_eq!(state(&pool, "b2"), State::Down, "{seed}");
        let sent = probe(&pool, died + Duration::from_secs(15), 120_000, &|id| {
            id == "b2"
        });
        assert!(
            sent.iter().filter(|(id, _)| id == "b2").count() <= 9,
            "backs off"
        );
    }
}

#[test]
fn probes_are_spread_over_the_interval() {
    fastrand::seed(1);
    let now = Instant::now();
    let (pool, _) = build(&checked(100), now);
    probe(&pool, now, 60_000, &|_| false);
    let sent = probe(&pool, now + Duration::from_secs(60), 5_000, &|_| false);
    assert!((85..=115).contains(&sent.len()), "{}", sent.len());
    let busiest = (0..10)
        .map(|half| sent.iter().filter(|(_, at)| at / 500 == half).count())
        .max()
        .unwrap();
    assert!(busiest <= 25, "{busiest}");
}

#[test]
fn good_traffic_stands_for_probes_but_not_for_long() {
    let now = Instant::now();
    let (pool, _) = build(&checked(2), now);
    probe(&pool, now, 6_000, &|_| false);
    let mut probes = 0;
    for second in 6..126 {
        let now = now + Duration::from_secs(second);
        for _ in 0..40 {
            end(
                &pool,
                &pool.pick(&Pick::default(), now).unwrap(),
                Outcome::Status(200),
                now,
            );
        }
        probes += probe(&pool, now, 1_000, &|_| false).len();
    }
    // Two backends, two minutes: 48 without traffic, 8 at a probe every 30 s.
    assert!((8..=12).contains(&probes), "{probes}");
}

#[test]
fn one_failure_among_good_traffic_lets_the_probe_go_out() {
    let now = Instant::now();
    let (pool, _) = build(&checked(1), now);
    probe(&pool, now, 1_000, &|_| false);
    let later = now + Duration::from_secs(1);
    for i in 0..100 {
        let status = if i == 50 { 500 } else { 200 };
        end(
            &pool,
            &pool.pick(&Pick::default(), later).unwrap(),
            Outcome::Status(status),
            later,
        );
    }
    assert_eq!(state(&pool, "b0"), State::Healthy);
    assert_eq!(probe(&pool, later, 6_000, &|_| false).len(), 1);
}

#[test]
fn too_many_down_still_serve_the_least_bad_first() {
    let now = Instant::now();
    let (pool, _) = build(&checked(4), now);
    pool.backends()
        .for_each(|backend| pool.probe_result(backend.id(), ProbeResult::Pass, now));
    for (id, failure) in [
        ("b0", ProbeFailure::Refused),
        ("b1", ProbeFailure::Timeout),
        ("b2", ProbeFailure::Mismatch),
        ("b3", ProbeFailure::Refused),
    ] {
        (0..3).for_each(|_| pool.probe_result(id, ProbeResult::Fail(failure), now));
    }
    let status = pool.status(now);
    assert!(status.fail_open && status.available_ratio == 0.0);
    let serving: Vec<&str> = status
        .backends
        .iter()
        .filter(|one| one.serving)
        .map(|one| one.id.as_str())
        .collect();
    assert_eq!(serving, ["b1", "b2"]);
    assert!((0..50).all(|_| ["b1", "b2"].contains(&pool.pick(&Pick::default(), now).unwrap().backend.id())));
}

#[test]
fn an_ejection_by_traffic_outlives_good_probes() {
    let now = Instant::now();
    let (pool, _) = build(&checked(4), now);
    probe(&pool, now, 2_000, &|_| false);
    let ejected = now + Duration::from_secs(2);
    hit(&pool, "b0", 3, Outcome::Status(500), ejected);
    probe(&pool, ejected, 26_000, &|_| false);
    assert_eq!(state(&pool, "b0"), State::Ejected);
    probe(&pool, ejected + Duration::from_secs(26), 9_000, &|_| false);
    assert_eq!(state(&pool, "b0"), State::HalfOpen);
}
