mod cascade;
mod groups;
mod membership;
mod probes;
mod simulation;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::fixture::{backend, health_check, settings};
use super::*;
use crate::config::model::{OutlierMode, Policy};
use crate::outcome::Outcome;

/// Writes down what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Events for Notes {
    fn transition(&self, one: &Transition<'_>) {
        let (from, to) = (one.from.as_str(), one.to.as_str());
        let line = format!(
            "{} {from}>{to} {} {:.2}>{:.2}",
            one.backend, one.reason, one.available_before, one.available_after
        );
        self.0.lock().unwrap().push(line);
    }
    fn ejection_blocked(&self, one: &Ejection<'_>) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{} blocked {}", one.backend, one.reason));
    }
    fn membership(&self, one: &Membership<'_>) {
        let lists = [&one.joined, &one.returned, &one.left, &one.changed];
        let [joined, returned, left, changed] = lists.map(|ids| ids.join(","));
        let members = one.members;
        let line = format!("members +{joined} ^{returned} -{left} ~{changed} ={members}");
        self.0.lock().unwrap().push(line);
    }
    fn would_eject(&self, one: &Ejection<'_>) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{} would {}", one.backend, one.reason));
    }
}

fn build(settings: &model::Pool, now: Instant) -> (Pool, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    (
        Pool::build(
            settings,
            None,
            now,
            true,
            Arc::clone(&notes) as Arc<dyn Events>,
        ),
        notes,
    )
}

fn end(pool: &Pool, picked: &Picked, outcome: Outcome, now: Instant) {
    let attempt = Attempt {
        outcome,
        latency: Some(Duration::from_millis(10)),
        drain: false,
    };
    pool.record(&picked.in_flight, &attempt, now);
}

/// Lets every request that comes to `id` end so, others well, until `id` got `times`.
fn hit(pool: &Pool, id: &str, times: usize, outcome: Outcome, now: Instant) {
    let mut left = times;
    for _ in 0..10_000 {
        let picked = pool.pick(&Pick::default(), now).unwrap();
        let this = picked.backend.id() == id;
        end(
            pool,
            &picked,
            if this { outcome } else { Outcome::Status(200) },
            now,
        );
        left -= usize::from(this);
        if left == 0 {
            return;
        }
    }
    panic!("{id} got too few picks");
}

fn state(pool: &Pool, id: &str) -> State {
    pool.backend(id).unwrap().state()
}

const REFUSED: Outcome = Outcome::ConnectError { refused: true };

#[test]
fn three_failures_in_a_row_eject_and_are_told() {
    let now = Instant::now();
    let (pool, notes) = build(&settings(Policy::RoundRobin, 4), now);
    hit(&pool, "b1", 2, Outcome::Status(503), now);
    assert_eq!(state(&pool, "b1"), State::Suspect);
    hit(&pool, "b1", 1, Outcome::Timeout, now);
    assert_eq!(state(&pool, "b1"), State::Ejected);
    let told = notes.0.lock().unwrap().clone();
    assert_eq!(told[0], "b1 healthy>suspect consecutive_failures 1.00>1.00");
    assert_eq!(told[1], "b1 suspect>ejected consecutive_failures 1.00>0.75");
    let status = serde_json::to_value(pool.status(now)).unwrap();
    assert_eq!(status["backends"][1]["state"], "ejected");
    assert!(
        status["backends"][1]["ejection_seconds_left"]
            .as_f64()
            .unwrap()
            > 26.0
    );
    assert_eq!(status["backends"][1]["weight_effective"], 0.0);
    assert!((0..100).all(|_| pool.pick(&Pick::default(), now).unwrap().backend.id() != "b1"));
}

#[test]
fn a_loop_is_no_evidence_for_or_against_a_backend() {
    let now = Instant::now();
    let (pool, _) = build(&settings(Policy::RoundRobin, 4), now);
    hit(&pool, "b1", 2, Outcome::Status(503), now);
    hit(&pool, "b1", 50, Outcome::Status(508), now);
    assert_eq!(state(&pool, "b1"), State::Suspect);
    assert_eq!(pool.backend("b1").unwrap().totals(), (0, 2));
    // It has not ended the run of failures either.
    hit(&pool, "b1", 1, Outcome::Status(503), now);
    assert_eq!(state(&pool, "b1"), State::Ejected);
}

#[test]
fn clients_faults_and_other_statuses_do_not_count() {
    let now = Instant::now();
    let (pool, _) = build(&settings(Policy::RoundRobin, 4), now);
    hit(&pool, "b1", 2, Outcome::Reset, now);
    hit(&pool, "b1", 50, Outcome::Aborted, now);
    assert_eq!(pool.backend("b1").unwrap().totals(), (0, 2));
    hit(&pool, "b1", 1, Outcome::Status(404), now);
    hit(&pool, "b1", 2, Outcome::Garbage, now);
    assert_eq!(state(&pool, "b1"), State::Suspect);
}

#[test]
fn three_refused_connections_within_a_second_eject_whatever_the_limit() {
    let now = Instant::now();
    let mut settings = settings(Policy::RoundRobin, 4);
    settings.outlier_detection.consecutive_failures = None;
    let (pool, notes) = build(&settings, now);
    for tenth in [0, 6, 12, 18] {
        hit(
            &pool,
            "b0",
            1,
            REFUSED,
            now + Duration::from_millis(tenth * 100),
        );
    }
    assert!(state(&pool, "b0").in_rotation());
    let later = now + Duration::from_secs(10);
    hit(&pool, "b0", 1, REFUSED, later);
    hit(&pool, "b0", 1, Outcome::Status(200), later);
    hit(&pool, "b0", 2, REFUSED, later + Duration::from_millis(999));
    assert_eq!(state(&pool, "b0"), State::Ejected);
    assert!(
        notes
            .0
            .lock()
            .unwrap()
            .last()
            .unwrap()
            .contains("connect_refused")
    );
}

#[test]
fn observing_only_counts() {
    let now = Instant::now();
    let mut settings = settings(Policy::RoundRobin, 4);
    settings.outlier_detection.mode = OutlierMode::Observe;
    let (pool, notes) = build(&settings, now);
    hit(&pool, "b0", 12, Outcome::Status(500), now);
    assert!(state(&pool, "b0").in_rotation());
    let told = notes.0.lock().unwrap().clone();
    assert_eq!(
        told.iter().filter(|line| line.contains("would")).count(),
        1,
        "{told:?}"
    );
}

#[test]
fn a_pool_that_only_fails_keeps_half_and_never_refuses() {
    for (n, out) in [(1, 0), (2, 1), (3, 1), (4, 2), (10, 5)] {
        let mut now = Instant::now();
        let (pool, notes) = build(&settings(Policy::LeastRequest, n), now);
        for _ in 0..300 {
            now += Duration::from_millis(100);
            for _ in 0..10 {
                let picked = pool
                    .pick(
                        &Pick {
                            idempotent: true,
                            ..Pick::default()
                        },
                        now,
                    )
                    .unwrap();
                end(&pool, &picked, Outcome::Status(500), now);
            }
            pool.tick(now);
            assert!(pool.status(now).out <= out, "{n}");
        }
        assert_eq!(pool.status(now).out, out);
        assert!(
            notes
                .0
                .lock()
                .unwrap()
                .iter()
                .any(|line| line.contains("blocked"))
        );
    }
}

#[test]
fn an_ejected_backend_returns_by_three_trials_and_a_slow_start() {
    let start = Instant::now();
    let mut settings = settings(Policy::RoundRobin, 4);
    settings.slow_start = Duration::from_secs(20);
    let (pool, _) = build(&settings, start);
    hit(&pool, "b0", 3, Outcome::Status(500), start);
    let now = start + Duration::from_secs(34);
    pool.tick(now);
    assert_eq!(state(&pool, "b0"), State::HalfOpen);
    assert!((0..50).all(|_| pool.pick(&Pick::default(), now).unwrap().backend.id() != "b0"));
    let idempotent = Pick {
        idempotent: true,
        ..Pick::default()
    };
    let trials: Vec<Picked> = (0..9)
        .map(|_| pool.pick(&idempotent, now).unwrap())
        .collect();
    let trials: Vec<&Picked> = trials
        .iter()
        .filter(|one| one.backend.id() == "b0")
        .collect();
    assert_eq!(trials.len(), 3);
    trials
        .iter()
        .for_each(|one| end(&pool, one, Outcome::Status(200), now));
    assert_eq!(state(&pool, "b0"), State::Healthy);
    assert_eq!(
        pool.status(now).backends[0].latency_p99_ms,
        None,
        "it starts anew"
    );
    for (after, wanted) in [(0, 0.1), (10, 0.5), (20, 1.0)] {
        let now = now + Duration::from_secs(after);
        pool.tick(now);
        let weight = pool.status(now).backends[0].weight_effective;
        assert!((weight - wanted).abs() < 0.01, "{weight} after {after} s");
    }
}

#[test]
fn what_began_before_the_trial_does_not_count_in_it() {
    let start = Instant::now();
    let (pool, _) = build(&settings(Policy::RoundRobin, 2), start);
    let all: Vec<Picked> = (0..10)
        .map(|_| pool.pick(&Pick::default(), start).unwrap())
        .collect();
    let old: Vec<&Picked> = all.iter().filter(|one| one.backend.id() == "b0").collect();
    hit(&pool, "b0", 3, Outcome::Status(500), start);
    let now = start + Duration::from_secs(34);
    pool.tick(now);
    assert_eq!(state(&pool, "b0"), State::HalfOpen);
    old.iter()
        .for_each(|one| end(&pool, one, Outcome::Status(200), now));
    end(&pool, old[0], Outcome::Timeout, now);
    assert_eq!(state(&pool, "b0"), State::HalfOpen);
}

#[test]
fn one_that_fails_more_than_the_rest_is_ejected() {
    let now = Instant::now();
    let (pool, notes) = build(&settings(Policy::RoundRobin, 3), now);
    for i in 0..300 {
        let picked = pool.pick(&Pick::default(), now).unwrap();
        let bad = picked.backend.id() == "b2" && i % 2 == 0;
        end(
            &pool,
            &picked,
            Outcome::Status(if bad { 500 } else { 200 }),
            now,
        );
    }
    pool.tick(now);
    assert_eq!(state(&pool, "b2"), State::Ejected);
    assert!(
        notes
            .0
            .lock()
            .unwrap()
            .last()
            .unwrap()
            .contains("error_rate")
    );
}

#[test]
fn drains_keep_sticky_clients_and_take_no_others() {
    let now = Instant::now();
    let (pool, _) = build(&settings(Policy::RoundRobin, 2), now);
    let picked = pool.pick_sticky("b0", now).unwrap();
    let asks = Attempt {
        outcome: Outcome::Status(200),
        latency: None,
        drain: true,
    };
    pool.record(&picked.in_flight, &asks, now);
    assert_eq!(state(&pool, "b0"), State::Draining);
    assert!((0..20).all(|_| pool.pick(&Pick::default(), now).unwrap().backend.id() == "b1"));
    assert!(pool.pick_sticky("b0", now).is_some());
    assert_eq!(pool.backend("b0").unwrap().in_flight(), 1);
    assert!(pool.undrain("b0", now));
    assert_eq!(state(&pool, "b0"), State::Healthy);
    assert!(pool.drain("b1", now));
    assert!(!pool.drain("b9", now));
    assert!((0..20).all(|_| pool.pick(&Pick::default(), now).unwrap().backend.id() == "b0"));
    pool.drain("b0", now);
    assert_eq!(
        pool.pick(&Pick::default(), now).unwrap_err(),
        Refused::AllDown
    );
}

#[test]
fn a_reload_keeps_what_is_known() {
    let now = Instant::now();
    let mut settings = settings(Policy::RoundRobin, 4);
    let (pool, notes) = build(&settings, now);
    let held = pool.pick(&Pick::default(), now).unwrap();
    hit(&pool, "b1", 3, Outcome::Status(500), now);
    settings.backends.remove(3);
    settings.backends.push(backend(7));
    settings.backends[2].weight = 0;
    settings.health_check = Some(health_check());
    let new = Pool::build(
        &settings,
        Some(&pool),
        now,
        false,
        Arc::clone(&notes) as Arc<dyn Events>,
    );
    let states: Vec<State> = new.backends().map(|backend| backend.state()).collect();
    assert_eq!(
        states,
        [
            State::Healthy,
            State::Ejected,
            State::Draining,
            State::Checking,
            State::Draining
        ]
    );
    assert_eq!(new.status(now).in_flight, 1);
    assert!(
        notes
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|line| line == "members +b7 ^ -b3 ~b2 =4")
    );
    drop(held);
    assert_eq!(new.status(now).in_flight, 0);
    // The old snapshot still has requests; what they say reaches the new one.
    hit(&pool, "b0", 2, Outcome::Reset, now);
    assert_eq!(state(&new, "b0"), State::Suspect);
    settings.health_check = None;
    let third = Pool::build(&settings, Some(&new), now, false, notes);
    assert_eq!(state(&third, "b7"), State::Healthy);
}

#[test]
fn caps_shed_and_the_queue_is_bounded() {
    let now = Instant::now();
    let mut settings = settings(Policy::LeastRequest, 2);
    settings.limits.max_in_flight_per_backend = Some(2);
    settings.limits.queue = 1;
    let (pool, _) = build(&settings, now);
    let mut held: Vec<Picked> = (0..4)
        .map(|_| pool.pick(&Pick::default(), now).unwrap())
        .collect();
    let refused = pool.pick(&Pick::default(), now).unwrap_err();
    assert_eq!(
        refused,
        Refused::Overloaded {
            scope: Scope::Backend
        }
    );
    let waiter = pool.join_queue().unwrap();
    assert!(pool.join_queue().is_none());
    held.pop();
    assert!(pool.pick(&Pick::default(), now).is_err());
    held.push(
        pool.pick(
            &Pick {
                queued: true,
                ..Pick::default()
            },
            now,
        )
        .unwrap(),
    );
    drop(waiter);
    held.clear();
    assert_eq!(pool.status(now).in_flight, 0);
    settings.limits.max_in_flight = Some(1);
    let (pool, _) = build(&settings, now);
    let _held = pool.pick(&Pick::default(), now).unwrap();
    assert_eq!(
        pool.pick(&Pick::default(), now).unwrap_err(),
        Refused::Overloaded { scope: Scope::Pool }
    );
}

#[test]
fn threads_leave_nothing_in_flight() {
    let now = Instant::now();
    let mut settings = settings(Policy::LeastRequest, 5);
    settings.limits.max_in_flight_per_backend = Some(2);
    let (pool, _) = build(&settings, now);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let pool = &pool;
            scope.spawn(move || {
                for i in 0..4_000u64 {
                    let now = now + Duration::from_millis(i * 10);
                    let Ok(picked) = pool.pick(
                        &Pick {
                            idempotent: true,
                            ..Pick::default()
                        },
                        now,
                    ) else {
                        continue;
                    };
                    let status = if (i + thread) % 3 == 0 { 500 } else { 200 };
                    end(pool, &picked, Outcome::Status(status), now);
                    assert!(
                        picked.backend.in_flight() <= 2 + 4,
                        "racing entries are given back"
                    );
                    if i % 100 == 0 {
                        pool.tick(now);
                    }
                }
            });
        }
    });
    let status = pool.status(now);
    assert_eq!(status.in_flight, 0);
    assert!(status.backends.iter().all(|one| one.in_flight == 0));
    assert!(status.out <= 2);
}

#[test]
fn an_empty_pool_says_so() {
    let now = Instant::now();
    let (pool, _) = build(&settings(Policy::LeastRequest, 0), now);
    assert_eq!(
        pool.pick(&Pick::default(), now).unwrap_err(),
        Refused::NoBackends
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens: traffic ejects no more than the cap, and whoever asks gets a backend.
    #[test]
    fn never_past_the_cap(n in 1usize..12, percent in 0u32..=100, steps in proptest::collection::vec((0u8..6, 0u64..4), 1..200)) {
        let mut now = Instant::now();
        let mut settings = settings(Policy::Random, n);
        settings.outlier_detection.max_ejection_percent = percent;
        let (pool, _) = build(&settings, now);
        let mut held = Vec::new();
        for (step, secs) in steps {
            now += Duration::from_secs(secs * 5);
            let picked = pool.pick(&Pick { idempotent: step % 2 == 0, ..Pick::default() }, now);
            prop_assert!(picked.is_ok());
            let picked = picked.unwrap();
            match step {
                0 | 1 => end(&pool, &picked, Outcome::Status(200), now),
                2 | 3 => end(&pool, &picked, Outcome::Status(500), now),
                4 => held.push(picked),
                _ => pool.tick(now),
            }
            let out = pool.status(now).out;
            prop_assert!(out <= rotation::most_out(n, percent), "{out} of {n} at {percent} %");
        }
        held.clear();
        prop_assert_eq!(pool.status(now).in_flight, 0);
    }
}
