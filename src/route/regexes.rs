//! The paths of one host that are regexes, tried together: one pass over the path tells which of them match.

use regex::RegexSet;

use super::paths::{Bucket, Entry};
use crate::config::model::PathMatch;

#[derive(Debug, Default)]
pub(super) struct Regexes {
    pub(super) entries: Bucket,
    /// In the order of `entries`. `None` before [`Regexes::prepare`], or when the set would grow too large: then
    /// they are tried one by one.
    set: Option<RegexSet>,
}

impl Regexes {
    /// Compiles the set; the order of the entries is final.
    pub(super) fn prepare(&mut self) {
        self.set = RegexSet::new(self.entries.iter().map(pattern)).ok();
    }

    /// The first entry whose regex matches and that `accept` agrees to. Allocates only when one matches.
    pub(super) fn find(&self, path: &str, accept: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        let accepted = |entry: &&Entry| accept(entry);
        match &self.set {
            _ if self.entries.is_empty() => None,
            Some(set) if !set.is_match(path) => None,
            Some(set) => set
                .matches(path)
                .iter()
                .filter_map(|at| self.entries.get(at))
                .find(accepted),
            None => self
                .entries
                .iter()
                .filter(|entry| matches(entry, path))
                .find(accepted),
        }
    }
}

fn pattern(entry: &Entry) -> &str {
    match &entry.wanted.path {
        Some(PathMatch::Regex(regex)) => regex.as_str(),
        _ => "",
    }
}

fn matches(entry: &Entry, path: &str) -> bool {
    matches!(&entry.wanted.path, Some(PathMatch::Regex(regex)) if regex.is_match(path))
}
