//! Filters of routes and listeners: each one is built once, to hear what it says of its config and of itself.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_filters::Hooks;
use tidegate_filters::filter::BuildError;

use super::Checker;
use crate::config::catalog::FilterFacts;
use crate::config::model;
use crate::config::path::Path;
use crate::config::raw;

impl Checker<'_> {
    /// The pools that filters choose must exist.
    pub(super) fn route_filters(
        &mut self,
        raw: Vec<raw::FilterUse>,
        pools: &BTreeSet<String>,
        path: &Path<'_>,
    ) -> Vec<model::FilterUse> {
        self.filters(raw, path, |checker, facts, path| {
            if facts.hooks == Hooks::CONNECTION {
                let message = "sees connections only; list it under a listener";
                checker.error(path, message);
            }
            for pool in &facts.pools {
                checker.known("pool", pool, pools, &path.key("pool"));
            }
        })
    }

    /// Only filters that have a hook for connections do anything there.
    pub(super) fn listener_filters(
        &mut self,
        raw: Vec<raw::FilterUse>,
        path: &Path<'_>,
    ) -> Vec<model::FilterUse> {
        self.filters(raw, path, |checker, facts, path| {
            if !facts.hooks.contains(Hooks::CONNECTION) {
                let message = "sees requests, not connections; list it under a route";
                checker.error(path, message);
            }
        })
    }

    fn filters(
        &mut self,
        raw: Vec<raw::FilterUse>,
        path: &Path<'_>,
        check: impl Fn(&mut Self, &FilterFacts, &Path<'_>),
    ) -> Vec<model::FilterUse> {
        let mut checked = Vec::with_capacity(raw.len());
        for (i, filter) in raw.into_iter().enumerate() {
            let Some((name, config)) = filter.0.into_iter().next() else {
                continue;
            };
            let path = path.index(i);
            let path = path.key(&name);
            let mut pools = Vec::new();
            match self.filters.find(&name).map(|entry| (entry.check)(&config)) {
                Some(Ok(facts)) => {
                    check(self, &facts, &path);
                    pools = facts.pools;
                }
                Some(Err(error)) => {
                    // Built with a stand-in in it, the filter may say anything.
                    if !self.in_doubt(&path) {
                        self.refused_by_filter(&error, &error.path, &path);
                    }
                    // The pool that it would have chosen can be looked up all the same.
                    if let Some(pool) = config.get("pool").and_then(Value::as_str) {
                        pools.push(pool.to_owned());
                        let facts = FilterFacts {
                            hooks: Hooks::POOL,
                            pools: pools.clone(),
                        };
                        check(self, &facts, &path);
                    }
                }
                None => {}
            }
            checked.push(model::FilterUse {
                path: path.to_string(),
                name: name.clone(),
                config,
                pools,
            });
        }
        checked
    }

    /// Walks down the filter's own path, `keys[0].hash`, so that the problem is shown where it stands.
    fn refused_by_filter(&mut self, error: &BuildError, rest: &str, path: &Path<'_>) {
        let rest = rest.trim_start_matches('.');
        if let Some((index, rest)) = rest.strip_prefix('[').and_then(|r| r.split_once(']'))
            && let Ok(index) = index.parse()
        {
            return self.refused_by_filter(error, rest, &path.index(index));
        }
        if rest.is_empty() {
            return self.error(path, error.message.clone());
        }
        // At least one character, so that this ends whatever a filter calls its key.
        let end = rest.char_indices().skip(1).find(|(_, c)| ".[".contains(*c));
        let (key, rest) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        self.refused_by_filter(error, rest, &path.key(key));
    }
}
