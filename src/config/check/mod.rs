//! Raw to model: names are resolved, files looked at, and what one key says is held against another.
//!
//! Everything is checked even after a problem; what could not be made of it is left out, and the whole is refused.

mod action;
mod discovery;
mod filter;
mod health;
mod listener;
mod overload;
mod pool;
mod route;
mod sticky;
mod tls;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use super::catalog::FilterCatalog;
use super::path::Path;
use super::problem::Report;
use super::raw::{self, Level};
use super::tree::Node;
use super::{file, model, suggest};

/// What the checks look things up in, and where they put what they find.
pub(super) struct Checker<'a> {
    pub tree: &'a Node,
    /// The configuration's folder: relative paths begin here.
    pub dir: &'a std::path::Path,
    pub filters: &'a FilterCatalog,
    pub report: &'a mut Report,
    /// Every file referred to.
    pub files: &'a mut Vec<PathBuf>,
}

impl Checker<'_> {
    /// Complete only if the report holds no error afterwards.
    pub fn config(&mut self, raw: raw::Config) -> model::Config {
        let root = &Path::ROOT;
        let admin = raw.admin.listen.0;
        self.admin(admin.as_ref());
        let trusted_proxies = self.networks(&raw.trusted_proxies, &root.key("trusted_proxies"));
        let cluster = self.cluster(raw.cluster);
        let listeners = self.listeners(raw.listeners, admin.as_ref(), &cluster, &trusted_proxies);
        let listener_names: BTreeSet<String> = listeners.iter().map(|l| l.name.clone()).collect();
        let pool_names: BTreeSet<String> = raw.pools.keys().cloned().collect();
        let routes = self.routes(raw.routes, &listener_names, &pool_names);
        // A route that is wrong may have meant any of them.
        if !self.report.has_errors() {
            self.unused_pools(&routes, &pool_names);
        }
        let overload = self.overload(&raw.overload);
        let (discovery, ttl) = self.discovery(&raw.discovery);
        let pools = self.pools(raw.pools, &cluster, ttl);
        self.shared_cookies(&routes, &pools);
        model::Config {
            admin,
            listeners,
            routes,
            pools,
            trusted_proxies,
            drain: model::Drain {
                delay: raw.drain.delay.0,
                timeout: raw.drain.timeout.0,
            },
            overload,
            discovery,
            cluster,
            log: model::Log {
                access: self.access_log(raw.log.access.0),
                level: level(raw.log.level),
            },
            threads: raw.threads.map_or_else(cpus, |n| n as usize),
        }
    }

    fn error(&mut self, path: &Path<'_>, message: impl Into<String>) {
        self.report.error(self.tree.position(path), path, message);
    }

    fn warning(&mut self, path: &Path<'_>, message: impl Into<String>) {
        self.report.warning(self.tree.position(path), path, message);
    }

    /// Is this key in the file?
    fn is_given(&self, path: &Path<'_>) -> bool {
        self.tree.get(path).is_some()
    }

    /// A reference to something with a name.
    fn known(&mut self, what: &str, name: &str, names: &BTreeSet<String>, path: &Path<'_>) {
        if !names.contains(name) {
            let hint = suggest::hint(name, names.iter().map(String::as_str), "known are");
            self.error(path, format!("unknown {what} {name:?}{hint}"));
        }
    }

    fn admin(&mut self, admin: Option<&model::Address>) {
        if let Some(model::Address::Tcp(address)) = admin
            && !address.ip().to_canonical().is_loopback()
        {
            let (admin, message) = (
                Path::ROOT.key("admin"),
                "reachable from other machines, and has no access control",
            );
            self.warning(&admin.key("listen"), format!("{address} is {message}"));
        }
    }

    /// Believing everyone is never meant.
    fn networks(&mut self, networks: &[raw::text::Cidr], path: &Path<'_>) -> Vec<ipnet::IpNet> {
        for (i, network) in networks
            .iter()
            .enumerate()
            .filter(|(_, n)| n.0.prefix_len() == 0)
        {
            self.warning(
                &path.index(i),
                format!(
                    "{} is every address: any client can claim to be another",
                    network.0
                ),
            );
        }
        networks.iter().map(|n| n.0).collect()
    }

    fn access_log(&self, log: model::AccessLog) -> model::AccessLog {
        match log {
            model::AccessLog::File(path) => model::AccessLog::File(self.dir.join(path)),
            other => other,
        }
    }

    /// A PEM file: read, to be sure that it can be, and held for the watcher. `label` is what must be in it.
    fn pem(&mut self, name: &str, label: &str, what: &str, path: &Path<'_>) -> PathBuf {
        let full = self.dir.join(name);
        match file::read(&full) {
            Err(e) => self.error(path, format!("cannot read {}: {e}", full.display())),
            Ok(text) if !(text.contains("-----BEGIN ") && text.contains(label)) => {
                self.error(
                    path,
                    format!("{} holds no {what} in PEM form", full.display()),
                );
            }
            Ok(_) => {}
        }
        self.files.push(full.clone());
        full
    }

    fn unused_pools(&mut self, routes: &[model::Route], pools: &BTreeSet<String>) {
        let used: BTreeSet<&str> = routes
            .iter()
            .flat_map(|r| {
                let mut used: Vec<&str> = match &r.action {
                    model::Action::Pool(pool) => vec![pool],
                    model::Action::Split(split) => split
                        .choices
                        .iter()
                        .map(|(pool, _)| pool.as_str())
                        .collect(),
                    _ => vec![],
                };
                used.extend(r.filters.iter().flat_map(|f| &f.pools).map(String::as_str));
                used
            })
            .collect();
        for pool in pools.iter().filter(|p| !used.contains(p.as_str())) {
            self.warning(
                &Path::ROOT.key("pools").key(pool),
                "no route uses this pool",
            );
        }
    }

    fn pools(
        &mut self,
        pools: BTreeMap<String, raw::Pool>,
        cluster: &model::Cluster,
        ttl: model::TtlBounds,
    ) -> BTreeMap<String, model::Pool> {
        let path = Path::ROOT.key("pools");
        let mut checked = BTreeMap::new();
        for (name, pool) in pools {
            let path = path.key(&name);
            if let Err(message) = raw::text::name(&name) {
                self.error(&path, format!("{name:?} {message}"));
            }
            let pool = self.pool(name.clone(), pool, cluster, ttl, &path);
            checked.insert(name, pool);
        }
        checked
    }
}

/// Finds names that are given twice, telling where they were first.
#[derive(Default)]
struct Taken(HashMap<String, String>);

impl Taken {
    fn take(&mut self, name: &str, path: &Path<'_>) -> Result<(), String> {
        match self.0.get(name) {
            Some(first) => Err(format!("{name:?} is already used by {first}")),
            None => {
                self.0.insert(name.to_owned(), path.to_string());
                Ok(())
            }
        }
    }
}

fn level(level: Level) -> log::LevelFilter {
    match level {
        Level::Off => log::LevelFilter::Off,
        Level::Error => log::LevelFilter::Error,
        Level::Warn => log::LevelFilter::Warn,
        Level::Info => log::LevelFilter::Info,
        Level::Debug => log::LevelFilter::Debug,
        Level::Trace => log::LevelFilter::Trace,
    }
}

pub(super) use discovery::list_entry;

/// CPUs that this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
