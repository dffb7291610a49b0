//! The measured claims of slow and failing backends, in virtual time.

use super::simulation::{Done, Simulation};
use super::*;

fn share(done: &[Done], id: &str, from: f64) -> f64 {
    let after: Vec<&Done> = done.iter().filter(|one| one.began >= from).collect();
    after.iter().filter(|one| one.backend == id).count() as f64 / after.len() as f64
}

fn slow_from_two(id: &str, at: f64) -> (u64, Outcome) {
    (
        if id == "b3" && at >= 2.0 { 30_000 } else { 30 },
        Outcome::Status(200),
    )
}

#[test]
fn a_backend_gone_slow_gets_hardly_anything_and_is_ejected() {
    let start = Instant::now();
    let (pool, _) = build(&settings(Policy::LeastRequest, 4), start);
    let mut ejected_at = None;
    let run = Simulation::new(&pool, start, 200, &slow_from_two).run(120, |second, _| {
        if state(&pool, "b3") == State::Ejected {
            ejected_at.get_or_insert(second);
        }
    });
    assert!(
        share(&run.done, "b3", 4.0) <= 0.05,
        "{}",
        share(&run.done, "b3", 4.0)
    );
    assert!(
        ejected_at.is_some_and(|second| second <= 60),
        "{ejected_at:?}"
    );
    let finals: Vec<&Done> = run.done.iter().filter(|one| one.last).collect();
    let errors = finals.iter().filter(|one| !one.ok).count() + run.refused;
    assert!(
        errors as f64 <= 0.005 * finals.len() as f64,
        "{errors} of {}",
        finals.len()
    );
}

/// The control: the same run in turn and unprotected.
#[test]
fn round_robin_without_protection_piles_up() {
    let start = Instant::now();
    let mut settings = settings(Policy::RoundRobin, 4);
    settings.outlier_detection.mode = OutlierMode::Off;
    let (pool, _) = build(&settings, start);
    let mut most = 0;
    let mut run = Simulation::new(&pool, start, 200, &slow_from_two);
    run.timeout_millis = 60_000;
    let run = run.run(60, |_, now| most = most.max(pool.status(now).in_flight));
    let ended: Vec<Done> = run
        .done
        .into_iter()
        .filter(|one| one.began < 25.0)
        .collect();
    assert!(share(&ended, "b3", 4.0) > 0.2);
    assert!(most > 1_000, "{most}");
}

#[test]
fn stuck_requests_eject_without_any_timeout() {
    let start = Instant::now();
    let (pool, notes) = build(&settings(Policy::LeastRequest, 4), start);
    let mut run = Simulation::new(&pool, start, 200, &|id, at| {
        (
            if id == "b3" && at >= 2.0 { 110_000 } else { 30 },
            Outcome::Status(200),
        )
    });
    run.timeout_millis = 200_000;
    run.run(100, |_, _| {});
    let told = notes.0.lock().unwrap().clone();
    assert!(
        told.iter()
            .any(|line| line.starts_with("b3") && line.contains(">ejected latency")),
        "{told:?}"
    );
}

#[test]
fn ten_times_slower_than_the_pool_for_a_minute_ejects() {
    let start = Instant::now();
    let (pool, _) = build(&settings(Policy::RoundRobin, 10), start);
    let (mut halved, mut ejected) = (None, None);
    Simulation::new(&pool, start, 100, &|id, at| {
        (
            if id == "b3" && at >= 20.0 { 200 } else { 20 },
            Outcome::Status(200),
        )
    })
    .run(110, |second, now| {
        if pool.status(now).backends[3].weight_effective == 0.5 {
            halved.get_or_insert(second);
        }
        if state(&pool, "b3") == State::Ejected {
            ejected.get_or_insert(second);
        }
    });
    assert!(
        halved.is_some_and(|second| (20..=30).contains(&second)),
        "{halved:?}"
    );
    assert!(
        ejected.is_some_and(|second| (70..=90).contains(&second)),
        "{ejected:?}"
    );
}

#[test]
fn a_pool_slow_as_a_whole_loses_nobody() {
    let start = Instant::now();
    let (pool, notes) = build(&settings(Policy::RoundRobin, 10), start);
    Simulation::new(&pool, start, 300, &|_, at| {
        (if at >= 20.0 { 200 } else { 20 }, Outcome::Status(200))
    })
    .run(150, |_, _| {});
    assert!(
        notes
            .0
            .lock()
            .unwrap()
            .iter()
            .all(|line| !line.contains("ejected"))
    );
}

#[test]
fn a_pool_that_only_fails_gets_little_more_than_its_clients_send() {
    let start = Instant::now();
    let (pool, _) = build(&settings(Policy::LeastRequest, 4), start);
    let run =
        Simulation::new(&pool, start, 500, &|_, _| (5, Outcome::Status(500))).run(30, |_, _| {});
    assert_eq!(run.refused, 0);
    let amplified = run.done.len() as f64 / (500.0 * 30.0);
    assert!(amplified <= 1.2, "{amplified}");
    assert!(run.done.iter().all(|one| !one.ok && one.millis == 5));
}
