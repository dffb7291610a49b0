//! What became of an attempt: counted with a few relaxed atomics; the slow path is taken only when it means something.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::Pool;
use super::backend::{Backend, InFlight};
use super::health::{Cause, Drain, Input, State, Suspicion, Traffic};
use crate::config::model::OutlierMode;
use crate::outcome::Outcome;

/// What a failure costs in `peak_ewma`, µs: failing fast must not look like being fast.
const PENALTY_MICROS: f32 = 1_000_000.0;

/// The facts of one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// How it ended.
    pub outcome: Outcome,
    /// From selection to the response head, or to the timeout. `None` when that says nothing about the backend.
    pub latency: Option<Duration>,
    /// The response asked to drain this backend (`X-Tidegate-Drain`).
    pub drain: bool,
}

enum Sign {
    Good,
    Bad { refused: bool },
    None,
}

impl Pool {
    /// To be called when the outcome of an attempt is known, and once more when a good head turns out to have been
    /// followed by a failure: a body that breaks off, a gRPC status in the trailers.
    pub fn record(&self, in_flight: &InFlight, attempt: &Attempt, now: Instant) {
        let backend = in_flight.backend();
        match self.sign(attempt.outcome) {
            Sign::Good => self.record_good(in_flight, attempt, now),
            Sign::Bad { refused } => self.record_bad(in_flight, attempt, refused, now),
            Sign::None => {}
        }
        if attempt.drain && backend.state() != State::Draining {
            self.steer(now, |work| {
                work.feed(backend.key(), Input::Drain(Drain::Asked, true), || {
                    "X-Tidegate-Drain".into()
                })
            });
        }
    }

    /// Whether a response with this status counts against the backend.
    pub fn is_failure(&self, status: u16) -> bool {
        let failures = &self.settings.outlier_detection.failure_status;
        failures
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&status))
    }

    fn sign(&self, outcome: Outcome) -> Sign {
        match outcome {
            // "Loop Detected" is about the request. It says neither that the backend is ill nor that it is well.
            Outcome::Status(508) => Sign::None,
            Outcome::Status(status) if self.is_failure(status) => Sign::Bad { refused: false },
            Outcome::Status(_) => Sign::Good,
            Outcome::ConnectError { refused } => Sign::Bad { refused },
            Outcome::Timeout | Outcome::Reset | Outcome::Garbage => Sign::Bad { refused: false },
            Outcome::Aborted => Sign::None,
        }
    }

    fn record_good(&self, in_flight: &InFlight, attempt: &Attempt, now: Instant) {
        let (backend, at) = (in_flight.backend(), in_flight.backend().millis(now));
        let micros = attempt.latency.map(|latency| latency.as_micros() as u64);
        backend.hot.good.fetch_add(1, Relaxed);
        backend.windows.count(at, true, micros);
        if let Some(micros) = micros {
            backend.hot.latency.observe(micros as f32, at);
        }
        if backend.hot.run.load(Relaxed) != 0 {
            let run = backend.hot.run.swap(0, Relaxed);
            in_flight.run_before.store(run, Relaxed);
        }
        if backend.state() == State::HalfOpen {
            self.record_trial(in_flight, true, now);
        }
    }

    fn record_bad(&self, in_flight: &InFlight, attempt: &Attempt, refused: bool, now: Instant) {
        let (backend, at) = (in_flight.backend(), in_flight.backend().millis(now));
        let waited = attempt.latency.map(|latency| latency.as_micros() as u64);
        // Only a timeout's wait is a latency; a quick failure would look fast.
        let sample = waited.filter(|_| attempt.outcome == Outcome::Timeout);
        backend.hot.bad.fetch_add(1, Relaxed);
        backend.windows.count(at, false, sample);
        // Shunned after one refused connection, it would not get the third that ejects it, and nobody would be told.
        let ejects_soon = refused
            && self.settings.outlier_detection.mode == OutlierMode::Enforce
            && !backend.quiet(Cause::ConnectRefused, now);
        if !ejects_soon {
            let micros = waited.map_or(0.0, |micros| micros as f32);
            backend.hot.latency.observe(micros.max(PENALTY_MICROS), at);
        }
        // The good head of this very attempt must not have ended the run, or broken bodies would never eject.
        let more = in_flight.run_before.swap(0, Relaxed).saturating_add(1);
        let run = backend
            .hot
            .run
            .fetch_add(more, Relaxed)
            .saturating_add(more);
        let third_refusal = refused && !in_flight.repeated && backend.refused(now);
        match backend.state() {
            State::HalfOpen => self.record_trial(in_flight, false, now),
            State::Healthy | State::Suspect => {
                self.judge_run(backend, run, refused, third_refusal, now)
            }
            State::Draining if matches!(attempt.outcome, Outcome::ConnectError { .. }) => {
                self.let_go_early(backend, now);
            }
            _ => {}
        }
    }

    /// A member that leaves and is not there any more has nothing left to drain: its sticky sessions go elsewhere.
    fn let_go_early(&self, backend: &Backend, now: Instant) {
        self.steer(now, |work| {
            if let Some(rest) = work.members.without_leaving(backend.key()) {
                work.replace_members(rest);
            }
        });
    }

    fn record_trial(&self, in_flight: &InFlight, good: bool, now: Instant) {
        let backend = in_flight.backend();
        self.steer(now, |work| {
            let began = |traffic: Traffic| matches!(traffic, Traffic::HalfOpen { since, .. } if in_flight.started >= since);
            if began(backend.health().traffic) {
                work.feed(backend.key(), Input::Trial { good }, || "a real request of the trial".into());
            }
        });
    }

    fn judge_run(
        &self,
        backend: &Arc<Backend>,
        run: u32,
        refused: bool,
        third_refusal: bool,
        now: Instant,
    ) {
        let rules = &self.settings.outlier_detection;
        let cause = if refused {
            Cause::ConnectRefused
        } else {
            Cause::ConsecutiveFailures
        };
        if rules.mode == OutlierMode::Off || backend.quiet(cause, now) {
            return;
        }
        if third_refusal {
            self.steer(now, |work| {
                work.eject(backend, cause, || "3 connections refused within 1 s".into())
            });
        } else if let Some(limit) = rules.consecutive_failures.filter(|limit| run >= *limit) {
            self.steer(now, |work| {
                work.eject(backend, cause, || {
                    format!("{run} failures in a row, limit {limit}")
                })
            });
        } else if run >= 2 && backend.state() == State::Healthy {
            let doubt = Input::Suspect(Suspicion::Failures, true);
            self.steer(now, |work| {
                work.feed(backend.key(), doubt, || format!("{run} failures in a row"))
            });
        }
    }
}
