//! Sticky sessions: a client keeps its backend, without a table, and without that backend drowning in clients.
//!
//! The way of a request: `read` opens what the client carries, `decide` says what that is worth under the loads of the
//! moment, `pick` takes a backend, `set_header` says what the response must carry, `strip` what the backend must not see.
//! Pure: time is an argument, nothing is logged or counted for the operator. Opening and deciding allocate nothing and
//! take no lock. What a client sends is never an error: at worst it is a new client.

mod cookie;
mod decayed;
mod decide;
#[cfg(test)]
mod fixture;
mod keys;
mod load;
mod seal;
#[cfg(test)]
mod simulation;
mod sketch;
mod split;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

pub use self::cookie::{SetCookie, Stripped, TARGETED_CACHE_CONTROL, cache_control, find, strip};
pub use self::decide::{Decision, NoBackend, StickyResult};
pub use self::keys::{KeyError, Keys, Ring, Source, previous_epochs};
pub use self::load::{Balance, Pressure};
pub use self::seal::{Reject, SEALED, SealingKey, Ticket, open, seal};
pub use self::split::choose;

use crate::config::model::{self, Carrier};
use crate::hash;
use crate::pool::Pool;

/// Seconds by which the clocks of two instances may differ.
pub const MAX_CLOCK_SKEW: u64 = 60;
/// Most epochs whose keys are kept.
pub const MAX_EPOCHS: u64 = 256;
/// For `Retry-After` where `strict` refuses, in seconds: about as long as a probe needs to see a backend come back.
pub const STRICT_RETRY_AFTER: u32 = 5;

/// The two clocks, read once for a request.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// For loads.
    pub now: Instant,
    /// Seconds since 1970, for what is sealed.
    pub unix: u64,
}

/// What a client carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nothing.
    Nothing,
    /// A ticket that one of us sealed; its pool and time are not looked at yet.
    Ticket(Ticket),
    /// Something else.
    Rejected(Reject),
    /// `app_cookie`: the hash of the application's cookie.
    Key(u64),
}

/// The sticky sessions of one pool of one snapshot.
pub struct Sticky {
    settings: model::Sticky,
    /// `hash` of the pool's name.
    pool: u64,
    drain_timeout: Duration,
    /// Sealed values are good for this carrier only.
    bound: Box<[u8]>,
    set_cookie: Option<SetCookie>,
    keys: Arc<Keys>,
    /// Made anew when members come or go.
    balance: ArcSwap<Balance>,
}

/// For `/status`.
#[derive(Debug, Clone, Serialize)]
pub struct StickyStatus {
    /// Largest request rate of a backend against its fair part, as this instance sees it; 1 is even.
    pub skew_ratio: f64,
    /// Backends that give sessions away, 16 at most.
    pub shedding: Vec<String>,
}

impl Sticky {
    /// `None` when the pool's settings have no `sticky`. Loads are carried over from `previous`.
    pub fn new(
        pool: &Pool,
        keys: &Arc<Keys>,
        previous: Option<&Self>,
        now: Instant,
    ) -> Option<Self> {
        let settings = pool.settings().sticky.clone()?;
        let balance = Balance::new(
            pool,
            settings.bounded_load,
            previous
                .map(|previous| previous.balance.load_full())
                .as_deref(),
            now,
        );
        let set_cookie = match &settings.carrier {
            Carrier::Cookie(cookie) => Some(SetCookie::new(cookie)),
            Carrier::Header(_) | Carrier::AppCookie(_) => None,
        };
        Some(Self {
            pool: hash::hash(pool.settings().name.as_bytes()),
            drain_timeout: pool.settings().drain_timeout,
            bound: bound(&settings.carrier),
            set_cookie,
            keys: Arc::clone(keys),
            balance: ArcSwap::from_pointee(balance),
            settings,
        })
    }

    /// Opens what the request carries. Pools of one split have the same carrier and keys, so any of them will do.
    pub fn read(&self, headers: &HeaderMap) -> Claim {
        let value = match &self.settings.carrier {
            Carrier::Cookie(cookie) => find(headers, &cookie.name),
            Carrier::Header(name) => headers.get(name).map(HeaderValue::as_bytes),
            Carrier::AppCookie(name) => {
                return find(headers, name)
                    .map_or(Claim::Nothing, |value| Claim::Key(hash::hash(value)));
            }
        };
        let Some(value) = value else {
            return Claim::Nothing;
        };
        match open(value, &self.keys.ring(), &self.bound) {
            Ok(ticket) => Claim::Ticket(ticket),
            Err(reject) => Claim::Rejected(reject),
        }
    }

    /// What the response is to carry: `None` on most responses. Where it is `Some`, see [`cache_control`], too.
    pub fn set_header(&self, decision: &Decision, tls: bool) -> Option<(HeaderName, HeaderValue)> {
        if !decision.reissue {
            return None;
        }
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).ok()?;
        let sealed = seal(
            &decision.ticket,
            self.keys.ring().sealing()?,
            nonce,
            &self.bound,
        )?;
        match (&self.settings.carrier, &self.set_cookie) {
            (Carrier::Header(name), _) => {
                Some((name.clone(), HeaderValue::from_bytes(&sealed).ok()?))
            }
            (_, Some(cookie)) => {
                let value = cookie.value(&sealed, self.max_age(&decision.ticket), tls)?;
                Some((http::header::SET_COOKIE, value))
            }
            _ => None,
        }
    }

    /// What of the request's Cookie lines the backend may see.
    pub fn strip(&self, headers: &HeaderMap) -> Stripped {
        match &self.settings.carrier {
            Carrier::Cookie(cookie) => strip(headers, &cookie.name),
            Carrier::Header(_) | Carrier::AppCookie(_) => Stripped::Unchanged,
        }
    }

    /// The request header that the backend must not see, in `header` mode.
    pub fn private_header(&self) -> Option<&HeaderName> {
        match &self.settings.carrier {
            Carrier::Header(name) => Some(name),
            Carrier::Cookie(_) | Carrier::AppCookie(_) => None,
        }
    }

    /// To be called when the pool's members are others: what is known of those that stay goes on.
    pub fn follow(&self, pool: &Pool, now: Instant) {
        let before = self.balance.load_full();
        let balance = Balance::new(pool, self.settings.bounded_load, Some(&before), now);
        self.balance.store(Arc::new(balance));
    }

    /// To be called about once a second.
    pub fn refresh(&self, pool: &Pool, clock: Clock) {
        self.balance.load().refresh(pool, clock.now);
        self.keys.advance(clock.unix);
    }

    /// `tidegate_sticky_skew_ratio`.
    pub fn skew(&self, now: Instant) -> f64 {
        self.balance.load().skew(now)
    }

    /// For `/status`.
    pub fn status(&self, now: Instant) -> StickyStatus {
        let balance = self.balance.load();
        let shedding = balance.shedding().map(str::to_owned).collect();
        StickyStatus {
            skew_ratio: self.skew(now),
            shedding,
        }
    }

    /// Seconds after which the client may forget it.
    fn max_age(&self, ticket: &Ticket) -> u32 {
        let left = ticket.expires.saturating_sub(ticket.last_seen);
        self.settings
            .idle_ttl
            .map_or(left, |idle| left.min(clamp(idle.as_secs())))
    }
}

/// Kind, name and host scope: a value moved to another cookie, or to a wider host, does not open.
fn bound(carrier: &Carrier) -> Box<[u8]> {
    let (kind, name, scope) = match carrier {
        Carrier::Cookie(cookie) => (
            "cookie",
            cookie.name.as_str(),
            cookie.domain.as_deref().unwrap_or_default(),
        ),
        Carrier::Header(name) => ("header", name.as_str(), ""),
        Carrier::AppCookie(name) => ("app_cookie", name.as_str(), ""),
    };
    // None of the parts can hold a NUL.
    format!("tidegate sticky v1\0{kind}\0{name}\0{scope}")
        .into_bytes()
        .into()
}

fn clamp(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
