//! From the healths of a pool to who may be picked: rotation, slow start, groups, zones.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::Pool;
use super::candidates::{Plan, PlannedList, WEIGHT_UNIT};
use super::failover::{Group, Shares, local_share};
use super::health::{State, Suspicion};
use super::roster::{Member, Roster};
use super::rotation::{self, Standing};

/// A slow start begins with this part of the weight.
const RAMP_FLOOR: f64 = 0.1;
/// What a backend that is slow against the pool keeps of its weight.
const SLOW_PART: f64 = 0.5;
const WHOLE: f64 = 1_000_000.0;

/// One backend, looked at once.
struct Seat {
    standing: Standing,
    serves: bool,
    ramp: f64,
    slow: bool,
    /// On trial, and the probe (if any) has passed: whether any request will do.
    trial: Option<bool>,
    sticky: bool,
}

pub(super) fn standings(members: &Roster) -> Vec<Standing> {
    members.list().iter().map(standing).collect()
}

fn standing(member: &Member) -> Standing {
    let health = member.backend.health();
    Standing {
        state: health.state(),
        badness: health.badness(),
        drains_by_itself: health.drains_by_itself(),
    }
}

pub(super) fn make(pool: &Pool, members: &Roster, shares: &mut Shares, now: Instant) -> Plan {
    let members = members.list();
    let mut seats: Vec<Seat> = members
        .iter()
        .map(|member| seat(pool, member, now))
        .collect();
    let standings: Vec<Standing> = seats.iter().map(|seat| seat.standing).collect();
    let readmitted = rotation::readmit(
        &standings,
        pool.settings.outlier_detection.max_ejection_percent,
    );
    for ((seat, serves), member) in seats.iter_mut().zip(&readmitted).zip(members) {
        seat.serves = *serves || seat.standing.state.in_rotation();
        member.backend.hot.serving.store(*serves, Relaxed);
    }
    // Where all are new there is nobody to spare them: ramps are measured against the most advanced.
    let most = seats
        .iter()
        .filter(|seat| seat.serves)
        .map(|seat| seat.ramp)
        .fold(0.0, f64::max)
        .max(RAMP_FLOOR);
    seats
        .iter_mut()
        .for_each(|seat| seat.ramp = (seat.ramp / most).min(1.0));

    let (counted, out) = rotation::size(&standings);
    let available = standings
        .iter()
        .filter(|one| one.state.in_rotation())
        .count();
    let mut plan = Plan {
        counted,
        out,
        available,
        fail_open: readmitted.contains(&true),
        ..Plan::default()
    };
    let groups = groups(members, &seats);
    let given = shares.divide(
        &groups.iter().map(|(_, group)| *group).collect::<Vec<_>>(),
        &pool.settings.failover,
        now,
    );
    for ((priority, _), share) in groups.iter().zip(given) {
        add_group(&mut plan, pool, members, &seats, *priority, share);
    }
    // The first list must be a safe answer for any roll.
    plan.lists.sort_by_key(|list| list.share == 0);
    for (i, seat) in seats.iter().enumerate() {
        if seat.sticky || seat.serves {
            plan.sticky.push((i, cap(pool, seat)));
        }
    }
    plan
}

fn seat(pool: &Pool, member: &Member, now: Instant) -> Seat {
    let health = member.backend.health();
    let standing = Standing {
        state: health.state(),
        badness: health.badness(),
        drains_by_itself: health.drains_by_itself(),
    };
    let time = pool.settings.slow_start.as_secs_f64();
    let ramp = match health.ramp_from {
        Some(from) if time > 0.0 => {
            (now.saturating_duration_since(from).as_secs_f64() / time).clamp(RAMP_FLOOR, 1.0)
        }
        _ => 1.0,
    };
    let trial = health
        .trial_open(&pool.rules, now)
        .filter(|_| standing.state == State::HalfOpen);
    Seat {
        standing,
        serves: false,
        ramp,
        slow: health.is(Suspicion::Slow),
        trial,
        sticky: standing.state == State::Draining && standing.badness.is_none(),
    }
}

/// Priorities in use, best first. A backend whose trial is open counts as healthy, so that a group that is given no
/// traffic can prove itself ready without any.
fn groups(members: &[Member], seats: &[Seat]) -> Vec<(u32, Group)> {
    let mut priorities: Vec<u32> = members
        .iter()
        .map(|member| member.settings.priority)
        .collect();
    priorities.sort_unstable();
    priorities.dedup();
    let count = |priority: u32, wanted: &dyn Fn(&Seat) -> bool| {
        members
            .iter()
            .zip(seats)
            .filter(|(member, seat)| member.settings.priority == priority && wanted(seat))
            .count()
    };
    let gone = |state: State| matches!(state, State::Draining | State::AdminDown | State::Checking);
    let group = |priority: u32| Group {
        total: count(priority, &|seat| !gone(seat.standing.state)),
        healthy: count(priority, &|seat| {
            seat.standing.state.in_rotation() || seat.trial.is_some()
        }),
    };
    priorities
        .into_iter()
        .map(|priority| (priority, group(priority)))
        .collect()
}

fn add_group(
    plan: &mut Plan,
    pool: &Pool,
    members: &[Member],
    seats: &[Seat],
    priority: u32,
    share: f64,
) {
    let home = pool.settings.failover.zone.as_deref();
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    let mut zones: Vec<Option<&str>> = Vec::new();
    for (i, (member, seat)) in members.iter().zip(seats).enumerate() {
        if member.settings.priority != priority {
            continue;
        }
        if share > 0.0
            && let Some(any) = seat.trial
        {
            plan.trials.push((i, cap(pool, seat), any));
        }
        let zone = member.settings.zone.as_deref();
        zones.push(zone);
        if seat.serves {
            let here = home.is_none() || zone == home;
            if here { &mut local } else { &mut remote }.push((
                i,
                weight(member, seat),
                cap(pool, seat),
            ));
        }
    }
    zones.sort_unstable();
    zones.dedup();
    let sum = |list: &[(usize, u32, u32)]| {
        list.iter()
            .map(|(_, weight, _)| u64::from(*weight))
            .sum::<u64>()
    };
    let stays = local_share(sum(&local), sum(&local) + sum(&remote), zones.len());
    for (members, part) in [(local, stays), (remote, 1.0 - stays)] {
        if !members.is_empty() {
            plan.lists.push(PlannedList {
                share: (share * part * WHOLE).round() as u32,
                members,
            });
        }
    }
}

fn weight(member: &Member, seat: &Seat) -> u32 {
    let part = seat.ramp * if seat.slow { SLOW_PART } else { 1.0 };
    ((f64::from(member.settings.weight.saturating_mul(WEIGHT_UNIT)) * part) as u32).max(1)
}

fn cap(pool: &Pool, seat: &Seat) -> u32 {
    let Some(cap) = pool.settings.limits.max_in_flight_per_backend else {
        return u32::MAX;
    };
    ((f64::from(cap) * seat.ramp).ceil() as u32).max(1)
}
