//! Making a pool from its settings, with everything that is known of its backends from the pool before.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::backend::Backend;
use super::candidates::View;
use super::events::{Events, Reason, Transition};
use super::health::{Change, Drain, Health, Input, Rules, State, Verdict};
use super::steer::Control;
use super::{Member, Pool};
use crate::config::model;

impl Pool {
    /// A backend with the id and address of one in `previous` is that one: counters, health and timers go on. Others
    /// are new; where probes run, a new one gets no traffic before `rise` of them pass, or one at a `cold_start`.
    pub fn build(
        settings: &model::Pool,
        previous: Option<&Self>,
        now: Instant,
        cold_start: bool,
        events: Arc<dyn Events>,
    ) -> Self {
        let load = previous.map_or_else(Arc::default, |pool| Arc::clone(&pool.load));
        let member = |one: &model::Backend| {
            let known = previous
                .and_then(|pool| pool.backend(&one.id))
                .filter(|known| known.address() == &one.address);
            let fresh = || {
                let health = new_health(settings, one, cold_start, now);
                Arc::new(Backend::new(
                    &one.id,
                    one.address.clone(),
                    Arc::clone(&load),
                    health,
                    now,
                ))
            };
            Member {
                backend: known.map_or_else(fresh, Arc::clone),
                settings: one.clone(),
            }
        };
        let pool = Self {
            members: settings.backends.iter().map(member).collect(),
            rules: rules(settings),
            origin: previous.map_or(now, |pool| pool.origin),
            turn: previous.map_or_else(Arc::default, |pool| Arc::clone(&pool.turn)),
            settings: settings.clone(),
            load,
            view: ArcSwap::from_pointee(View {
                nobody: settings.backends.is_empty(),
                ..View::default()
            }),
            control: Mutex::new(Control::default()),
            events,
        };
        if let Some(previous) = previous {
            pool.take_over(previous, now);
        }
        pool.steer(now, |work| {
            for one in &settings.backends {
                let key = super::hash::hash(one.id.as_bytes());
                work.feed(
                    key,
                    Input::Drain(Drain::WeightZero, one.weight == 0),
                    || "weight in the configuration".into(),
                );
                work.feed(key, Input::AdminDown(one.down), || {
                    "down in the configuration".into()
                });
            }
        });
        pool
    }

    fn take_over(&self, previous: &Self, now: Instant) {
        let mut old = previous
            .control
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut control = self
            .control
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        control.shares = std::mem::take(&mut old.shares);
        drop((old, control));
        for member in &self.members {
            member.backend.health().settle(self.rules.probes, now);
            member
                .backend
                .hot
                .state
                .store(member.backend.health().state() as u8, Relaxed);
        }
        let gone = previous.members.iter().filter(|old| {
            self.backend(old.backend.id())
                .is_none_or(|kept| !Arc::ptr_eq(kept, &old.backend))
        });
        for Member { backend, .. } in gone {
            let change =
                backend
                    .health()
                    .step(Input::Drain(Drain::Removed, true), &self.rules, now);
            let Some(Change { from, to, .. }) = change else {
                continue;
            };
            backend.hot.state.store(to as u8, Relaxed);
            let available = previous.view.load().plan.available_ratio();
            self.events.transition(&Transition {
                pool: &self.settings.name,
                backend: backend.id(),
                from,
                to,
                reason: Reason::Removed,
                evidence: "no longer in the configuration",
                available_before: available,
                available_after: available,
            });
        }
    }
}

impl Health {
    /// After a reload that took the probes away: no verdict of theirs may outlive them.
    fn settle(&mut self, probes: bool, now: Instant) {
        if !probes && !matches!(self.verdict, Verdict::Up { .. }) {
            self.verdict = Verdict::Up { fails: 0 };
            self.since = now;
        }
    }
}

fn new_health(settings: &model::Pool, one: &model::Backend, cold: bool, now: Instant) -> Health {
    let seed = fastrand::u64(..);
    let Some(check) = &settings.health_check else {
        let mut health = Health::new(Verdict::Up { fails: 0 }, seed, now);
        health.ramp_from = (!cold).then_some(now);
        return health;
    };
    let mut health = Health::new(Verdict::unknown(cold), seed, now);
    health.spread_first_probe(
        super::hash::hash(one.id.as_bytes()) ^ seed,
        check.fast_interval.min(check.interval) / 2,
        now,
    );
    debug_assert_eq!(health.state(), State::Checking);
    health
}

fn rules(settings: &model::Pool) -> Rules {
    let check = settings.health_check.as_ref();
    Rules {
        fall: check.map_or(1, |check| check.fall.max(1)),
        rise: check.map_or(1, |check| check.rise.max(1)),
        probes: check.is_some(),
        base_ejection: settings.outlier_detection.base_ejection_time,
        max_ejection: settings.outlier_detection.max_ejection_time,
        drain_timeout: settings.drain_timeout,
    }
}
