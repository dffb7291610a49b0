//! A pool with what the request path needs of it: peers, metrics, the logic that picks.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use serde::Serialize;

use super::sticky_keys::unix_seconds;

use crate::config::model;
use crate::discovery::{FailureKind, Feeds, FeedsStatus, guard};
use crate::observe::metrics::{BackendMetrics, Discovered, DiscoveryFailure, Metrics, PoolMetrics};
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
    /// Where members come from beside the file.
    pub feeds: Feeds,
    connect: Connect,
    targets: ArcSwap<Targets>,
    all_metrics: Arc<Metrics>,
}

/// By [`Backend::key`].
type Targets = HashMap<u64, Known, BuildHasherDefault<KeyHasher>>;

/// A pool in `/status`.
#[derive(Serialize)]
pub struct Status {
    #[serde(flatten)]
    pool: PoolStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    discovery: Option<FeedsStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sticky: Option<StickyStatus>,
}

/// What is needed to use one backend.
#[derive(Clone)]
struct Known {
    backend: Arc<Backend>,
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
        let events = Arc::new(PoolEvents::new(metrics.clone()));
        let earlier = before.map(|before| &before.pool);
        let feeds = Feeds::new(&config.sources, before.map(|before| &before.feeds));
        let merged = feeds.merge(&config.backends);
        let members = model::Pool {
            backends: match before {
                // What waits for a second answer goes on waiting.
                Some(before) if before.feeds.is_holding() => {
                    guard::meanwhile(&before.pool.current_members(), &merged)
                }
                _ => merged,
            },
            ..config.clone()
        };
        let pool = Pool::build(&members, earlier, now, cold_start, events);
        pool.expect_members(!feeds.are_in_force());
        let earlier = before.and_then(|before| before.sticky.as_ref());
        let sticky = keys.and_then(|keys| Sticky::new(&pool, keys, earlier, now));
        let handle = PoolHandle {
            sticky,
            feeds,
            pool,
            metrics: metrics.pool(&config.name),
            config: config.clone(),
            connect: Connect::new(&config.upstream)?,
            targets: ArcSwap::default(),
            all_metrics: metrics.clone(),
        };
        let earlier = before.map(|before| before.targets.load_full());
        let targets = handle.targets_of(&handle.pool.backends().collect::<Vec<_>>(), earlier)?;
        handle.targets.store(Arc::new(targets));
        Ok(handle)
    }

    /// Those of these backends and, of `before`, of backends that requests still hold.
    fn targets_of(
        &self,
        backends: &[Arc<Backend>],
        before: Option<Arc<Targets>>,
    ) -> Result<Targets, UpstreamError> {
        let before = before.unwrap_or_default();
        let held = before
            .iter()
            .filter(|(_, known)| known.backend.in_flight() > 0);
        let mut targets: Targets = held.map(|(key, known)| (*key, known.clone())).collect();
        for backend in backends {
            let earlier = before.get(&backend.key()).map(|known| &*known.target);
            let known = Known {
                backend: Arc::clone(backend),
                target: Arc::new(Target::new(self.connect.peer(backend.address())?, earlier)),
                metrics: self.all_metrics.backend(&self.config.name, backend.id()),
            };
            targets.insert(backend.key(), known);
        }
        Ok(targets)
    }

    /// The members that the file and the sources name now.
    pub fn wanted(&self) -> Vec<model::Backend> {
        self.feeds.merge(&self.config.backends)
    }

    /// From now on these are the pool's members; see [`Pool::set_members`]. No route, no filter and no other pool is
    /// touched, and neither is what is known of members that stay. False when nothing changes.
    ///
    /// # Errors
    /// The address of one is unusable; nothing has changed then.
    pub fn set_members(
        &self,
        wanted: &[model::Backend],
        now: Instant,
    ) -> Result<bool, UpstreamError> {
        for one in wanted {
            self.connect.peer(&one.address)?;
        }
        // How to connect to a new one must be known before it is picked for the first time.
        let changed = self
            .pool
            .set_members(wanted, now, |backends| self.know(backends));
        if changed && let Some(sticky) = &self.sticky {
            sticky.follow(&self.pool, now);
        }
        Ok(changed)
    }

    fn know(&self, backends: &[Arc<Backend>]) {
        let before = self.targets.load_full();
        match self.targets_of(backends, Some(before)) {
            Ok(targets) => self.targets.store(Arc::new(targets)),
            Err(error) => log::error!("pools.{}: {error}", self.config.name),
        }
    }

    /// Lets go of what belongs to backends that left the pool at the last tick or before.
    fn forget_departed(&self) {
        let backends: Vec<_> = self.pool.backends().collect();
        let before = self.targets.load_full();
        let left = |known: &Known| self.pool.backend(known.backend.id()).is_none();
        if before.len() > backends.len()
            && before
                .values()
                .any(|known| left(known) && known.backend.in_flight() == 0)
        {
            self.know(&backends);
            let targets = self.targets.load();
            let ids = targets.values().map(|known| known.backend.id()).collect();
            self.all_metrics.retain_backends(&self.config.name, &ids);
        }
    }

    /// How to connect to a backend; `None` when this pool does not have it.
    pub fn target(&self, backend: &Backend) -> Option<Arc<Target>> {
        let targets = self.targets.load();
        let known = targets.get(&backend.key());
        known.map(|known| Arc::clone(&known.target))
    }

    /// Counters of a backend.
    pub fn backend_metrics(&self, backend: &Backend) -> Option<Arc<BackendMetrics>> {
        let targets = self.targets.load();
        let known = targets.get(&backend.key());
        known.map(|known| Arc::clone(&known.metrics))
    }

    /// For `/status`.
    pub fn status(&self, now: Instant) -> Status {
        Status {
            pool: self.pool.status(now),
            discovery: self.feeds.status(now),
            sticky: self.sticky.as_ref().map(|sticky| sticky.status(now)),
        }
    }

    /// Lets time pass; to be called about once a second.
    pub fn tick(&self, now: Instant) {
        self.forget_departed();
        self.pool.tick(now);
        let targets = self.targets.load();
        for known in targets.values() {
            known.target.idle().sweep(now);
        }
        for leaving in self.pool.leaving() {
            if let Some(known) = targets.get(&leaving.key()) {
                known.target.idle().close_all();
            }
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
        self.export_discovery(now);
        self.metrics.in_flight.set(i64::from(status.in_flight));
        self.metrics.queue_depth.set(i64::from(status.queued));
        self.metrics.ejections_active.set(status.out as i64);
        self.metrics.available_ratio.set(status.available_ratio);
        self.metrics.fail_open.set(i64::from(status.fail_open));
        for state in crate::pool::State::ALL {
            let in_it = status.backends.iter().filter(|one| one.state == state);
            let cell = self.metrics.members.cell(pool_events::state(state));
            cell.set(in_it.count() as i64);
        }
        let targets = self.targets.load();
        for backend in &status.backends {
            if let Some(known) = targets.get(&Backend::key_of(&backend.id)) {
                export_backend(&known.metrics, backend);
            }
        }
    }
}

impl PoolHandle {
    fn export_discovery(&self, now: Instant) {
        if self.feeds.is_empty() {
            return;
        }
        let metrics = &self.metrics.discovery;
        let feeds = || self.feeds.list().iter();
        let age = feeds().map(|feed| feed.age(now).map_or(f64::INFINITY, |age| age.as_secs_f64()));
        let status = Discovered {
            sources: feeds().count(),
            failing: feeds().filter(|feed| feed.is_failing()).count(),
            oldest: age.fold(0.0, f64::max),
            answers: feeds().map(|feed| feed.answers()).sum(),
            holds: self.feeds.holds(),
            failures: FailureKind::ALL
                .iter()
                .map(|kind| {
                    let count = feeds().map(|feed| feed.failures_of(*kind)).sum();
                    (failure_label(*kind), count)
                })
                .collect(),
        };
        metrics.set(status);
    }
}

fn failure_label(kind: FailureKind) -> DiscoveryFailure {
    match kind {
        FailureKind::Timeout => DiscoveryFailure::Timeout,
        FailureKind::ServerFailure => DiscoveryFailure::ServerFailure,
        FailureKind::NoSuchName => DiscoveryFailure::NoSuchName,
        FailureKind::NoRecords => DiscoveryFailure::NoRecords,
        FailureKind::Unreachable => DiscoveryFailure::Unreachable,
        FailureKind::Invalid => DiscoveryFailure::Invalid,
    }
}

fn export_backend(metrics: &BackendMetrics, status: &BackendStatus) {
    metrics.set_state(pool_events::state(status.state));
    metrics.in_flight.set(i64::from(status.in_flight));
    metrics.weight_configured.set(i64::from(status.weight));
    metrics.weight_effective.set(status.weight_effective);
}
