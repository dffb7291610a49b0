//! How busy each session is, in bounded memory and without a lock: a count-min sketch of fading counts.
//!
//! Two rows of 2048 counts (32 KiB a pool); a session adds to one count in each row, and what others put there on
//! average is taken off again. Sessions that matter (some per cent of the load) are seen within a per cent; among very many
//! light ones an estimate may be off by several of them, which delays a move or makes one too many, never more.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::decayed::{Decayed, seconds};
use crate::hash;

const ROWS: usize = 2;
const COLUMNS: usize = 2048;

/// Requests of each session, fading.
pub struct Sketch {
    rows: Box<[[Decayed; COLUMNS]; ROWS]>,
    total: Decayed,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            rows: Box::new(std::array::from_fn(|_| {
                std::array::from_fn(|_| Decayed::default())
            })),
            total: Decayed::default(),
        }
    }
}

impl Sketch {
    /// Counts one request of a session.
    pub fn add(&self, session: u64, tick: u32) {
        self.total.add(1.0, tick);
        self.cells(session).for_each(|cell| cell.add(1.0, tick));
    }

    /// Fading count of a session's requests.
    pub fn estimate(&self, session: u64, tick: u32) -> f32 {
        let least = self
            .cells(session)
            .map(|cell| cell.at(tick))
            .fold(f32::INFINITY, f32::min);
        let others = (self.total.at(tick) - least).max(0.0) / (COLUMNS - 1) as f32;
        (least - others).max(0.0)
    }

    fn cells(&self, session: u64) -> impl Iterator<Item = &Decayed> {
        let mixed = hash::mix(session);
        self.rows
            .iter()
            .enumerate()
            .filter_map(move |(row, cells)| {
                let part = (mixed >> (row * 32)) & 0xffff_ffff;
                cells.get(part as usize % COLUMNS)
            })
    }
}

const MOVES: usize = 4096;
const REMEMBERED_SECONDS: u64 = 90;

/// Moves of sessions that are allowed for already: a table of 4096 places. Where two sessions want one place, the second
/// one's move is taken as known: that only leaves its counts where they fade by themselves.
pub struct KnownMoves(Box<[AtomicU64; MOVES]>);

impl Default for KnownMoves {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| AtomicU64::new(0))))
    }
}

impl KnownMoves {
    /// True the first time, for as long as it is remembered.
    pub fn add(&self, session: u64, moved_at: u32, tick: u32) -> bool {
        let mixed = hash::mix(session);
        let Some(place) = self.0.get(mixed as usize % MOVES) else {
            return false;
        };
        // From the top: session (16 bits), move (16), since when (32).
        let (whose, which) = (mixed >> 48 | 1, u64::from(moved_at) & 0xffff);
        let old = place.load(Relaxed);
        let fresh = old != 0 && tick.wrapping_sub(old as u32) < seconds(REMEMBERED_SECONDS);
        let (others, known) = (old >> 48 != whose, (old >> 32) & 0xffff == which);
        if fresh && (others || known) {
            return false;
        }
        let new = whose << 48 | which << 32 | u64::from(tick);
        place.compare_exchange(old, new, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heavy_session_stands_out_of_many() {
        let sketch = Sketch::default();
        (0..20_000).for_each(|session| sketch.add(session, 0));
        (0..2_000).for_each(|_| sketch.add(7, 0));
        let heavy = sketch.estimate(7, 0);
        assert!((1_950.0..2_060.0).contains(&heavy), "{heavy}");
        let light: Vec<f32> = (100..1_100)
            .map(|session| sketch.estimate(session, 0))
            .collect();
        assert!(light.iter().filter(|weight| **weight > 20.0).count() < 10);
    }

    #[test]
    fn a_move_is_new_once() {
        let moves = KnownMoves::default();
        assert!(moves.add(7, 1_000, 5));
        assert!(!moves.add(7, 1_000, 6));
        assert!(moves.add(7, 1_030, 3_000));
        assert!(!moves.add(7, 1_030, 3_000));
        assert!(moves.add(7, 1_030, 3_000 + 9_000));
    }

    #[test]
    fn few_sessions_are_counted_exactly() {
        let sketch = Sketch::default();
        (0..40)
            .for_each(|session: u64| (0..=session).for_each(|_| sketch.add(hash::mix(session), 0)));
        let off = (0..40).filter(|session| {
            let weight = sketch.estimate(hash::mix(*session), 0);
            (weight - (*session as f32 + 1.0)).abs() > 1.0
        });
        assert!(off.count() <= 1);
    }
}
