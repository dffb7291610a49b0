//! What was handed to the kernel for a client that does not take it. The kernel's buffer swallows a whole small response, so
//! that writing it is no sign that anybody reads: bytes count as taken when they are acknowledged.

use std::time::{Duration, Instant};

use pingora_core::protocols::{SocketDigest, UniqueIDType};

use super::pace::{Pace, tick};
use crate::config::model::PaceLimits;

/// A client that takes nothing of a response for this long keeps it waiting: its memory is counted, and a backend may have
/// given up sending it.
pub const LAG: Duration = Duration::from_secs(2);

/// The kernel's view of what a client has been sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    /// Bytes that the client has.
    pub acked: u64,
    /// Something is not acknowledged yet.
    pub unacked: bool,
    /// Something could not even be sent: the client's window, or the network's, is full.
    pub unsent: bool,
}

impl Sent {
    /// All zero on a Unix socket.
    pub fn on(socket: UniqueIDType) -> Sent {
        let info = SocketDigest::from_raw_fd(socket).tcp_info();
        info.map_or_else(Sent::default, |info| Sent {
            acked: info.tcpi_bytes_acked,
            unacked: info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0,
            unsent: info.tcpi_notsent_bytes > 0,
        })
    }
}

/// Watches whether a client takes the rest of what it was sent, after its last response.
#[derive(Debug)]
pub struct Rest {
    next: Instant,
    /// Since the first look that found something.
    pace: Option<(Pace, Instant)>,
    acked: u64,
    taken: bool,
}

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
pub enum RestLook {
    /// The client has everything.
    Taken,
    /// There is something left, or it was not yet time to look: look again then.
    At(Instant),
    /// It takes it too slowly, or not at all.
    Slow,
}

impl Rest {
    /// To be looked at from `first` on.
    pub fn new(first: Instant) -> Rest {
        Rest {
            next: first,
            pace: None,
            acked: 0,
            taken: false,
        }
    }

    /// Asks the kernel if it is time to.
    pub fn look(
        &mut self,
        limits: &PaceLimits,
        sent: impl FnOnce() -> Sent,
        now: Instant,
    ) -> RestLook {
        if self.taken {
            return RestLook::Taken;
        }
        if now < self.next {
            return RestLook::At(self.next);
        }
        let sent = sent();
        self.taken = !sent.unacked;
        if self.taken {
            return RestLook::Taken;
        }
        let moved = sent.acked.saturating_sub(self.acked);
        self.acked = sent.acked;
        let (pace, looked) = self.pace.get_or_insert_with(|| (Pace::new(limits), now));
        let waited = now - std::mem::replace(looked, now);
        if !waited.is_zero() && !pace.keeps(limits, waited, moved) {
            return RestLook::Slow;
        }
        self.next = now + tick(limits);
        RestLook::At(self.next)
    }
}

/// Waits until a client has everything that it was sent. False: it takes it too slowly.
pub async fn taken(socket: UniqueIDType, limits: &PaceLimits) -> bool {
    let mut rest = Rest::new(Instant::now());
    loop {
        match rest.look(limits, || Sent::on(socket), Instant::now()) {
            RestLook::Taken => return true,
            RestLook::At(at) => tokio::time::sleep_until(at.into()).await,
            RestLook::Slow => return false,
        }
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

    /// Seconds until a client that acknowledges so many bytes a second is given up, or has all of `length`.
    fn ends(length: u64, each_second: u64) -> (u64, RestLook) {
        let began = Instant::now();
        let mut rest = Rest::new(began + LAG);
        for second in 0..3600 {
            let acked = second * each_second;
            let sent = || Sent {
                acked,
                unacked: acked < length,
                unsent: false,
            };
            match rest.look(&LIMITS, sent, began + Duration::from_secs(second)) {
                RestLook::At(_) => {}
                end => return (second, end),
            }
        }
        panic!("neither taken nor given up");
    }

    #[test]
    fn what_is_acknowledged_counts() {
        assert_eq!(ends(0, 0), (2, RestLook::Taken));
        assert_eq!(ends(100_000, 0), (12, RestLook::Slow));
        assert_eq!(ends(100_000, 1), (13, RestLook::Slow));
        assert_eq!(ends(100_000, 2048), (49, RestLook::Taken));
    }

    #[test]
    fn the_kernel_is_asked_no_more_once_everything_is_taken() {
        let now = Instant::now();
        let mut rest = Rest::new(now);
        assert_eq!(rest.look(&LIMITS, Sent::default, now), RestLook::Taken);
        let later = now + Duration::from_secs(60);
        let asked = || unreachable!();
        assert_eq!(rest.look(&LIMITS, asked, later), RestLook::Taken);
    }
}
