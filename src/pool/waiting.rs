//! Requests that still wait for a response head, by the second they began: a request stuck for 30 s is seen now,
//! not when it ends.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Seconds told apart. A request that waits longer looks younger by a multiple of this; timeouts end it long before.
const SECONDS: u32 = 128;

/// One counter a second, in a ring.
#[derive(Debug)]
pub struct Waiting([AtomicU32; SECONDS as usize]);

impl Default for Waiting {
    fn default() -> Self {
        Self([const { AtomicU32::new(0) }; SECONDS as usize])
    }
}

impl Waiting {
    /// A request begins in this second since the origin.
    pub fn begin(&self, second: u32) {
        self.slot(second).fetch_add(1, Relaxed);
    }

    /// The request that began in this second waits no more.
    pub fn end(&self, second: u32) {
        self.slot(second).fetch_sub(1, Relaxed);
    }

    /// Ages in whole seconds with how many requests wait that long, oldest first; the running second is left out.
    pub fn ages(&self, now_second: u32) -> impl Iterator<Item = (u32, u32)> {
        let oldest = now_second.min(SECONDS - 1);
        (1..=oldest)
            .rev()
            .map(move |age| (age, self.slot(now_second - age).load(Relaxed)))
            .filter(|(_, count)| *count > 0)
    }

    fn slot(&self, second: u32) -> &AtomicU32 {
        &self.0[(second % SECONDS) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_ages() {
        let waiting = Waiting::default();
        waiting.begin(3);
        waiting.begin(3);
        waiting.begin(30);
        assert_eq!(waiting.ages(33).collect::<Vec<_>>(), [(30, 2), (3, 1)]);
        waiting.end(3);
        waiting.end(30);
        assert_eq!(waiting.ages(40).collect::<Vec<_>>(), [(37, 1)]);
    }
}
