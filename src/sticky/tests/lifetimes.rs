//! How long a session lasts: its own time, idle time, clocks that differ, and keys that rotate.

use super::*;
use crate::config::model::Secret;

#[test]
fn clocks_may_differ_by_a_minute() {
    let one = Instance::of(4, settings());
    let result = |ahead: u64| {
        let cookie = one.mint(&one.ticket("b0", 1, START + ahead), START);
        one.ask(Some(&cookie), one.at(0)).0
    };
    assert_eq!(result(60), StickyResult::Hit);
    assert_eq!(result(61), StickyResult::Expired);
}

#[test]
fn a_shorter_ttl_counts_at_once() {
    let short = model::Sticky {
        ttl: HOUR / 2,
        ..settings()
    };
    let one = Instance::of(4, short);
    let cookie = one.mint(&one.ticket("b0", 1, START), START);
    assert_eq!(one.ask(Some(&cookie), one.at(1_799)).0, StickyResult::Hit);
    assert_eq!(
        one.ask(Some(&cookie), one.at(1_800)).0,
        StickyResult::Expired
    );
}

#[test]
fn idle_time_ends_sessions_and_half_of_it_renews_them() {
    let one = Instance::of(
        4,
        model::Sticky {
            idle_ttl: Some(HOUR / 6),
            ..settings()
        },
    );
    let cookie = one.mint(&one.ticket("b0", 1, START), START);
    assert_eq!(one.ask(Some(&cookie), one.at(300)).2, None);
    let (result, _, renewed) = one.ask(Some(&cookie), one.at(301));
    assert_eq!(result, StickyResult::Hit);
    assert_eq!(one.ask(Some(&cookie), one.at(601)).0, StickyResult::Expired);
    let renewed = renewed.unwrap();
    assert_eq!(one.ask(Some(&renewed), one.at(900)).0, StickyResult::Hit);
    assert_eq!(
        one.ask(Some(&renewed), one.at(902)).0,
        StickyResult::Expired
    );
}

#[test]
fn renewing_does_not_extend_the_ttl() {
    let one = Instance::of(
        4,
        model::Sticky {
            idle_ttl: Some(HOUR / 6),
            ..settings()
        },
    );
    let mut cookie = one.ask(None, one.at(0)).2.unwrap();
    for second in (0..3_600).step_by(200) {
        let (result, _, set) = one.ask(Some(&cookie), one.at(second));
        assert_eq!(result, StickyResult::Hit, "{second}");
        cookie = set.unwrap_or(cookie);
    }
    assert_eq!(
        one.ask(Some(&cookie), one.at(3_600)).0,
        StickyResult::Expired
    );
}

#[test]
fn nobody_moves_when_epochs_end() {
    let mut pool = fixture::settings(Policy::RoundRobin, 4);
    pool.sticky = Some(model::Sticky {
        ttl: 13 * HOUR,
        idle_ttl: Some(HOUR),
        ..settings()
    });
    let source = Source::Secrets(vec![Secret(SECRET.into())], 6 * HOUR);
    let keys = Arc::new(Keys::new(source, 13 * HOUR, START).unwrap());
    let (one, late) = (
        Instance::new(pool.clone(), &keys),
        Instance::new(pool, &self::keys(SECRET, START)),
    );
    let mut clients: Vec<(String, String)> = (0..8)
        .map(|_| one.ask(None, one.at(0)))
        .map(|(_, picked, cookie)| (picked.backend.id().to_owned(), cookie.unwrap()))
        .collect();
    let mut epochs = 0;
    for second in (600..13 * 3_600).step_by(600) {
        epochs += usize::from(keys.advance(START + second));
        for (home, cookie) in &mut clients {
            let (result, picked, set) = one.ask(Some(cookie), one.at(second));
            assert_eq!(
                (result, picked.backend.id()),
                (StickyResult::Hit, home.as_str()),
                "{second}"
            );
            *cookie = set.unwrap_or(std::mem::take(cookie));
        }
    }
    assert_eq!(epochs, 2);
    // An instance that did not notice the end of the epoch yet opens what the next one seals.
    let fresh = Instance::new(
        fixture::settings_of(&one.pool),
        &self::keys(SECRET, START + 21_600),
    );
    let cookie = fresh.ask(None, fresh.at(0)).2.unwrap();
    assert_eq!(late.ask(Some(&cookie), late.at(1)).0, StickyResult::Hit);
}
