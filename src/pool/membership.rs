//! Members that come and go while the pool runs. What is known of those that stay is not touched.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::Pool;
use super::backend::Backend;
use super::build::new_health;
use super::events::Membership;
use super::health::{Drain, Input};
use super::roster::Changes;
use super::steer::Work;
use crate::config::model;

impl Pool {
    /// From now on these are the pool's members. New ones begin as in [`Pool::build`]; where the pool had nobody they
    /// need not start slowly. Those no longer wanted drain for `drain_timeout` and are gone then; one that is wanted again
    /// before is the one that it was. `prepare` gets all backends before one of them can be picked. False when nothing
    /// changes.
    pub fn set_members(
        &self,
        wanted: &[model::Backend],
        now: Instant,
        prepare: impl FnOnce(&[Arc<Backend>]),
    ) -> bool {
        let mut changed = false;
        self.steer(now, |work| {
            let changes = work.set_members(wanted, work.members.is_deserted());
            let members = work.members.list().iter();
            prepare(
                &members
                    .map(|one| Arc::clone(&one.backend))
                    .collect::<Vec<_>>(),
            );
            changed = !changes.is_empty();
            work.tell(&changes);
        });
        changed
    }

    /// Whether it is to be said, while there is nobody, that a source has never answered.
    pub fn expect_members(&self, awaits: bool) {
        self.awaits_members.store(awaits, Relaxed);
    }

    /// The settings of those that do not leave, in their order.
    pub fn current_members(&self) -> Vec<model::Backend> {
        let members = self.members();
        let staying = members.list().iter().filter(|one| one.leaving.is_none());
        staying.map(|one| one.settings.clone()).collect()
    }

    /// Those that no source names any more and that keep what they have.
    pub fn leaving(&self) -> Vec<Arc<Backend>> {
        let members = self.members();
        let leaving = members.list().iter().filter(|one| one.leaving.is_some());
        leaving.map(|one| Arc::clone(&one.backend)).collect()
    }
}

impl Work<'_> {
    pub(super) fn set_members(&mut self, wanted: &[model::Backend], cold: bool) -> Changes {
        let (pool, now) = (self.pool, self.now);
        let (next, changes) = self.members.next(wanted, now, |one| {
            let health = new_health(&pool.settings, one, cold, now);
            let (load, address) = (Arc::clone(&pool.load), one.address.clone());
            Arc::new(Backend::new(&one.id, address, load, health, now))
        });
        self.replace_members(next);
        for left in changes.left.iter().chain(&changes.replaced) {
            self.step(left, Input::Drain(Drain::Removed, true));
        }
        for returned in &changes.returned {
            self.step(returned, Input::Drain(Drain::Removed, false));
        }
        self.apply_switches();
        changes
    }

    /// Weight 0 and `down`, as the members' settings say.
    fn apply_switches(&mut self) {
        let members = Arc::clone(&self.members);
        for member in members.list().iter().filter(|one| one.leaving.is_none()) {
            let (backend, settings) = (&member.backend, &member.settings);
            let zero = Input::Drain(Drain::WeightZero, settings.weight == 0);
            self.feed(backend.key(), zero, || "weight in the configuration".into());
            let down = Input::AdminDown(settings.down);
            self.feed(backend.key(), down, || "down in the configuration".into());
        }
    }

    /// Lets go of those whose drain is over.
    pub(super) fn let_go(&mut self) {
        let longest = self.pool.settings.drain_timeout;
        if let Some(rest) = self.members.without_departed(longest, self.now) {
            self.replace_members(rest);
        }
    }

    pub(super) fn tell(&self, changes: &Changes) {
        if changes.is_empty() {
            return;
        }
        let ids = |list: &[Arc<Backend>]| list.iter().map(|one| one.id().to_owned()).collect();
        let members = self.members.list().iter();
        self.pool.events.membership(&Membership {
            pool: &self.pool.settings.name,
            joined: ids(&changes.joined),
            returned: ids(&changes.returned),
            left: ids(&changes.left),
            changed: ids(&changes.changed),
            members: members.filter(|one| one.leaving.is_none()).count(),
        });
    }
}
