//! The decision for one request: who the client is, whether it stays, and what it is told.

use std::time::Instant;

use super::load::{Balance, Pressure};
use super::seal::{Reject, Ticket};
use super::{Claim, Clock, MAX_CLOCK_SKEW, Sticky, clamp};
use crate::config::model::{Carrier, OnOverload};
use crate::pool::{Pick, Picked, Pool, Refused, State};

/// After a move because of load, a session stays at least this long (s); each further move doubles it.
const GAP: u32 = 30;
/// Time without a move (s) after which earlier ones are forgotten.
const CALM: u32 = 600;
const MOST_MOVES: u8 = 16;
/// So long (s) after a move, instances that did not make it still count the session where it was.
const NEWS: u32 = 60;

/// How it went, for `tidegate_sticky_total{result}` and the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StickyResult {
    /// The client is where it was.
    Hit,
    /// It carried nothing.
    New,
    /// Its backend has too much: it moved.
    Rehomed,
    /// Its backend has too much: this request went elsewhere.
    Spilled,
    /// Its backend has too much by this very session: it stays, others move.
    Pinned,
    /// Its backend drains and still serves it.
    Draining,
    /// Its backend is ejected, down, full or drained: it has another now, or none with `strict`.
    Unavailable,
    /// Its backend is not configured any more.
    UnknownBackend,
    /// Over its time.
    Expired,
    /// Changed since it was sealed.
    Tampered,
    /// Not the form of a sealed value.
    Malformed,
    /// Too long.
    Oversized,
    /// Sealed by a key that is not known.
    UnknownKey,
    /// For another pool.
    OtherPool,
}

impl StickyResult {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Hit,
        Self::New,
        Self::Rehomed,
        Self::Spilled,
        Self::Pinned,
        Self::Draining,
        Self::Unavailable,
        Self::UnknownBackend,
        Self::Expired,
        Self::Tampered,
        Self::Malformed,
        Self::Oversized,
        Self::UnknownKey,
        Self::OtherPool,
    ];

    /// Their labels, in the same order.
    pub const NAMES: &'static [&'static str] = &[
        "hit",
        "new",
        "rehomed",
        "spilled",
        "pinned",
        "draining",
        "unavailable",
        "unknown_backend",
        "expired",
        "tampered",
        "malformed",
        "oversized",
        "unknown_key",
        "other_pool",
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.get(self as usize).copied().unwrap_or_default()
    }
}

impl From<Reject> for StickyResult {
    fn from(reject: Reject) -> Self {
        match reject {
            Reject::Oversized => Self::Oversized,
            Reject::Malformed => Self::Malformed,
            Reject::UnknownKey => Self::UnknownKey,
            Reject::Tampered => Self::Tampered,
            Reject::Expired => Self::Expired,
            Reject::OtherPool => Self::OtherPool,
            Reject::UnknownBackend => Self::UnknownBackend,
        }
    }
}

/// What was decided, and what became of it; good for the snapshot it was made with. Backends are named by their keys:
/// members may come and go between the decision and a pick.
#[derive(Debug, Clone)]
pub struct Decision {
    /// As of now: `pick` may find that a backend is not to be had.
    pub result: StickyResult,
    /// To be sealed for the client, if anything is.
    pub(super) ticket: Ticket,
    pub(super) reissue: bool,
    home: Option<u64>,
    away: Option<Away>,
    hash: Option<u64>,
    unix: u32,
}

#[derive(Debug, Clone, Copy)]
struct Away {
    to: u64,
    weight: f32,
}

/// Why there is no backend for this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoBackend {
    /// As in any pool.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// `strict`: the client's own backend is not to be had. 503 with `Retry-After`.
    #[error("the session's backend is not available")]
    Strict,
}

impl Sticky {
    /// What the claim is worth now. No lock, no allocation, no error.
    pub fn decide(&self, claim: Claim, pool: &Pool, clock: Clock) -> Decision {
        let unix = clamp(clock.unix);
        match claim {
            Claim::Nothing => self.newcomer(StickyResult::New, unix),
            Claim::Key(hash) => Decision {
                hash: Some(hash),
                ..self.newcomer(StickyResult::Hit, unix)
            },
            Claim::Rejected(reject) => self.newcomer(reject.into(), unix),
            Claim::Ticket(ticket) => {
                let balance = self.balance.load();
                match self.check(&ticket, &balance, unix) {
                    Ok(home) => self.resident(ticket, home, pool, &balance, clock),
                    Err(reject) => self.newcomer(reject.into(), unix),
                }
            }
        }
    }

    /// Whether a ticket is good for this pool, and for which seat.
    pub(super) fn check(
        &self,
        ticket: &Ticket,
        balance: &Balance,
        unix: u32,
    ) -> Result<usize, Reject> {
        if ticket.pool != self.pool {
            return Err(Reject::OtherPool);
        }
        // `ttl` as it is configured now bounds tickets from before, too.
        let end = ticket.expires.min(
            ticket
                .issued
                .saturating_add(clamp(self.settings.ttl.as_secs())),
        );
        let idle = self.settings.idle_ttl.map(|idle| clamp(idle.as_secs()));
        let slept = idle.is_some_and(|idle| unix.saturating_sub(ticket.last_seen) > idle);
        let from_future =
            ticket.issued.max(ticket.last_seen) > unix.saturating_add(MAX_CLOCK_SKEW as u32);
        if unix >= end || slept || from_future {
            return Err(Reject::Expired);
        }
        balance.find(ticket.backend).ok_or(Reject::UnknownBackend)
    }

    fn newcomer(&self, result: StickyResult, unix: u32) -> Decision {
        let ticket = Ticket {
            pool: self.pool,
            backend: 0,
            session: fastrand::u64(..),
            issued: unix,
            expires: unix.saturating_add(clamp(self.settings.ttl.as_secs())),
            last_seen: unix,
            moved_from: 0,
            moved_at: 0,
            moves: 0,
        };
        Decision {
            result,
            ticket,
            reissue: false,
            home: None,
            away: None,
            hash: None,
            unix,
        }
    }

    fn resident(
        &self,
        ticket: Ticket,
        home: usize,
        pool: &Pool,
        balance: &Balance,
        clock: Clock,
    ) -> Decision {
        let unix = clamp(clock.unix);
        let mut decision = Decision {
            result: StickyResult::Hit,
            ticket,
            reissue: false,
            home: Some(ticket.backend),
            away: None,
            hash: None,
            unix,
        };
        if self.half_idle(&ticket, unix) {
            decision.reissue = true;
            decision.ticket.last_seen = unix;
        }
        if ticket.moves > 0 && unix.saturating_sub(ticket.moved_at) < NEWS {
            balance.follow(&ticket, home, clock.now);
        }
        match balance.backend(home).map(|backend| backend.state()) {
            Some(State::Draining) if balance.drained_out(home, self.drain_timeout, clock.now) => {
                decision.result = StickyResult::Unavailable;
                decision.home = None;
            }
            Some(State::Draining) => decision.result = StickyResult::Draining,
            _ => self.weigh(&mut decision, home, pool, balance, clock.now),
        }
        decision
    }

    fn half_idle(&self, ticket: &Ticket, unix: u32) -> bool {
        let used = unix.saturating_sub(ticket.last_seen);
        self.settings
            .idle_ttl
            .is_some_and(|idle| u64::from(used) * 2 > idle.as_secs())
    }

    /// Sets the way out for a session that would help its backend by leaving.
    fn weigh(
        &self,
        decision: &mut Decision,
        home: usize,
        pool: &Pool,
        balance: &Balance,
        now: Instant,
    ) {
        let rehome = self.settings.on_overload == OnOverload::Rehome;
        match balance.pressure(home, decision.ticket.session, pool.in_flight(), now) {
            Pressure::None | Pressure::Full => {}
            Pressure::Heavy => decision.result = StickyResult::Pinned,
            Pressure::Move { .. } if rehome && !may_move(&decision.ticket, decision.unix) => {}
            Pressure::Move { to, weight } => {
                let Some(to) = balance.backend(to).map(|backend| backend.key()) else {
                    return;
                };
                decision.away = Some(Away { to, weight });
                decision.result = if rehome {
                    StickyResult::Rehomed
                } else {
                    StickyResult::Spilled
                };
            }
        }
    }

    /// Takes the backend that was decided on, or else one by the pool's policy, and counts the request. To be called
    /// again on a retry, with what was tried in `request.exclude`. No lock, no allocation.
    ///
    /// # Errors
    /// `NoBackend`, with nothing counted.
    pub fn pick(
        &self,
        decision: &mut Decision,
        pool: &Pool,
        request: &Pick<'_>,
        now: Instant,
    ) -> Result<Picked, NoBackend> {
        let balance = self.balance.load();
        if let Some(away) = decision.away {
            if let Some(picked) = take(&balance, away.to, pool, request, now) {
                went_away(&balance, decision, away, now);
                return Ok(picked);
            }
            decision.away = None;
            decision.result = StickyResult::Hit;
        }
        if let Some(home) = decision.home {
            if let Some(picked) = take(&balance, home, pool, request, now) {
                balance.count(home, decision.ticket.session, now);
                return Ok(picked);
            }
            decision.result = StickyResult::Unavailable;
            if self.settings.strict {
                return Err(NoBackend::Strict);
            }
        }
        let picked = pool.pick(
            &Pick {
                hash: decision.hash.or(request.hash),
                ..*request
            },
            now,
        )?;
        balance.count(picked.backend.key(), decision.ticket.session, now);
        self.moved_in(decision, picked.backend.key());
        Ok(picked)
    }

    fn moved_in(&self, decision: &mut Decision, backend: u64) {
        if decision.ticket.backend != backend {
            decision.ticket.backend = backend;
            decision.ticket.last_seen = decision.unix;
            decision.reissue = !matches!(self.settings.carrier, Carrier::AppCookie(_));
        }
    }
}

fn take(
    balance: &Balance,
    key: u64,
    pool: &Pool,
    request: &Pick<'_>,
    now: Instant,
) -> Option<Picked> {
    if request.exclude.contains(&key) {
        return None;
    }
    pool.pick_sticky(balance.backend(balance.find(key)?)?.id(), now)
}

fn went_away(balance: &Balance, decision: &mut Decision, away: Away, now: Instant) {
    balance.count(away.to, decision.ticket.session, now);
    if decision.result == StickyResult::Rehomed {
        let homes = decision.home.and_then(|home| balance.find(home));
        if let (Some(home), Some(to)) = (homes, balance.find(away.to)) {
            balance.transfer(home, to, away.weight, now);
        }
        note_move(&mut decision.ticket, away.to, decision.unix);
        balance.knows(&decision.ticket, now);
        decision.reissue = true;
        // From here on it is a client of that backend, also for a retry.
        (decision.home, decision.away) = (Some(away.to), None);
    }
}

fn may_move(ticket: &Ticket, unix: u32) -> bool {
    let stayed = unix.saturating_sub(ticket.moved_at);
    let gap = match ticket.moves {
        0 => 0,
        moves => GAP
            .saturating_mul(1 << u32::from(moves - 1).min(16))
            .min(CALM),
    };
    stayed >= gap
}

fn note_move(ticket: &mut Ticket, backend: u64, unix: u32) {
    let calm = unix.saturating_sub(ticket.moved_at) >= CALM;
    ticket.moves = if calm {
        1
    } else {
        (ticket.moves + 1).min(MOST_MOVES)
    };
    ticket.moved_at = unix.max(1);
    ticket.moved_from = ticket.backend;
    ticket.backend = backend;
    ticket.last_seen = unix;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_double_and_calm_forgets() {
        let mut ticket = Ticket {
            pool: 0,
            backend: 0,
            session: 0,
            issued: 0,
            expires: 0,
            last_seen: 0,
            moved_from: 0,
            moved_at: 0,
            moves: 0,
        };
        let mut unix = 1_000_000;
        for gap in [0, 30, 60, 120, 240, 480] {
            assert!(gap == 0 || !may_move(&ticket, unix + gap - 1), "{gap}");
            unix += gap;
            assert!(may_move(&ticket, unix), "{gap}");
            note_move(&mut ticket, 1, unix);
        }
        assert_eq!(ticket.moves, 6);
        assert!(!may_move(&ticket, unix + 599));
        assert!(may_move(&ticket, unix + 600));
        note_move(&mut ticket, 2, unix + 600);
        assert_eq!(ticket.moves, 1);
    }

    #[test]
    fn labels_are_complete_and_differ() {
        let mut names: Vec<_> = StickyResult::ALL
            .iter()
            .map(|result| result.as_str())
            .collect();
        assert!(
            StickyResult::ALL
                .iter()
                .enumerate()
                .all(|(i, result)| *result as usize == i)
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), StickyResult::ALL.len());
    }
}
