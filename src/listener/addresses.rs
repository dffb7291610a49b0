//! What one client address takes of a listener: open connections, new ones a second, ones without a whole head, and memory
//! of responses that it does not take.
//!
//! An address is an IPv4 address or an IPv6 /64, which is what one subscriber gets. There is an entry for each address
//! that is connected, and for a moment for one that was: the table is as large as the connections are many.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::model::AddressLimits;
use crate::observe::metrics::RejectReason;

/// Locks that share the table, so that workers seldom wait for each other.
const SHARDS: usize = 64;
/// Addresses without a connection that one shard remembers at most.
const REMEMBERED: usize = 4096;
/// How far an address may run ahead of its rate.
const BURST: Duration = Duration::from_secs(2);

/// The addresses that are connected to one listener.
#[derive(Debug)]
pub struct Addresses {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    began: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    V4(u32),
    V6(u64),
}

impl Key {
    fn of(address: IpAddr) -> Key {
        match address.to_canonical() {
            IpAddr::V4(v4) => Key::V4(v4.to_bits()),
            IpAddr::V6(v6) => Key::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<Key, Entry>,
    /// Entries that are kept for their rate alone.
    remembered: usize,
}

#[derive(Debug, Default)]
struct Entry {
    connections: u32,
    unfinished: u32,
    /// Bytes of responses that are kept waiting.
    unread: u64,
    /// When the connections so far would be due at the full rate, since the table began (GCRA).
    due: Duration,
}

impl Default for Addresses {
    fn default() -> Addresses {
        Addresses {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            began: Instant::now(),
        }
    }
}

impl Addresses {
    /// Takes a place for a new connection, which has no whole head yet. `Err` is why there is none.
    pub fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &AddressLimits,
        now: Instant,
    ) -> Result<Option<Place>, RejectReason> {
        let capped = limits.connections.is_some()
            || limits.new.is_some()
            || limits.unfinished.is_some()
            || limits.unread.is_some();
        if !capped || limits.except.iter().any(|net| net.contains(&address)) {
            return Ok(None);
        }
        let key = Key::of(address);
        let now = now.saturating_duration_since(self.began);
        let mut shard = self.shard(key);
        if shard.remembered >= REMEMBERED {
            shard.forget(now);
        }
        let known = shard.entries.contains_key(&key);
        let entry = shard.entries.entry(key).or_default();
        let was_empty = known && entry.connections == 0;
        let admitted = entry.admit(limits, now);
        let is_empty = entry.connections == 0;
        shard.remembered -= usize::from(was_empty);
        shard.remembered += usize::from(is_empty);
        admitted?;
        Ok(Some(Place {
            table: self.clone(),
            key,
            unfinished: AtomicBool::new(true),
            unread: AtomicU64::new(0),
        }))
    }

    fn shard(&self, key: Key) -> MutexGuard<'_, Shard> {
        let at = self.hasher.hash_one(key) as usize % self.shards.len();
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Drops what needs no memory any more; all that has no connection, if that is too much.
    fn forget(&mut self, now: Duration) {
        self.entries.retain(|_, e| e.connections > 0 || e.due > now);
        self.remembered = self.entries.values().filter(|e| e.connections == 0).count();
        if self.remembered >= REMEMBERED {
            self.entries.retain(|_, entry| entry.connections > 0);
            self.remembered = 0;
        }
    }
}

impl Entry {
    fn admit(&mut self, limits: &AddressLimits, now: Duration) -> Result<(), RejectReason> {
        if limits
            .connections
            .is_some_and(|most| self.connections >= most)
        {
            return Err(RejectReason::MaxPerAddress);
        }
        if limits
            .unfinished
            .is_some_and(|most| self.unfinished >= most)
        {
            return Err(RejectReason::MaxUnfinishedPerAddress);
        }
        if let Some(rate) = limits.new {
            let each = Duration::from_secs(1) / rate.max(1);
            let due = self.due.max(now) + each;
            if due > now + BURST {
                return Err(RejectReason::MaxNewPerAddress);
            }
            self.due = due;
        }
        self.connections += 1;
        self.unfinished += 1;
        Ok(())
    }
}

/// One connection's share; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    table: Arc<Addresses>,
    key: Key,
    unfinished: AtomicBool,
    unread: AtomicU64,
}

impl Place {
    /// The head that was waited for is whole.
    pub fn finished(&self) {
        if self.unfinished.swap(false, Ordering::AcqRel)
            && let Some(entry) = self.table.shard(self.key).entries.get_mut(&self.key)
        {
            entry.unfinished = entry.unfinished.saturating_sub(1);
        }
    }

    /// Its connection keeps so many bytes of responses waiting now; how many the address keeps beyond its limit.
    pub fn keep_unread(&self, bytes: u64, limits: &AddressLimits) -> u64 {
        let before = self.unread.swap(bytes, Ordering::AcqRel);
        if before == 0 && bytes == 0 {
            return 0;
        }
        let mut shard = self.table.shard(self.key);
        let Some(entry) = shard.entries.get_mut(&self.key) else {
            return 0;
        };
        entry.unread = entry.unread.saturating_sub(before).saturating_add(bytes);
        let most = limits.unread.unwrap_or(u64::MAX);
        entry.unread.saturating_sub(most)
    }

    /// Another head has begun. False: too many of this address have.
    pub fn begin(&self, limits: &AddressLimits) -> bool {
        let mut shard = self.table.shard(self.key);
        let Some(entry) = shard.entries.get_mut(&self.key) else {
            return true;
        };
        if limits
            .unfinished
            .is_some_and(|most| entry.unfinished >= most)
        {
            return false;
        }
        if !self.unfinished.swap(true, Ordering::AcqRel) {
            entry.unfinished += 1;
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.finished();
        let now = self.table.began.elapsed();
        let mut shard = self.table.shard(self.key);
        let Some(entry) = shard.entries.get_mut(&self.key) else {
            return;
        };
        entry.connections = entry.connections.saturating_sub(1);
        let unread = self.unread.load(Ordering::Acquire);
        entry.unread = entry.unread.saturating_sub(unread);
        let (empty, over) = (entry.connections == 0, entry.due <= now);
        if empty && over {
            shard.entries.remove(&self.key);
        } else if empty {
            shard.remembered += 1;
        }
    }
}

#[cfg(test)]
mod tests;
