//! Pools: who is healthy, who is next, and how much they may be given.
//!
//! `Pool::pick` chooses and counts, `Pool::record` says what came of it, `Pool::probe_result` what a probe saw, and
//! `Pool::tick` lets time pass. Pure: no sockets, no tasks, no clock; whoever calls brings the time. The hot path (pick,
//! drop of the guard, record of a usual outcome) takes no lock and allocates nothing. Everything else goes through
//! `steer.rs`, one at a time, and ends with a new immutable view for the picks. Members come and go there, too
//! (`membership.rs`).

mod backend;
mod build;
mod candidates;
mod events;
mod failover;
#[cfg(test)]
pub(crate) mod fixture;
mod health;
mod histogram;
mod latency;
mod load;
mod membership;
mod outlier;
mod pick;
mod plan;
mod policy;
mod probing;
mod record;
mod retry_budget;
mod roster;
mod rotation;
mod status;
mod steer;
#[cfg(test)]
mod tests;
mod tick;
mod waiting;
mod window;

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::ArcSwap;

pub use self::backend::{Backend, InFlight};
pub use self::events::{Ejection, Events, Membership, Reason, Silent, Transition};
pub use self::health::{ProbeFailure, ProbeResult, State};
pub use self::load::Waiter;
pub use self::pick::{Pick, Picked, Refused, Scope};
pub use self::record::Attempt;
pub use self::retry_budget::{RetryPermit, backoff};
pub use self::status::{BackendStatus, PoolStatus};
use crate::hash;

use self::candidates::View;
use self::health::{Drain, Input, Rules};
use self::load::Load;
use self::roster::Roster;
use self::steer::Control;
use crate::config::model;

/// One pool of one snapshot. Backends and counters are shared with the snapshots before and after.
pub struct Pool {
    /// Without its backends: who is a member is in the view.
    settings: model::Pool,
    rules: Rules,
    load: Arc<Load>,
    view: ArcSwap<View>,
    control: Mutex<Control>,
    /// Whose turn it is in round robin.
    turn: Arc<AtomicUsize>,
    /// A source of members has not answered yet.
    awaits_members: AtomicBool,
    origin: Instant,
    events: Arc<dyn Events>,
}

impl Pool {
    /// The settings it was built from, without the backends: those come and go.
    pub fn settings(&self) -> &model::Pool {
        &self.settings
    }

    /// Backends at this moment, in the order of the file, then those that leave. Copies the list: not for the request path.
    pub fn backends(&self) -> impl Iterator<Item = Arc<Backend>> + use<> {
        let members = self.members();
        let backends = members.list().iter().map(|one| Arc::clone(&one.backend));
        backends.collect::<Vec<_>>().into_iter()
    }

    /// The backend with this id, leaving or not.
    pub fn backend(&self, id: &str) -> Option<Arc<Backend>> {
        let members = self.members();
        let member = members.get(Backend::key_of(id))?;
        Some(Arc::clone(&member.backend))
    }

    fn members(&self) -> Arc<Roster> {
        Arc::clone(&self.view.load().members)
    }

    /// Attempts in flight on all backends.
    pub fn in_flight(&self) -> u32 {
        self.load.in_flight()
    }

    /// Those that get new requests now, each with its fair part (0 to 1) of them. Walks the lists: not for every request.
    pub fn for_each_serving(&self, mut see: impl FnMut(&Arc<Backend>, f64)) {
        for list in &self.view.load().lists {
            let each = f64::from(list.share) / 1e6 / list.total_weight().max(1) as f64;
            list.members()
                .iter()
                .for_each(|one| see(&one.backend, each * f64::from(one.weight)));
        }
    }

    /// The operator's drain: no new requests, those in flight go on. False when there is no such backend.
    pub fn drain(&self, id: &str, now: Instant) -> bool {
        let Some(backend) = self.backend(id) else {
            return false;
        };
        self.steer(now, |work| {
            work.feed(backend.key(), Input::Drain(Drain::Operator, true), || {
                "admin call".into()
            })
        });
        true
    }

    /// Ends a drain by the operator, or one the backend asked for. False when there is no such backend.
    pub fn undrain(&self, id: &str, now: Instant) -> bool {
        let Some(backend) = self.backend(id) else {
            return false;
        };
        self.steer(now, |work| {
            for why in [Drain::Operator, Drain::Asked] {
                work.feed(backend.key(), Input::Drain(why, false), || {
                    "admin call".into()
                });
            }
        });
        true
    }

    /// A place in the queue; `None` when `limits.queue` wait already. See `load.rs` for how to wait.
    pub fn join_queue(&self) -> Option<Waiter> {
        self.load.join(self.settings.limits.queue)
    }

    /// Leave to send a request again, to be held while the retry runs; `None` when the budget is spent.
    pub fn retry(&self, now: Instant) -> Option<RetryPermit> {
        RetryPermit::take(&self.load, &self.settings.retry, self.second(now))
    }

    /// When the next probe of this backend is due: at once when in the past, never (until something changes) when
    /// `None`. A change of state may bring it forward, so look again at least every `fast_interval`.
    pub fn next_probe(&self, id: &str, now: Instant) -> Option<Instant> {
        let check = self.settings.health_check.as_ref()?;
        self.backend(id)?.health().probe_due(check, now)
    }

    /// Backends to be probed now, each to be answered with `probe_result`. Those whose traffic proves them are left out.
    pub fn due_probes(&self, now: Instant) -> Vec<Arc<Backend>> {
        let Some(check) = &self.settings.health_check else {
            return Vec::new();
        };
        let due = |backend: &Arc<Backend>| {
            let (mut health, totals) = (backend.health(), backend.totals());
            health.probe_due(check, now).is_some_and(|due| due <= now)
                && health.begin_probe(check, totals, now)
        };
        self.backends().filter(due).collect()
    }

    /// What a probe saw.
    pub fn probe_result(&self, id: &str, result: ProbeResult, now: Instant) {
        let (Some(check), Some(backend)) = (&self.settings.health_check, self.backend(id)) else {
            return;
        };
        self.steer(now, |work| {
            work.feed(backend.key(), Input::Probe(result), || {
                format!("{result:?}")
            });
            backend.health().end_probe(check, backend.key(), now);
        });
    }

    /// A probe could not be made, for want of something on this side: the next one is due as if it had been.
    pub fn probe_skipped(&self, id: &str, now: Instant) {
        if let (Some(check), Some(backend)) = (&self.settings.health_check, self.backend(id)) {
            backend.health().end_probe(check, backend.key(), now);
        }
    }

    fn second(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.origin).as_secs() as u32
    }
}
