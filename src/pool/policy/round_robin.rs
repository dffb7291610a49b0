//! `round_robin`: in turn and smooth, so a backend of weight 5 gets every second request of ten, not five in a row.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Policy;
use crate::pool::candidates::{Candidate, Candidates};
use crate::pool::pick::Pick;

/// Longest cycle. Weights that need a longer one are rounded to fit it.
const LONGEST: u64 = 8192;
/// 2^32 divided by the golden ratio.
const GOLDEN: u32 = 0x9e37_79b9;

pub struct RoundRobin {
    /// One whole cycle, worked out beforehand: a pick is one addition and one look-up.
    cycle: Box<[u32]>,
    turn: Arc<AtomicUsize>,
}

impl RoundRobin {
    pub fn new(members: &[Candidate], turn: Arc<AtomicUsize>) -> Self {
        let weights: Vec<u64> = members.iter().map(|one| u64::from(one.weight)).collect();
        Self {
            cycle: cycle(&weights),
            turn,
        }
    }
}

impl Policy for RoundRobin {
    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        for _ in 0..self.cycle.len().min(candidates.len() * 2) {
            let turn = self.turn.fetch_add(1, Relaxed) % self.cycle.len();
            let next = self.cycle.get(turn).map(|i| *i as usize)?;
            if candidates.allowed(next, request) {
                return Some(next);
            }
        }
        candidates.allowed_from(fastrand::usize(0..candidates.len().max(1)), request)
    }
}

/// Turn `k` of a backend of weight `w` lies at `(k + phase) / w` of the cycle; sorted, each has its exact number. Phases
/// follow the golden ratio, so that light backends do not meet in one place.
pub(super) fn cycle(weights: &[u64]) -> Box<[u32]> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let total = weights.iter().sum::<u64>() / divisor;
    let longest = LONGEST.max(weights.len() as u64);
    let turns = |weight: u64| {
        let exact = weight / divisor;
        if total <= longest {
            exact
        } else {
            (exact * longest / total).max(1)
        }
    };
    let mut places: Vec<(u64, u32)> = Vec::new();
    for (i, weight) in weights.iter().enumerate() {
        let turns = turns(*weight);
        let phase = u64::from((i as u32 + 1).wrapping_mul(GOLDEN));
        places.extend((0..turns).map(|k| (((k << 32) + phase) / turns, i as u32)));
    }
    places.sort_unstable();
    places.into_iter().map(|(_, i)| i).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
