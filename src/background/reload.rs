//! Reload: load, build and prepare everything that can fail, then swap. A bad file changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use log::Level;
use serde_json::json;

use super::admin::Admin;
use super::watch::Seen;
use crate::config::{self, FilterCatalog};
use crate::instance::Instance;
use crate::listener::{ListenError, Listeners};
use crate::observe::event_log::{self, EventKind};
use crate::proxy::App;
use crate::snapshot::{self, Snapshot};

/// Everything a new configuration touches.
pub struct Reloader {
    pub instance: Arc<Instance>,
    pub filters: Arc<tidegate_filters::Table>,
    pub path: PathBuf,
    pub listeners: Arc<Listeners<App>>,
    pub admin: Arc<Listeners<Admin>>,
}

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file itself is wrong; every problem is in it.
    #[error("{0}")]
    Config(#[from] config::Problems),
    /// A filter, certificate or CA that it names is.
    #[error("{0}")]
    Build(#[from] snapshot::BuildError),
    /// A listener can't be opened.
    #[error("{0}")]
    Listen(#[from] ListenError),
}

impl Reloader {
    /// Takes the file as it is now, whole or not at all. Returns what to watch.
    pub fn reload(&self) -> Result<Seen, ReloadError> {
        let result = self.try_reload();
        match &result {
            Ok(_) => {
                let snapshot = self.instance.snapshot.load();
                say(Level::Info, "taken", &snapshot.hash, "");
            }
            Err(error) => {
                self.instance.metrics.config_refused();
                say(Level::Error, "refused", "", &error.to_string());
            }
        }
        result
    }

    fn try_reload(&self) -> Result<Seen, ReloadError> {
        let catalog = FilterCatalog::of(&self.filters);
        let (loaded, seen) = Seen::load(&self.path, &catalog)?;
        for warning in &loaded.warnings {
            log::warn!("{warning}");
        }
        let before = self.instance.snapshot.load_full();
        warn_of_restart(&before, &loaded.config);
        let snapshot = snapshot::build(
            loaded.config,
            Some(&before),
            &self.filters,
            &self.instance.metrics,
            Instant::now(),
        )?;
        let listeners = self
            .listeners
            .prepare(&snapshot.config.listeners, &snapshot.admissions)?;
        let admin = snapshot.admin_listener();
        let admin = self.admin.prepare(&admin, &BTreeMap::new())?;
        // From here on nothing fails.
        self.instance
            .take_log(&before.config.log, &snapshot.config.log);
        self.instance.take(snapshot);
        self.listeners.apply(listeners);
        self.admin.apply(admin);
        self.instance.retire_metrics();
        Ok(seen)
    }
}

/// The two settings that are fixed for the life of the process.
fn warn_of_restart(before: &Snapshot, after: &config::model::Config) {
    if before.config.threads != after.threads {
        log::warn!("threads: {} takes effect with a restart", after.threads);
    }
}

fn say(level: Level, result: &str, hash: &str, problems: &str) {
    let mut fields = json!({ "result": result });
    if !hash.is_empty() {
        fields["hash"] = hash.into();
    }
    if !problems.is_empty() {
        fields["problems"] = problems.lines().collect::<Vec<_>>().into();
    }
    event_log::event(level, EventKind::Config, &fields);
}
