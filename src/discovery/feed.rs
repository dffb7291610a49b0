//! One source: its last good answer, and what came since.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::model::{Backend, Source};

/// A good answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The whole set.
    pub members: Vec<Backend>,
    /// For how long it is good, as the source says.
    pub ttl: Duration,
    /// Addresses in it that nobody can listen at.
    pub unusable: usize,
}

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// For people.
    pub detail: String,
}

impl Failure {
    /// The server says that there is nothing.
    pub fn denied(kind: FailureKind) -> Failure {
        let detail = match kind {
            FailureKind::NoSuchName => "there is no such name",
            _ => "the name has no address",
        };
        Failure {
            kind,
            detail: detail.to_owned(),
        }
    }
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No answer in time.
    Timeout,
    /// The server answered that it can't (SERVFAIL, REFUSED and the like).
    ServerFailure,
    /// NXDOMAIN.
    NoSuchName,
    /// The name has no records of the kind.
    NoRecords,
    /// The server, or the file, can't be reached.
    Unreachable,
    /// What came can't be understood.
    Invalid,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [FailureKind; 6] = [
        Self::Timeout,
        Self::ServerFailure,
        Self::NoSuchName,
        Self::NoRecords,
        Self::Unreachable,
        Self::Invalid,
    ];

    /// An answer of somebody who should know: with `scale_to_zero` it empties.
    pub fn is_denial(self) -> bool {
        matches!(self, Self::NoSuchName | Self::NoRecords)
    }
}

/// What taking an answer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// As before.
    Same,
    /// Other members.
    Changed,
    /// There was no good answer for longer than `stale`: the members are gone.
    Expired,
}

/// One source of one pool.
#[derive(Debug)]
pub struct Feed {
    source: Source,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    members: Vec<Backend>,
    answers: u64,
    answered: Option<Instant>,
    ttl: Duration,
    failing: Option<(Failure, Instant)>,
    failures: [u64; FailureKind::ALL.len()],
    unusable: usize,
    left_out: usize,
    changes: u64,
}

/// A source in `/status`.
#[derive(Debug, Clone, Serialize)]
pub struct FeedStatus {
    source: String,
    /// `waiting` for the first answer, `fresh`, `stale` (kept from an earlier answer) or `expired`.
    state: &'static str,
    members: usize,
    /// Since the last good answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<f64>,
    /// As the last good answer said.
    ttl_seconds: f64,
    /// Answers with other members than the one before.
    changes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FeedFailure>,
    /// Addresses of the last good answer that nobody can listen at.
    unusable: usize,
    /// Members of it beyond `max_backends`.
    left_out: usize,
}

#[derive(Debug, Clone, Serialize)]
struct FeedFailure {
    kind: FailureKind,
    detail: String,
    /// Since the first one after the last good answer.
    seconds: f64,
}

impl Feed {
    /// That has not answered yet.
    pub fn new(source: &Source) -> Feed {
        Feed {
            source: source.clone(),
            known: Mutex::default(),
        }
    }

    /// What it is asked for.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Of the last good answer.
    pub fn members(&self) -> Vec<Backend> {
        self.known().members.clone()
    }

    /// Good answers so far.
    pub fn answers(&self) -> u64 {
        self.known().answers
    }

    /// It gave a good answer once.
    pub fn has_answered(&self) -> bool {
        self.known().answers > 0
    }

    /// Addresses that the last good answer had and nobody can listen at, and members of it beyond `max_backends`.
    pub fn refused(&self) -> (usize, usize) {
        let known = self.known();
        (known.unusable, known.left_out)
    }

    /// Takes a good answer, at most `most` members of it.
    pub fn take(&self, answer: Answer, most: usize, now: Instant) -> Taken {
        let mut known = self.known();
        let mut members = answer.members;
        known.left_out = members.len().saturating_sub(most);
        members.truncate(most);
        known.answers += 1;
        known.answered = Some(now);
        known.ttl = answer.ttl;
        known.failing = None;
        known.unusable = answer.unusable;
        if known.members == members {
            return Taken::Same;
        }
        known.members = members;
        known.changes += 1;
        Taken::Changed
    }

    /// Notes a failure; the members stay until the last good answer is older than `stale`.
    pub fn fail(&self, failure: Failure, stale: Duration, now: Instant) -> Taken {
        let mut known = self.known();
        if let Some(count) = known.failures.get_mut(failure.kind as usize) {
            *count += 1;
        }
        let since = known.failing.take().map_or(now, |(_, since)| since);
        known.failing = Some((failure, since));
        let age = known
            .answered
            .map(|answered| now.saturating_duration_since(answered));
        if age.is_some_and(|age| age >= stale) && !known.members.is_empty() {
            known.members.clear();
            known.changes += 1;
            return Taken::Expired;
        }
        Taken::Same
    }

    /// It has failed since its last good answer.
    pub fn is_failing(&self) -> bool {
        self.known().failing.is_some()
    }

    /// Failures of this kind so far.
    pub fn failures_of(&self, kind: FailureKind) -> u64 {
        let failures = self.known().failures;
        failures.get(kind as usize).copied().unwrap_or(0)
    }

    /// Since the last good answer.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let answered = self.known().answered?;
        Some(now.saturating_duration_since(answered))
    }

    /// For `/status`.
    pub fn status(&self, now: Instant) -> FeedStatus {
        let known = self.known();
        let since = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
        let state = match (&known.answered, &known.failing) {
            (None, _) => "waiting",
            (Some(_), None) => "fresh",
            (Some(_), Some(_)) if known.members.is_empty() => "expired",
            (Some(_), Some(_)) => "stale",
        };
        FeedStatus {
            source: self.source.to_string(),
            state,
            members: known.members.len(),
            age_seconds: known.answered.map(since),
            ttl_seconds: known.ttl.as_secs_f64(),
            changes: known.changes,
            failure: known.failing.as_ref().map(|(failure, at)| FeedFailure {
                kind: failure.kind,
                detail: failure.detail.clone(),
                seconds: since(*at),
            }),
            unusable: known.unusable,
            left_out: known.left_out,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
