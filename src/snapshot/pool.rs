//! A pool with what the request path needs of it: peers, metrics, the logic that picks.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::sticky_keys::unix_seconds;

use crate::config::model;
use crate::observe::metrics::{BackendMetrics, Metrics, PoolMetrics};
use crate::observe::pool_events::{self, PoolEvents};
use crate::pool::{Backend, BackendStatus, Pool, PoolStatus};
use crate::sticky::{Clock, Keys, Sticky, StickyStatus};
use crate::upstream::{Connect, Target, UpstreamError};

/// One pool of one snapshot.
pub struct PoolHandle {
    pub config: model::Pool,
    pub pool: Pool,
    pub metrics: Arc<PoolMetrics>,
    pub sticky: Option<Sticky>,
    /// By [`Backend::key`].
    targets: HashMap<u64, Known, BuildHasherDefault<KeyHasher>>,
}

/// A pool in `/status`.
#[derive(Serialize)]
pub struct Status {
    #[serde(flatten)]
    pool: PoolStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    sticky: Option<StickyStatus>,
}

/// What is needed to use one backend.
struct Known {
    target: Arc<Target>,
    metrics: Arc<BackendMetrics>,
}

/// The key is a hash already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

impl PoolHandle {
    /// Backends that `before` has, too, keep their state.
    pub fn build(
        config: &model::Pool,
        before: Option<&Arc<PoolHandle>>,
        cold_start: bool,
        keys: Option<&Arc<Keys>>,
        metrics: &Arc<Metrics>,
        now: Instant,
    ) -> Result<PoolHandle, UpstreamError> {
        let connect = Connect::new(&config.upstream)?;
        let mut targets = HashMap::default();
        for backend in &config.backends {
            let key = Backend::key_of(&backend.id);
            let earlier = before.and_then(|before| before.targets.get(&key));
            let earlier = earlier.map(|known| &*known.target);
            let known = Known {
                target: Arc::new(Target::new(connect.peer(&backend.address)?, earlier)),
                metrics: metrics.backend(&config.name, &backend.id),
            };
            targets.insert(key, known);
        }
        let events = Arc::new(PoolEvents::new(metrics.clone()));
        let earlier = before.map(|before| &before.pool);
        let pool = Pool::build(config, earlier, now, cold_start, events);
        let earlier = before.and_then(|before| before.sticky.as_ref());
        Ok(PoolHandle {
            sticky: keys.and_then(|keys| Sticky::new(&pool, keys, earlier, now)),
            pool,
            metrics: metrics.pool(&config.name),
            config: config.clone(),
            targets,
        })
    }

    /// How to connect to a backend; `None` when this pool does not have it.
    pub fn target(&self, backend: &Backend) -> Option<&Arc<Target>> {
        self.targets.get(&backend.key()).map(|known| &known.target)
    }

    /// Counters of a backend.
    pub fn backend_metrics(&self, backend: &Backend) -> Option<&BackendMetrics> {
        let known = self.targets.get(&backend.key());
        known.map(|known| &*known.metrics)
    }

    /// For `/status`.
    pub fn status(&self, now: Instant) -> Status {
        Status {
            pool: self.pool.status(now),
            sticky: self.sticky.as_ref().map(|sticky| sticky.status(now)),
        }
    }

    /// Lets time pass; to be called about once a second.
    pub fn tick(&self, now: Instant) {
        self.pool.tick(now);
        for known in self.targets.values() {
            known.target.idle().sweep(now);
        }
        if let Some(sticky) = &self.sticky {
            let unix = unix_seconds();
            sticky.refresh(&self.pool, Clock { now, unix });
        }
    }

    /// Puts gauges up to date before they are read.
    pub fn export(&self, now: Instant) {
        let status = self.pool.status(now);
        if let Some(sticky) = &self.sticky {
            self.metrics.sticky_skew.set(sticky.skew(now));
        }
        self.metrics.in_flight.set(i64::from(status.in_flight));
        self.metrics.queue_depth.set(i64::from(status.queued));
        self.metrics.ejections_active.set(status.out as i64);
        self.metrics.available_ratio.set(status.available_ratio);
        self.metrics.fail_open.set(i64::from(status.fail_open));
        for backend in &status.backends {
            if let Some(known) = self.targets.get(&Backend::key_of(&backend.id)) {
                export_backend(&known.metrics, backend);
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
