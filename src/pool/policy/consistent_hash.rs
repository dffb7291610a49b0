//! `consistent_hash`: a key stays with its backend; of N backends one more takes about 1/N of the keys and moves no
//! other. With `bounded_load` a backend over its part of the load passes keys on to the next on the ring.

use super::Policy;
use super::ring::Ring;
use crate::pool::candidates::{Candidate, Candidates};
use crate::pool::pick::Pick;

pub struct ConsistentHash {
    ring: Ring,
    bounded_load: Option<f64>,
}

impl ConsistentHash {
    pub fn new(members: &[Candidate], bounded_load: Option<f64>) -> Self {
        Self {
            ring: Ring::new(members),
            bounded_load,
        }
    }
}

impl Policy for ConsistentHash {
    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        let key = request.hash.unwrap_or_else(|| fastrand::u64(..));
        let allowed = |i: usize| candidates.allowed(i, request);
        let Some(factor) = self.bounded_load else {
            return self.ring.find(key, candidates, allowed);
        };
        // The pick's own count is in the pool's load already.
        let per_weight = factor * f64::from(candidates.load.in_flight().max(1))
            / candidates.total_weight() as f64;
        let under = |i: usize| {
            candidates.members().get(i).is_some_and(|one| {
                f64::from(one.backend.in_flight()) < (per_weight * f64::from(one.weight)).ceil()
            })
        };
        let fits = self.ring.find(key, candidates, |i| allowed(i) && under(i));
        fits.or_else(|| self.ring.find(key, candidates, allowed))
    }
}
