//! The paths of one host that are regexes.
//!
//! Trying each would cost a request with 10,000 of them milliseconds, and one automaton for all of them grows without bound.
//! But most patterns hold a text that few others have, as `/orders/` in `/[a-z]+/orders/[0-9]+`. One search for these texts
//! tells which patterns a path may match; only those are tried. Patterns without a text of their own are tried together in
//! one set while they are few, else one by one, which `tidegate check` warns of.

use std::collections::HashMap;
use std::fmt;

use aho_corasick::AhoCorasick;
use regex::RegexSet;
use smallvec::SmallVec;

use super::literals;
use super::paths::{Bucket, Entry};
use crate::config::model::PathMatch;

/// Up to so many patterns without a text of their own are tried as a set; the automaton of more would not stay in its cache.
const MAX_SET: usize = 256;

/// From so many patterns on that are tried for one path, `tidegate check` warns.
const CROWD: usize = 200;

/// What a match costs, for that warning: 0.1 to 0.7 µs were measured, by pattern.
const MATCHES_PER_MICROSECOND: usize = 2;

/// Places in the bucket of entries that a path may match, or numbers of texts; without an allocation up to so many.
type Candidates = SmallVec<[usize; 16]>;

#[derive(Debug, Default)]
pub(super) struct Regexes {
    pub(super) entries: Bucket,
    /// Finds the texts of `by_text` in a path. `None` where there are none.
    texts: Option<AhoCorasick>,
    /// By number of the text: it, and the places of the entries that can't match without it.
    by_text: Vec<(Vec<u8>, Vec<usize>)>,
    /// Places of the entries without a text.
    others: Vec<usize>,
    /// In the order of `others`. `None` when they are too many for a set.
    set: Option<RegexSet>,
}

/// Patterns of one host that a request may be tried against one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crowd {
    /// How many.
    pub patterns: usize,
    /// The text that paths hold which are tried; `None` for all paths.
    pub text: Option<String>,
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Crowd { patterns, text } = self;
        match text {
            Some(text) => write!(f, "requests with {text:?} in their path are")?,
            None => write!(f, "all requests of a host are")?,
        }
        let cost = patterns / MATCHES_PER_MICROSECOND;
        write!(
            f,
            " tried against {patterns} path_regex one by one, about {cost} \u{b5}s each: give every pattern a text of its own, or use path_prefix"
        )
    }
}

impl Regexes {
    /// Prepares the search; the order of the entries is final.
    pub(super) fn prepare(&mut self) {
        let required: Vec<_> = self
            .entries
            .iter()
            .map(|entry| literals::required(pattern(entry)))
            .collect();
        let mut by_text: HashMap<&[u8], Vec<usize>> = HashMap::new();
        let mut others = Vec::new();
        for (at, text) in rarest(&required).into_iter().enumerate() {
            match text {
                Some(text) => by_text.entry(text).or_default().push(at),
                None => others.push(at),
            }
        }
        let mut by_text: Vec<_> = by_text
            .into_iter()
            .map(|(text, places)| (text.to_vec(), places))
            .collect();
        let texts = AhoCorasick::new(by_text.iter().map(|(text, _)| text)).ok();
        if texts.is_none() {
            by_text.clear();
            others = (0..self.entries.len()).collect();
        }
        self.set = (others.len() <= MAX_SET)
            .then(|| RegexSet::new(others.iter().map(|&at| pattern(&self.entries[at]))).ok())
            .flatten();
        self.texts = texts.filter(|_| !by_text.is_empty());
        self.by_text = by_text;
        self.others = others;
    }

    /// The first entry whose regex matches and that `accept` agrees to. Allocates only when several may match.
    pub(super) fn find(&self, path: &str, accept: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        if self.entries.is_empty() {
            return None;
        }
        let candidates = self.candidates(path).into_iter();
        let mut candidates = candidates.filter_map(|at| self.entries.get(at));
        candidates.find(|entry| matches(entry, path) && accept(entry))
    }

    /// In the order of the entries.
    fn candidates(&self, path: &str) -> Candidates {
        let mut found = Candidates::new();
        for text in self.texts_in(path) {
            if let Some((_, places)) = self.by_text.get(text) {
                found.extend_from_slice(places);
            }
        }
        match &self.set {
            _ if self.others.is_empty() => {}
            Some(set) if !set.is_match(path) => {}
            Some(set) => found.extend(set.matches(path).iter().map(|at| self.others[at])),
            None => found.extend_from_slice(&self.others),
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Numbers of the texts that stand in a path, each once, however often it stands there.
    fn texts_in(&self, path: &str) -> Candidates {
        let Some(texts) = &self.texts else {
            return Candidates::new();
        };
        let all = texts.find_overlapping_iter(path);
        let mut found: Candidates = all.map(|text| text.pattern().as_usize()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Groups of patterns that are tried one by one and are many.
    pub(super) fn crowds(&self) -> impl Iterator<Item = Crowd> {
        let others = self.set.is_none().then_some((None, self.others.len()));
        let by_text = self.by_text.iter().map(|(text, places)| {
            let text = String::from_utf8_lossy(text).into_owned();
            (Some(text), places.len())
        });
        others
            .into_iter()
            .chain(by_text)
            .filter(|(_, patterns)| *patterns >= CROWD)
            .map(|(text, patterns)| Crowd { patterns, text })
    }
}

/// Of each pattern's texts the one that the fewest patterns have, of those the longest.
fn rarest(required: &[Vec<Vec<u8>>]) -> Vec<Option<&[u8]>> {
    let mut uses: HashMap<&[u8], usize> = HashMap::new();
    for text in required.iter().flatten() {
        *uses.entry(text).or_default() += 1;
    }
    let rank = |text: &&[u8]| (uses.get(text).copied(), std::cmp::Reverse(text.len()));
    let best = required
        .iter()
        .map(|texts| texts.iter().map(Vec::as_slice).min_by_key(&rank));
    best.collect()
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
