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
        match self {
            Gate::Bounded(overload) => overload.accepting().await,
            Gate::Always(reserve) => reserve.refill(),
        }
    }

    /// Whether accepting has to pause after this connection.
    pub fn is_last(&self, kernel: &Kernel) -> bool {
        match self {
            Gate::Bounded(overload) => overload.is_at_ceiling(descriptor(kernel)),
            Gate::Always(_) => false,
        }
    }

    /// Whether accepting may be tried again at once after there was no descriptor for it.
    pub fn lends(&self) -> bool {
        match self {
            Gate::Bounded(_) => false,
            Gate::Always(reserve) => reserve.lend(),
        }
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
