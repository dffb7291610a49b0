//! Finds routes that can never match, for `tidegate check`.

use super::conditions::covers;
use super::paths::Bucket;
use crate::config::model::{PathMatch, RouteMatch};

/// Pairs of a route that never matches and the first one in its way. Only matches with the same host and path are
/// compared: a more specific host or path never takes all requests of a wider one.
pub(super) fn shadowed<'a>(
    routes: usize,
    buckets: impl Iterator<Item = &'a Bucket>,
) -> Vec<(usize, usize)> {
    let mut alive = vec![false; routes];
    let mut hidden_by = vec![None; routes];
    for bucket in buckets {
        for (at, entry) in bucket.iter().enumerate() {
            let in_the_way = |earlier: &&super::paths::Entry| {
                earlier.route != entry.route
                    && same_path(&earlier.wanted, &entry.wanted)
                    && covers(&earlier.wanted, &entry.wanted)
            };
            match bucket[..at].iter().find(in_the_way) {
                Some(earlier) => {
                    hidden_by[entry.route] = hidden_by[entry.route].or(Some(earlier.route))
                }
                None => alive[entry.route] = true,
            }
        }
    }
    let pairs = hidden_by.into_iter().enumerate();
    pairs
        .filter_map(|(route, by)| by.filter(|_| !alive[route]).map(|by| (route, by)))
        .collect()
}

/// A bucket holds one path, but for the bucket of all regexes.
fn same_path(first: &RouteMatch, second: &RouteMatch) -> bool {
    match (&first.path, &second.path) {
        (Some(PathMatch::Regex(a)), Some(PathMatch::Regex(b))) => a.as_str() == b.as_str(),
        _ => true,
    }
}
