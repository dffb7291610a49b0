//! What runs beside the requests: probes, discovery, pool upkeep, reload, admin. Only here and in `app` are tasks started.

pub mod active_health;
pub mod admin;
mod discovery;
mod overload;
pub mod probe;
pub mod reload;
pub mod watch;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use active_health::ActiveHealth;
use async_trait::async_trait;
use discovery::Discovery;
use futures_util::FutureExt;
use overload::Watcher;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use reload::Reloader;
use tidegate_filters::{Chain, filter::Task};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use watch::{Seen, Watch};

use crate::instance::Instance;
use crate::snapshot::Snapshot;

/// How often pools look at rates, latencies and timers.
const TICK: Duration = Duration::from_secs(1);

/// How often certificates are looked at.
const CERTIFICATES: Duration = Duration::from_secs(12 * 3600);

/// One Pingora service, on a runtime of its own, so that a busy data path delays neither probes nor `/metrics`.
pub struct Background {
    pub reloader: Arc<Reloader>,
    /// The files of the configuration that was loaded at start; taken when the service starts.
    pub seen: Option<Seen>,
}

#[async_trait]
impl Service for Background {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let instance = self.reloader.instance.clone();
        tokio::spawn(upkeep(instance.clone()));
        tokio::spawn(look_at_certificates(self.reloader.clone()));
        let listeners = self.reloader.listeners.clone();
        tokio::spawn(Watcher::new(instance.clone(), listeners).run());
        let mut discovery = Discovery::new(instance.clone());
        discovery.follow();
        let mut health = ActiveHealth::new(instance.clone());
        health.follow();
        let mut filters = FilterTasks::default();
        filters.follow(&instance.snapshot.load());
        let mut watch = Watch::start();
        if let Some(seen) = self.seen.take() {
            watch.follow(seen);
        }
        loop {
            tokio::select! {
                () = instance.lifecycle.reload.notified() => {}
                () = watch.changed() => {}
            }
            if let Some(seen) = self.reload().await {
                watch.follow(seen);
                discovery.follow();
                health.follow();
                filters.follow(&instance.snapshot.load());
            }
        }
    }

    fn name(&self) -> &str {
        "background"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

async fn upkeep(instance: Arc<Instance>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = Instant::now();
        for pool in instance.snapshot.load().pools.values() {
            pool.tick(now);
        }
    }
}

/// Those that were fine when they were loaded.
async fn look_at_certificates(reloader: Arc<Reloader>) {
    loop {
        tokio::time::sleep(CERTIFICATES).await;
        reloader.listeners.warn_of_expiry();
    }
}

impl Background {
    async fn reload(&self) -> Option<Seen> {
        let reloader = self.reloader.clone();
        // Reading files and parsing blocks: not on the thread that probes.
        tokio::task::spawn_blocking(move || reloader.reload())
            .await
            .ok()?
            .ok()
    }
}

/// A task that panics says which one it was; the filter goes on without it.
async fn named(task: Task) {
    if AssertUnwindSafe(task.run).catch_unwind().await.is_err() {
        log::error!("{} panicked, and is over until the next reload", task.name);
    }
}

/// What filters do beside the requests (fetching keys, say), for as long as their snapshot is the current one.
#[derive(Default)]
struct FilterTasks(JoinSet<()>);

impl FilterTasks {
    fn follow(&mut self, snapshot: &Snapshot) {
        // The old ones end when the set is dropped.
        self.0 = JoinSet::new();
        for task in snapshot.chains().flat_map(Chain::tasks) {
            self.0.spawn(named(task));
        }
    }
}
