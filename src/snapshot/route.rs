//! A route with everything resolved: pools found, filters built, counters made.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_filters::{Chain, Table};

use super::{BuildError, PoolHandle, chain};
use crate::config::model;
use crate::config::model::{HashKey, HeaderEdits, Redirect, Respond, Rewrite, TimeoutOverrides};
use crate::observe::metrics::{ListenerMetrics, Metrics, RouteMetrics};
use crate::route::split::WeightedSplit;

/// What happens to the requests that a route matches.
pub struct Route {
    pub name: Arc<str>,
    pub action: Action,
    pub rewrite: Option<Rewrite>,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    pub timeouts: TimeoutOverrides,
    pub retry_attempts: Option<u32>,
    /// Refused while the instance is short of something.
    pub sheddable: bool,
    pub max_body_bytes: Option<u64>,
    /// In place of the pool's `upstream.streaming`.
    pub streaming: Option<bool>,
    /// Requests may go to a backend before the TLS handshake is done.
    pub early_data: bool,
    pub chain: Chain,
    /// By the pool that a request went to; empty where the route answers itself. A handful: looked through in order.
    metrics: Vec<(String, Arc<RouteMetrics>)>,
}

/// Where they go.
pub enum Action {
    Pool(Arc<PoolHandle>),
    Split(Split),
    Redirect(Redirect),
    Respond(Respond),
}

/// A weighted choice among pools.
pub struct Split {
    pub key: HashKey,
    choice: WeightedSplit,
    weights: Vec<u32>,
    pools: Vec<Arc<PoolHandle>>,
}

impl Split {
    /// The pool of the client with this hash.
    pub fn choose(&self, hash: u64) -> Option<&Arc<PoolHandle>> {
        self.pools.get(self.choice.pick(hash))
    }

    /// In the order of the file.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<PoolHandle>> {
        self.pools.iter()
    }

    /// Their weights.
    pub fn weights(&self) -> impl Iterator<Item = u32> {
        self.weights.iter().copied()
    }
}

impl Route {
    /// Filters take over from `before` what must survive a reload.
    pub fn build(
        config: &model::Route,
        before: Option<&Route>,
        pools: &BTreeMap<String, Arc<PoolHandle>>,
        filters: &Table,
        listeners: &[Arc<ListenerMetrics>],
        metrics: &Arc<Metrics>,
    ) -> Result<Route, BuildError> {
        let before = before.map(|route| &route.chain);
        let chain = chain::build(&config.filters, before, filters, metrics)?;
        if let Some((place, name)) = chain.pools().find(|(_, name)| !pools.contains_key(*name)) {
            let path = config.filters.get(place).map_or("", |f| f.path.as_str());
            return Err(chain::error(path, &format!("there is no pool {name:?}")));
        }
        let action = action(config, pools)?;
        Ok(Route {
            metrics: route_metrics(&config.name, &action, &chain, listeners, metrics),
            name: config.name.as_str().into(),
            action,
            rewrite: config.rewrite.clone(),
            request_headers: config.request_headers.clone(),
            response_headers: config.response_headers.clone(),
            timeouts: config.timeouts.clone(),
            retry_attempts: config.retry_attempts,
            sheddable: config.criticality == model::Criticality::Sheddable,
            max_body_bytes: config.max_body_bytes,
            streaming: config.streaming,
            early_data: config.early_data,
            chain,
        })
    }

    /// The counters for a request that went to this pool, or to none.
    pub fn metrics_for(&self, pool: Option<&Arc<PoolHandle>>) -> Option<&RouteMetrics> {
        let name = pool.map_or("", |pool| pool.config.name.as_str());
        let found = self.metrics.iter().find(|(pool, _)| pool == name);
        found
            .or(self.metrics.first())
            .map(|(_, metrics)| &**metrics)
    }

    /// Pools whose series this route has.
    pub fn pool_names(&self) -> impl Iterator<Item = &str> {
        self.metrics.iter().map(|(pool, _)| pool.as_str())
    }
}

/// One set of counters for each pool that the route or its filters can choose, and one for answers without a pool.
fn route_metrics(
    name: &str,
    action: &Action,
    chain: &Chain,
    listeners: &[Arc<ListenerMetrics>],
    metrics: &Metrics,
) -> Vec<(String, Arc<RouteMetrics>)> {
    let mut pools: Vec<String> = match action {
        Action::Pool(pool) => vec![pool.config.name.clone()],
        Action::Split(split) => split.pools.iter().map(|p| p.config.name.clone()).collect(),
        Action::Redirect(_) | Action::Respond(_) => vec![String::new()],
    };
    pools.extend(chain.pools().map(|(_, pool)| pool.to_owned()));
    pools.sort();
    pools.dedup();
    let handle = |pool: String| {
        let handle = metrics.route(name, &pool, listeners);
        (pool, handle)
    };
    pools.into_iter().map(handle).collect()
}

fn action(
    config: &model::Route,
    pools: &BTreeMap<String, Arc<PoolHandle>>,
) -> Result<Action, BuildError> {
    let find = |name: &String| {
        let pool = pools.get(name).cloned();
        pool.ok_or_else(|| chain::error(&config.name, &format!("no pool {name:?}")))
    };
    Ok(match &config.action {
        model::Action::Pool(name) => Action::Pool(find(name)?),
        model::Action::Split(split) => {
            let names = split.choices.iter().map(|(name, _)| name);
            Action::Split(Split {
                key: split.key.clone(),
                choice: WeightedSplit::new(split.choices.iter().map(|(n, w)| (n.as_str(), *w))),
                weights: split.choices.iter().map(|(_, weight)| *weight).collect(),
                pools: names.map(find).collect::<Result<_, _>>()?,
            })
        }
        model::Action::Redirect(redirect) => Action::Redirect(redirect.clone()),
        model::Action::Respond(respond) => Action::Respond(respond.clone()),
    })
}
