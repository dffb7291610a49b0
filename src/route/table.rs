//! The route table: host first, then path, then the other conditions.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use tidegate_filters::path::PathError;

use super::conditions;
use super::head::{Head, Lazy};
use super::paths::{Entry, PathTable};
use super::regexes::Crowd;
use super::shadow;
use crate::config::model::{HostMatch, PathMatch, RouteMatch};

/// Longest name in DNS (RFC 1035 2.3.4), without the dot at its end. Longer ones have no host of their own.
const MAX_HOST: usize = 253;

/// All routes, each with a value of the caller's.
///
/// The order is that of the Gateway API: exact host, longest wildcard, no host; exact path, longest prefix (whole
/// segments before bytes at the same length), regex, no path; then a method, the most headers, query parameters and
/// cookies, client networks; then file order. When nothing of the most specific host takes a request, the next host
/// is asked.
#[derive(Debug)]
pub struct RouteTable<T> {
    routes: Vec<(String, T)>,
    exact: HashMap<Box<str>, PathTable>,
    /// By what follows the `*`: `.example.com`.
    wildcard: HashMap<Box<str>, PathTable>,
    /// Lengths that occur in `wildcard`, longest first.
    lengths: Vec<Reverse<usize>>,
    any: PathTable,
}

/// A path in the configuration that no request can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route {route}: {reason}")]
pub struct BuildError {
    /// Name of the route.
    pub route: String,
    #[source]
    /// What is wrong with its path.
    pub reason: PathError,
}

/// The route of a request.
#[derive(Debug)]
pub struct Match<'t, T> {
    /// Of the route, as given to `build`.
    pub name: &'t str,
    /// What the caller keeps for this route.
    pub value: &'t T,
    /// What of the normal path matched: the whole of an exact path, a prefix without the slash at its end; empty
    /// for a regex, for `/` and for routes without path.
    pub prefix: &'t str,
    /// A regex looked at the whole path.
    pub by_regex: bool,
}

impl<T> Match<'_, T> {
    /// What of the normal path the route's condition named: it goes to the backend as it was matched, what follows it as
    /// it came.
    pub fn named<'a>(&'a self, normal: &'a str) -> &'a str {
        if self.by_regex { normal } else { self.prefix }
    }
}

impl<T> RouteTable<T> {
    /// Takes name, matches and value of every route in file order. A route without matches takes every request.
    pub fn build<'a>(
        routes: impl IntoIterator<Item = (&'a str, &'a [RouteMatch], T)>,
    ) -> Result<Self, BuildError> {
        let mut table = Self {
            routes: Vec::new(),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            lengths: Vec::new(),
            any: PathTable::default(),
        };
        let always = [RouteMatch::default()];
        for (name, matches, value) in routes {
            let route = table.routes.len();
            table.routes.push((name.to_owned(), value));
            for wanted in if matches.is_empty() { &always } else { matches } {
                let entry = Entry {
                    route,
                    wanted: wanted.clone(),
                };
                let inserted = table.host_mut(wanted.host.as_ref()).insert(entry);
                inserted.map_err(|reason| BuildError {
                    route: name.to_owned(),
                    reason,
                })?;
            }
        }
        table.sort();
        Ok(table)
    }

    fn host_mut(&mut self, host: Option<&HostMatch>) -> &mut PathTable {
        match host {
            None => &mut self.any,
            Some(HostMatch::Exact(name)) => self.exact.entry(name.as_str().into()).or_default(),
            Some(HostMatch::Wildcard(suffix)) => {
                self.lengths.push(Reverse(suffix.len()));
                self.wildcard.entry(suffix.as_str().into()).or_default()
            }
        }
    }

    fn sort(&mut self) {
        self.lengths.sort_unstable();
        self.lengths.dedup();
        let hosts = self.exact.values_mut().chain(self.wildcard.values_mut());
        hosts.chain([&mut self.any]).for_each(PathTable::sort);
    }

    /// Names and values, in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.routes
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// The most specific route that takes this request.
    pub fn find(&self, head: &Head<'_>) -> Option<Match<'_, T>> {
        let lazy = Lazy::new(head);
        let host = lower(head.host);
        let mut tables = self.hosts(&host);
        let (entry, prefix) = tables.find_map(|paths| {
            paths.find(head.path.normal(), |entry| {
                conditions::hold(&entry.wanted, &lazy)
            })
        })?;
        let (name, value) = &self.routes[entry.route];
        Some(Match {
            name,
            value,
            prefix,
            by_regex: matches!(entry.wanted.path, Some(PathMatch::Regex(_))),
        })
    }

    /// The tables that may know this host (in lower case), most specific first.
    fn hosts<'t, 'h>(
        &'t self,
        host: &'h str,
    ) -> impl Iterator<Item = &'t PathTable> + use<'t, 'h, T> {
        let host = if host.len() <= MAX_HOST { host } else { "" };
        let suffixes = self.lengths.iter().filter_map(|&Reverse(length)| {
            let start = host.len().checked_sub(length).filter(|&start| start > 0)?;
            host.get(start..).filter(|suffix| suffix.starts_with('.'))
        });
        let wildcards = suffixes.filter_map(|suffix| self.wildcard.get(suffix));
        self.exact
            .get(host)
            .into_iter()
            .chain(wildcards)
            .chain([&self.any])
    }

    /// Groups of regexes that can't be told apart by a text that they ask for, so that requests are tried against each.
    pub fn crowded_regexes(&self) -> Vec<Crowd> {
        let hosts = self.exact.values().chain(self.wildcard.values());
        hosts
            .chain([&self.any])
            .flat_map(PathTable::crowds)
            .collect()
    }

    /// Routes that can never match, each with the name of one that takes its requests.
    pub fn shadowed(&self) -> Vec<(String, String)> {
        let hosts = self
            .exact
            .values()
            .chain(self.wildcard.values())
            .chain([&self.any]);
        let buckets = hosts.flat_map(PathTable::buckets);
        let name = |route: usize| self.routes[route].0.clone();
        shadow::shadowed(self.routes.len(), buckets)
            .into_iter()
            .map(|(hidden, by)| (name(hidden), name(by)))
            .collect()
    }
}

fn lower(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}
