//! A ring of points, many for each backend, placed by its id: the base of both hash policies.
//!
//! A backend's points are always the first of one endless series, so a change of weight only adds or takes away some,
//! and backends that come or go leave the others' points alone.

use crate::hash;
use crate::pool::candidates::{Candidate, Candidates, WEIGHT_UNIT};

/// Points of a backend of average weight: 1/sqrt(160) is 8 % of unevenness.
const POINTS: u64 = 160;
const POINTS_IN_LARGE_LISTS: u64 = 64;
const LARGE: usize = 400;
/// Points looked at before the list itself is, so that a pool that is full costs no walk around the whole ring.
const LOOKS: usize = 256;

pub struct Ring(Box<[(u64, u32)]>);

impl Ring {
    pub fn new(members: &[Candidate]) -> Self {
        let each = if members.len() > LARGE {
            POINTS_IN_LARGE_LISTS
        } else {
            POINTS
        };
        let heaviest = members
            .iter()
            .map(|one| u64::from(one.weight))
            .max()
            .unwrap_or(1);
        // Against the heaviest, in whole configured weights: a slow start elsewhere moves nobody's points.
        let whole = heaviest.next_multiple_of(u64::from(WEIGHT_UNIT));
        let mut points = Vec::with_capacity(members.len() * each as usize);
        for (i, one) in members.iter().enumerate() {
            let count = (each * u64::from(one.weight) / whole).max(1);
            let seed = one.backend.key();
            points
                .extend((0..count).map(|k| (hash::mix(seed.wrapping_add(hash::mix(k))), i as u32)));
        }
        points.sort_unstable();
        Self(points.into())
    }

    /// The first backend from the key's place on, around the ring, that is `wanted`.
    pub fn find(
        &self,
        key: u64,
        candidates: &Candidates,
        wanted: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let start = self.0.partition_point(|(point, _)| *point < key);
        let (before, after) = self.0.split_at(start);
        let mut around = after
            .iter()
            .chain(before)
            .map(|(_, i)| *i as usize)
            .take(LOOKS);
        around.find(|i| wanted(*i)).or_else(|| {
            let first = hash::scale(key, candidates.len() as u64) as usize;
            (first..candidates.len())
                .chain(0..first)
                .find(|i| wanted(*i))
        })
    }
}
