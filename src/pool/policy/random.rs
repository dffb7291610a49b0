//! `random`: by chance, each by its weight.

use super::Policy;
use crate::pool::candidates::Candidates;
use crate::pool::pick::Pick;

const DRAWS: usize = 4;

pub struct Random;

impl Policy for Random {
    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        if candidates.is_empty() {
            return None;
        }
        let mut draws = (0..DRAWS).map(|_| candidates.draw());
        draws
            .find(|i| candidates.allowed(*i, request))
            .or_else(|| candidates.allowed_from(candidates.draw(), request))
    }
}
