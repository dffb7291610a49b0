//! The guard against a wrong answer that takes most of a pool away: it needs a second one that says the same.

use std::collections::HashSet;

use crate::config::model::Backend;

/// A change that waits for a second answer: the ids that the first one took away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    removed: HashSet<String>,
}

/// What becomes of a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is made as a whole.
    Apply,
    /// What it brings is made, what it takes away waits.
    Hold(Hold),
}

/// `current` are the pool's members and `wanted` those after the change. `hold` is what waits since an earlier answer, and
/// `confirmed` says that the sources that took those members away have answered again since.
pub fn judge(
    current: &[Backend],
    wanted: &[Backend],
    hold: Option<&Hold>,
    confirmed: bool,
) -> Verdict {
    let stay: HashSet<&str> = wanted.iter().map(|one| one.id.as_str()).collect();
    let gone = |one: &&Backend| !stay.contains(one.id.as_str());
    let removed: HashSet<String> = current
        .iter()
        .filter(gone)
        .map(|one| one.id.clone())
        .collect();
    let most = |count: usize| count * 2 > current.len();
    match hold {
        _ if removed.is_empty() => Verdict::Apply,
        None if most(removed.len()) => Verdict::Hold(Hold { removed }),
        None => Verdict::Apply,
        Some(hold) if !confirmed => Verdict::Hold(hold.clone()),
        // Said by one answer only.
        Some(hold) if most(removed.difference(&hold.removed).count()) => {
            Verdict::Hold(Hold { removed })
        }
        Some(_) => Verdict::Apply,
    }
}

/// The members while a change is held: those that it brings, and those that it took away, as they were.
pub fn meanwhile(current: &[Backend], wanted: &[Backend]) -> Vec<Backend> {
    let stay: HashSet<&str> = wanted.iter().map(|one| one.id.as_str()).collect();
    let kept = current.iter().filter(|one| !stay.contains(one.id.as_str()));
    wanted.iter().chain(kept).cloned().collect()
}

/// How many of the members a change takes away.
pub fn removals(current: &[Backend], wanted: &[Backend]) -> usize {
    let stay: HashSet<&str> = wanted.iter().map(|one| one.id.as_str()).collect();
    current
        .iter()
        .filter(|one| !stay.contains(one.id.as_str()))
        .count()
}
