//! How many connections are open, and the moment when none is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts open connections of all listeners.
#[derive(Debug, Default)]
pub struct Open {
    count: AtomicUsize,
    none: Notify,
}

/// One open connection; dropping it is its end.
pub struct OpenGuard(Arc<Open>);

impl Open {
    /// One more.
    pub fn enter(self: &Arc<Open>) -> OpenGuard {
        self.count.fetch_add(1, Ordering::AcqRel);
        OpenGuard(self.clone())
    }

    /// Open now.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Returns when no connection is open.
    pub async fn none_left(&self) {
        loop {
            let none = self.none.notified();
            tokio::pin!(none);
            // Registered before the look, so that an end between the two is not missed.
            none.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
