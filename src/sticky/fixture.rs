//! One pool with sticky sessions on one instance, for tests.

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
        partitioned: false,
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

pub fn headers(cookie: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(cookie) = cookie {
        headers.append(
            COOKIE,
            HeaderValue::from_str(&format!("theme=dark; srv_id={cookie}; a=b")).unwrap(),
        );
    }
    headers
}
