//! Active health: one task a pool, that sleeps until a probe is due; each probe is a task of its own, so that one
//! backend that hangs delays no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::probe::{Prober, Verdict};
use crate::instance::Instance;
use crate::observe::metrics;
use crate::pool::{Backend, ProbeFailure, ProbeResult};
use crate::snapshot::PoolHandle;
use crate::upstream;

/// Probes in flight over all pools: a thousand backends that hang must not use up the descriptors.
const MAX_PROBES: usize = 256;
/// Shortest sleep between two looks at what is due.
const SHORTEST: Duration = Duration::from_millis(10);

/// Keeps one probing task for each pool that is configured to be probed.
pub struct ActiveHealth {
    instance: Arc<Instance>,
    prober: Arc<Prober>,
    slots: Arc<Semaphore>,
    tasks: HashMap<String, JoinHandle<()>>,
}

impl ActiveHealth {
    /// No tasks yet; see [`ActiveHealth::follow`].
    pub fn new(instance: Arc<Instance>) -> ActiveHealth {
        ActiveHealth {
            instance,
            prober: Arc::default(),
            slots: Arc::new(Semaphore::new(MAX_PROBES)),
            tasks: HashMap::new(),
        }
    }

    /// Starts tasks for pools that are new. Call after each change of the snapshot; tasks of pools that are gone end by
    /// themselves.
    pub fn follow(&mut self) {
        self.tasks.retain(|_, task| !task.is_finished());
        let snapshot = self.instance.snapshot.load();
        for (name, pool) in &snapshot.pools {
            if pool.config.health_check.is_some() && !self.tasks.contains_key(name) {
                let probing = Probing {
                    instance: self.instance.clone(),
                    prober: self.prober.clone(),
                    slots: self.slots.clone(),
                    pool: name.clone(),
                };
                let task = tokio::spawn(async move { while probing.round().await {} });
                self.tasks.insert(name.clone(), task);
            }
        }
    }
}

/// The probing of one pool.
struct Probing {
    instance: Arc<Instance>,
    prober: Arc<Prober>,
    slots: Arc<Semaphore>,
    pool: String,
}

impl Probing {
    /// Starts what is due and sleeps until the next is; `false` when the pool is gone or no longer probed.
    async fn round(&self) -> bool {
        let pool = self.instance.snapshot.load().pools.get(&self.pool).cloned();
        let Some(pool) = pool else {
            return false;
        };
        let Some(longest) = pool
            .config
            .health_check
            .as_ref()
            .map(|check| check.fast_interval)
        else {
            return false;
        };
        let now = Instant::now();
        for backend in pool.pool.due_probes(now) {
            self.start(&pool, backend);
        }
        let backends = pool.pool.backends();
        let due = backends
            .filter_map(|b| pool.pool.next_probe(b.id(), now))
            .min();
        // A change of state may bring a probe forward: look again before long.
        let longest = longest.max(SHORTEST);
        let wait = due.map_or(longest, |due| due.saturating_duration_since(now));
        drop(pool);
        tokio::time::sleep(wait.clamp(SHORTEST, longest)).await;
        true
    }

    fn start(&self, pool: &Arc<PoolHandle>, backend: Arc<Backend>) {
        let (prober, slots, pool) = (self.prober.clone(), self.slots.clone(), pool.clone());
        tokio::spawn(async move {
            let _slot = slots.acquire().await;
            let began = Instant::now();
            let verdict = probe(&prober, &pool, &backend).await;
            let now = Instant::now();
            pool.metrics.health_checks.inc(label(&verdict));
            pool.metrics.health_check.observe(now - began);
            match result(&verdict) {
                Some(result) => pool.pool.probe_result(backend.id(), result, now),
                None => pool.pool.probe_skipped(backend.id(), now),
            }
        });
    }
}

async fn probe(prober: &Prober, pool: &PoolHandle, backend: &Backend) -> Verdict {
    let (Some(check), Some(target)) = (&pool.config.health_check, pool.target(backend)) else {
        return Verdict::Fail("no longer configured".into());
    };
    let peer = match check.port {
        Some(port) => upstream::with_port(target.peer().clone(), port),
        None => target.peer().clone(),
    };
    // Told to the backend, so that one that drains knows when it may end.
    let state = format!(
        "state={}; inflight={}",
        backend.state().as_str(),
        backend.in_flight()
    );
    prober
        .probe(&check.probe, peer, check.timeout, &state)
        .await
}

/// `None`: it says nothing about the backend.
fn result(verdict: &Verdict) -> Option<ProbeResult> {
    Some(match verdict {
        Verdict::Pass => ProbeResult::Pass,
        Verdict::Drain => ProbeResult::Drain,
        Verdict::Refused => ProbeResult::Fail(ProbeFailure::Refused),
        Verdict::Timeout => ProbeResult::Fail(ProbeFailure::Timeout),
        Verdict::Fail(why) => {
            log::debug!("probe: {why}");
            ProbeResult::Fail(ProbeFailure::Mismatch)
        }
        Verdict::NotAsked => return None,
    })
}

fn label(verdict: &Verdict) -> metrics::ProbeResult {
    match verdict {
        Verdict::Pass | Verdict::Drain => metrics::ProbeResult::Pass,
        Verdict::Timeout => metrics::ProbeResult::Timeout,
        Verdict::NotAsked => metrics::ProbeResult::Skipped,
        Verdict::Refused | Verdict::Fail(_) => metrics::ProbeResult::Fail,
    }
}
