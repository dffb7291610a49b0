//! Keys of session tickets. Instances with the same secret derive the same keys from the time alone, so that each resumes
//! what another began; nothing is exchanged and nothing is to be rotated by hand.
//!
//! HKDF-SHA256 (RFC 5869) with a label of its own. One epoch's key makes tickets; those of two epochs before and one after
//! open them, for clocks that differ and sessions that are a little older.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, Guard};
use hkdf::Hkdf;
use hkdf::hmac::{Hmac, Mac};
use sha2::Sha256;

use super::TlsError;
use crate::config::model::TicketKeys;

/// Bytes of an initialisation vector's buffer, of which AES-CBC uses all 16.
pub const IV_LENGTH: usize = 16;
/// HMAC-SHA256 at the end of a ticket.
const MAC_LENGTH: usize = 32;

const SALT: &[u8] = b"tidegate";
const LABEL: &[u8] = b"stek/v1/";
const PREVIOUS: u64 = 2;
const NEXT: u64 = 1;

/// What one key of a ticket consists of.
pub struct TicketKey {
    /// Stands in front of the ticket.
    pub name: [u8; 16],
    /// AES-256-CBC.
    pub encryption: [u8; 32],
    /// HMAC-SHA256.
    pub authentication: [u8; 32],
}

/// The keys of the moment; the first makes tickets.
pub struct Ring {
    epoch: u64,
    keys: Vec<TicketKey>,
}

/// Where keys come from.
enum Source {
    /// Secrets and the length of an epoch, in seconds.
    Derived(Vec<Vec<u8>>, u64),
    /// One key for each.
    Listed(Vec<Vec<u8>>),
}

/// The ticket keys of a listener. They outlive its certificates: a reload ends no session.
pub struct Tickets {
    source: Source,
    ring: ArcSwap<Ring>,
}

impl Tickets {
    /// Reads key files where there are some. `own` is this process's secret, for when nothing is configured.
    pub fn new(keys: &TicketKeys, own: &[u8]) -> Result<Tickets, TlsError> {
        let seconds = |rotation: &Duration| rotation.as_secs().max(1);
        let source = match keys {
            TicketKeys::Cluster(secrets, rotation) => {
                let secrets = secrets.iter().map(|s| s.0.as_bytes().to_vec()).collect();
                Source::Derived(secrets, seconds(rotation))
            }
            TicketKeys::Own(rotation) => Source::Derived(vec![own.to_vec()], seconds(rotation)),
            TicketKeys::Files(files) => Source::Listed(read_all(files)?),
        };
        let ring = Ring::derive(&source, source.epoch(unix_now()))?;
        Ok(Tickets {
            source,
            ring: ArcSwap::from_pointee(ring),
        })
    }

    /// The keys of this moment: derived anew by the first handshake of an epoch.
    pub fn ring(&self) -> Guard<Arc<Ring>> {
        let ring = self.ring.load();
        let epoch = self.source.epoch(unix_now());
        if ring.epoch == epoch {
            return ring;
        }
        match Ring::derive(&self.source, epoch) {
            Ok(fresh) => self.ring.store(Arc::new(fresh)),
            Err(error) => log::error!("ticket keys can't be derived: {error}"),
        }
        self.ring.load()
    }

    /// Whether this is a ticket that one of the keys made: its name is known and its MAC holds.
    pub fn made(&self, ticket: &[u8]) -> bool {
        let Some((name, rest)) = ticket.split_first_chunk::<16>() else {
            return false;
        };
        let Some(signed) = rest.len().checked_sub(MAC_LENGTH).map(|n| n + name.len()) else {
            return false;
        };
        let ring = self.ring();
        let Some((key, _)) = ring.named(name) else {
            return false;
        };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key.authentication) else {
            return false;
        };
        mac.update(&ticket[..signed]);
        mac.verify_slice(&ticket[signed..]).is_ok()
    }

    /// How long a session may be resumed: the keys that open are gone after that.
    pub fn lifetime(&self) -> Duration {
        match &self.source {
            Source::Derived(_, seconds) => Duration::from_secs(seconds.saturating_mul(PREVIOUS)),
            Source::Listed(_) => Duration::from_secs(24 * 3600),
        }
    }
}

impl Source {
    fn epoch(&self, unix: u64) -> u64 {
        match self {
            Source::Derived(_, seconds) => unix / seconds,
            Source::Listed(_) => 0,
        }
    }
}

impl Ring {
    fn derive(source: &Source, epoch: u64) -> Result<Ring, TlsError> {
        let mut keys = Vec::new();
        match source {
            Source::Listed(listed) => {
                for key in listed {
                    keys.push(derive(key, b"file", 0)?);
                }
            }
            Source::Derived(secrets, _) => {
                for secret in secrets {
                    keys.push(derive(secret, b"epoch", epoch)?);
                    let others = epoch.saturating_sub(PREVIOUS)..=epoch.saturating_add(NEXT);
                    for other in others.filter(|other| *other != epoch) {
                        keys.push(derive(secret, b"epoch", other)?);
                    }
                }
            }
        }
        Ok(Ring { epoch, keys })
    }

    /// The key that makes tickets.
    pub fn sealing(&self) -> &TicketKey {
        &self.keys[0]
    }

    /// The key with this name, and whether it is the one that makes tickets.
    pub fn named(&self, name: &[u8; 16]) -> Option<(&TicketKey, bool)> {
        let at = self.keys.iter().position(|key| key.name == *name)?;
        Some((&self.keys[at], at == 0))
    }
}

fn derive(secret: &[u8], kind: &[u8], epoch: u64) -> Result<TicketKey, TlsError> {
    let mut bytes = [0; 80];
    let hkdf = Hkdf::<Sha256>::new(Some(SALT), secret);
    hkdf.expand_multi_info(&[LABEL, kind, b"/", &epoch.to_be_bytes()], &mut bytes)
        .map_err(|_| TlsError::TicketKeys)?;
    let (name, rest) = bytes.split_at(16);
    let (encryption, authentication) = rest.split_at(32);
    let mut key = TicketKey {
        name: [0; 16],
        encryption: [0; 32],
        authentication: [0; 32],
    };
    key.name.copy_from_slice(name);
    key.encryption.copy_from_slice(encryption);
    key.authentication.copy_from_slice(authentication);
    Ok(key)
}

fn read_all(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, TlsError> {
    let read = |path: &PathBuf| {
        fs::read(path).map_err(|source| TlsError::Read {
            path: path.clone(),
            source,
        })
    };
    let keys: Vec<_> = files.iter().map(read).collect::<Result<_, _>>()?;
    match keys.is_empty() || keys.iter().any(|key| key.len() < 32) {
        true => Err(TlsError::TicketKeys),
        false => Ok(keys),
    }
}

fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests;
