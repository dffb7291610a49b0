//! What was found out once and holds for a while: a bounded map from a digest to a value, with expiry.
//!
//! Keys are SHA-256 digests: an attacker cannot make two inputs meet, and a secret is not kept in clear.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

const SHARDS: usize = 16;

/// SHA-256 of what a value was found out about.
pub type Key = [u8; 32];

/// SHA-256 over the parts, each with its length, so that `ab`, `c` and `a`, `bc` differ.
#[must_use]
pub fn key(parts: &[&[u8]]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// At most `capacity` values. Reads of one shard do not wait for each other.
pub struct Cache<V> {
    shards: [RwLock<HashMap<Key, (SystemTime, V)>>; SHARDS],
    per_shard: usize,
}

impl<V: Clone> Cache<V> {
    /// 0 keeps nothing. Rounded up to a multiple of 16.
    #[must_use]
    pub fn new(capacity: usize) -> Cache<V> {
        Cache {
            shards: std::array::from_fn(|_| RwLock::new(HashMap::new())),
            per_shard: capacity.div_ceil(SHARDS),
        }
    }

    fn shard(&self, key: &Key) -> &RwLock<HashMap<Key, (SystemTime, V)>> {
        &self.shards[usize::from(key[0]) % SHARDS]
    }

    /// The value, unless its time is over.
    pub fn get(&self, key: &Key, now: SystemTime) -> Option<V> {
        let shard = self.shard(key).read();
        let shard = shard.unwrap_or_else(PoisonError::into_inner);
        let (until, value) = shard.get(key)?;
        (now < *until).then(|| value.clone())
    }

    /// Keeps a value until then. A full shard first loses what is over, then any one value.
    pub fn insert(&self, key: Key, value: V, until: SystemTime, now: SystemTime) {
        if self.per_shard == 0 {
            return;
        }
        let shard = self.shard(&key).write();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.per_shard {
            shard.retain(|_, (until, _)| now < *until);
        }
        if shard.len() >= self.per_shard
            && let Some(any) = shard.keys().next().copied()
        {
            shard.remove(&any);
        }
        shard.insert(key, (until, value));
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for shard in &self.shards {
            let shard = shard.write();
            shard.unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Values kept, those whose time is over included.
    #[must_use]
    pub fn len(&self) -> usize {
        let lens = self.shards.iter().map(|shard| {
            let shard = shard.read();
            shard.unwrap_or_else(PoisonError::into_inner).len()
        });
        lens.sum()
    }

    /// No values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
