//! What is in flight in a whole pool, and the bounded queue before its caps.
//!
//! The pool never waits by itself. A caller whose pick was refused as overloaded joins the queue, picks again with
//! `Pick::queued`, and awaits `Waiter::freed` between further picks until its own deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed, Ordering::SeqCst};

use tokio::sync::Notify;

use super::retry_budget::Spent;

/// Shared by a pool's backends and carried over reloads.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Load {
    in_flight: AtomicU32,
    waiters: AtomicU32,
    freed: Notify,
    pub(super) spent: Spent,
}

impl Load {
    /// Attempts in flight on all backends.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Requests in the queue.
    pub fn waiters(&self) -> u32 {
        self.waiters.load(Relaxed)
    }

    pub(super) fn enter(&self, cap: u32) -> bool {
        if self.in_flight.fetch_add(1, SeqCst) < cap {
            return true;
        }
        self.in_flight.fetch_sub(1, SeqCst);
        false
    }

    pub(super) fn leave(&self) {
        // Ordered against `join` followed by another pick: one of the two must see the other.
        self.in_flight.fetch_sub(1, SeqCst);
        if self.waiters.load(SeqCst) > 0 {
            self.freed.notify_one();
        }
    }

    /// A place in the queue, `None` when `bound` wait already.
    pub(super) fn join(self: &Arc<Self>, bound: u32) -> Option<Waiter> {
        if self.waiters.fetch_add(1, SeqCst) < bound {
            return Some(Waiter {
                load: Arc::clone(self),
            });
        }
        self.waiters.fetch_sub(1, SeqCst);
        None
    }
}

/// A place in the queue, given back on drop.
#[derive(Debug)]
pub struct Waiter {
    load: Arc<Load>,
}

impl Waiter {
    /// Resolves when something in the pool ended; then pick again. Earlier calls come first. Cancel safe.
    pub async fn freed(&self) {
        self.load.freed.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.load.waiters.fetch_sub(1, SeqCst);
        // The permit that woke this one may be of use to the next: at worst that one looks once in vain.
        if self.load.waiters.load(SeqCst) > 0 {
            self.load.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_requests_and_waiters() {
        let load = Arc::new(Load::default());
        assert!(load.enter(1));
        assert!(!load.enter(1));
        let first = load.join(1);
        assert!(first.is_some());
        assert!(load.join(1).is_none());
        drop(first);
        load.leave();
        assert_eq!((load.in_flight(), load.waiters()), (0, 0));
    }

    #[tokio::test]
    async fn a_release_between_refusal_and_waiting_is_not_lost() {
        let load = Arc::new(Load::default());
        assert!(load.enter(1));
        let waiter = load.join(1);
        load.leave();
        if let Some(waiter) = waiter {
            waiter.freed().await;
        }
        assert!(load.enter(1));
    }
}
