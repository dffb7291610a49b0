//! Where counts are kept: a table of fixed size, without locks.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::gcra::{Decision, Quota};
use crate::filter::KeyBytes;

/// Slots that a key may lie in.
const WAYS: usize = 8;
const DAY: Duration = Duration::from_hours(24);

/// The seam for counts that instances share. It is asked in the way of a request: a shared store answers from
/// memory and talks to others beside it.
pub trait Store: Send + Sync {
    /// Counts one request of this key on this route.
    fn take(&self, route: &str, key: KeyBytes<'_>, quota: &Quota, now: Instant) -> Decision;
}

/// Counts of this instance. A key lies in one of eight slots, so memory is fixed; when all eight are taken, the one
/// that is nearest to having its full burst again is forgotten.
pub struct Local {
    slots: Box<[Slot]>,
    hasher: RandomState,
    epoch: Instant,
}

#[derive(Default)]
struct Slot {
    /// Keyed hash; 0 is an empty slot.
    key: AtomicU64,
    /// Theoretical arrival time, nanoseconds since the epoch.
    arrival: AtomicU64,
}

impl Local {
    /// Room for at least that many keys.
    #[must_use]
    pub fn new(max_keys: usize) -> Local {
        let slots = max_keys.next_power_of_two().max(WAYS);
        Local {
            slots: (0..slots).map(|_| Slot::default()).collect(),
            hasher: RandomState::new(),
            epoch: Instant::now(),
        }
    }

    /// Since a day before the epoch: a request may have begun before the table was made.
    fn nanoseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        let before = self.epoch.saturating_duration_since(now);
        let nanoseconds = (DAY + since).saturating_sub(before).as_nanos();
        u64::try_from(nanoseconds).unwrap_or(u64::MAX / 2)
    }

    fn bucket(&self, key: u64) -> &[Slot] {
        let buckets = self.slots.len() / WAYS;
        // `key` is a hash: its upper bits choose the bucket, all of it tells keys apart.
        let start = (key >> 16) as usize % buckets * WAYS;
        &self.slots[start..start + WAYS]
    }

    /// The key's slot; makes one if it has none.
    fn slot(&self, key: u64) -> &Slot {
        let bucket = self.bucket(key);
        loop {
            if let Some(slot) = bucket.iter().find(|slot| slot.key.load(Relaxed) == key) {
                return slot;
            }
            let oldest = bucket.iter().min_by_key(|slot| slot.arrival.load(Relaxed));
            let slot = oldest.unwrap_or(&bucket[0]);
            let old = slot.key.load(Relaxed);
            // A request that still counts on the old key may add to the new one: one too many, once.
            if slot
                .key
                .compare_exchange(old, key, Relaxed, Relaxed)
                .is_ok()
            {
                slot.arrival.store(0, Relaxed);
                return slot;
            }
        }
    }
}

impl Store for Local {
    fn take(&self, _route: &str, key: KeyBytes<'_>, quota: &Quota, now: Instant) -> Decision {
        let now = self.nanoseconds(now);
        let slot = self.slot(self.hasher.hash_one(key).max(1));
        let mut arrival = slot.arrival.load(Relaxed);
        loop {
            let (decision, next) = quota.decide(arrival, now);
            if !decision.allowed {
                return decision;
            }
            match slot
                .arrival
                .compare_exchange_weak(arrival, next, Relaxed, Relaxed)
            {
                Ok(_) => return decision,
                Err(other) => arrival = other,
            }
        }
    }
}
