//! What time alone brings about, looked at about once a second: ejections that end, outliers, ramps.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::Pool;
use super::backend::Backend;
use super::health::{Cause, Input, State, Suspicion};
use super::outlier::{self, ENOUGH, Slowness, WINDOWS_WITH_EVIDENCE};
use super::steer::Work;
use super::window::{WINDOW_MS, WINDOWS};
use crate::config::model::OutlierMode;

/// So many requests that wait far too long are evidence however few they are.
const STUCK: u32 = 3;

impl Pool {
    /// To be called about once a second; slow starts and failback go in steps of it.
    pub fn tick(&self, now: Instant) {
        self.steer(now, |work| {
            work.let_go();
            let members = Arc::clone(&work.members);
            for member in members.list() {
                work.pass_time(&member.backend);
            }
            if self.settings.outlier_detection.mode != OutlierMode::Off {
                work.judge_errors();
                work.judge_latency();
            }
        });
    }
}

impl Work<'_> {
    fn pass_time(&mut self, backend: &Arc<Backend>) {
        let (at, key) = (backend.millis(self.now), backend.key());
        match backend.waiting.ages(at / 1_000).next() {
            Some((age, _))
                if backend
                    .hot
                    .latency
                    .micros()
                    .is_none_or(|value| value < age as f32 * 1e6) =>
            {
                backend.hot.latency.observe(age as f32 * 1e6, at);
            }
            _ => backend.hot.latency.fade(at),
        }
        self.feed(key, Input::Time, || "the time is over".into());
        if backend.hot.run.load(Relaxed) == 0 && backend.health().is(Suspicion::Failures) {
            self.feed(key, Input::Suspect(Suspicion::Failures, false), || {
                "requests succeed again".into()
            });
        }
    }

    fn judge_errors(&mut self) {
        if !self.pool.settings.outlier_detection.error_rate {
            return;
        }
        let pool: Vec<_> = self
            .backends()
            .map(|one| one.windows.counts(one.millis(self.now), ENOUGH))
            .collect();
        let members: Vec<Arc<Backend>> = self.backends().cloned().collect();
        for (i, backend) in members.iter().enumerate() {
            let Some(found) = outlier::error_rate(&pool, i) else {
                continue;
            };
            let (own, median) = (found.own * 100.0, found.median * 100.0);
            let z = found.z;
            let evidence =
                || format!("{own:.1} % errors, median of the others {median:.1} %, z {z:.1}");
            self.eject(backend, Cause::ErrorRate, evidence);
        }
    }

    fn judge_latency(&mut self) {
        let Some(factor) = self.pool.settings.outlier_detection.latency_factor else {
            return;
        };
        let recent: Vec<_> = self
            .backends()
            .map(|one| self.quantile(one, 2, u64::from(ENOUGH)))
            .collect();
        let minute: Vec<_> = self
            .backends()
            .map(|one| self.quantile(one, WINDOWS, 1))
            .collect();
        let members: Vec<Arc<Backend>> = self.backends().cloned().collect();
        for (i, backend) in members.iter().enumerate() {
            self.note_stuck(backend, &minute, factor);
            let slow = Slowness::of(&recent, i)
                .or_else(|| Slowness::of(&minute, i).filter(|_| self.hangs(backend)));
            self.judge_slow(backend, slow, Slowness::of(&minute, i), factor);
        }
    }

    fn judge_slow(
        &mut self,
        backend: &Arc<Backend>,
        recent: Option<Slowness>,
        minute: Option<Slowness>,
        factor: f64,
    ) {
        let settings = &self.pool.settings.outlier_detection;
        let floor = settings.latency_floor.as_micros() as f64;
        let observe = settings.mode == OutlierMode::Observe;
        let already = backend.health().slow_since.is_some();
        let Some(recent) = recent.filter(|slow| slow.exceeds(factor, floor, already)) else {
            backend.health().slow_since = None;
            return self.feed(
                backend.key(),
                Input::Suspect(Suspicion::Slow, false),
                || "as fast as the pool".into(),
            );
        };
        if !backend.health().state().in_rotation() {
            return;
        }
        let since = *backend.health().slow_since.get_or_insert(self.now);
        let evidence = || {
            format!(
                "p99 {:.0} ms, pool median {:.0} ms",
                recent.own / 1e3,
                recent.median / 1e3
            )
        };
        if !observe {
            self.feed(
                backend.key(),
                Input::Suspect(Suspicion::Slow, true),
                evidence,
            );
        }
        let window = settings.latency_window;
        let needed = (window.as_millis() as u32 / WINDOW_MS).clamp(1, WINDOWS_WITH_EVIDENCE);
        let proven = backend
            .windows
            .with_evidence(backend.millis(self.now), ENOUGH)
            >= needed;
        let held = self.now.saturating_duration_since(since) >= window;
        if held && proven && minute.is_some_and(|slow| slow.exceeds(factor, floor, true)) {
            self.eject(backend, Cause::Latency, || {
                format!("{} for {} s", evidence(), window.as_secs())
            });
        }
    }

    /// The high quantile in µs, requests still waiting counted with the age they have.
    fn quantile(&self, backend: &Backend, windows: u32, enough: u64) -> Option<f64> {
        let at = backend.millis(self.now);
        let mut sum = backend.windows.latencies(at, windows);
        for (age, count) in backend.waiting.ages(at / 1_000) {
            sum.add(u64::from(age) * 1_000_000, count);
        }
        (sum.total() >= enough)
            .then(|| sum.quantile(outlier::judged_quantile(sum.total())))
            .flatten()
    }

    fn note_stuck(&self, backend: &Backend, pool: &[Option<f64>], factor: f64) {
        let mut known: Vec<f64> = pool.iter().filter_map(|one| *one).collect();
        known.sort_unstable_by(f64::total_cmp);
        let median = known
            .get(known.len().saturating_sub(1) / 2)
            .copied()
            .unwrap_or(0.0);
        let at = backend.millis(self.now);
        let ages = backend.waiting.ages(at / 1_000);
        let stuck: u32 = ages
            .filter(|(age, _)| f64::from(*age) * 1e6 > factor * median)
            .map(|(_, count)| count)
            .sum();
        if stuck >= STUCK {
            backend.windows.note_stuck(at);
        }
    }

    fn hangs(&self, backend: &Backend) -> bool {
        let waiting: u32 = backend
            .waiting
            .ages(backend.millis(self.now) / 1_000)
            .map(|(_, count)| count)
            .sum();
        waiting >= STUCK
    }

    fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let judged =
            |state: State| !matches!(state, State::AdminDown | State::Ejected | State::Down);
        self.members
            .list()
            .iter()
            .map(|member| &member.backend)
            .filter(move |one| judged(one.state()))
    }
}
