//! The composition root: the only place that knows every part, puts them together and lets them run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use log::Level;
use pingora_core::apps::HttpServerApp;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{ListenFds, RunArgs, Server, ShutdownWatch};
use pingora_core::services::Service;
use serde_json::json;
use tidegate_filters::Table;

use crate::background::Background;
use crate::background::admin::Admin;
use crate::background::reload::Reloader;
use crate::background::watch::Seen;
use crate::config::{FilterCatalog, Loaded, model};
use crate::instance::Instance;
use crate::lifecycle::{Drainable, Lifecycle, SignalWatch};
use crate::listener::{Gate, ListenError, Listeners, Prepared};
use crate::observe::event_log::{self, EventKind};
use crate::observe::metrics::{BuildInfo, Metrics};
use crate::observe::writer::{LineWriter, Target};
use crate::overload::Overload;
use crate::proxy::{self, App};
use crate::{kernel, snapshot};

/// Exit codes beside 0; `docs/reference/cli.md` lists them.
pub const EXIT_CONFIG: u8 = 1;
const EXIT_BIND: u8 = 2;
const EXIT_FORCED: u8 = 3;

const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    revision: match option_env!("TIDEGATE_REVISION") {
        Some(revision) => revision,
        None => "unknown",
    },
    pingora: "0.9.1",
};

/// Idle connections to backends, over all of them.
const UPSTREAM_POOL: usize = 4096;

/// How long the first probes may take before the listeners accept anyway.
const WARM_UP: Duration = Duration::from_secs(2);

/// What the log lines that are still queued may take at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Runs one instance to its end.
pub fn run(path: PathBuf, filters: Table) -> ExitCode {
    let catalog = FilterCatalog::of(&filters);
    let (loaded, seen) = match Seen::load(&path, &catalog) {
        Ok(loaded) => loaded,
        Err(problems) => return complain(EXIT_CONFIG, &problems),
    };
    if let Err(error) = start_event_log(&loaded.config.log) {
        return complain(EXIT_CONFIG, &error);
    }
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    if let Err(error) = kernel::raise_open_files() {
        log::warn!("the limit of open files stays as it is: {error}");
    }
    match Parts::assemble(path, filters, loaded, seen) {
        Ok(parts) => parts.run(),
        Err(StartError::Listen(error @ ListenError::Bind { .. })) => complain(EXIT_BIND, &error),
        Err(error) => complain(EXIT_CONFIG, &error),
    }
}

fn complain(code: u8, problem: &dyn std::fmt::Display) -> ExitCode {
    let _ = event_log::flush(FLUSH);
    eprintln!("{problem}");
    ExitCode::from(code)
}

fn start_event_log(log: &model::Log) -> Result<(), std::io::Error> {
    let writer = LineWriter::spawn(Target::Stderr)?;
    event_log::install(writer, log.level).map_err(std::io::Error::other)
}

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("{0}")]
    Build(#[from] snapshot::BuildError),
    #[error("{0}")]
    Listen(#[from] ListenError),
    #[error("log.access: {0}")]
    Log(#[from] std::io::Error),
}

/// Everything, before it runs.
struct Parts {
    reloader: Arc<Reloader>,
    seen: Seen,
    conf: Arc<ServerConf>,
    listeners: Prepared,
    admin: Prepared,
}

impl Parts {
    /// Does everything that can fail: builds the snapshot, loads certificates, binds sockets.
    fn assemble(
        path: PathBuf,
        filters: Table,
        loaded: Loaded,
        seen: Seen,
    ) -> Result<Parts, StartError> {
        let metrics = Arc::new(Metrics::new(BUILD));
        let now = Instant::now();
        let snapshot = snapshot::build(loaded.config, None, &filters, &metrics, now)?;
        let conf = Arc::new(server_conf(snapshot.config.threads));
        let instance = Arc::new(Instance {
            snapshot: ArcSwap::from_pointee(snapshot),
            overload: Arc::new(Overload::new(metrics.overload())),
            metrics,
            lifecycle: Arc::new(Lifecycle::default()),
            access_log: ArcSwapOption::empty(),
        });
        let snapshot = instance.snapshot.load_full();
        instance.metrics.watch_filters(snapshot.clone());
        instance.open_log(&snapshot.config.log)?;
        let reloader = assemble_listeners(&instance, path, filters, &conf);
        let listeners = reloader
            .listeners
            .prepare(&snapshot.config.listeners, &snapshot.admissions)?;
        let admin = snapshot.admin_listener();
        let admin = reloader.admin.prepare(&admin, &BTreeMap::new())?;
        instance
            .metrics
            .config_loaded(&snapshot.hash, snapshot.loaded_at);
        Ok(Parts {
            reloader,
            seen,
            conf,
            listeners,
            admin,
        })
    }

    /// Runs until a signal ends it.
    fn run(self) -> ExitCode {
        let instance = self.reloader.instance.clone();
        let process = Arc::new(Process {
            reloader: self.reloader.clone(),
        });
        let mut server = Server::new_with_opt_and_conf(None, server_conf(self.conf.threads));
        server.bootstrap();
        server.add_service(Serve {
            what: Opening::new(self.reloader.admin.clone(), self.admin),
            name: "admin",
            threads: 1,
            after: None,
        });
        server.add_service(Serve {
            what: Opening::new(self.reloader.listeners.clone(), self.listeners),
            name: "proxy",
            threads: self.conf.threads,
            after: Some(instance.clone()),
        });
        server.add_service(Background {
            reloader: self.reloader,
            seen: Some(self.seen),
        });
        let shutdown_signal = Box::new(SignalWatch {
            lifecycle: instance.lifecycle.clone(),
            process,
        });
        server.run(RunArgs { shutdown_signal });
        match instance.lifecycle.was_forced() {
            true => ExitCode::from(EXIT_FORCED),
            false => ExitCode::SUCCESS,
        }
    }
}

fn server_conf(threads: usize) -> ServerConf {
    ServerConf {
        threads,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        ..ServerConf::default()
    }
}

fn assemble_listeners(
    instance: &Arc<Instance>,
    path: PathBuf,
    filters: Table,
    conf: &Arc<ServerConf>,
) -> Arc<Reloader> {
    let metrics = &instance.metrics;
    let app: Arc<App> = Arc::new(proxy::app(instance.clone(), conf));
    let refused = Arc::new(proxy::RefusedRequests(instance.clone()));
    let gate = Gate::Bounded(instance.overload.clone());
    let listeners = Listeners::new(app, refused.clone(), gate, metrics.clone(), conf.threads);
    let listeners = Arc::new(listeners);
    let admin_app = Arc::new(Admin::new(instance.clone()));
    let shown = listeners.clone();
    admin_app.show_listeners(Box::new(move || shown.status()));
    let admin = Listeners::new(admin_app, refused, Gate::always(), metrics.clone(), 1);
    Arc::new(Reloader {
        instance: instance.clone(),
        filters: Arc::new(filters),
        path,
        listeners,
        admin: Arc::new(admin),
    })
}

/// Listeners that open when their service starts.
struct Opening<A> {
    listeners: Arc<Listeners<A>>,
    prepared: Mutex<Option<Prepared>>,
}

impl<A: HttpServerApp + Send + Sync + 'static> Opening<A> {
    fn new(listeners: Arc<Listeners<A>>, prepared: Prepared) -> Opening<A> {
        Opening {
            listeners,
            prepared: Mutex::new(Some(prepared)),
        }
    }

    fn open(&self) {
        self.listeners.run_here();
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = prepared.take() {
            self.listeners.apply(prepared);
        }
    }
}

/// The Pingora service whose runtime listeners and their connections run on.
struct Serve<A> {
    what: Opening<A>,
    name: &'static str,
    threads: usize,
    /// Waits for the first probes of this instance and marks it as started.
    after: Option<Arc<Instance>>,
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> Service for Serve<A> {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        if let Some(instance) = &self.after {
            instance.warm_up(WARM_UP).await;
        }
        self.what.open();
        if let Some(instance) = &self.after {
            instance.lifecycle.mark_started();
            let fields = json!({ "state": "ready", "version": env!("CARGO_PKG_VERSION") });
            event_log::event(Level::Info, EventKind::Lifecycle, &fields);
        }
        // The runtime, and with it every connection, lives until Pingora drops it.
        std::future::pending::<()>().await;
    }

    fn name(&self) -> &str {
        self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(self.threads)
    }
}

/// What the end of the process does to its parts.
struct Process {
    reloader: Arc<Reloader>,
}

#[async_trait]
impl Drainable for Process {
    fn drain(&self) -> model::Drain {
        self.reloader.instance.snapshot.load().config.drain.clone()
    }

    fn stop_accepting(&self) {
        self.reloader.listeners.stop();
    }

    async fn nothing_left(&self) {
        self.reloader.listeners.open_connections().none_left().await;
    }

    fn connections_left(&self) -> usize {
        self.reloader.listeners.open_connections().count()
    }

    fn flush(&self) {
        if let Some(log) = self.reloader.instance.access_log.load().as_ref() {
            let _ = log.flush(FLUSH);
        }
        let _ = event_log::flush(FLUSH);
    }
}
