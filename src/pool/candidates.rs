//! Who may be picked: immutable lists, made when something changes and swapped whole, so that a pick takes no lock.

use std::collections::HashMap;
use std::sync::Arc;

use super::backend::Backend;
use super::load::Load;
use super::pick::Pick;
use super::policy::Policy;
use super::roster::Roster;

/// Effective weights are hundredths of configured ones, so that a slow start has steps.
pub const WEIGHT_UNIT: u32 = 100;

/// One backend in a list.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Effective: configured weight times 100, less slow start and suspicion. At least 1.
    pub weight: u32,
    /// Most requests in flight; `u32::MAX` is no cap.
    pub cap: u32,
}

/// The backends among which a policy picks.
pub struct Candidates {
    members: Box<[Candidate]>,
    /// Weights added up from the first on.
    cumulative: Box<[u64]>,
    even: bool,
    capped: bool,
    /// Latency in microseconds taken for a backend that has none yet: the median of the others.
    pub median_latency: f32,
    pub(super) load: Arc<Load>,
    pub(super) policy: Box<dyn Policy>,
    /// Of 1 000 000 picks, how many come here; 0 is a reserve.
    pub(super) share: u32,
}

impl Candidates {
    /// `make` builds the policy from the members.
    pub fn new(
        members: Vec<Candidate>,
        load: Arc<Load>,
        share: u32,
        make: impl FnOnce(&[Candidate]) -> Box<dyn Policy>,
    ) -> Self {
        let mut sum = 0;
        let add = |one: &Candidate| {
            sum += u64::from(one.weight);
            sum
        };
        let cumulative = members.iter().map(add).collect();
        let even = members
            .windows(2)
            .all(|pair| pair[0].weight == pair[1].weight);
        let mut known: Vec<f32> = members
            .iter()
            .filter_map(|one| one.backend.hot.latency.micros())
            .collect();
        known.sort_unstable_by(f32::total_cmp);
        let median_latency = known.get(known.len() / 2).copied().unwrap_or(1.0);
        let policy = make(&members);
        let capped = members.iter().any(|one| one.cap != u32::MAX);
        Self {
            members: members.into(),
            cumulative,
            even,
            capped,
            median_latency,
            load,
            policy,
            share,
        }
    }

    /// The backends.
    pub fn members(&self) -> &[Candidate] {
        &self.members
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All weights are equal.
    pub fn even(&self) -> bool {
        self.even
    }

    /// Sum of the weights.
    pub fn total_weight(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or(0)
    }

    /// The member that covers this point of `0..total_weight()`.
    pub fn at_weight(&self, point: u64) -> usize {
        if self.even && !self.is_empty() {
            return (point / u64::from(self.members[0].weight)) as usize;
        }
        self.cumulative.partition_point(|sum| *sum <= point)
    }

    /// One by chance, each by its weight; the list must not be empty.
    pub fn draw(&self) -> usize {
        self.at_weight(super::hash::scale(fastrand::u64(..), self.total_weight()))
    }

    /// Neither tried before by this request nor full.
    pub fn allowed(&self, i: usize, pick: &Pick<'_>) -> bool {
        let Some(one) = self.members.get(i) else {
            return false;
        };
        !pick.exclude.contains(&one.backend.key())
            && (!self.capped || one.backend.in_flight() < one.cap)
    }

    /// The first allowed one from `start` on, around the list.
    pub fn allowed_from(&self, start: usize, pick: &Pick<'_>) -> Option<usize> {
        (start..self.len())
            .chain(0..start.min(self.len()))
            .find(|i| self.allowed(*i, pick))
    }

    /// Takes a member, or the next that is allowed should it be full by now.
    pub(super) fn claim(&self, first: usize, pick: &Pick<'_>) -> Option<&Arc<Backend>> {
        let one = self.members.get(first)?;
        if one.backend.enter(one.cap) {
            return Some(&one.backend);
        }
        let others = (first + 1..self.len())
            .chain(0..first)
            .filter(|i| self.allowed(*i, pick));
        others
            .filter_map(|i| self.members.get(i))
            .find(|one| one.backend.enter(one.cap))
            .map(|one| &one.backend)
    }
}

/// A backend on trial.
pub(super) struct Trial {
    pub candidate: Candidate,
    /// Any request will do, not only idempotent ones.
    pub any: bool,
}

/// Everything a pick needs to know.
#[derive(Default)]
pub(super) struct View {
    /// Those with a share first, reserves after them, best priority first.
    pub lists: Vec<Candidates>,
    pub trials: Vec<Trial>,
    /// For sticky sessions: backends that may keep their clients, drained ones too.
    pub sticky: HashMap<Box<str>, Candidate>,
    /// Nobody but members that leave.
    pub nobody: bool,
    /// All that the pool knows, picked or not.
    pub members: Arc<Roster>,
    pub plan: Plan,
}

/// What a view is made of; a new view is made only when this differs.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub lists: Vec<PlannedList>,
    /// Member and whether any request will do.
    pub trials: Vec<(usize, u32, bool)>,
    pub sticky: Vec<(usize, u32)>,
    pub fail_open: bool,
    pub available: usize,
    pub counted: usize,
    pub out: usize,
}

#[derive(Debug, PartialEq)]
pub(super) struct PlannedList {
    pub share: u32,
    /// Member, weight, cap.
    pub members: Vec<(usize, u32, u32)>,
}

impl Plan {
    pub fn available_ratio(&self) -> f64 {
        if self.counted == 0 {
            0.0
        } else {
            self.available as f64 / self.counted as f64
        }
    }
}
