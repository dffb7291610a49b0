//! The sealed value: what a client carries, and nobody but an instance with the key can read, make or change.
//!
//! `version (1) ‖ key id (4) ‖ nonce (12) ‖ ciphertext (49) ‖ tag (16)`, AES-256-GCM (NIST SP 800-38D), in base64url
//! without padding (RFC 4648, section 5). All integers are big-endian. Its length never varies, so it tells nothing.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Key, Nonce, Tag};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::Ring;

/// Length of a sealed value, in characters.
pub const SEALED: usize = 110;

const VERSION: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;
const PLAIN: usize = 49;
const HEAD: usize = 1 + 4 + NONCE;
const WHOLE: usize = HEAD + PLAIN + TAG;
/// The decoder wants room for whole groups of four characters.
const ROOM: usize = SEALED.div_ceil(4) * 3;

/// Why a value is not used. None of them is an error to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Longer than any value that was ever sealed.
    #[error("too long")]
    Oversized,
    /// Not the form of a sealed value, or of another version.
    #[error("not a sealed value")]
    Malformed,
    /// Sealed by a key that is not, or no longer, known.
    #[error("sealed by an unknown key")]
    UnknownKey,
    /// Changed, or sealed for another cookie.
    #[error("changed since it was sealed")]
    Tampered,
    /// Over its time, or from a future further away than clocks may differ.
    #[error("out of its time")]
    Expired,
    /// For another pool.
    #[error("for another pool")]
    OtherPool,
    /// Names a backend that is not configured any more.
    #[error("for a backend that is gone")]
    UnknownBackend,
}

/// What is sealed. Times are Unix seconds (they end in 2106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// `hash` of the pool's name.
    pub pool: u64,
    /// `Backend::key`.
    pub backend: u64,
    /// Random: tells sessions apart, and says nothing of a client.
    pub session: u64,
    /// First sealed.
    pub issued: u32,
    /// The end, however busy it is.
    pub expires: u32,
    /// Last sealed: for `idle_ttl`.
    pub last_seen: u32,
    /// The backend before the last move because of load: other instances count it there. 0 with `moves`.
    pub moved_from: u64,
    /// Last moved because of load; 0 is never.
    pub moved_at: u32,
    /// Moves since it last was calm; 0 exactly when `moved_at` is.
    pub moves: u8,
}

/// A key, expanded once.
pub struct SealingKey {
    /// Says which key sealed; not secret.
    pub id: u32,
    cipher: Aes256Gcm,
}

impl SealingKey {
    /// Expands a key.
    pub fn new(id: u32, key: [u8; 32]) -> Self {
        Self {
            id,
            cipher: Aes256Gcm::new(&Key::<Aes256Gcm>::from(key)),
        }
    }

    pub(super) fn encrypt(
        &self,
        nonce: [u8; NONCE],
        bound: &[u8],
        buffer: &mut [u8],
    ) -> Option<[u8; TAG]> {
        let tag = self
            .cipher
            .encrypt_inout_detached(&Nonce::from(nonce), bound, buffer.into());
        tag.ok().map(Into::into)
    }

    /// False leaves the buffer as it was.
    pub(super) fn decrypt(
        &self,
        nonce: [u8; NONCE],
        bound: &[u8],
        buffer: &mut [u8],
        tag: [u8; TAG],
    ) -> bool {
        let (nonce, tag) = (Nonce::from(nonce), Tag::from(tag));
        self.cipher
            .decrypt_inout_detached(&nonce, bound, buffer.into(), &tag)
            .is_ok()
    }
}

/// Seals a ticket. `bound` is authenticated with it: `open` must be given the same. A nonce must never be used twice
/// with one key. `None` only if the cipher refuses, which it does not for this length.
pub fn seal(
    ticket: &Ticket,
    key: &SealingKey,
    nonce: [u8; NONCE],
    bound: &[u8],
) -> Option<[u8; SEALED]> {
    let mut plain = ticket.to_bytes();
    let tag = key.encrypt(nonce, bound, &mut plain)?;
    let mut whole = [0; WHOLE];
    let mut writer = Writer(&mut whole);
    writer.put([VERSION]);
    writer.put(key.id.to_be_bytes());
    writer.put(nonce);
    writer.put(plain);
    writer.put(tag);
    let mut sealed = [0; SEALED];
    let written = URL_SAFE_NO_PAD.encode_slice(whole, &mut sealed).ok()?;
    (written == SEALED).then_some(sealed)
}

/// Opens a sealed value. Allocates nothing; says nothing of the ticket's time, pool and backend.
///
/// # Errors
/// `Oversized`, `Malformed`, `UnknownKey` or `Tampered`.
pub fn open(value: &[u8], keys: &Ring, bound: &[u8]) -> Result<Ticket, Reject> {
    if value.len() != SEALED {
        return Err(if value.len() > SEALED {
            Reject::Oversized
        } else {
            Reject::Malformed
        });
    }
    let mut buffer = [0; ROOM];
    let length = URL_SAFE_NO_PAD
        .decode_slice(value, &mut buffer)
        .map_err(|_| Reject::Malformed)?;
    let mut reader = Reader(buffer.get(..length).unwrap_or_default());
    let parts = (
        reader.take::<1>(),
        reader.take::<4>(),
        reader.take::<NONCE>(),
        reader.take::<PLAIN>(),
        reader.take::<TAG>(),
    );
    let (Some([VERSION]), Some(id), Some(nonce), Some(mut plain), Some(tag)) = parts else {
        return Err(Reject::Malformed);
    };
    let mut known = false;
    for key in keys.with_id(u32::from_be_bytes(id)) {
        known = true;
        if key.decrypt(nonce, bound, &mut plain, tag) {
            return Ticket::from_bytes(plain).ok_or(Reject::Malformed);
        }
    }
    Err(if known {
        Reject::Tampered
    } else {
        Reject::UnknownKey
    })
}

impl Ticket {
    fn to_bytes(self) -> [u8; PLAIN] {
        let mut bytes = [0; PLAIN];
        let mut writer = Writer(&mut bytes);
        for wide in [self.pool, self.backend, self.session, self.moved_from] {
            writer.put(wide.to_be_bytes());
        }
        for time in [self.issued, self.expires, self.last_seen, self.moved_at] {
            writer.put(time.to_be_bytes());
        }
        writer.put([self.moves]);
        bytes
    }

    /// Only what `to_bytes` could have made of a ticket that makes sense.
    fn from_bytes(bytes: [u8; PLAIN]) -> Option<Self> {
        let mut reader = Reader(&bytes);
        let (pool, backend, session, moved_from) = (
            reader.wide()?,
            reader.wide()?,
            reader.wide()?,
            reader.wide()?,
        );
        let (issued, expires, last_seen, moved_at) = (
            reader.time()?,
            reader.time()?,
            reader.time()?,
            reader.time()?,
        );
        let [moves] = reader.take()?;
        let ticket = Self {
            pool,
            backend,
            session,
            issued,
            expires,
            last_seen,
            moved_from,
            moved_at,
            moves,
        };
        let ordered = issued <= expires && (moves == 0) == (moved_at == 0);
        (ordered && reader.0.is_empty()).then_some(ticket)
    }
}

struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some((head, rest)) = std::mem::take(&mut self.0).split_first_chunk_mut() {
            *head = bytes;
            self.0 = rest;
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn wide(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests;
