//! Asks the sources of each pool's members and makes the changes: one task for each pool that has any.

mod http;
mod pool;
mod resolver;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::config::model;
use crate::discovery::Feed;
use crate::instance::Instance;
use crate::snapshot::Snapshot;
use pool::PoolSources;
use resolver::Resolver;

/// The tasks, as the current snapshot needs them.
pub struct Discovery {
    instance: Arc<Instance>,
    resolver: Arc<Resolver>,
    settings: model::Discovery,
    tasks: HashMap<String, Running>,
}

struct Running {
    feeds: Vec<Arc<Feed>>,
    scale_to_zero: bool,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Discovery {
    /// Without tasks so far.
    pub fn new(instance: Arc<Instance>) -> Discovery {
        let settings = instance.snapshot.load().config.discovery.clone();
        Discovery {
            instance,
            resolver: Arc::new(Resolver::new(&settings.resolvers, settings.addresses)),
            settings,
            tasks: HashMap::new(),
        }
    }

    /// Starts and ends tasks. Call after each change of the snapshot: pools whose sources are the same are left alone.
    pub fn follow(&mut self) {
        let snapshot = self.instance.snapshot.load_full();
        let settings = &snapshot.config.discovery;
        if *settings != self.settings {
            self.resolver = Arc::new(Resolver::new(&settings.resolvers, settings.addresses));
            self.settings = settings.clone();
            self.tasks.clear();
        }
        self.tasks.retain(|name, running| {
            let pool = snapshot.pools.get(name);
            pool.is_some_and(|pool| {
                same(pool.feeds.list(), &running.feeds)
                    && pool.config.scale_to_zero == running.scale_to_zero
            })
        });
        self.start(&snapshot);
    }

    fn start(&mut self, snapshot: &Snapshot) {
        for (name, pool) in &snapshot.pools {
            if pool.feeds.is_empty() || self.tasks.contains_key(name) {
                continue;
            }
            let sources = PoolSources::new(
                self.instance.clone(),
                self.resolver.clone(),
                self.settings.clone(),
                pool,
            );
            let running = Running {
                feeds: pool.feeds.list().to_vec(),
                scale_to_zero: pool.config.scale_to_zero,
                task: tokio::spawn(sources.run()),
            };
            self.tasks.insert(name.clone(), running);
        }
    }
}

fn same(one: &[Arc<Feed>], other: &[Arc<Feed>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| Arc::ptr_eq(a, b))
}
