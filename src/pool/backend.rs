//! One backend as it lives across reloads: counters, measurements, health. Shared by every snapshot that names it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::hash;
use super::health::{Cause, Health, State};
use super::latency::PeakEwma;
use super::load::Load;
use super::waiting::Waiting;
use super::window::Windows;
use crate::config::model::Address;

/// Keyed by (pool, id). Weight, priority and zone may change on a reload and live in the pool instead.
#[derive(Debug)]
pub struct Backend {
    pub(super) hot: Hot,
    id: Box<str>,
    key: u64,
    address: Address,
    origin: Instant,
    /// Of the whole pool.
    pub(super) load: Arc<Load>,
    pub(super) windows: Windows,
    pub(super) waiting: Waiting,
    pub(super) refused_at: [AtomicU64; 3],
    health: Mutex<Health>,
}

/// What every pick and every record touches, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Hot {
    pub in_flight: AtomicU32,
    /// Failures in a row.
    pub run: AtomicU32,
    pub trials: AtomicU32,
    /// No ejection is tried before this (µs since the origin): the last one was blocked or only observed. Refused
    /// connections have a time of their own (the second), as the cap treats them differently.
    pub quiet_until: [AtomicU64; 2],
    pub latency: PeakEwma,
    pub good: AtomicU64,
    pub bad: AtomicU64,
    pub ejections: AtomicU32,
    pub state: AtomicU8,
    /// Out of rotation by its state, and yet given traffic because too many are out.
    pub serving: AtomicBool,
    pub next_refused: AtomicU32,
}

impl Backend {
    pub(super) fn new(
        id: &str,
        address: Address,
        load: Arc<Load>,
        health: Health,
        now: Instant,
    ) -> Self {
        let state = AtomicU8::new(health.state() as u8);
        Self {
            hot: Hot {
                state,
                ..Hot::default()
            },
            id: id.into(),
            key: Backend::key_of(id),
            address,
            origin: now,
            load,
            windows: Windows::default(),
            waiting: Waiting::default(),
            refused_at: Default::default(),
            health: Mutex::new(health),
        }
    }

    /// [`Backend::key`] of the backend with this id.
    pub fn key_of(id: &str) -> u64 {
        hash::hash(id.as_bytes())
    }

    /// Stable over reloads; unique in its pool.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The id's hash: names this backend in `Pick::exclude`.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Requests (streams, upgraded connections too) given to it and not yet ended.
    pub fn in_flight(&self) -> u32 {
        self.hot.in_flight.load(Relaxed)
    }

    /// As of the last transition, without a lock.
    pub fn state(&self) -> State {
        State::from_u8(self.hot.state.load(Relaxed))
    }

    /// Attempts that ended well and ended badly since it was first known.
    pub fn totals(&self) -> (u64, u64) {
        (self.hot.good.load(Relaxed), self.hot.bad.load(Relaxed))
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the origin; wraps after 49 days, which costs one window of measurements.
    pub(super) fn millis(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.origin).as_millis() as u32
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_micros() as u64
    }

    /// Notes a refused connection; true when it is the third within a second.
    pub(super) fn refused(&self, now: Instant) -> bool {
        let micros = self.micros(now) + 1;
        let slot = self.hot.next_refused.fetch_add(1, Relaxed) as usize % self.refused_at.len();
        if let Some(slot) = self.refused_at.get(slot) {
            slot.store(micros, Relaxed);
        }
        let recent = |at: &AtomicU64| {
            let at = at.load(Relaxed);
            at > 0 && micros.saturating_sub(at) <= 1_000_000
        };
        self.refused_at.iter().all(recent)
    }

    /// Forgets measurements, so that a backend that comes back is not judged by what it was.
    pub(super) fn forget(&self) {
        self.windows.reset();
        self.hot.latency.reset();
        self.hot.run.store(0, Relaxed);
        self.refused_at.iter().for_each(|at| at.store(0, Relaxed));
    }

    /// Whether an ejection for this cause is not to be tried yet.
    pub(super) fn quiet(&self, cause: Cause, now: Instant) -> bool {
        self.quiet_until(cause).load(Relaxed) > self.micros(now)
    }

    /// Keeps ejections for this cause from being tried for a time.
    pub(super) fn hush(&self, cause: Cause, time: Duration, now: Instant) {
        let until = self.micros(now).saturating_add(time.as_micros() as u64);
        self.quiet_until(cause).store(until, Relaxed);
    }

    fn quiet_until(&self, cause: Cause) -> &AtomicU64 {
        let [others, refused] = &self.hot.quiet_until;
        if cause == Cause::ConnectRefused {
            refused
        } else {
            others
        }
    }

    /// Counts one more in flight unless `cap` are already.
    pub(super) fn enter(&self, cap: u32) -> bool {
        if self.hot.in_flight.fetch_add(1, Relaxed) < cap {
            return true;
        }
        self.hot.in_flight.fetch_sub(1, Relaxed);
        false
    }
}

/// One request on one backend, counted from selection until this is dropped, whatever ends it.
#[derive(Debug)]
pub struct InFlight {
    backend: Arc<Backend>,
    pub(super) started: Instant,
    second: u32,
    waiting: bool,
    pub(super) trial: bool,
    /// This request had tried this backend before.
    pub(super) repeated: bool,
    /// The run of failures that this one's good head ended; taken up again if what follows breaks off.
    pub(super) run_before: AtomicU32,
}

impl InFlight {
    /// Takes over counts that `Load::enter` and `Backend::enter` made.
    pub(super) fn new(backend: Arc<Backend>, now: Instant) -> Self {
        let second = backend.millis(now) / 1_000;
        backend.waiting.begin(second);
        Self {
            backend,
            started: now,
            second,
            waiting: true,
            trial: false,
            repeated: false,
            run_before: AtomicU32::new(0),
        }
    }

    /// The one it counts for.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Since selection.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// The client has not sent its whole request: until [`InFlight::resume`], its age says nothing about the backend.
    pub fn hold(&mut self) {
        self.answered();
    }

    /// The backend has the whole request, and no response head came yet: from now on it is waited for.
    pub fn resume(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.waiting, true) {
            self.second = self.backend.millis(now) / 1_000;
            self.backend.waiting.begin(self.second);
        }
    }

    /// The response head is here: from now on its age says nothing about the backend (downloads, tunnels).
    pub fn answered(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.backend.waiting.end(self.second);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.answered();
        if self.trial {
            self.backend.hot.trials.fetch_sub(1, Relaxed);
        }
        self.backend.hot.in_flight.fetch_sub(1, Relaxed);
        self.backend.load.leave();
    }
}
