//! `peak_ewma`: the least expected wait, `latency * (in flight + 1) / weight`. A failure counts as a slow answer, so a
//! backend that fails fast does not attract traffic.

use super::{Policy, least_request::latency, two_choices};
use crate::pool::candidates::{Candidate, Candidates};
use crate::pool::pick::Pick;

pub struct PeakEwma;

impl Policy for PeakEwma {
    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        let cost = |i| {
            candidates
                .members()
                .get(i)
                .map_or(f32::INFINITY, |one| cost(one, candidates))
        };
        two_choices::pick(candidates, request, |a, b| cost(a) < cost(b))
    }
}

fn cost(one: &Candidate, candidates: &Candidates) -> f32 {
    latency(one, candidates) * (one.backend.in_flight() as f32 + 1.0) / one.weight as f32
}
