//! The keys that seal and open: derived from the cluster's secret for one epoch after the other, or given as a list.
//!
//! HKDF-SHA256 (RFC 5869), with a label of its own, so that other uses of the secret share no key with this one. An
//! instance needs nobody to rotate: every one derives the same keys from the time alone. An epoch's key opens for as long
//! as something sealed in it may live, so a rotation logs nobody out; changing `key_rotation` renumbers the epochs and does.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use hkdf::Hkdf;
use sha2::Sha256;

use super::seal::SealingKey;
use super::{MAX_CLOCK_SKEW, MAX_EPOCHS};
use crate::config::model::Secret;

const SALT: &[u8] = b"tidegate";
const LABEL: &[u8] = b"sticky/v1/";
/// Epochs before the current one that open even where `ttl` needs fewer, and those after it, for clocks that are ahead.
const LEAST_PREVIOUS: u64 = 2;
const NEXT: u64 = 1;

/// Why there are no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing to derive them from.
    #[error("no secret and no keys are given")]
    None,
    /// So many keys would have to be kept.
    #[error("ttl is more than {MAX_EPOCHS} times key_rotation")]
    TooManyEpochs,
    /// Never with the lengths in use.
    #[error("the key derivation refused")]
    Derivation,
}

/// What keys are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Secrets of the cluster and how long one epoch lasts.
    Secrets(Vec<Secret>, Duration),
    /// Keys that are used until the configuration changes.
    Listed(Vec<Secret>),
}

/// All keys of the moment, sorted by id.
pub struct Ring {
    epoch: u64,
    sealing: usize,
    keys: Box<[SealingKey]>,
}

/// The keys, as they change with time. Looking them up takes no lock.
pub struct Keys {
    source: Source,
    /// Epochs before the current one whose keys still open.
    previous: u64,
    ring: ArcSwap<Ring>,
}

impl Keys {
    /// Keys for tickets that live `ttl` at most.
    ///
    /// # Errors
    /// `KeyError`, also when `ttl` spans more than `MAX_EPOCHS` rotations.
    pub fn new(source: Source, ttl: Duration, unix: u64) -> Result<Self, KeyError> {
        let previous = match &source {
            Source::Secrets(_, rotation) => {
                previous_epochs(ttl, *rotation).ok_or(KeyError::TooManyEpochs)?
            }
            Source::Listed(_) => 0,
        };
        let ring = Ring::derive(&source, previous, unix)?;
        Ok(Self {
            source,
            previous,
            ring: ArcSwap::from_pointee(ring),
        })
    }

    /// The keys of the moment.
    pub fn ring(&self) -> Guard<Arc<Ring>> {
        self.ring.load()
    }

    /// Derives the keys anew when an epoch has ended; true when it did. To be called every few seconds; being late by up
    /// to an epoch is harmless, because the next epoch's key opens already.
    pub fn advance(&self, unix: u64) -> bool {
        if epoch(&self.source, unix) == self.ring.load().epoch {
            return false;
        }
        let ring = Ring::derive(&self.source, self.previous, unix);
        ring.map(|ring| self.ring.store(Arc::new(ring))).is_ok()
    }
}

impl Ring {
    fn derive(source: &Source, previous: u64, unix: u64) -> Result<Self, KeyError> {
        let epoch = epoch(source, unix);
        let mut keys = Vec::new();
        match source {
            Source::Secrets(secrets, _) => {
                for secret in secrets {
                    keys.push(derive(secret, b"epoch", epoch)?);
                    let first = epoch.saturating_sub(previous);
                    for other in
                        (first..=epoch.saturating_add(NEXT)).filter(|other| *other != epoch)
                    {
                        keys.push(derive(secret, b"epoch", other)?);
                    }
                }
            }
            Source::Listed(listed) => {
                for key in listed {
                    keys.push(derive(key, b"listed", 0)?);
                }
            }
        }
        let first = keys.first().ok_or(KeyError::None)?.id;
        keys.sort_by_key(|key| key.id);
        let sealing = keys.partition_point(|key| key.id < first);
        Ok(Self {
            epoch,
            sealing,
            keys: keys.into(),
        })
    }

    /// The one that seals.
    pub fn sealing(&self) -> Option<&SealingKey> {
        self.keys.get(self.sealing)
    }

    /// Those with this id: one or none, but for a coincidence.
    pub fn with_id(&self, id: u32) -> impl Iterator<Item = &SealingKey> {
        let from = self.keys.partition_point(|key| key.id < id);
        self.keys
            .iter()
            .skip(from)
            .take_while(move |key| key.id == id)
    }
}

/// So many epochs may end between sealing and the end of a ticket's life; `None` over `MAX_EPOCHS`.
pub fn previous_epochs(ttl: Duration, rotation: Duration) -> Option<u64> {
    let life = ttl.as_secs().saturating_add(MAX_CLOCK_SKEW);
    let epochs = life.div_ceil(rotation.as_secs().max(1)).max(LEAST_PREVIOUS);
    (epochs <= MAX_EPOCHS).then_some(epochs)
}

fn epoch(source: &Source, unix: u64) -> u64 {
    match source {
        Source::Secrets(_, rotation) => unix / rotation.as_secs().max(1),
        Source::Listed(_) => 0,
    }
}

fn derive(secret: &Secret, kind: &[u8], epoch: u64) -> Result<SealingKey, KeyError> {
    let mut key = [0; 32];
    let mut id = [0; 4];
    let hkdf = Hkdf::<Sha256>::new(Some(SALT), secret.0.as_bytes());
    let epoch = epoch.to_be_bytes();
    let done = hkdf.expand_multi_info(&[LABEL, kind, b"/key/", &epoch], &mut key);
    done.and_then(|()| hkdf.expand_multi_info(&[LABEL, kind, b"/id/", &epoch], &mut id))
        .map_err(|_| KeyError::Derivation)?;
    Ok(SealingKey::new(u32::from_be_bytes(id), key))
}

#[cfg(test)]
mod tests;
