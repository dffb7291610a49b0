//! The whole way of a request, over a real pool.

use std::sync::Arc;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::fixture::{HOUR, Instance, SECRET, START, headers, keys, settings};
use super::*;
use crate::config::model::Policy;
use crate::pool::fixture;
use crate::pool::{Pick, Silent};

mod lifetimes;

#[test]
fn a_client_stays_and_is_told_once() {
    let one = Instance::of(4, settings());
    let (result, first, cookie) = one.ask(None, one.at(0));
    assert_eq!(result, StickyResult::New);
    let cookie = cookie.unwrap();
    assert_eq!(cookie.len(), SEALED);
    for second in 1..100 {
        let (result, picked, set) = one.ask(Some(&cookie), one.at(second));
        assert_eq!(
            (result, picked.backend.id(), set),
            (StickyResult::Hit, first.backend.id(), None)
        );
    }
}

#[test]
fn the_set_cookie_is_complete() {
    let one = Instance::of(1, settings());
    let (_, _, set) = one.ask_with(&HeaderMap::new(), one.at(0));
    let value = set.unwrap().1;
    let value = value.to_str().unwrap();
    let (_, attributes) = value.split_once(';').unwrap();
    assert_eq!(
        attributes,
        " Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure"
    );
}

#[test]
fn every_flipped_bit_makes_a_new_client() {
    let one = Instance::of(4, settings());
    let good = one.mint(&one.ticket("b2", 1, START), START);
    assert_eq!(one.ask(Some(&good), one.at(1)).0, StickyResult::Hit);
    let mut tried = 0;
    for bit in 0..SEALED * 8 {
        let mut value = b"srv_id=".to_vec();
        let mut sealed = good.clone().into_bytes();
        sealed[bit / 8] ^= 1 << (bit % 8);
        assert!(
            open(&sealed, &one.sticky.keys.ring(), &one.sticky.bound).is_err(),
            "bit {bit}"
        );
        value.extend(sealed);
        let Ok(value) = HeaderValue::from_bytes(&value) else {
            continue;
        };
        let headers = HeaderMap::from_iter([(COOKIE, value)]);
        let (result, _, set) = one.ask_with(&headers, one.at(1));
        use StickyResult::*;
        assert!(
            matches!(result, Tampered | Malformed | UnknownKey),
            "bit {bit}: {result:?}"
        );
        assert!(set.is_some(), "bit {bit}");
        tried += 1;
    }
    assert!(tried > SEALED * 6, "{tried}");
}

#[test]
fn what_is_wrong_is_named() {
    let one = Instance::of(4, settings());
    let ticket = one.ticket("b0", 1, START);
    let result = |cookie: &str, second| one.ask(Some(cookie), one.at(second)).0;
    let good = one.mint(&ticket, START);
    assert_eq!(result(&good, 3_599), StickyResult::Hit);
    assert_eq!(result(&good, 3_600), StickyResult::Expired);
    assert_eq!(result(&format!("{good}A"), 0), StickyResult::Oversized);
    assert_eq!(result(&good[1..], 0), StickyResult::Malformed);
    assert_eq!(result("", 0), StickyResult::Malformed);
    let other_pool = Ticket { pool: 1, ..ticket };
    assert_eq!(
        result(&one.mint(&other_pool, START), 0),
        StickyResult::OtherPool
    );
    let gone = one.ticket("b9", 1, START);
    assert_eq!(
        result(&one.mint(&gone, START), 0),
        StickyResult::UnknownBackend
    );
    let stranger = Instance::new(
        fixture::settings_of(&one.pool),
        &keys("another secret, as long as the first", START),
    );
    let (_, _, theirs) = stranger.ask(None, stranger.at(0));
    assert_eq!(result(&theirs.unwrap(), 0), StickyResult::UnknownKey);
}

#[test]
fn draining_keeps_sessions_until_its_timeout() {
    let one = Instance::of(3, settings());
    let cookie = one.mint(&one.ticket("b1", 1, START), START);
    one.pool.drain("b1", one.at(10).now);
    one.sticky.refresh(&one.pool, one.at(10));
    for second in [10, 40] {
        let (result, picked, set) = one.ask(Some(&cookie), one.at(second));
        assert_eq!(
            (result, picked.backend.id(), set),
            (StickyResult::Draining, "b1", None)
        );
    }
    let (result, picked, set) = one.ask(Some(&cookie), one.at(41));
    assert_eq!(result, StickyResult::Unavailable);
    assert_ne!(picked.backend.id(), "b1");
    assert!(set.is_some());
    one.pool.undrain("b1", one.at(50).now);
    one.sticky.refresh(&one.pool, one.at(50));
    assert_eq!(one.ask(Some(&cookie), one.at(51)).0, StickyResult::Hit);
}

fn without_b1(strict: bool) -> Instance {
    let mut pool = fixture::settings(Policy::RoundRobin, 3);
    pool.backends[1].down = true;
    pool.sticky = Some(model::Sticky {
        strict,
        ..settings()
    });
    Instance::new(pool, &keys(SECRET, START))
}

#[test]
fn a_backend_that_is_out_loses_its_sessions() {
    let one = without_b1(false);
    let cookie = one.mint(&one.ticket("b1", 5, START), START);
    let (result, picked, set) = one.ask(Some(&cookie), one.at(1));
    assert_eq!(result, StickyResult::Unavailable);
    let (again, second, none) = one.ask(Some(&set.unwrap()), one.at(2));
    assert_eq!(
        (again, second.backend.id(), none),
        (StickyResult::Hit, picked.backend.id(), None)
    );
}

#[test]
fn strict_refuses_instead() {
    let one = without_b1(true);
    let cookie = one.mint(&one.ticket("b1", 5, START), START);
    let claim = one.sticky.read(&headers(Some(&cookie)));
    let mut decision = one.sticky.decide(claim, &one.pool, one.at(1));
    let refused = one
        .sticky
        .pick(&mut decision, &one.pool, &Pick::default(), one.at(1).now);
    assert_eq!(refused.unwrap_err(), NoBackend::Strict);
    assert_eq!(decision.result, StickyResult::Unavailable);
    assert!(one.sticky.set_header(&decision, true).is_none());
    assert_eq!(one.pool.in_flight(), 0);
    assert_eq!(one.ask(None, one.at(1)).0, StickyResult::New);
}

#[test]
fn a_retry_goes_elsewhere_and_moves_the_session() {
    let one = Instance::of(3, settings());
    let cookie = one.mint(&one.ticket("b1", 5, START), START);
    let mut decision = one.sticky.decide(
        one.sticky.read(&headers(Some(&cookie))),
        &one.pool,
        one.at(1),
    );
    let now = one.at(1).now;
    let first = one
        .sticky
        .pick(&mut decision, &one.pool, &Pick::default(), now)
        .unwrap();
    let again = Pick {
        exclude: &[first.backend.key()],
        idempotent: true,
        ..Pick::default()
    };
    let second = one
        .sticky
        .pick(&mut decision, &one.pool, &again, now)
        .unwrap();
    assert_ne!(first.backend.id(), second.backend.id());
    assert_eq!(decision.result, StickyResult::Unavailable);
    assert_eq!(decision.ticket.backend, second.backend.key());
    assert!(one.sticky.set_header(&decision, true).is_some());
}

#[test]
fn an_api_client_carries_it_in_a_header() {
    let name = HeaderName::from_static("x-session-backend");
    let one = Instance::of(
        4,
        model::Sticky {
            carrier: Carrier::Header(name.clone()),
            ..settings()
        },
    );
    let (_, first, set) = one.ask_with(&HeaderMap::new(), one.at(0));
    let set = set.unwrap();
    assert_eq!(set.0, name);
    assert_eq!(one.sticky.private_header(), Some(&name));
    let (result, second, none) = one.ask_with(&HeaderMap::from_iter([set.clone()]), one.at(1));
    assert_eq!(
        (result, second.backend.id(), none),
        (StickyResult::Hit, first.backend.id(), None)
    );
    // The same value as a cookie is none: the carrier is bound to it.
    let cookies = Instance::of(4, settings());
    let value = set.1.to_str().unwrap();
    assert_eq!(
        cookies.ask(Some(value), cookies.at(1)).0,
        StickyResult::Tampered
    );
}

#[test]
fn the_applications_cookie_decides_by_hash() {
    let carrier = Carrier::AppCookie("sid".into());
    let mut pool = fixture::settings(
        Policy::ConsistentHash {
            key: model::HashKey::Cookie("sid".into()),
            bounded_load: None,
        },
        8,
    );
    pool.sticky = Some(model::Sticky {
        carrier,
        ..settings()
    });
    let one = Instance::new(pool, &keys(SECRET, START));
    let ask = |sid: &str, second| {
        let value = HeaderValue::from_str(&format!("sid={sid}")).unwrap();
        let (result, picked, set) =
            one.ask_with(&HeaderMap::from_iter([(COOKIE, value)]), one.at(second));
        assert_eq!((result, set), (StickyResult::Hit, None));
        picked.backend.id().to_owned()
    };
    let homes: Vec<String> = (0..40).map(|n| ask(&format!("s{n}"), 0)).collect();
    assert!((0..40).all(|n| ask(&format!("s{n}"), 60) == homes[n]));
    assert!(homes.iter().any(|home| *home != homes[0]));
    let (result, _, set) = one.ask_with(&HeaderMap::new(), one.at(0));
    assert_eq!((result, set), (StickyResult::New, None));
}

#[test]
fn instances_honour_each_others_cookies() {
    let (one, two) = (Instance::of(4, settings()), Instance::of(4, settings()));
    for _ in 0..20 {
        let (_, first, cookie) = one.ask(None, one.at(0));
        let (result, second, set) = two.ask(cookie.as_deref(), two.at(1));
        assert_eq!(
            (result, second.backend.id(), set),
            (StickyResult::Hit, first.backend.id(), None)
        );
    }
}

#[test]
fn a_cookie_is_for_its_name_and_domain() {
    let one = Instance::of(4, settings());
    let cookie = one.ask(None, one.at(0)).2.unwrap();
    let mut wider = settings();
    let Carrier::Cookie(shape) = &mut wider.carrier else {
        panic!()
    };
    shape.domain = Some("example.com".into());
    let wider = Instance::of(4, wider);
    assert_eq!(
        wider.ask(Some(&cookie), wider.at(1)).0,
        StickyResult::Tampered
    );
}

#[test]
fn one_cookie_for_pool_and_backend_of_a_split() {
    let make = |name: &str| {
        let mut pool = fixture::settings(Policy::RoundRobin, 2);
        pool.name = name.into();
        pool.sticky = Some(settings());
        Instance::new(pool, &keys(SECRET, START))
    };
    let (web, canary) = (make("web"), make("canary"));
    let cookie = canary.ask(None, canary.at(0)).2.unwrap();
    let chosen = |cookie: Option<&str>, weight, second| {
        let claim = web.sticky.read(&headers(cookie));
        choose(
            &claim,
            [(&web.sticky, 9), (&canary.sticky, weight)],
            START + second,
        )
    };
    assert_eq!(chosen(Some(&cookie), 1, 1), Some(1));
    assert_eq!(chosen(None, 1, 1), None);
    // At weight 0 the canary drains: sessions end with their ttl, or with their backend.
    assert_eq!(chosen(Some(&cookie), 0, 3_599), Some(1));
    assert_eq!(chosen(Some(&cookie), 0, 3_600), None);
    canary.pool.drain("b0", canary.at(1).now);
    canary.pool.drain("b1", canary.at(1).now);
    assert_eq!(chosen(Some(&cookie), 0, 2), Some(1));
    let mut down = fixture::settings_of(&canary.pool);
    down.backends
        .iter_mut()
        .for_each(|backend| backend.down = true);
    let down = Instance::new(down, &keys(SECRET, START));
    let claim = web.sticky.read(&headers(Some(&cookie)));
    assert_eq!(
        choose(&claim, [(&web.sticky, 9), (&down.sticky, 0)], START),
        None
    );
    assert_eq!(
        choose(&claim, [(&web.sticky, 9), (&down.sticky, 1)], START),
        Some(1)
    );
}

#[test]
fn loads_survive_a_reload() {
    let one = Instance::of(2, settings());
    let cookie = one.mint(&one.ticket("b0", 5, START), START);
    (0..50).for_each(|_| drop(one.ask(Some(&cookie), one.at(1))));
    let skew = one.sticky.skew(one.at(1).now);
    assert!((skew - 2.0).abs() < 1e-3, "{skew}");
    let pool = Pool::build(
        &fixture::settings_of(&one.pool),
        Some(&one.pool),
        one.at(1).now,
        false,
        Arc::new(Silent),
    );
    let after = Sticky::new(&pool, &one.sticky.keys, Some(&one.sticky), one.at(1).now).unwrap();
    assert_eq!(after.skew(one.at(1).now), skew);
}
