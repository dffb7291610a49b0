//! One running Tidegate: what the request path and the background share.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::config::model::{AccessLog, Log};
use crate::lifecycle::Lifecycle;
use crate::observe::event_log;
use crate::observe::metrics::{Metrics, Names};
use crate::observe::writer::{LineWriter, Target};
use crate::overload::Overload;
use crate::pool::State;
use crate::snapshot::Snapshot;

/// How often the warm-up looks whether all backends have been probed.
const LOOK: Duration = Duration::from_millis(10);

/// Shared by everything that runs.
pub struct Instance {
    /// What is configured now; a request takes it once and keeps it to its end.
    pub snapshot: ArcSwap<Snapshot>,
    pub metrics: Arc<Metrics>,
    pub lifecycle: Arc<Lifecycle>,
    pub overload: Arc<Overload>,
    /// Where access log lines go; `None` when they are off.
    pub access_log: ArcSwapOption<LineWriter>,
}

impl Instance {
    /// Whether the balancer in front should send new connections here.
    pub fn is_ready(&self) -> bool {
        self.lifecycle.is_ready() && !self.overload.pauses_accept()
    }

    /// From now on requests use this snapshot.
    pub fn take(&self, snapshot: Snapshot) {
        self.metrics
            .config_loaded(&snapshot.hash, snapshot.loaded_at);
        let snapshot = Arc::new(snapshot);
        self.metrics.watch_filters(snapshot.clone());
        self.snapshot.store(snapshot);
    }

    /// Opens the access log as configured, in place of the one before.
    pub fn open_log(&self, log: &Log) -> io::Result<()> {
        let target = match &log.access {
            AccessLog::Off => None,
            AccessLog::Stdout => Some(Target::Stdout),
            AccessLog::File(path) => Some(Target::File(path.clone())),
        };
        let writer = target.map(LineWriter::spawn).transpose()?;
        if let Some(writer) = &writer {
            self.metrics.watch_access_log(writer.clone());
        }
        self.access_log.store(writer.map(Arc::new));
        Ok(())
    }

    /// The same on reload: a file is opened anew, so that it can be rotated.
    pub fn take_log(&self, before: &Log, log: &Log) {
        event_log::set_level(log.level);
        if before.access == log.access {
            if let Some(writer) = self.access_log.load().as_ref() {
                writer.reopen();
            }
        } else if let Err(error) = self.open_log(log) {
            log::error!("log.access: {error}; the log goes on where it went");
        }
    }

    /// Series of what the snapshot does not have any more go away.
    pub fn retire_metrics(&self) {
        let snapshot = self.snapshot.load();
        let mut names = Names::default();
        names.listeners.insert("admin".into());
        for listener in &snapshot.config.listeners {
            names.listeners.insert(listener.name.clone());
        }
        let of_routes = snapshot.config.routes.iter().map(|r| &r.filters);
        let of_listeners = snapshot.config.listeners.iter().map(|l| &l.filters);
        for filter in of_routes.chain(of_listeners).flatten() {
            names.filters.insert(filter.name.clone());
        }
        for route in snapshot.routes() {
            for pool in route.pool_names() {
                names
                    .routes
                    .insert((route.name.to_string(), pool.to_owned()));
            }
        }
        for (name, pool) in &snapshot.pools {
            names.pools.insert(name.clone());
            for backend in pool.pool.backends() {
                names
                    .backends
                    .insert((name.clone(), backend.id().to_owned()));
            }
        }
        self.metrics.retain(&names);
    }

    /// Returns when every source of backends has answered once, or after the start timeout that is configured for them;
    /// then when no backend waits for its first probe any more, or after `longest`.
    pub async fn warm_up(&self, longest: Duration) {
        let until = Instant::now() + self.snapshot.load().config.discovery.start_timeout;
        while Instant::now() < until && !self.missing_sources().is_empty() {
            tokio::time::sleep(LOOK).await;
        }
        let until = Instant::now() + longest;
        while Instant::now() < until && self.is_checking() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sources that have never answered, each with its pool.
    pub fn missing_sources(&self) -> Vec<String> {
        let snapshot = self.snapshot.load();
        let pools = snapshot.pools.iter();
        let missing = pools.flat_map(|(name, pool)| {
            let missing = pool.feeds.missing();
            missing.map(move |feed| format!("pools.{name}: {}", feed.source()))
        });
        missing.collect()
    }

    fn is_checking(&self) -> bool {
        let snapshot = self.snapshot.load();
        let mut pools = snapshot.pools.values();
        pools.any(|pool| pool.pool.backends().any(|b| b.state() == State::Checking))
    }
}
