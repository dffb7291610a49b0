//! The connections of one listener and whom each waits for, so that near the limit a new one takes the place of one that
//! nobody would miss: idle for longest, then keeping us waiting for longest. One that waits for a backend is left alone.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::task::AbortHandle;

use crate::config::model::ListenerLimits;
use crate::observe::metrics::{EvictedWhile, ListenerMetrics, RejectReason};

/// Locks that share the list of connections.
const SHARDS: usize = 16;
/// Connections that are looked at to find the one to close: all of a few, a sample of many.
const SAMPLE: usize = 256;
/// A shorter wait, in milliseconds, is no reason to be closed: clients that have just come are given time.
const PATIENCE: u64 = 1000;

/// Whom a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// For the client: the PROXY header, the handshake, a whole request head.
    Unfinished,
    /// For the client's next request.
    Idle,
    /// For the client, within a request: its body, or its reading of the response.
    Slow,
    /// For a backend, or for nobody.
    Busy,
}

impl Waits {
    fn from_byte(byte: u8) -> Waits {
        match byte {
            0 => Waits::Unfinished,
            1 => Waits::Idle,
            2 => Waits::Slow,
            _ => Waits::Busy,
        }
    }
}

/// The places of one listener.
#[derive(Debug)]
pub struct Seats {
    shards: Box<[Mutex<Vec<Arc<Taken>>>]>,
    next: AtomicUsize,
    unfinished: AtomicUsize,
    began: Instant,
}

/// What others see of a connection.
#[derive(Debug)]
struct Taken {
    waits: AtomicU8,
    /// Since when, in milliseconds after the listener began.
    since: AtomicU64,
    evicted: AtomicBool,
    /// Its socket is to be reset when it is closed.
    resets: AtomicBool,
    task: OnceLock<AbortHandle>,
    /// Where it stands in its shard; guarded by the shard's lock.
    at: AtomicUsize,
    shard: usize,
}

impl Default for Seats {
    fn default() -> Seats {
        Seats {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(0),
            began: Instant::now(),
        }
    }
}

impl Seats {
    /// Makes room for one more connection besides `open` others. `Err` is why there is none.
    pub fn make_room(
        &self,
        open: usize,
        limits: &ListenerLimits,
        metrics: &ListenerMetrics,
    ) -> Result<(), RejectReason> {
        let idle = |waits| waits == Waits::Idle;
        let unfinished = |waits| waits == Waits::Unfinished;
        let slow = |waits| waits == Waits::Unfinished || waits == Waits::Slow;
        let (full, near) = (
            open >= limits.max_connections,
            open.saturating_mul(10) >= limits.max_connections.saturating_mul(9),
        );
        let made = near && (self.evict(idle, metrics) || (full && self.evict(slow, metrics)));
        if full && !made {
            return Err(RejectReason::MaxConnections);
        }
        let crowded = self.unfinished.load(Ordering::Relaxed) >= limits.max_unfinished;
        if crowded && !self.evict(unfinished, metrics) {
            return Err(RejectReason::MaxUnfinished);
        }
        Ok(())
    }

    /// A place for a connection that was just accepted.
    pub fn take(self: &Arc<Self>) -> Seat {
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        let mut list = self.shard(shard);
        let taken = Arc::new(Taken {
            waits: AtomicU8::new(Waits::Unfinished as u8),
            since: AtomicU64::new(self.now()),
            evicted: AtomicBool::new(false),
            resets: AtomicBool::new(false),
            task: OnceLock::new(),
            at: AtomicUsize::new(list.len()),
            shard,
        });
        list.push(taken.clone());
        Seat {
            seats: self.clone(),
            taken,
        }
    }

    /// Closes the connection that has waited for longest, of those looked at that wait for the right thing.
    fn evict(&self, fits: impl Fn(Waits) -> bool, metrics: &ListenerMetrics) -> bool {
        let Some(victim) = self.longest(fits) else {
            return false;
        };
        if victim.evicted.swap(true, Ordering::AcqRel) {
            return false;
        }
        let Some(task) = victim.task.get() else {
            return false;
        };
        if victim.waits() == Waits::Slow {
            victim.resets.store(true, Ordering::Release);
        }
        metrics.evicted.inc(match victim.waits() {
            Waits::Idle => EvictedWhile::Idle,
            Waits::Unfinished => EvictedWhile::Unfinished,
            Waits::Slow | Waits::Busy => EvictedWhile::Slow,
        });
        task.abort();
        true
    }

    fn longest(&self, fits: impl Fn(Waits) -> bool) -> Option<Arc<Taken>> {
        let now = self.now();
        let first = fastrand::usize(..self.shards.len());
        let mut best: Option<(u64, Arc<Taken>)> = None;
        let mut looked_at = 0;
        for n in 0..self.shards.len() {
            if looked_at >= SAMPLE {
                break;
            }
            let list = self.shard((first + n) % self.shards.len());
            let from = fastrand::usize(..list.len().max(1));
            let (after, before) = list.split_at(from.min(list.len()));
            for taken in before.iter().chain(after).take(SAMPLE - looked_at) {
                looked_at += 1;
                let waited = now.saturating_sub(taken.since.load(Ordering::Relaxed));
                let longer = best.as_ref().is_none_or(|(most, _)| waited > *most);
                if longer && waited >= PATIENCE && taken.fits(&fits) {
                    best = Some((waited, taken.clone()));
                }
            }
        }
        best.map(|(_, taken)| taken)
    }

    fn shard(&self, at: usize) -> MutexGuard<'_, Vec<Arc<Taken>>> {
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the listener began.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Taken {
    fn waits(&self) -> Waits {
        Waits::from_byte(self.waits.load(Ordering::Relaxed))
    }

    fn fits(&self, fits: impl Fn(Waits) -> bool) -> bool {
        fits(self.waits()) && !self.evicted.load(Ordering::Relaxed)
    }
}

/// One connection's place; dropping it gives it back.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    taken: Arc<Taken>,
}

impl Seat {
    /// Wants to know the task that is to serve the connection.
    pub fn task(&self) -> SeatTask {
        SeatTask(self.taken.clone())
    }

    /// Says how the connection's socket is to be closed.
    pub fn closing(&self) -> Closing {
        Closing(self.taken.clone())
    }

    /// The socket is reset when it is closed, so that the kernel frees at once what it holds for a client that does not
    /// take it.
    pub fn reset(&self) {
        self.taken.resets.store(true, Ordering::Release);
    }

    /// From now on the connection waits for this.
    pub fn waits(&self, waits: Waits) {
        if self.taken.waits() == waits {
            return;
        }
        let before = self.taken.waits.swap(waits as u8, Ordering::Relaxed);
        if waits != Waits::Busy {
            self.taken.since.store(self.seats.now(), Ordering::Relaxed);
        }
        match (Waits::from_byte(before), waits) {
            (Waits::Unfinished, _) => self.seats.unfinished.fetch_sub(1, Ordering::Relaxed),
            (_, Waits::Unfinished) => self.seats.unfinished.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }
}

/// How a connection's socket is to be closed; kept by the socket.
#[derive(Debug)]
pub struct Closing(Arc<Taken>);

impl Closing {
    /// Whether it is reset instead of ended.
    pub fn is_reset(&self) -> bool {
        self.0.resets.load(Ordering::Acquire)
    }
}

/// Waits to be told which task serves a connection.
pub struct SeatTask(Arc<Taken>);

impl SeatTask {
    /// Ending this task closes the connection.
    pub fn is(self, task: AbortHandle) {
        let _ = self.0.task.set(task);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.waits(Waits::Busy);
        let mut list = self.seats.shard(self.taken.shard);
        let at = self.taken.at.load(Ordering::Relaxed);
        list.swap_remove(at);
        if let Some(moved) = list.get(at) {
            moved.at.store(at, Ordering::Relaxed);
        }
        // A burst's memory is given back.
        if list.capacity() > 64 && list.len() < list.capacity() / 4 {
            list.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests;
