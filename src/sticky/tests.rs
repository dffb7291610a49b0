//! The whole way of a request, over a real pool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::config::model::{OnOverload, Policy, SameSite, Secret, StickyCookie};
use crate::pool::fixture;
use crate::pool::{Pick, Picked, Silent};

pub const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub const HOUR: Duration = Duration::from_secs(3600);
pub const START: u64 = 1_800_000_000;

pub fn settings() -> model::Sticky {
    let cookie = StickyCookie {
        name: "srv_id".into(),
        path: "/".into(),
        domain: None,
        same_site: SameSite::Lax,
        always_secure: false,
    };
    model::Sticky {
        carrier: Carrier::Cookie(cookie),
        ttl: HOUR,
        idle_ttl: None,
        bounded_load: Some(1.25),
        on_overload: OnOverload::Rehome,
        strict: false,
        keys: vec![],
    }
}

pub fn keys(secret: &str, unix: u64) -> Arc<Keys> {
    let source = Source::Secrets(vec![Secret(secret.into())], 6 * HOUR);
    Arc::new(Keys::new(source, HOUR, unix).unwrap())
}

/// One pool on one instance.
pub struct Instance {
    pub pool: Pool,
    pub sticky: Sticky,
    origin: Instant,
}

impl Instance {
    pub fn new(pool: model::Pool, keys: &Arc<Keys>) -> Self {
        let origin = Instant::now();
        let pool = Pool::build(&pool, None, origin, true, Arc::new(Silent));
        let sticky = Sticky::new(&pool, keys, None, origin).unwrap();
        Self {
            pool,
            sticky,
            origin,
        }
    }

    pub fn of(n: usize, sticky: model::Sticky) -> Self {
        let mut pool = fixture::settings(Policy::RoundRobin, n);
        pool.sticky = Some(sticky);
        Self::new(pool, &keys(SECRET, START))
    }

    /// So many milliseconds after the start.
    pub fn clock(&self, millis: u64) -> Clock {
        Clock {
            now: self.origin + Duration::from_millis(millis),
            unix: START + millis / 1_000,
        }
    }

    pub fn at(&self, seconds: u64) -> Clock {
        self.clock(seconds * 1_000)
    }

    /// One request: how it went, where to, and the cookie afterwards.
    pub fn ask(
        &self,
        cookie: Option<&str>,
        clock: Clock,
    ) -> (StickyResult, Picked, Option<String>) {
        let (result, picked, set) = self.ask_with(&headers(cookie), clock);
        (
            result,
            picked,
            set.map(|(name, value)| {
                assert_eq!(name, SET_COOKIE);
                let value = value.to_str().unwrap();
                value
                    .strip_prefix("srv_id=")
                    .unwrap()
                    .split(';')
                    .next()
                    .unwrap()
                    .to_owned()
            }),
        )
    }

    pub fn ask_with(
        &self,
        headers: &HeaderMap,
        clock: Clock,
    ) -> (StickyResult, Picked, Option<(HeaderName, HeaderValue)>) {
        let mut decision = self
            .sticky
            .decide(self.sticky.read(headers), &self.pool, clock);
        let picked = self
            .sticky
            .pick(&mut decision, &self.pool, &Pick::default(), clock.now)
            .unwrap();
        (
            decision.result,
            picked,
            self.sticky.set_header(&decision, true),
        )
    }

    /// As `ask`, without sealing: for many requests.
    pub fn ask_unsealed(
        &self,
        ticket: Ticket,
        clock: Clock,
    ) -> (StickyResult, Picked, Option<Ticket>) {
        let mut decision = self.sticky.decide(Claim::Ticket(ticket), &self.pool, clock);
        let picked = self
            .sticky
            .pick(&mut decision, &self.pool, &Pick::default(), clock.now)
            .unwrap();
        (
            decision.result,
            picked,
            decision.reissue.then_some(decision.ticket),
        )
    }

    pub fn mint(&self, ticket: &Ticket, unix: u64) -> String {
        let keys = keys(SECRET, unix);
        let sealed = seal(
            ticket,
            keys.ring().sealing().unwrap(),
            [7; 12],
            &self.sticky.bound,
        )
        .unwrap();
        String::from_utf8(sealed.into()).unwrap()
    }

    pub fn ticket(&self, backend: &str, session: u64, unix: u64) -> Ticket {
        let (pool, backend) = (self.sticky.pool, crate::hash::hash(backend.as_bytes()));
        let unix = unix as u32;
        Ticket {
            pool,
            backend,
            session,
            issued: unix,
            expires: unix + 3_600,
            last_seen: unix,
            moved_from: 0,
            moved_at: 0,
            moves: 0,
        }
    }
}

fn headers(cookie: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(cookie) = cookie {
        headers.append(
            COOKIE,
            HeaderValue::from_str(&format!("theme=dark; srv_id={cookie}; a=b")).unwrap(),
        );
    }
    headers
}

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
        one.pool.settings().clone(),
        &keys("another secret, as long as the first", START),
    );
    let (_, _, theirs) = stranger.ask(None, stranger.at(0));
    assert_eq!(result(&theirs.unwrap(), 0), StickyResult::UnknownKey);
}

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
        one.pool.settings().clone(),
        &self::keys(SECRET, START + 21_600),
    );
    let cookie = fresh.ask(None, fresh.at(0)).2.unwrap();
    assert_eq!(late.ask(Some(&cookie), late.at(1)).0, StickyResult::Hit);
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
    let mut down = canary.pool.settings().clone();
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
        one.pool.settings(),
        Some(&one.pool),
        one.at(1).now,
        false,
        Arc::new(Silent),
    );
    let after = Sticky::new(&pool, &one.sticky.keys, Some(&one.sticky), one.at(1).now).unwrap();
    assert_eq!(after.skew(one.at(1).now), skew);
}
