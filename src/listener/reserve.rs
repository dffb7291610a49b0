//! Descriptors kept back, so that a listener can accept when the process has none left: for the one that operators need
//! most at such a time.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

/// Connections that can be accepted on it in a row.
const SIZE: usize = 8;

/// Holds descriptors of nothing.
#[derive(Debug, Default)]
pub struct Reserve(Mutex<Vec<File>>);

impl Reserve {
    /// Takes what is missing, as far as there is any.
    pub fn refill(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while held.len() < SIZE {
            match File::open("/dev/null") {
                Ok(file) => held.push(file),
                Err(_) => return,
            }
        }
    }

    /// Gives one back to the process; `false` when none is left.
    pub fn lend(&self) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.pop().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lends_what_it_holds_and_takes_it_back() {
        let reserve = Reserve::default();
        assert!(!reserve.lend());
        reserve.refill();
        assert_eq!((0..20).filter(|_| reserve.lend()).count(), SIZE);
        reserve.refill();
        assert!(reserve.lend());
    }
}
