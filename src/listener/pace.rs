//! How slow a client may be while it is its turn: how long silent, and how many bytes a second over time.
//!
//! Only time in which we wait for the client counts. Bytes earn time, at the least rate; the time that is left is never
//! more than the silence allowed, so that a fast start buys no slow end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::config::model::PaceLimits;

/// What is left of a client's time.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    credit: Duration,
    silent: Duration,
}

impl Pace {
    /// At the beginning of a body.
    pub fn new(limits: &PaceLimits) -> Pace {
        Pace {
            credit: limits.grace,
            silent: Duration::ZERO,
        }
    }

    /// `bytes` moved while we waited for the client for so long. False: it is too slow.
    pub fn keeps(&mut self, limits: &PaceLimits, waited: Duration, bytes: u64) -> bool {
        if bytes > 0 {
            self.silent = Duration::ZERO;
        } else {
            self.silent += waited;
        }
        if self.silent >= limits.idle {
            return false;
        }
        let Some(earned) = bytes.saturating_mul(1_000_000).checked_div(limits.min_rate) else {
            return true;
        };
        let most = limits.idle.max(limits.grace);
        self.credit = (self.credit + Duration::from_micros(earned)).min(most);
        self.credit = self.credit.saturating_sub(waited);
        !self.credit.is_zero()
    }
}

/// How often a waiting client is looked at: a deadline is held to within this.
pub fn tick(limits: &PaceLimits) -> Duration {
    let least = limits.idle.min(limits.grace) / 8;
    least.clamp(Duration::from_millis(20), Duration::from_secs(1))
}

/// What a look at a client that is waited for has found.
#[derive(Debug, Clone, Copy)]
pub struct Looked {
    /// It is fast enough.
    pub keeps: bool,
    /// How long nothing could be written to it, or read from it.
    pub blocked: Duration,
}

/// A client's pace in one direction of an HTTP/1 connection, with the timer that looks at it.
#[derive(Debug)]
pub struct Turn {
    pace: Pace,
    /// Since when we wait; `None` while it is not the client's turn.
    since: Option<Instant>,
    /// When the wait began that is not over yet.
    began: Option<Instant>,
    waited: Duration,
    moved: u64,
    timer: Pin<Box<Sleep>>,
}

impl Turn {
    /// At the beginning of a body.
    pub fn new(limits: &PaceLimits) -> Turn {
        Turn {
            pace: Pace::new(limits),
            since: None,
            began: None,
            waited: Duration::ZERO,
            moved: 0,
            timer: Box::pin(tokio::time::sleep(tick(limits))),
        }
    }

    /// Bytes went by: the wait, if there was one, is over.
    pub fn moved(&mut self, bytes: usize, now: Instant) {
        self.moved += bytes as u64;
        self.began = None;
        if let Some(since) = self.since.take() {
            self.waited += now - since;
        }
    }

    /// We wait for the client. `Ready`: it was too slow.
    pub fn poll_slow(
        &mut self,
        limits: &PaceLimits,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Poll<()> {
        loop {
            if !ready!(self.poll_look(limits, cx, now, || 0)).keeps {
                return Poll::Ready(());
            }
        }
    }

    /// We wait for the client. `Ready` once a tick. `unseen` says how many bytes moved that `moved` was not told of.
    pub fn poll_look(
        &mut self,
        limits: &PaceLimits,
        cx: &mut Context<'_>,
        now: Instant,
        unseen: impl FnOnce() -> u64,
    ) -> Poll<Looked> {
        let began = *self.began.get_or_insert(now);
        let since = *self.since.get_or_insert_with(|| {
            let left = tick(limits).saturating_sub(self.waited);
            self.timer.as_mut().reset((now + left).into());
            now
        });
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let waited = self.waited + (now - since);
        let moved = self.moved + unseen();
        (self.waited, self.moved, self.since) = (Duration::ZERO, 0, Some(now));
        self.timer.as_mut().reset((now + tick(limits)).into());
        Poll::Ready(Looked {
            keeps: self.pace.keeps(limits, waited, moved),
            blocked: now - began,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PaceLimits = PaceLimits {
        idle: Duration::from_secs(30),
        min_rate: 1024,
        grace: Duration::from_secs(10),
    };
    const SECOND: Duration = Duration::from_secs(1);

    /// Seconds until a client that sends so many bytes each `every` seconds is given up; `None` if it lives an hour.
    fn lives(limits: &PaceLimits, bytes: u64, every: u32) -> Option<u32> {
        let mut pace = Pace::new(limits);
        (1..=3600).find(|second| {
            let bytes = if second % every == 0 { bytes } else { 0 };
            !pace.keeps(limits, SECOND, bytes)
        })
    }

    #[test]
    fn a_rate_is_held_after_the_grace() {
        assert_eq!(lives(&LIMITS, 0, 1), Some(10));
        assert_eq!(lives(&LIMITS, 1, 1), Some(11));
        assert_eq!(lives(&LIMITS, 512, 1), Some(20));
        assert_eq!(lives(&LIMITS, 1030, 1), None);
        assert_eq!(lives(&LIMITS, 8 * 1024, 8), None);
    }

    #[test]
    fn silence_is_bounded_without_a_rate_and_after_a_fast_start() {
        let no_rate = PaceLimits {
            min_rate: 0,
            ..LIMITS
        };
        assert_eq!(lives(&no_rate, 0, 1), Some(30));
        assert_eq!(lives(&no_rate, 1, 29), None);
        let mut pace = Pace::new(&LIMITS);
        assert!(pace.keeps(&LIMITS, SECOND, 1 << 40));
        let after = (1..).find(|_| !pace.keeps(&LIMITS, SECOND, 0));
        assert_eq!(after, Some(29));
    }
}
