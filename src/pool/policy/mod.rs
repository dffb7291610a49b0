//! Policies: each is one file that picks among the candidates it is given, and knows nothing of health.
//!
//! To add one: its file, its arm in `build`, its variant in `config::model::Policy`.

mod consistent_hash;
mod ip_hash;
mod least_request;
mod peak_ewma;
mod random;
mod ring;
mod round_robin;
#[cfg(test)]
mod tests;
mod two_choices;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::candidates::{Candidate, Candidates};
use super::pick::Pick;
use crate::config::model;

/// Made anew for each list of candidates, so that whatever depends on the list is worked out once.
pub trait Policy: Send + Sync {
    /// The index of an allowed candidate (`Candidates::allowed`); `None` when there is none. `candidates` is the list
    /// this policy was built from.
    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize>;
}

/// The policy of a pool for this list. `turn` is what a pool keeps of round robin when lists change.
pub fn build(
    policy: &model::Policy,
    members: &[Candidate],
    turn: &Arc<AtomicUsize>,
) -> Box<dyn Policy> {
    match policy {
        model::Policy::RoundRobin => {
            Box::new(round_robin::RoundRobin::new(members, Arc::clone(turn)))
        }
        model::Policy::LeastRequest => Box::new(least_request::LeastRequest),
        model::Policy::PeakEwma => Box::new(peak_ewma::PeakEwma),
        model::Policy::Random => Box::new(random::Random),
        model::Policy::IpHash => Box::new(ip_hash::IpHash::new(members)),
        model::Policy::ConsistentHash { bounded_load, .. } => {
            Box::new(consistent_hash::ConsistentHash::new(members, *bounded_load))
        }
    }
}
