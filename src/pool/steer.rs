//! The slow path: whatever changes a backend's health goes through here, one at a time, and ends in a new view.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::backend::Backend;
use super::candidates::{Candidate, Candidates, Plan, Trial, View};
use super::events::{Ejection, Reason, Transition};
use super::failover::Shares;
use super::health::{Cause, Change, Input, State, Suspicion};
use super::roster::Roster;
use super::rotation;
use super::{Pool, policy};
use crate::config::model::OutlierMode;

/// After an ejection that was forbidden: time without another try, and without another event.
const BLOCKED: Duration = Duration::from_secs(1);
const BLOCKED_EVENT: Duration = Duration::from_secs(10);

/// What only the slow path needs.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub shares: Shares,
    /// When a forbidden ejection was last told, by backend.
    told: HashMap<u64, Instant>,
}

/// One run of the slow path.
pub(super) struct Work<'a> {
    pub pool: &'a Pool,
    pub control: MutexGuard<'a, Control>,
    pub now: Instant,
    pub members: Arc<Roster>,
    /// The members are others than those of the view.
    replaced: bool,
    changes: Vec<(Arc<Backend>, Change, String)>,
}

impl Pool {
    /// Runs `change` alone, then publishes what came of it and tells of it.
    pub(super) fn steer(&self, now: Instant, change: impl FnOnce(&mut Work<'_>)) {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let mut work = Work {
            pool: self,
            control,
            now,
            members: self.members(),
            replaced: false,
            changes: Vec::new(),
        };
        change(&mut work);
        let before = self.view.load().plan.available_ratio();
        let plan = super::plan::make(self, &work.members, &mut work.control.shares, now);
        let after = plan.available_ratio();
        if work.replaced || self.view.load().plan != plan {
            let view = self.realise(plan, &work.members);
            self.view.store(Arc::new(view));
        }
        for (backend, change, evidence) in &work.changes {
            self.events.transition(&Transition {
                pool: &self.settings.name,
                backend: backend.id(),
                from: change.from,
                to: change.to,
                reason: change.reason,
                evidence,
                available_before: before,
                available_after: after,
            });
        }
    }

    fn realise(&self, plan: Plan, members: &Arc<Roster>) -> View {
        let candidate = |i: usize, weight, cap| {
            let member = members.list().get(i)?;
            Some(Candidate {
                backend: Arc::clone(&member.backend),
                weight,
                cap,
            })
        };
        let make =
            |members: &[Candidate]| policy::build(&self.settings.policy, members, &self.turn);
        let lists = plan.lists.iter().map(|list| {
            let members = list
                .members
                .iter()
                .filter_map(|(i, weight, cap)| candidate(*i, *weight, *cap))
                .collect();
            Candidates::new(members, Arc::clone(&self.load), list.share, make)
        });
        let trials = plan.trials.iter().filter_map(|(i, cap, any)| {
            candidate(*i, 1, *cap).map(|candidate| Trial {
                candidate,
                any: *any,
            })
        });
        let sticky = plan.sticky.iter().filter_map(|(i, cap)| {
            candidate(*i, 1, *cap).map(|candidate| (candidate.backend.id().into(), candidate))
        });
        View {
            lists: lists.collect(),
            trials: trials.collect(),
            sticky: sticky.collect(),
            nobody: members.is_deserted(),
            members: Arc::clone(members),
            plan,
        }
    }
}

impl Work<'_> {
    /// Gives one input to one backend's machine.
    pub fn feed(&mut self, key: u64, input: Input, evidence: impl FnOnce() -> String) {
        let Some(member) = self.members.get(key) else {
            return;
        };
        let backend = Arc::clone(&member.backend);
        if let Some(change) = self.step(&backend, input) {
            self.changes.push((backend, change, evidence()));
        }
    }

    /// The same without an event.
    pub fn step(&self, backend: &Backend, input: Input) -> Option<Change> {
        let mut health = backend.health();
        let change = health.step(input, &self.pool.rules, self.now)?;
        // Under the lock: another snapshot's pool may be at it too.
        backend.hot.state.store(change.to as u8, Relaxed);
        drop(health);
        if change.to.in_rotation() && !change.from.in_rotation() {
            backend.forget();
        }
        if change.to == State::Ejected {
            backend.hot.ejections.fetch_add(1, Relaxed);
        }
        Some(change)
    }

    /// Publishes other members with the view that this run ends with.
    pub fn replace_members(&mut self, members: Roster) {
        let told = &mut self.control.told;
        told.retain(|key, _| members.get(*key).is_some());
        self.members = Arc::new(members);
        self.replaced = true;
    }

    /// Ejects if the mode and the cap allow it.
    pub fn eject(
        &mut self,
        backend: &Arc<Backend>,
        cause: Cause,
        evidence: impl FnOnce() -> String,
    ) {
        if !backend.health().state().in_rotation() || backend.quiet(cause, self.now) {
            return;
        }
        let (settings, now) = (&self.pool.settings.outlier_detection, self.now);
        if settings.mode == OutlierMode::Observe {
            backend.hush(cause, settings.base_ejection_time, now);
            backend.hot.run.store(0, Relaxed);
            self.pool
                .events
                .would_eject(&self.ejection(backend, cause, &evidence()));
            return;
        }
        let pool = super::plan::standings(&self.members);
        if rotation::may_eject(
            &pool,
            settings.max_ejection_percent,
            cause == Cause::ConnectRefused,
        ) {
            self.feed(backend.key(), Input::Eject(cause), evidence);
            return;
        }
        backend.hush(cause, BLOCKED, now);
        let told = self.control.told.insert(backend.key(), now);
        if told.is_none_or(|told| now.saturating_duration_since(told) >= BLOCKED_EVENT) {
            self.pool
                .events
                .ejection_blocked(&self.ejection(backend, cause, &evidence()));
        } else if let Some(told) = told {
            self.control.told.insert(backend.key(), told);
        }
        if cause == Cause::ConsecutiveFailures {
            self.feed(
                backend.key(),
                Input::Suspect(Suspicion::Failures, true),
                || "ejection forbidden by the cap".into(),
            );
        }
    }

    fn ejection<'b>(
        &'b self,
        backend: &'b Backend,
        cause: Cause,
        evidence: &'b str,
    ) -> Ejection<'b> {
        Ejection {
            pool: &self.pool.settings.name,
            backend: backend.id(),
            reason: Reason::from(cause),
            evidence,
        }
    }
}
