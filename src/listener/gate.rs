//! Whether a listener accepts: those for clients as the overload ladder says, that for operators always.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use super::reserve::Reserve;
use super::socket::Kernel;
use crate::overload::Overload;

/// Which of the two a listener is.
pub enum Gate {
    /// For clients.
    Bounded(Arc<Overload>),
    /// For operators.
    Always(Reserve),
}

impl Gate {
    /// For operators.
    pub fn always() -> Gate {
        let reserve = Reserve::default();
        reserve.refill();
        Gate::Always(reserve)
    }

    /// Returns when the next connection may be accepted.
    pub async fn open(&self) {
        if let Gate::Bounded(overload) = self {
            overload.accepting().await;
        }
    }

    /// Told of each connection that was accepted; whether accepting has to pause after it.
    pub fn accepted(&self, kernel: &Kernel) -> bool {
        match self {
            Gate::Bounded(overload) => overload.is_at_ceiling(descriptor(kernel)),
            Gate::Always(reserve) => {
                // Not sooner: what was lent is for the connection.
                reserve.refill();
                false
            }
        }
    }

    /// Whether accepting may be tried again at once after there was no descriptor for it.
    pub fn lends(&self) -> bool {
        match self {
            Gate::Bounded(_) => false,
            Gate::Always(reserve) => reserve.lend(),
        }
    }

    /// Whether memory is short.
    pub fn is_short_of_memory(&self) -> bool {
        matches!(self, Gate::Bounded(overload) if overload.is_short_of_memory())
    }

    /// Whether responses should say that their connection ends.
    pub fn cuts_keep_alive(&self) -> bool {
        matches!(self, Gate::Bounded(overload) if overload.cuts_keep_alive())
    }
}

fn descriptor(kernel: &Kernel) -> RawFd {
    match kernel {
        Kernel::Tcp(stream) => stream.as_raw_fd(),
        Kernel::Unix(stream) => stream.as_raw_fd(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_lent_is_not_taken_back_before_it_was_of_use() {
        let gate = Gate::always();
        let mut lent = 0;
        while gate.lends() {
            lent += 1;
            assert!(lent < 100);
            gate.open().await;
        }
        assert!(lent > 0);
        let (one, _other) = tokio::net::UnixStream::pair().unwrap();
        assert!(!gate.accepted(&Kernel::Unix(one)));
        assert!(gate.lends());
    }
}
