//! `ip_hash`: a client address stays with its backend. `Pick::hash` is made of the address; the ring sees to it that
//! only clients of a backend that comes or goes are moved, not all of them.

use super::Policy;
use super::ring::Ring;
use crate::pool::candidates::{Candidate, Candidates};
use crate::pool::pick::Pick;

pub struct IpHash(Ring);

impl IpHash {
    pub fn new(members: &[Candidate]) -> Self {
        Self(Ring::new(members))
    }
}

impl Policy for IpHash {
    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        let key = request.hash.unwrap_or_else(|| fastrand::u64(..));
        self.0
            .find(key, candidates, |i| candidates.allowed(i, request))
    }
}
