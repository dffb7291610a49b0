//! Interim responses on their way through h2.
//!
//! The watch over the frames takes a HEADERS frame of ours for the response, from which on the client's body is no longer held to
//! a pace. That of a 100 or a 103 is none, and its status can't be told from the bytes: it is compressed. So sessions say
//! beforehand what they hand to h2, which keeps the order of one stream's frames.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Those of one connection.
#[derive(Debug, Default)]
pub struct Interims {
    /// As long as `streams`, so that nobody takes the lock for nothing.
    count: AtomicUsize,
    /// The stream of each.
    streams: Mutex<Vec<u32>>,
}

impl Interims {
    /// The next HEADERS frame of this stream is one. To be called before h2 has it.
    pub fn add(&self, stream: u32) {
        self.with(|streams| streams.push(stream));
    }

    /// Whether the HEADERS frame of this stream that goes out is one.
    pub fn take(&self, stream: u32) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        self.with(|streams| {
            let at = streams.iter().position(|other| *other == stream);
            at.map(|at| streams.swap_remove(at)).is_some()
        })
    }

    /// The stream is over: h2 may have dropped some.
    pub fn forget(&self, stream: u32) {
        self.with(|streams| streams.retain(|other| *other != stream));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Vec<u32>) -> T) -> T {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut streams);
        self.count.store(streams.len(), Ordering::Release);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_heads_of_a_stream_are_interim_as_were_said_to_be() {
        let interims = Interims::default();
        assert!(!interims.take(1));
        interims.add(1);
        interims.add(3);
        interims.add(1);
        assert_eq!(
            [1, 1, 1, 5, 3].map(|id| interims.take(id)),
            [true, true, false, false, true]
        );
        interims.add(7);
        interims.forget(7);
        assert!(!interims.take(7));
    }
}
