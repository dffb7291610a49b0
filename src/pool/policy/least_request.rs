//! `least_request`: the fewest requests in flight for its weight. The default: it feels a slow backend within a few
//! requests, and counts streams, so one HTTP/2 connection is spread like many.

use super::{Policy, two_choices};
use crate::pool::candidates::{Candidate, Candidates};
use crate::pool::pick::Pick;

/// A latency counts as lower when it is under this part of the other: less is noise.
const CLEARLY: f32 = 0.75;

pub struct LeastRequest;

impl Policy for LeastRequest {
    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        let members = candidates.members();
        two_choices::pick(candidates, request, |a, b| {
            match (members.get(a), members.get(b)) {
                (Some(a), Some(b)) => better(a, b, candidates),
                _ => false,
            }
        })
    }
}

/// By `(in flight + 1) / weight`. Between two that idle, the draw by weight stands, or a light one would starve.
fn better(a: &Candidate, b: &Candidate, candidates: &Candidates) -> bool {
    let (busy_a, busy_b) = (a.backend.in_flight(), b.backend.in_flight());
    if busy_a + busy_b == 0 && a.weight != b.weight {
        return false;
    }
    let cost_a = u64::from(busy_a + 1) * u64::from(b.weight);
    let cost_b = u64::from(busy_b + 1) * u64::from(a.weight);
    cost_a < cost_b
        || (cost_a == cost_b
            && candidates.even()
            && latency(a, candidates) < CLEARLY * latency(b, candidates))
}

pub(super) fn latency(one: &Candidate, candidates: &Candidates) -> f32 {
    one.backend
        .hot
        .latency
        .micros()
        .unwrap_or(candidates.median_latency)
}
