//! What pools tell: a line in the event log and a count, for each transition.

use std::sync::Arc;

use log::Level;
use serde_json::json;

use super::event_log::{self, EventKind};
use super::metrics::{BackendState, BlockReason, EjectReason, MembershipChange, Metrics};
use crate::pool::{Ejection, Events, Membership, Reason, State, Transition};

/// Backends that an event names of those that came or went together.
const MOST_NAMED: usize = 10;

/// Logs and counts the events of one pool.
pub struct PoolEvents {
    metrics: Arc<Metrics>,
}

impl PoolEvents {
    /// Counts in these metrics.
    pub fn new(metrics: Arc<Metrics>) -> PoolEvents {
        PoolEvents { metrics }
    }
}

impl Events for PoolEvents {
    fn transition(&self, transition: &Transition<'_>) {
        let backend = self.metrics.backend(transition.pool, transition.backend);
        backend.set_state(state(transition.to));
        if matches!(transition.to, State::Ejected | State::Down) {
            backend.ejections.inc(cause(transition.reason));
        }
        let level = match transition.to {
            State::Ejected | State::Down => Level::Warn,
            _ => Level::Info,
        };
        let fields = json!({
            "pool": transition.pool,
            "backend": transition.backend,
            "from": transition.from.as_str(),
            "to": transition.to.as_str(),
            "reason": transition.reason.as_str(),
            "evidence": transition.evidence,
            "available_before": transition.available_before,
            "available_after": transition.available_after,
        });
        event_log::event(level, EventKind::BackendState, &fields);
    }

    fn ejection_blocked(&self, ejection: &Ejection<'_>) {
        let pool = self.metrics.pool(ejection.pool);
        pool.ejections_blocked.inc(BlockReason::Percent);
        tell(ejection, "blocked");
    }

    fn membership(&self, membership: &Membership<'_>) {
        let Membership {
            pool,
            joined,
            returned,
            left,
            changed,
            members,
        } = membership;
        let counts = &self.metrics.pool(pool).membership;
        for (change, ids) in [
            (MembershipChange::Joined, joined),
            (MembershipChange::Returned, returned),
            (MembershipChange::Left, left),
            (MembershipChange::Changed, changed),
        ] {
            counts.cell(change).add(ids.len() as u64);
        }
        let fields = json!({
            "pool": pool,
            "joined": named(joined),
            "returned": named(returned),
            "left": named(left),
            "changed": named(changed),
            "members": members,
        });
        event_log::event(Level::Info, EventKind::Members, &fields);
    }

    fn would_eject(&self, ejection: &Ejection<'_>) {
        let pool = self.metrics.pool(ejection.pool);
        pool.would_eject.inc(cause(ejection.reason));
        tell(ejection, "would_eject");
    }
}

/// How many, and the first of them: a line of the log stays one that can be read.
fn named(ids: &[String]) -> serde_json::Value {
    json!({ "count": ids.len(), "first": ids.get(..MOST_NAMED).unwrap_or(ids) })
}

fn tell(ejection: &Ejection<'_>, result: &str) {
    let fields = json!({
        "pool": ejection.pool,
        "backend": ejection.backend,
        "result": result,
        "reason": ejection.reason.as_str(),
        "evidence": ejection.evidence,
    });
    event_log::event(Level::Warn, EventKind::Ejection, &fields);
}

/// The metric's word for a state.
pub fn state(state: State) -> BackendState {
    match state {
        State::Checking => BackendState::Checking,
        State::Healthy => BackendState::Healthy,
        State::Suspect => BackendState::Suspect,
        State::Ejected => BackendState::Ejected,
        State::HalfOpen => BackendState::HalfOpen,
        State::Down => BackendState::Down,
        State::Draining => BackendState::Draining,
        State::AdminDown => BackendState::AdminDown,
    }
}

fn cause(reason: Reason) -> EjectReason {
    match reason {
        Reason::ErrorRate => EjectReason::Rate,
        Reason::Latency => EjectReason::Latency,
        Reason::ProbeRefused | Reason::ProbeTimeout | Reason::ProbeMismatch => EjectReason::Probe,
        _ => EjectReason::Consecutive,
    }
}
