//! A pool with what the request path needs of it: peers, metrics, the logic that picks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use pingora_core::upstreams::peer::HttpPeer;

use crate::config::model;
use crate::observe::metrics::{BackendMetrics, Metrics, PoolMetrics};
use crate::observe::pool_events::{self, PoolEvents};
use crate::pool::{Backend, BackendStatus, Pool, PoolStatus};
use crate::upstream::{Connect, UpstreamError};

/// One pool of one snapshot.
pub struct PoolHandle {
    pub config: model::Pool,
    pub pool: Pool,
    pub metrics: Arc<PoolMetrics>,
    targets: HashMap<String, Target>,
}

/// What is needed to use one backend.
struct Target {
    peer: HttpPeer,
    metrics: Arc<BackendMetrics>,
}

impl PoolHandle {
    /// Backends that `before` has, too, keep their state.
    pub fn build(
        config: &model::Pool,
        before: Option<&Arc<PoolHandle>>,
        cold_start: bool,
        metrics: &Arc<Metrics>,
        now: Instant,
    ) -> Result<PoolHandle, UpstreamError> {
        let connect = Connect::new(&config.upstream)?;
        let mut targets = HashMap::new();
        for backend in &config.backends {
            let target = Target {
                peer: connect.peer(&backend.address)?,
                metrics: metrics.backend(&config.name, &backend.id),
            };
            targets.insert(backend.id.clone(), target);
        }
        let events = Arc::new(PoolEvents::new(metrics.clone()));
        let before = before.map(|before| &before.pool);
        Ok(PoolHandle {
            pool: Pool::build(config, before, now, cold_start, events),
            metrics: metrics.pool(&config.name),
            config: config.clone(),
            targets,
        })
    }

    /// How to connect to a backend; `None` when this pool does not have it.
    pub fn peer(&self, backend: &str) -> Option<&HttpPeer> {
        self.targets.get(backend).map(|target| &target.peer)
    }

    /// Counters of a backend.
    pub fn backend_metrics(&self, backend: &Backend) -> Option<&BackendMetrics> {
        self.targets.get(backend.id()).map(|t| &*t.metrics)
    }

    /// For `/status`.
    pub fn status(&self, now: Instant) -> PoolStatus {
        self.pool.status(now)
    }

    /// Puts gauges up to date before they are read.
    pub fn export(&self, now: Instant) {
        let status = self.status(now);
        self.metrics.in_flight.set(i64::from(status.in_flight));
        self.metrics.queue_depth.set(i64::from(status.queued));
        self.metrics.ejections_active.set(status.out as i64);
        self.metrics.available_ratio.set(status.available_ratio);
        self.metrics.fail_open.set(i64::from(status.fail_open));
        for backend in &status.backends {
            if let Some(target) = self.targets.get(&backend.id) {
                export_backend(&target.metrics, backend);
            }
        }
    }
}

fn export_backend(metrics: &BackendMetrics, status: &BackendStatus) {
    metrics.set_state(pool_events::state(status.state));
    metrics.in_flight.set(i64::from(status.in_flight));
    metrics.weight_configured.set(i64::from(status.weight));
    metrics.weight_effective.set(status.weight_effective);
}
