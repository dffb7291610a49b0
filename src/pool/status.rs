//! A pool as `/status` and the metrics show it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use serde::Serialize;

use super::Pool;
use super::events::Reason;
use super::health::{State, Traffic};
use super::roster::Member;
use super::window::WINDOWS;
use crate::config::model::Address;

/// One pool.
#[derive(Debug, Clone, Serialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// Share (0 to 1) of backends in rotation, of those neither drained nor still unproven.
    pub available_ratio: f64,
    /// Backends serve although they are out, because too many are.
    pub fail_open: bool,
    /// Backends down, ejected or on trial.
    pub out: usize,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Requests that wait for a place.
    pub queued: u32,
    /// Retries in flight.
    pub retries_in_flight: u32,
    /// In the order of the file.
    pub backends: Vec<BackendStatus>,
}

/// One backend.
#[derive(Debug, Clone, Serialize)]
pub struct BackendStatus {
    /// Its id.
    pub id: String,
    /// Where it listens.
    pub address: String,
    /// Its state.
    pub state: State,
    /// No source names it any more; it keeps what it has for `drain_timeout`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Out by its state, and serving because too many are out.
    pub serving: bool,
    /// Why it is in that state.
    pub reason: Reason,
    /// Seconds in that state.
    pub state_seconds: f64,
    /// 0 is used first.
    pub priority: u32,
    /// Its zone.
    pub zone: Option<String>,
    /// Requests in flight.
    pub in_flight: u32,
    /// As configured.
    pub weight: u32,
    /// After slow start and suspicion; 0 out of rotation.
    pub weight_effective: f64,
    /// Median of the last minute, ms.
    pub latency_p50_ms: Option<f64>,
    /// 99th percentile of the last minute, ms.
    pub latency_p99_ms: Option<f64>,
    /// Attempts that ended well.
    pub good: u64,
    /// Attempts that failed by its fault.
    pub bad: u64,
    /// Ejections so far.
    pub ejections: u32,
    /// Until the ejection is over.
    pub ejection_seconds_left: Option<f64>,
}

impl Pool {
    /// Looked at one after the other: figures of different backends may be some microseconds apart.
    pub fn status(&self, now: Instant) -> PoolStatus {
        let view = self.view.load();
        let weight = |i: usize| {
            let lists = view.plan.lists.iter();
            lists
                .flat_map(|list| &list.members)
                .find(|(member, ..)| *member == i)
                .map_or(0, |(_, weight, _)| *weight)
        };
        let members = view.members.list();
        let backends = members
            .iter()
            .enumerate()
            .map(|(i, member)| member.status(weight(i), now));
        PoolStatus {
            name: self.settings.name.clone(),
            available_ratio: view.plan.available_ratio(),
            fail_open: view.plan.fail_open,
            out: view.plan.out,
            in_flight: self.load.in_flight(),
            queued: self.load.waiters(),
            retries_in_flight: self.load.spent.retries(),
            backends: backends.collect(),
        }
    }
}

impl Member {
    fn status(&self, weight: u32, now: Instant) -> BackendStatus {
        let (backend, health) = (&self.backend, self.backend.health());
        let latencies = backend.windows.latencies(backend.millis(now), WINDOWS);
        let (good, bad) = backend.totals();
        let until = match health.traffic {
            Traffic::Ejected { until, .. } => {
                Some(until.saturating_duration_since(now).as_secs_f64())
            }
            _ => None,
        };
        BackendStatus {
            id: backend.id().to_owned(),
            address: match backend.address() {
                Address::Tcp(address) => address.to_string(),
                Address::Unix(path) => path.display().to_string(),
            },
            state: health.state(),
            leaving: self.leaving.is_some(),
            serving: backend.hot.serving.load(Relaxed),
            reason: health.reason,
            state_seconds: now.saturating_duration_since(health.since).as_secs_f64(),
            priority: self.settings.priority,
            zone: self.settings.zone.clone(),
            in_flight: backend.in_flight(),
            weight: self.settings.weight,
            weight_effective: f64::from(weight) / f64::from(super::candidates::WEIGHT_UNIT),
            latency_p50_ms: latencies.quantile(0.5).map(|micros| micros / 1e3),
            latency_p99_ms: latencies.quantile(0.99).map(|micros| micros / 1e3),
            good,
            bad,
            ejections: backend.hot.ejections.load(Relaxed),
            ejection_seconds_left: until,
        }
    }
}
