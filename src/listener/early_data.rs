//! Whether a connection's TLS handshake is still going on while requests come already (0-RTT, RFC 8446 section 2.3).
//!
//! Such requests may be another's, recorded and sent again: who serves them must know, and can wait for the end of the
//! handshake, which nobody can repeat.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Shared by the stream, which sees the handshake end, and by requests, which wait for it.
#[derive(Debug, Default)]
pub struct EarlyData {
    unfinished: AtomicBool,
    finished: Notify,
}

impl EarlyData {
    /// The handshake goes on behind requests.
    pub(super) fn begin(&self) {
        self.unfinished.store(true, Ordering::Release);
    }

    /// The client has proved that it is there now.
    pub(super) fn end(&self) {
        self.unfinished.store(false, Ordering::Release);
        self.finished.notify_waiters();
    }

    /// What was read up to now may have been sent before.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.load(Ordering::Acquire)
    }

    /// Returns when the handshake is done; never, where the client doesn't end it.
    pub async fn finished(&self) {
        loop {
            let finished = self.finished.notified();
            tokio::pin!(finished);
            finished.as_mut().enable();
            if !self.is_unfinished() {
                return;
            }
            finished.await;
        }
    }
}
