//! Failover between groups and preference of the own zone, in virtual time.

use super::simulation::Simulation;
use super::*;

/// b0..b3 are the first group, b4..b7 the second.
fn two_groups() -> model::Pool {
    let mut settings = settings(Policy::LeastRequest, 8);
    settings
        .backends
        .iter_mut()
        .skip(4)
        .for_each(|one| one.priority = 1);
    settings
}

fn first(id: &str) -> bool {
    ["b0", "b1", "b2", "b3"].contains(&id)
}

#[test]
fn a_group_that_dies_is_left_at_once_and_returned_to_late_and_slowly() {
    let start = Instant::now();
    let (pool, _) = build(&two_groups(), start);
    let dead = |id: &str, at: f64| {
        if first(id) && (10.0..40.0).contains(&at) {
            (1, REFUSED)
        } else {
            (20, Outcome::Status(200))
        }
    };
    let run = Simulation::new(&pool, start, 300, &dead).run(260, |_, _| {});
    let between = |from: f64, to: f64| {
        let all: Vec<_> = run
            .done
            .iter()
            .filter(|one| (from..to).contains(&one.began))
            .collect();
        all.iter().filter(|one| first(&one.backend)).count() as f64 / all.len() as f64
    };
    let finals = run.done.iter().filter(|one| one.last).count() as f64;
    let errors = run.done.iter().filter(|one| one.last && !one.ok).count() as f64;
    assert!(errors <= 0.001 * finals, "{errors} of {finals}");
    assert_eq!(between(5.0, 10.0), 1.0);
    assert!(
        run.done
            .iter()
            .all(|one| one.ok || one.began < 12.0 || one.began > 90.0),
        "error window"
    );
    assert_eq!(between(15.0, 90.0), 0.0);
    let ramp: Vec<f64> = (11..26)
        .map(|ten| between(f64::from(ten) * 10.0, f64::from(ten) * 10.0 + 10.0))
        .collect();
    assert!(
        ramp.windows(2).all(|pair| pair[1] >= pair[0] - 0.06),
        "{ramp:?}"
    );
    assert!(ramp[0] < 0.35 && ramp[14] > 0.95, "{ramp:?}");
}

#[test]
fn a_group_that_bounces_does_not_flap() {
    let start = Instant::now();
    let mut settings = two_groups();
    settings.health_check = Some(health_check());
    let (pool, _) = build(&settings, start);
    pool.backends()
        .for_each(|one| pool.probe_result(one.id(), ProbeResult::Pass, start));
    let up = |id: &str, at: f64| !first(id) || (at as u64 / 20).is_multiple_of(2);
    let behave = move |id: &str, at: f64| {
        if up(id, at) {
            (20, Outcome::Status(200))
        } else {
            (1, REFUSED)
        }
    };
    let run = Simulation::new(&pool, start, 100, &behave).run(400, |second, now| {
        for backend in pool.due_probes(now) {
            let good = up(backend.id(), second as f64);
            let result = if good {
                ProbeResult::Pass
            } else {
                ProbeResult::Fail(ProbeFailure::Refused)
            };
            pool.probe_result(backend.id(), result, now);
        }
    });
    let late = run
        .done
        .iter()
        .filter(|one| one.began > 25.0 && first(&one.backend))
        .count();
    assert_eq!(late, 0);
    assert_eq!(run.refused, 0);
}

#[test]
fn refused_ones_stay_out_beyond_the_cap_while_others_answer() {
    let now = Instant::now();
    let (pool, _) = build(&settings(Policy::RoundRobin, 10), now);
    for i in 0..5 {
        hit(&pool, &format!("b{i}"), 3, REFUSED, now);
    }
    for _ in 0..200 {
        let picked = pool.pick(&Pick::default(), now).unwrap();
        assert!(!["b0", "b1", "b2", "b3", "b4"].contains(&picked.backend.id()));
        end(&pool, &picked, Outcome::Status(500), now);
    }
    assert_eq!(pool.status(now).out, 5);
    hit(&pool, "b5", 1, REFUSED, now + Duration::from_secs(2));
    assert_eq!(state(&pool, "b5"), State::Ejected);
}

#[test]
fn the_own_zone_is_preferred_while_it_suffices() {
    let now = Instant::now();
    let mut settings = settings(Policy::Random, 6);
    settings.failover.zone = Some("a".into());
    for (i, one) in settings.backends.iter_mut().enumerate() {
        one.zone = Some(["a", "b", "c"][i % 3].into());
    }
    let local = |settings: &model::Pool| {
        fastrand::seed(5);
        let (pool, _) = build(settings, now);
        (0..3_000)
            .filter(|_| {
                ["b0", "b3"].contains(&pool.pick(&Pick::default(), now).unwrap().backend.id())
            })
            .count()
    };
    assert_eq!(local(&settings), 3_000);
    settings.backends[0].down = true;
    // One of five is left where one of three is needed: 60 %.
    let part = local(&settings);
    assert!((1_700..1_900).contains(&part), "{part}");
}
