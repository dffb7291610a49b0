//! Members come and go while the pool runs: what is known of the others is not touched.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn set(pool: &Pool, ids: &[usize], now: Instant) -> bool {
    let wanted: Vec<model::Backend> = ids.iter().map(|i| backend(*i)).collect();
    pool.set_members(&wanted, now, |_| {})
}

fn ids(pool: &Pool) -> Vec<String> {
    pool.backends().map(|one| one.id().to_owned()).collect()
}

fn picks(pool: &Pool, now: Instant) -> std::collections::BTreeSet<String> {
    let pick = |_| {
        pool.pick(&Pick::default(), now)
            .unwrap()
            .backend
            .id()
            .to_owned()
    };
    (0..200).map(pick).collect()
}

#[test]
fn joins_and_leaves_are_told_together_and_the_rest_stays_as_it_is() {
    let now = Instant::now();
    let (pool, notes) = build(&settings(Policy::RoundRobin, 2), now);
    let held = pool.pick(&Pick::default(), now).unwrap();
    hit(&pool, "b0", 5, Outcome::Status(200), now);
    let before = pool.backend("b0").unwrap();
    assert!(set(&pool, &[0, 2, 3], now));
    assert!(!set(&pool, &[0, 2, 3], now));
    assert!(Arc::ptr_eq(&before, &pool.backend("b0").unwrap()));
    assert_eq!(pool.backend("b0").unwrap().totals().0, 5);
    assert_eq!(ids(&pool), ["b0", "b2", "b3", "b1"]);
    assert_eq!(state(&pool, "b1"), State::Draining);
    let expected = ["b0", "b2", "b3"].map(str::to_owned);
    assert_eq!(picks(&pool, now), expected.into());
    let told = "members +b2,b3 ^ -b1 ~ =3".to_owned();
    assert_eq!(*notes.0.lock().unwrap(), [told]);
    assert_eq!(pool.in_flight(), 1);
    drop(held);
    assert_eq!(pool.in_flight(), 0);
}

#[test]
fn one_that_returns_within_its_drain_is_the_one_it_was() {
    let mut now = Instant::now();
    let mut settings = settings(Policy::RoundRobin, 2);
    settings.drain_timeout = 30 * SECOND;
    let (pool, notes) = build(&settings, now);
    let before = pool.backend("b1").unwrap();
    set(&pool, &[0], now);
    now += 29 * SECOND;
    pool.tick(now);
    set(&pool, &[0, 1], now);
    assert!(Arc::ptr_eq(&before, &pool.backend("b1").unwrap()));
    assert_eq!(state(&pool, "b1"), State::Healthy);
    assert_eq!(
        notes.0.lock().unwrap().last().unwrap(),
        "members + ^b1 - ~ =2"
    );
    set(&pool, &[0], now);
    now += 30 * SECOND;
    pool.tick(now);
    assert_eq!(ids(&pool), ["b0"]);
    set(&pool, &[0, 1], now);
    assert!(!Arc::ptr_eq(&before, &pool.backend("b1").unwrap()));
}

#[test]
fn sticky_sessions_go_on_until_the_drain_is_over_or_nobody_is_there() {
    let mut now = Instant::now();
    let (pool, _) = build(&settings(Policy::RoundRobin, 3), now);
    set(&pool, &[0], now);
    assert!(pool.pick_sticky("b1", now).is_some());
    let picked = pool.pick_sticky("b2", now).unwrap();
    end(
        &pool,
        &picked,
        Outcome::ConnectError { refused: false },
        now,
    );
    assert!(pool.pick_sticky("b2", now).is_none());
    now += 31 * SECOND;
    pool.tick(now);
    assert!(pool.pick_sticky("b1", now).is_none());
}

#[test]
fn new_ones_start_slowly_unless_there_was_nobody() {
    let mut now = Instant::now();
    let mut settings = settings(Policy::Random, 1);
    settings.slow_start = 10 * SECOND;
    let (pool, _) = build(&settings, now);
    now += 20 * SECOND;
    set(&pool, &[0, 1], now);
    let weight = |i: usize| pool.status(now).backends[i].weight_effective;
    assert_eq!((weight(0), weight(1)), (1.0, 0.1));
    set(&pool, &[], now);
    assert_eq!(
        pool.pick(&Pick::default(), now).unwrap_err(),
        Refused::NoBackends
    );
    set(&pool, &[5], now);
    assert_eq!(weight(0), 1.0);
}

#[test]
fn new_ones_are_checked_first_where_probes_run() {
    let now = Instant::now();
    let mut settings = settings(Policy::Random, 1);
    settings.health_check = Some(health_check());
    let (pool, _) = build(&settings, now);
    pool.probe_result("b0", ProbeResult::Pass, now);
    set(&pool, &[0, 1], now);
    assert_eq!(state(&pool, "b1"), State::Checking);
    assert_eq!(picks(&pool, now), ["b0".to_owned()].into());
    pool.probe_result("b1", ProbeResult::Pass, now);
    assert_eq!(state(&pool, "b1"), State::Checking);
    pool.probe_result("b1", ProbeResult::Pass, now);
    assert_eq!(state(&pool, "b1"), State::Healthy);
}

#[test]
fn settings_change_without_a_new_backend_and_an_id_may_move() {
    let now = Instant::now();
    let (pool, notes) = build(&settings(Policy::RoundRobin, 2), now);
    let before = pool.backend("b1").unwrap();
    let mut heavier = backend(1);
    heavier.weight = 7;
    let mut moved = backend(0);
    moved.address = backend(9).address;
    assert!(pool.set_members(&[moved, heavier], now, |_| {}));
    assert!(Arc::ptr_eq(&before, &pool.backend("b1").unwrap()));
    assert_eq!(pool.status(now).backends[1].weight, 7);
    assert_eq!(pool.backend("b0").unwrap().address(), &backend(9).address);
    assert_eq!(
        notes.0.lock().unwrap().last().unwrap(),
        "members +b0 ^ - ~b1 =2"
    );
}

#[test]
fn those_that_leave_do_not_pile_up() {
    let now = Instant::now();
    let (pool, _) = build(&settings(Policy::Random, 0), now);
    for round in 0..4 {
        let wanted: Vec<usize> = (round * 600..(round + 1) * 600).collect();
        set(&pool, &wanted, now);
    }
    assert_eq!(ids(&pool).len(), 600 + 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes and goes: the members are those that are wanted, nobody is there twice, and nobody who stayed or
    /// returned in time is another one.
    #[test]
    fn the_members_are_those_that_are_wanted(steps in proptest::collection::vec((proptest::collection::btree_set(0usize..8, 0..6), 0u64..20), 1..40)) {
        let mut now = Instant::now();
        let settings = settings(Policy::RoundRobin, 3);
        let (pool, _) = build(&settings, now);
        let mut known: std::collections::HashMap<String, Arc<Backend>> = std::collections::HashMap::new();
        for (wanted, seconds) in steps {
            now += Duration::from_secs(seconds);
            pool.tick(now);
            known.retain(|id, _| pool.backend(id).is_some());
            let wanted: Vec<usize> = wanted.into_iter().collect();
            set(&pool, &wanted, now);
            let leaving: Vec<String> = pool.leaving().iter().map(|one| one.id().to_owned()).collect();
            let mut staying = ids(&pool);
            staying.retain(|id| !leaving.contains(id));
            let expected: Vec<String> = wanted.iter().map(|i| format!("b{i}")).collect();
            prop_assert_eq!(staying, expected);
            for backend in pool.backends() {
                if let Some(before) = known.insert(backend.id().to_owned(), Arc::clone(&backend)) {
                    prop_assert!(Arc::ptr_eq(&before, &backend));
                }
            }
            match pool.pick(&Pick::default(), now) {
                Ok(picked) => prop_assert!(!leaving.contains(&picked.backend.id().to_owned())),
                Err(refused) => prop_assert!(wanted.is_empty(), "{refused}"),
            }
        }
        prop_assert_eq!(pool.in_flight(), 0);
    }
}
