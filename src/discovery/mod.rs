//! Members of pools that come from elsewhere than the file: what a source says, for how long it is believed, and what
//! becomes of it in the pool.
//!
//! Pure: no sockets, no tasks, no clock; `background/discovery` asks and brings the time. A source never empties a pool by
//! failing: its last good answer stays for `stale`. The way of a change: a [`Feed`] takes an answer, [`Pace`] says when it
//! is to be applied, [`guard::judge`] whether it takes too much away at once, and the pool makes joins and leaves of it.

pub mod addresses;
mod clock;
mod feed;
pub mod guard;
mod names;
mod pace;
pub mod services;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

pub use clock::{Clock, clamp};
pub use feed::{Answer, Failure, FailureKind, Feed, FeedStatus, Taken};
pub use names::{candidates, hosts};
pub use pace::Pace;

use crate::config::model;

/// The sources of one pool, in the order of the file. Reloads hand on those that are the same.
#[derive(Debug, Default)]
pub struct Feeds {
    list: Vec<Arc<Feed>>,
    held: Mutex<Option<Held>>,
    holds: AtomicU64,
    /// Every source has answered once, and the pool has what they said.
    in_force: AtomicBool,
}

/// Members that are kept until a second answer says, too, that they are gone.
#[derive(Debug, Clone)]
struct Held {
    since: Instant,
    members: usize,
}

/// In `/status`.
#[derive(Debug, Clone, Serialize)]
pub struct FeedsStatus {
    sources: Vec<FeedStatus>,
    /// Members that an answer took away and that are kept until a second one does, too.
    held_removals: usize,
    /// For how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_seconds: Option<f64>,
    /// Changes that were held so far.
    holds: u64,
}

impl Feeds {
    /// For these sources; what `before` knows of the same ones is kept.
    pub fn new(sources: &[model::Source], before: Option<&Feeds>) -> Feeds {
        let known = |source: &model::Source| {
            let mut feeds = before?.list.iter();
            feeds.find(|feed| feed.source() == source).cloned()
        };
        let feed = |source| known(source).unwrap_or_else(|| Arc::new(Feed::new(source)));
        let list: Vec<Arc<Feed>> = sources.iter().map(feed).collect();
        Feeds {
            in_force: AtomicBool::new(list.iter().all(|feed| feed.has_answered())),
            list,
            holds: AtomicU64::new(before.map_or(0, Feeds::holds)),
            ..Feeds::default()
        }
    }

    /// One for each source.
    pub fn list(&self) -> &[Arc<Feed>] {
        &self.list
    }

    /// The pool has nothing but what is in the file.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The pool's members: those of the file first, then those of each source. What two of them name is one member, as the
    /// first of them says.
    pub fn merge(&self, fixed: &[model::Backend]) -> Vec<model::Backend> {
        let mut merged = fixed.to_vec();
        let mut seen: HashSet<String> = fixed.iter().map(|one| one.id.clone()).collect();
        for feed in &self.list {
            let members = feed.members();
            merged.extend(
                members
                    .into_iter()
                    .filter(|one| seen.insert(one.id.clone())),
            );
        }
        merged
    }

    /// Sources that have never given a good answer, or whose first one the pool does not have yet.
    pub fn missing(&self) -> impl Iterator<Item = &Arc<Feed>> {
        let in_force = self.are_in_force();
        let answered = self.list.iter().all(|feed| feed.has_answered());
        let missing = move |feed: &&Arc<Feed>| !in_force && (answered || !feed.has_answered());
        self.list.iter().filter(missing)
    }

    /// Every source has answered once, and the pool has what they said.
    pub fn are_in_force(&self) -> bool {
        self.in_force.load(Acquire)
    }

    /// The pool has what the sources said.
    pub fn put_in_force(&self) {
        if self.list.iter().all(|feed| feed.has_answered()) {
            self.in_force.store(true, Release);
        }
    }

    /// So many members are kept that an answer took away; 0 ends it.
    pub fn hold(&self, members: usize, now: Instant) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(held) if members > 0 => held.members = members,
            _ if members > 0 => {
                *held = Some(Held {
                    since: now,
                    members,
                });
                self.holds.fetch_add(1, Relaxed);
            }
            _ => *held = None,
        }
    }

    /// Members are kept that an answer took away.
    pub fn is_holding(&self) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.is_some()
    }

    /// Changes that were held so far.
    pub fn holds(&self) -> u64 {
        self.holds.load(Relaxed)
    }

    /// `None` without sources.
    pub fn status(&self, now: Instant) -> Option<FeedsStatus> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.is_empty()).then(|| FeedsStatus {
            sources: self.list.iter().map(|feed| feed.status(now)).collect(),
            held_removals: held.as_ref().map_or(0, |held| held.members),
            held_seconds: held
                .as_ref()
                .map(|held| now.saturating_duration_since(held.since).as_secs_f64()),
            holds: self.holds(),
        })
    }
}
