//! The way of one pick: the pool's cap, a trial if one is due, a group, its policy, the backend's cap.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::Pool;
use super::backend::{Backend, InFlight};
use super::candidates::{Candidates, Trial, View};
use super::hash;
use super::health::TRIALS;

/// What a policy may know of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pick<'a> {
    /// `hash::hash` of the key that the policy asks for; by chance when absent.
    pub hash: Option<u64>,
    /// `Backend::key` of those this request has tried: picked again only when no other exists.
    pub exclude: &'a [u64],
    /// May be sent to a backend on trial, because it can be sent again.
    pub idempotent: bool,
    /// Holds a `Waiter`: comes before those that do not.
    pub queued: bool,
}

/// A backend and the count of this request on it.
#[derive(Debug)]
pub struct Picked {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Keep until the attempt is over in every respect.
    pub in_flight: InFlight,
}

/// Why there is no backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The pool has none.
    #[error("the pool has no backends")]
    NoBackends,
    /// The pool has none, and a source of them has never answered.
    #[error("the pool's backends are not known yet")]
    NotFound,
    /// None may get traffic.
    #[error("all backends are down, drained or not yet proven")]
    AllDown,
    /// Those that may are full.
    #[error("{scope} in-flight limit reached")]
    Overloaded {
        /// Which limit.
        scope: Scope,
    },
}

/// Whose limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `max_in_flight`, or others wait already.
    Pool,
    /// `max_in_flight_per_backend` on every backend.
    Backend,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pool => "pool",
            Self::Backend => "backend",
        })
    }
}

impl Pool {
    /// Chooses a backend and counts the request on it. No lock, no allocation.
    ///
    /// # Errors
    /// `Refused`, with nothing counted.
    pub fn pick(&self, request: &Pick<'_>, now: Instant) -> Result<Picked, Refused> {
        let cap = self.settings.limits.max_in_flight.unwrap_or(u32::MAX);
        let overtakes = !request.queued && self.load.waiters() > 0;
        if overtakes || !self.load.enter(cap) {
            return Err(Refused::Overloaded { scope: Scope::Pool });
        }
        let view = self.view.load();
        let (backend, trial, repeated) = match view.select(request) {
            Ok(selected) => selected,
            Err(refused) => {
                self.load.leave();
                return Err(match refused {
                    Refused::NoBackends if self.awaits_members.load(Relaxed) => Refused::NotFound,
                    other => other,
                });
            }
        };
        if request.exclude.is_empty() {
            self.load.spent.request(self.second(now));
        }
        let mut in_flight = InFlight::new(Arc::clone(backend), now);
        in_flight.trial = trial;
        in_flight.repeated = repeated;
        Ok(Picked {
            backend: Arc::clone(backend),
            in_flight,
        })
    }

    /// Takes this backend for a client that sticks to it. `None` when it is out, full or unknown: then `pick`.
    pub fn pick_sticky(&self, id: &str, now: Instant) -> Option<Picked> {
        let view = self.view.load();
        let one = view.sticky.get(id)?;
        if !self
            .load
            .enter(self.settings.limits.max_in_flight.unwrap_or(u32::MAX))
        {
            return None;
        }
        if !one.backend.enter(one.cap) {
            self.load.leave();
            return None;
        }
        self.load.spent.request(self.second(now));
        let in_flight = InFlight::new(Arc::clone(&one.backend), now);
        Some(Picked {
            backend: Arc::clone(&one.backend),
            in_flight,
        })
    }
}

type Selected<'a> = (&'a Arc<Backend>, bool, bool);

impl View {
    fn select(&self, request: &Pick<'_>) -> Result<Selected<'_>, Refused> {
        if request.exclude.is_empty()
            && let Some(backend) = self.trials.iter().find_map(|trial| trial.claim(request))
        {
            return Ok((backend, true, false));
        }
        if let Some(backend) = self.claim(request) {
            return Ok((backend, false, false));
        }
        if self
            .lists
            .iter()
            .any(|list| list.others_than(request.exclude))
        {
            return Err(Refused::Overloaded {
                scope: Scope::Backend,
            });
        }
        if self.lists.is_empty() {
            return Err(if self.nobody {
                Refused::NoBackends
            } else {
                Refused::AllDown
            });
        }
        let again = Pick {
            exclude: &[],
            ..*request
        };
        let backend = self.claim(&again).ok_or(Refused::Overloaded {
            scope: Scope::Backend,
        })?;
        Ok((backend, false, true))
    }

    /// The list that chance (or the key, so that it stays there) says, then the others in order.
    fn claim(&self, request: &Pick<'_>) -> Option<&Arc<Backend>> {
        let first = self.list_for(request);
        let chosen = self.lists.get(first)?;
        chosen.pick(request).or_else(|| {
            let others = self.lists.iter().enumerate().filter(|(i, _)| *i != first);
            others
                .map(|(_, list)| list)
                .find_map(|list| list.pick(request))
        })
    }

    fn list_for(&self, request: &Pick<'_>) -> usize {
        if self.lists.len() < 2 {
            return 0;
        }
        let roll = request
            .hash
            .map_or_else(|| fastrand::u64(..), |key| hash::mix(!key));
        let point = hash::scale(roll, 1_000_000) as u32;
        let mut sum = 0;
        self.lists
            .iter()
            .position(|list| {
                sum += list.share;
                point < sum
            })
            .unwrap_or(0)
    }
}

impl Candidates {
    fn pick(&self, request: &Pick<'_>) -> Option<&Arc<Backend>> {
        let first = self.policy.pick(self, request)?;
        self.claim(first, request)
    }

    fn others_than(&self, exclude: &[u64]) -> bool {
        self.members()
            .iter()
            .any(|one| !exclude.contains(&one.backend.key()))
    }
}

impl Trial {
    fn claim(&self, request: &Pick<'_>) -> Option<&Arc<Backend>> {
        if !(self.any || request.idempotent) {
            return None;
        }
        let backend = &self.candidate.backend;
        if backend.hot.trials.fetch_add(1, Relaxed) < TRIALS && backend.enter(self.candidate.cap) {
            return Some(backend);
        }
        backend.hot.trials.fetch_sub(1, Relaxed);
        None
    }
}
