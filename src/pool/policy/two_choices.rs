//! The better of two drawn by weight; the best of all where there are few.

use crate::pool::candidates::Candidates;
use crate::pool::pick::Pick;

/// Up to this many are all looked at.
pub const FULL_SCAN: usize = 8;
const DRAWS: usize = 4;

/// `better(a, b)`: a is to be picked before b.
pub fn pick(
    candidates: &Candidates,
    request: &Pick<'_>,
    better: impl Fn(usize, usize) -> bool,
) -> Option<usize> {
    let first = draw(candidates, request, None)?;
    if candidates.len() <= FULL_SCAN {
        let allowed = (0..candidates.len()).filter(|i| candidates.allowed(*i, request));
        return Some(allowed.fold(first, |best, i| {
            if i != best && better(i, best) {
                i
            } else {
                best
            }
        }));
    }
    match draw(candidates, request, Some(first)) {
        Some(second) if second != first && better(second, first) => Some(second),
        _ => Some(first),
    }
}

/// An allowed one by weight; after a few vain draws the next one in the list.
fn draw(candidates: &Candidates, request: &Pick<'_>, other_than: Option<usize>) -> Option<usize> {
    if candidates.is_empty() {
        return None;
    }
    let mut drawn = candidates.draw();
    for _ in 1..DRAWS {
        if Some(drawn) != other_than && candidates.allowed(drawn, request) {
            return Some(drawn);
        }
        drawn = candidates.draw();
    }
    candidates.allowed_from(drawn, request)
}
