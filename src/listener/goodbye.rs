//! Telling connections that they should end: all of them when the listener stops, and a part at a time when the instance
//! is short of something, so that their clients do not all come back at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// Parts that connections are dealt into.
pub const PARTS: usize = 16;

/// Says goodbye. Idle HTTP/1 connections close, HTTP/2 ones get a GOAWAY and finish their streams.
#[derive(Debug)]
pub struct Goodbye {
    /// `true`: the listener stops. A change without it is for those who are there now.
    parts: [watch::Sender<bool>; PARTS],
    next: AtomicUsize,
}

impl Default for Goodbye {
    fn default() -> Goodbye {
        Goodbye {
            parts: std::array::from_fn(|_| watch::Sender::new(false)),
            next: AtomicUsize::new(0),
        }
    }
}

impl Goodbye {
    /// For a new connection, which belongs to one part from now on.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        let part = self.next.fetch_add(1, Ordering::Relaxed) % PARTS;
        self.parts[part].subscribe()
    }

    /// Everyone, and whoever comes later.
    pub fn to_all(&self) {
        for part in &self.parts {
            part.send_replace(true);
        }
    }

    /// Those of this part who are there now.
    pub fn to_part(&self, part: usize) {
        // Wakes everyone and leaves the value as it is.
        self.parts[part % PARTS].send_modify(|_| {});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_is_told_once_and_newcomers_are_not() {
        let goodbye = Goodbye::default();
        let all: Vec<_> = (0..2 * PARTS).map(|_| goodbye.subscribe()).collect();
        goodbye.to_part(3);
        goodbye.to_part(3 + PARTS);
        for (n, receiver) in all.iter().enumerate() {
            assert_eq!(receiver.has_changed().unwrap(), n % PARTS == 3, "{n}");
            assert!(!*receiver.borrow());
        }
        let newcomers: Vec<_> = (0..PARTS).map(|_| goodbye.subscribe()).collect();
        assert!(newcomers.iter().all(|r| !r.has_changed().unwrap()));
        goodbye.to_all();
        assert!(newcomers.iter().all(|r| *r.borrow()));
    }
}
