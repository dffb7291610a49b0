//! The paths of one host: exact ones and prefixes in hash maps, so that a lookup costs one probe for each length of
//! prefix that stands in the table, however many prefixes have it.

use std::cmp::Reverse;
use std::collections::HashMap;

use tidegate_filters::path::{PathError, normalise};

use super::conditions;
use super::regexes::{Crowd, Regexes};
use crate::config::model::{PathMatch, RouteMatch};

/// One match of one route.
#[derive(Debug)]
pub(super) struct Entry {
    /// Place of the route in the file.
    pub(super) route: usize,
    pub(super) wanted: RouteMatch,
}

/// Matches with the same host and path, most specific first.
pub(super) type Bucket = Vec<Entry>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PrefixKind {
    Segment,
    Raw,
}

#[derive(Debug, Default)]
pub(super) struct PathTable {
    exact: HashMap<Box<str>, Bucket>,
    segment: HashMap<Box<str>, Bucket>,
    raw: HashMap<Box<str>, Bucket>,
    /// Lengths that occur, longest first, segments before raw ones.
    lengths: Vec<(Reverse<usize>, PrefixKind)>,
    regex: Regexes,
    any: Bucket,
}

impl PathTable {
    /// Files an entry under its path. The prefix `/` is the same as no path: both give way to a regex.
    pub(super) fn insert(&mut self, entry: Entry) -> Result<(), PathError> {
        let bucket = match &entry.wanted.path {
            None => &mut self.any,
            Some(PathMatch::Regex(_)) => &mut self.regex.entries,
            Some(PathMatch::Exact(path)) => self.exact.entry(normalise(path)?.into()).or_default(),
            Some(PathMatch::Prefix(path)) => match normalise(path)?.trim_end_matches('/') {
                "" => &mut self.any,
                prefix => {
                    self.lengths
                        .push((Reverse(prefix.len()), PrefixKind::Segment));
                    self.segment.entry(prefix.into()).or_default()
                }
            },
            Some(PathMatch::RawPrefix(path)) => match normalise(path)?.as_ref() {
                "/" => &mut self.any,
                prefix => {
                    self.lengths.push((Reverse(prefix.len()), PrefixKind::Raw));
                    self.raw.entry(prefix.into()).or_default()
                }
            },
        };
        bucket.push(entry);
        Ok(())
    }

    /// Puts everything in the order it is looked at.
    pub(super) fn sort(&mut self) {
        self.lengths.sort_unstable();
        self.lengths.dedup();
        self.each_bucket_mut()
            .for_each(|bucket| bucket.sort_by_key(|entry| conditions::rank(&entry.wanted)));
        self.regex.prepare();
    }

    /// The first entry that takes this normal path and that `accept` agrees to, with the prefix that matched.
    pub(super) fn find(
        &self,
        path: &str,
        accept: impl Fn(&Entry) -> bool,
    ) -> Option<(&Entry, &str)> {
        let first = |bucket: &'_ Bucket| bucket.iter().position(&accept);
        if let Some((prefix, bucket)) = self.exact.get_key_value(path)
            && let Some(at) = first(bucket)
        {
            return Some((&bucket[at], prefix));
        }
        for &(Reverse(length), kind) in &self.lengths {
            if let Some((prefix, bucket)) = self.prefix(path, length, kind)
                && let Some(at) = first(bucket)
            {
                return Some((&bucket[at], prefix));
            }
        }
        let rest = self.regex.find(path, &accept);
        let rest = rest.or_else(|| self.any.iter().find(|entry| accept(entry)));
        rest.map(|entry| (entry, ""))
    }

    /// Regexes that many requests are tried against; see [`Regexes::crowds`].
    pub(super) fn crowds(&self) -> impl Iterator<Item = Crowd> {
        self.regex.crowds()
    }

    fn prefix(&self, path: &str, length: usize, kind: PrefixKind) -> Option<(&str, &Bucket)> {
        let whole_segments = || matches!(path.as_bytes().get(length), None | Some(b'/'));
        let start = path.get(..length)?;
        let found = match kind {
            PrefixKind::Segment if whole_segments() => self.segment.get_key_value(start),
            PrefixKind::Segment => None,
            PrefixKind::Raw => self.raw.get_key_value(start),
        };
        found.map(|(prefix, bucket)| (prefix.as_ref(), bucket))
    }

    /// Everything with the same host and the same path, together.
    pub(super) fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        let maps = [&self.exact, &self.segment, &self.raw];
        maps.into_iter()
            .flat_map(HashMap::values)
            .chain([&self.regex.entries, &self.any])
    }

    fn each_bucket_mut(&mut self) -> impl Iterator<Item = &mut Bucket> {
        let maps = [&mut self.exact, &mut self.segment, &mut self.raw];
        maps.into_iter()
            .flat_map(HashMap::values_mut)
            .chain([&mut self.regex.entries, &mut self.any])
    }
}
