//! How many backends may be out at once, whatever the cause, and which of them serve all the same.

use super::health::{Badness, State};

/// The largest number of `n` backends that may be out at `percent`: at least one of several, never all.
pub fn most_out(n: usize, percent: u32) -> usize {
    if n < 2 || percent == 0 {
        return 0;
    }
    (n * percent as usize / 100).max(1).min(n - 1)
}

/// One backend as the cap sees it.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Its state.
    pub state: State,
    /// How bad it is; `None` when probes and traffic have nothing against it.
    pub badness: Option<Badness>,
    /// It drains because it asked to itself.
    pub drains_by_itself: bool,
}

impl Standing {
    /// Counted in the pool's size: neither drained nor taken out, and proven once.
    fn counted(self) -> bool {
        !matches!(
            self.state,
            State::Checking | State::Draining | State::AdminDown
        )
    }

    /// Counted and without regular traffic.
    fn out(self) -> bool {
        matches!(self.state, State::Ejected | State::HalfOpen | State::Down)
    }
}

/// Backends counted and, of them, those out.
pub fn size(pool: &[Standing]) -> (usize, usize) {
    let counted = pool.iter().filter(|one| one.counted()).count();
    (counted, pool.iter().filter(|one| one.out()).count())
}

/// Whether one more may be ejected. One that refuses connections may go beyond the cap while another can be reached.
pub fn may_eject(pool: &[Standing], percent: u32, refused: bool) -> bool {
    let (n, out) = size(pool);
    if out < most_out(n, percent) {
        return true;
    }
    let others = pool.iter().filter(|one| one.state.in_rotation()).count();
    refused && percent > 0 && others > 1
}

/// Marks those that serve although they are out: the least bad first until no more than the cap are out. Those that
/// refuse connections stay out beyond it, until nothing else is left.
pub fn readmit(pool: &[Standing], percent: u32) -> Vec<bool> {
    let mut serves = vec![false; pool.len()];
    let (n, out) = size(pool);
    let mut excess = out.saturating_sub(most_out(n, percent));
    let mut order: Vec<usize> = (0..pool.len())
        .filter(|i| pool.get(*i).is_some_and(|one| one.out()))
        .collect();
    order.sort_by_key(|i| pool.get(*i).and_then(|one| one.badness));
    for i in order {
        let refused = pool
            .get(i)
            .is_some_and(|one| one.badness == Some(Badness::Refused));
        if excess > 0 && !refused {
            mark(&mut serves, i);
            excess -= 1;
        }
    }
    if anyone(pool, &serves) {
        return serves;
    }
    // Nothing by right and nothing under the cap: those that asked to be drained still answer, refused ones may.
    for last_resort in [
        |one: &Standing| one.drains_by_itself,
        |one: &Standing| one.out(),
    ] {
        (0..pool.len())
            .filter(|i| pool.get(*i).is_some_and(last_resort))
            .for_each(|i| mark(&mut serves, i));
        if anyone(pool, &serves) {
            break;
        }
    }
    serves
}

fn mark(serves: &mut [bool], i: usize) {
    if let Some(serve) = serves.get_mut(i) {
        *serve = true;
    }
}

fn anyone(pool: &[Standing], serves: &[bool]) -> bool {
    pool.iter()
        .zip(serves)
        .any(|(one, serves)| *serves || one.state.in_rotation())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(state: State, badness: Option<Badness>) -> Standing {
        Standing {
            state,
            badness,
            drains_by_itself: false,
        }
    }

    #[test]
    fn cap_by_size() {
        let table: Vec<usize> = (1..=10).map(|n| most_out(n, 50)).collect();
        assert_eq!(table, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]);
        assert_eq!(most_out(10, 0), 0);
        assert_eq!(most_out(10, 100), 9);
        assert_eq!(most_out(10, 5), 1);
    }

    #[test]
    fn the_least_bad_serve_first() {
        use Badness::*;
        let bad = [Refused, ProbeFailed, Failing, Slow];
        let pool: Vec<Standing> = bad.iter().map(|bad| one(State::Down, Some(*bad))).collect();
        assert_eq!(readmit(&pool, 50), [false, false, true, true]);
        assert_eq!(readmit(&pool, 100), [false, false, false, true]);
        let refused = vec![one(State::Down, Some(Refused)); 3];
        assert_eq!(readmit(&refused, 50), [true; 3]);
    }

    #[test]
    fn refused_stay_out_beyond_the_cap() {
        let mut pool = vec![one(State::Down, Some(Badness::Refused)); 3];
        pool.push(one(State::Healthy, None));
        assert_eq!(readmit(&pool, 50), [false; 4]);
        assert!(!may_eject(&pool, 50, true));
        pool.push(one(State::Healthy, None));
        assert!(may_eject(&pool, 50, true));
        assert!(!may_eject(&pool, 50, false));
    }

    #[test]
    fn a_pool_that_drains_itself_still_serves() {
        let drains = Standing {
            state: State::Draining,
            badness: None,
            drains_by_itself: true,
        };
        assert_eq!(
            readmit(&[drains, one(State::AdminDown, None)], 50),
            [true, false]
        );
        assert_eq!(
            readmit(&[drains, one(State::Healthy, None)], 50),
            [false, false]
        );
    }

    proptest! {
        #[test]
        fn ejections_stop_at_the_cap(n in 1usize..40, percent in 0u32..=100) {
            let mut pool = vec![one(State::Healthy, None); n];
            for i in 0..n {
                if may_eject(&pool, percent, false) {
                    pool[i] = one(State::Ejected, Some(Badness::Failing));
                }
            }
            let (_, out) = size(&pool);
            prop_assert_eq!(out, most_out(n, percent));
            prop_assert!(out < n);
        }
    }
}
