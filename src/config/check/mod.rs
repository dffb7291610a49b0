//! Raw to model: names are resolved, files looked at, and what one key says is held against another.
//!
//! Everything is checked even after a problem, and the whole is refused. Where a value is unusable, the checks see a stand-in
//! and say nothing about it. A check that holds one key against another asks first whether the others are what the operator
//! meant ([`Checker::unclear`]), so that no message follows from another.

mod action;
mod discovery;
mod filter;
mod health;
mod listener;
mod overload;
mod paths;
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
use super::tree::{Node, Value};
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
    pub names: Names,
}

/// Whether all names are known: where some can't be read, one that is referred to may be among them.
#[derive(Default)]
pub(super) struct Names {
    unsure_of_pools: bool,
    unsure_of_listeners: bool,
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
        let listener_names = self.listener_names();
        let pool_names = self.pool_names();
        let before = self.report.errors();
        let routes = self.routes(raw.routes, &listener_names, &pool_names);
        // A route that is wrong may have meant any of them.
        let routes_are_clear =
            !self.in_doubt(&root.key("routes")) && self.report.errors() == before;
        if routes_are_clear && !self.names.unsure_of_pools {
            self.unused_pools(&routes, &pool_names);
            self.paths_let_in(&routes, &listeners);
        }
        let overload = self.overload(&raw.overload);
        let (discovery, ttl) = self.discovery(&raw.discovery);
        let pools = self.pools(raw.pools, &cluster, ttl);
        self.shared_cookies(&routes, &pools);
        model::Config {
            admin,
            admin_hosts: raw.admin.hosts.into_iter().map(|host| host.0).collect(),
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
            max_hops: raw.max_hops,
            via: raw.via.0.and_then(|name| via(&name)),
            log: model::Log {
                access: self.access_log(raw.log.access.0),
                level: level(raw.log.level),
            },
            threads: raw.threads.map_or_else(cpus, |n| n as usize),
        }
    }

    fn error(&mut self, path: &Path<'_>, message: impl Into<String>) {
        if !self.tree.is_unusable(path) {
            let message = message.into() + &self.origin(path);
            self.report.error(self.tree.position(path), path, message);
        }
    }

    fn warning(&mut self, path: &Path<'_>, message: impl Into<String>) {
        if !self.tree.is_unusable(path) {
            let message = message.into() + &self.origin(path);
            self.report.warning(self.tree.position(path), path, message);
        }
    }

    fn origin(&self, path: &Path<'_>) -> String {
        self.tree.get(path).map(Node::origin).unwrap_or_default()
    }

    /// Whether one of these keys of the mapping at `path` is not what the operator meant: unusable, or perhaps there under a
    /// name that nearly is its own. What would be said of it, or because it is missing, follows from that.
    fn unclear(&self, path: &Path<'_>, keys: &[&str]) -> bool {
        let Some(Node {
            value: Value::Map(entries),
            ..
        }) = self.tree.get(path)
        else {
            return false;
        };
        entries.iter().any(|entry| match entry.unknown {
            true => suggest::nearest(&entry.key, keys.iter().copied()).is_some(),
            false => keys.contains(&entry.key.as_str()) && entry.value.stand_in.is_some(),
        })
    }

    /// Whether anything at or in `path` was found to be wrong.
    fn in_doubt(&self, path: &Path<'_>) -> bool {
        self.tree.is_unusable(path) || self.tree.get(path).is_some_and(Node::has_problems)
    }

    /// All that are written, also those of listeners that are wrong otherwise.
    fn listener_names(&mut self) -> BTreeSet<String> {
        let path = Path::ROOT.key("listeners");
        let items = match self.tree.get(&path).map(|node| &node.value) {
            Some(Value::List(items)) => items.as_slice(),
            _ => &[],
        };
        let name = |item: &Node| match &item.entry("name")?.value.value {
            Value::Text(name) => Some(name.clone()),
            _ => None,
        };
        let names: Vec<_> = items.iter().map(name).collect();
        self.names.unsure_of_listeners = self.tree.is_unusable(&path)
            || self.unclear(&Path::ROOT, &["listeners"])
            || names.contains(&None);
        names.into_iter().flatten().collect()
    }

    fn pool_names(&mut self) -> BTreeSet<String> {
        let path = Path::ROOT.key("pools");
        self.names.unsure_of_pools =
            self.tree.is_unusable(&path) || self.unclear(&Path::ROOT, &["pools"]);
        match self.tree.get(&path).map(|node| &node.value) {
            Some(Value::Map(entries)) => entries.iter().map(|e| e.key.clone()).collect(),
            _ => BTreeSet::new(),
        }
    }

    /// Is this key in the file?
    fn is_given(&self, path: &Path<'_>) -> bool {
        self.tree.get(path).is_some()
    }

    /// A reference to something with a name.
    fn known(&mut self, what: &str, name: &str, names: &BTreeSet<String>, path: &Path<'_>) {
        let unsure = match what {
            "pool" => self.names.unsure_of_pools,
            _ => self.names.unsure_of_listeners,
        };
        if !unsure && !names.contains(name) {
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

/// The name is a token, so that each member is a field value.
fn via(name: &str) -> Option<model::Via> {
    let member = |version| http::HeaderValue::from_str(&format!("{version} {name}")).ok();
    Some(model::Via {
        http10: member("1.0")?,
        http11: member("1.1")?,
        http2: member("2")?,
    })
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
