//! How a pool's traffic is divided among its groups (backends of one priority) and, within one, among zones.

use std::time::Instant;

use crate::config::model::Failover;

/// One group, best first in a list of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Backends that are neither drained nor still unproven.
    pub total: usize,
    /// Those of them that could take their share.
    pub healthy: usize,
}

/// What one group was given before, and since when it could have more.
#[derive(Debug, Clone, Copy)]
struct Grant {
    /// Share of the pool's traffic it may take, 0 to 1.
    granted: f64,
    health: f64,
    /// Its health has not fallen since.
    steady_since: Instant,
    /// What it had when the ramp began.
    ramp_base: f64,
    /// It has lost traffic and not yet got all of it back. One that only starts does not wait.
    fallen: bool,
}

/// The memory that keeps a bouncing group from flapping: traffic leaves at once and returns late and slowly.
#[derive(Debug, Default)]
pub struct Shares(Vec<Grant>);

impl Shares {
    /// The share (0 to 1) of each group `now`; all 0 when no group has anybody healthy.
    pub fn divide(&mut self, groups: &[Group], rules: &Failover, now: Instant) -> Vec<f64> {
        let health: Vec<f64> = groups
            .iter()
            .map(|group| health(*group, rules.overprovisioning))
            .collect();
        if self.0.len() != groups.len() {
            let fresh = |health: &f64| Grant {
                granted: *health,
                health: *health,
                steady_since: now,
                ramp_base: *health,
                fallen: false,
            };
            self.0 = health.iter().map(fresh).collect();
        }
        for (grant, health) in self.0.iter_mut().zip(&health) {
            grant.update(*health, rules, now);
        }
        // What the grants leave open goes to whoever is healthy, best first: better early than nowhere.
        let mut left = 1.0_f64;
        let mut shares: Vec<f64> = self
            .0
            .iter()
            .map(|grant| take(&mut left, grant.granted))
            .collect();
        for (share, health) in shares.iter_mut().zip(&health) {
            *share += take(&mut left, health - *share);
        }
        let sum: f64 = shares.iter().sum();
        if sum > 0.0 {
            shares.iter_mut().for_each(|share| *share /= sum);
        }
        shares
    }
}

impl Grant {
    fn update(&mut self, health: f64, rules: &Failover, now: Instant) {
        self.fallen |= health < self.health;
        if !self.fallen {
            self.granted = health;
        }
        if health < self.health || health <= self.granted {
            self.granted = self.granted.min(health);
            self.steady_since = now;
            self.ramp_base = self.granted;
        }
        self.health = health;
        let waited = now.saturating_duration_since(self.steady_since);
        let Some(ramped) = waited.checked_sub(rules.failback_delay) else {
            return;
        };
        let full = rules.failback_ramp.as_secs_f64();
        let part = if full > 0.0 {
            (ramped.as_secs_f64() / full).min(1.0)
        } else {
            1.0
        };
        self.granted = self.ramp_base + (health - self.ramp_base) * part;
        self.fallen &= part < 1.0;
    }
}

/// `min(1, overprovisioning * healthy / total)`.
fn health(group: Group, overprovisioning: f64) -> f64 {
    if group.total == 0 {
        return 0.0;
    }
    (overprovisioning * group.healthy as f64 / group.total as f64).min(1.0)
}

fn take(left: &mut f64, wanted: f64) -> f64 {
    let taken = wanted.clamp(0.0, *left);
    *left -= taken;
    taken
}

/// The share (0 to 1) that stays in the instance's own zone, taking instances as spread evenly over `zones`: all of it
/// while the zone's capacity is at least a zone's part of the whole, else in proportion.
pub fn local_share(local_weight: u64, all_weight: u64, zones: usize) -> f64 {
    if all_weight == 0 {
        return 0.0;
    }
    (local_weight as f64 * zones.max(1) as f64 / all_weight as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rules() -> Failover {
        Failover {
            overprovisioning: 1.4,
            failback_delay: Duration::from_secs(60),
            failback_ramp: Duration::from_secs(100),
            zone: None,
        }
    }

    fn groups(first: usize, second: usize) -> [Group; 2] {
        [
            Group {
                total: 10,
                healthy: first,
            },
            Group {
                total: 10,
                healthy: second,
            },
        ]
    }

    fn close(shares: &[f64], wanted: [f64; 2]) -> bool {
        shares
            .iter()
            .zip(wanted)
            .all(|(share, wanted)| (share - wanted).abs() < 1e-9)
    }

    #[test]
    fn spills_by_healthy_share() {
        let now = Instant::now();
        for (first, second, wanted) in [
            (10, 10, [1.0, 0.0]),
            (8, 10, [1.0, 0.0]),
            (5, 10, [0.7, 0.3]),
            (0, 10, [0.0, 1.0]),
            (2, 2, [0.5, 0.5]),
            (0, 0, [0.0, 0.0]),
        ] {
            let shares = Shares::default().divide(&groups(first, second), &rules(), now);
            assert!(close(&shares, wanted), "{first} {second}: {shares:?}");
        }
    }

    #[test]
    fn leaves_at_once_and_returns_late_and_slowly() {
        let (start, mut shares) = (Instant::now(), Shares::default());
        let mut at = |secs: u64, first, second| {
            shares.divide(
                &groups(first, second),
                &rules(),
                start + Duration::from_secs(secs),
            )
        };
        assert!(close(&at(0, 10, 10), [1.0, 0.0]));
        assert!(close(&at(1, 0, 10), [0.0, 1.0]));
        assert!(close(&at(10, 10, 10), [0.0, 1.0]));
        assert!(close(&at(60, 10, 10), [0.0, 1.0]));
        assert!(at(90, 10, 10)[0] > 0.1);
        assert!(close(&at(170, 10, 10), [1.0, 0.0]));
    }

    #[test]
    fn a_group_that_bounces_gets_nothing() {
        let (start, mut shares) = (Instant::now(), Shares::default());
        shares.divide(&groups(10, 10), &rules(), start);
        for second in 1..600u64 {
            let first = if (second / 20) % 2 == 0 { 0 } else { 10 };
            let now = start + Duration::from_secs(second);
            let given = shares.divide(&groups(first, 10), &rules(), now);
            assert!(second < 20 || given[0] == 0.0, "{second}: {given:?}");
        }
    }

    #[test]
    fn a_group_that_only_starts_does_not_wait() {
        let (start, mut shares) = (Instant::now(), Shares::default());
        shares.divide(&groups(0, 0), &rules(), start);
        shares.divide(&groups(0, 3), &rules(), start);
        shares.divide(&groups(10, 10), &rules(), start);
        shares.divide(&groups(0, 10), &rules(), start + Duration::from_secs(10));
        let given = shares.divide(&groups(10, 10), &rules(), start + Duration::from_secs(20));
        assert!(close(&given, [0.0, 1.0]), "{given:?}");
    }

    #[test]
    fn a_group_on_probation_helps_when_nobody_else_can() {
        let (start, mut shares) = (Instant::now(), Shares::default());
        shares.divide(&groups(0, 10), &rules(), start);
        let given = shares.divide(&groups(10, 0), &rules(), start + Duration::from_secs(1));
        assert!(close(&given, [1.0, 0.0]), "{given:?}");
    }

    #[test]
    fn the_own_zone_first() {
        assert_eq!(local_share(10, 30, 3), 1.0);
        assert_eq!(local_share(5, 30, 3), 0.5);
        assert_eq!(local_share(0, 30, 3), 0.0);
    }
}
