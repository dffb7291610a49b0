//! What Pingora sends again of a request's body, where it serves the request.

use bytes::{Bytes, BytesMut};

/// As much as Pingora's own sessions keep, in bytes.
const MOST: usize = 64 * 1024;

/// The body so far, or that it was too much.
#[derive(Default)]
pub struct Kept {
    bytes: BytesMut,
    lost: bool,
}

impl Kept {
    /// A piece was read.
    pub fn add(&mut self, data: &[u8]) {
        self.lost |= self.bytes.len() + data.len() > MOST;
        match self.lost {
            true => self.bytes = BytesMut::new(),
            false => self.bytes.extend_from_slice(data),
        }
    }

    /// Whether some of it is gone.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// All of it; `None` where that is nothing, or not all.
    pub fn whole(&self) -> Option<Bytes> {
        (!self.lost && !self.bytes.is_empty()).then(|| Bytes::copy_from_slice(&self.bytes))
    }
}
