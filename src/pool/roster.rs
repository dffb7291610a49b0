//! The members of a pool at one moment: those that a source names, and those that leave and keep what they have for a time.
//!
//! A roster never changes: the next one is made out of it by [`Roster::next`], which is pure, and takes its place whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::Backend;
use crate::config::model;

/// Members that leave at one time, at most: those that began first are let go first. Under churn each change may replace
/// every member, and they would pile up for `drain_timeout`.
const MOST_LEAVING: usize = 1000;

/// A backend as the pool has it now.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub backend: Arc<Backend>,
    pub settings: model::Backend,
    /// Since when no source names it any more.
    pub leaving: Option<Instant>,
}

/// Members by their place and by their key.
#[derive(Debug, Default)]
pub(super) struct Roster {
    list: Vec<Member>,
    places: HashMap<u64, usize>,
}

/// What differs between a roster and the next one.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Not known before.
    pub joined: Vec<Arc<Backend>>,
    /// They were leaving.
    pub returned: Vec<Arc<Backend>>,
    /// They begin to leave.
    pub left: Vec<Arc<Backend>>,
    /// Their id now means another address: gone at once.
    pub replaced: Vec<Arc<Backend>>,
    /// Another weight, priority, zone or switch.
    pub changed: Vec<Arc<Backend>>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        let Self {
            joined,
            returned,
            left,
            replaced,
            changed,
        } = self;
        [joined, returned, left, replaced, changed]
            .iter()
            .all(|list| list.is_empty())
    }
}

impl Roster {
    fn new(list: Vec<Member>) -> Self {
        let key = |(place, member): (usize, &Member)| (member.backend.key(), place);
        Self {
            places: list.iter().enumerate().map(key).collect(),
            list,
        }
    }

    /// The wanted ones in their order, then those that leave.
    pub fn list(&self) -> &[Member] {
        &self.list
    }

    /// The member whose backend has this key.
    pub fn get(&self, key: u64) -> Option<&Member> {
        self.list.get(*self.places.get(&key)?)
    }

    /// None is left but those that leave.
    pub fn is_deserted(&self) -> bool {
        self.list.iter().all(|member| member.leaving.is_some())
    }

    /// The roster in which exactly the `wanted` are not leaving. A backend with the id and address of one that is here,
    /// leaving or not, is that one; others are made by `make`.
    pub fn next(
        &self,
        wanted: &[model::Backend],
        now: Instant,
        mut make: impl FnMut(&model::Backend) -> Arc<Backend>,
    ) -> (Self, Changes) {
        let mut changes = Changes::default();
        let mut list = Vec::with_capacity(wanted.len());
        let mut taken = HashMap::with_capacity(wanted.len());
        for settings in wanted {
            let key = Backend::key_of(&settings.id);
            if taken.insert(key, ()).is_some() {
                continue;
            }
            let known = self
                .get(key)
                .filter(|known| known.backend.address() == &settings.address);
            let backend = match known {
                Some(known) => Arc::clone(&known.backend),
                None => make(settings),
            };
            match known {
                None => changes.joined.push(Arc::clone(&backend)),
                Some(known) if known.leaving.is_some() => {
                    changes.returned.push(Arc::clone(&backend));
                }
                Some(known) if known.settings != *settings => {
                    changes.changed.push(Arc::clone(&backend));
                }
                Some(_) => {}
            }
            list.push(Member {
                backend,
                settings: settings.clone(),
                leaving: None,
            });
        }
        let mut leaving = self.leaving_beside(&taken, &mut changes, now);
        list.append(&mut leaving);
        (Self::new(list), changes)
    }

    fn leaving_beside(
        &self,
        taken: &HashMap<u64, ()>,
        changes: &mut Changes,
        now: Instant,
    ) -> Vec<Member> {
        let mut leaving = Vec::new();
        for member in &self.list {
            if !taken.contains_key(&member.backend.key()) {
                if member.leaving.is_none() {
                    changes.left.push(Arc::clone(&member.backend));
                }
                leaving.push(Member {
                    leaving: member.leaving.or(Some(now)),
                    ..member.clone()
                });
            }
        }
        let made: Vec<u64> = changes.joined.iter().map(|one| one.key()).collect();
        for key in made {
            if let Some(old) = self.get(key) {
                changes.replaced.push(Arc::clone(&old.backend));
            }
        }
        leaving.sort_by_key(|member| member.leaving);
        leaving.drain(..leaving.len().saturating_sub(MOST_LEAVING));
        leaving
    }

    /// The roster without those whose time to leave is over; `None` when there is none of them.
    pub fn without_departed(&self, longest: Duration, now: Instant) -> Option<Self> {
        self.without(|member| {
            member
                .leaving
                .is_some_and(|since| now.saturating_duration_since(since) >= longest)
        })
    }

    /// The roster without this one, if it is leaving.
    pub fn without_leaving(&self, key: u64) -> Option<Self> {
        self.without(|member| member.leaving.is_some() && member.backend.key() == key)
    }

    fn without(&self, gone: impl Fn(&Member) -> bool) -> Option<Self> {
        let any = self.list.iter().any(&gone);
        any.then(|| {
            let rest = self.list.iter().filter(|member| !gone(member));
            Self::new(rest.cloned().collect())
        })
    }
}
