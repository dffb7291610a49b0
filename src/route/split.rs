//! Weighted choice among pools, stable per client.
//!
//! Weighted rendezvous hashing: every choice draws a score from the client's key and its own name, scaled by its
//! weight, and the highest wins. Raising one weight raises only that choice's scores, so it only adds clients to it
//! and moves none among the others; the order of the choices does not matter, and no state is kept.

use crate::hash::{combine, hash};

/// The choices of one split, ready to pick from.
#[derive(Debug, Clone)]
pub struct WeightedSplit {
    /// Hash of the name, and weight.
    choices: Vec<(u64, f64)>,
}

impl WeightedSplit {
    /// Takes names and weights. Names must differ: two of one name draw the same scores, and only the heavier is
    /// ever chosen.
    pub fn new<'a>(choices: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let prepare = |(name, weight): (&str, u32)| (hash(name.as_bytes()), f64::from(weight));
        Self {
            choices: choices.into_iter().map(prepare).collect(),
        }
    }

    /// Index of the choice for this key (see [`request_key`](super::request_key)). A choice of weight 0 is never
    /// taken while another has weight; when none has, it is the first.
    pub fn pick(&self, key: u64) -> usize {
        let mut best = (0, 0.0);
        for (index, &(name, weight)) in self.choices.iter().enumerate() {
            let score = weight / -unit(combine(key, name)).ln();
            if score > best.1 {
                best = (index, score);
            }
        }
        best.0
    }
}

/// A number strictly between 0 and 1, from the top 52 bits.
fn unit(hash: u64) -> f64 {
    const STEPS: f64 = (1u64 << 52) as f64;
    ((hash >> 12) as f64 + 0.5) / STEPS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::WeightedSplit;
    use crate::hash::hash;

    fn split(weights: &[u32]) -> WeightedSplit {
        let names = ["web", "web_canary", "web_next", "web_old"];
        WeightedSplit::new(names.into_iter().zip(weights.iter().copied()))
    }

    fn shares(weights: &[u32]) -> Vec<usize> {
        let split = split(weights);
        let mut counts = vec![0; weights.len()];
        (0u32..20_000).for_each(|n| counts[split.pick(hash(&n.to_be_bytes()))] += 1);
        counts
    }

    #[test]
    fn shares_follow_the_weights() {
        let counts = shares(&[9, 1]);
        assert!((1_850..2_150).contains(&counts[1]), "{counts:?}");
        let counts = shares(&[1, 1, 2]);
        assert!((9_600..10_400).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn weight_zero_takes_nothing_and_all_zero_is_the_first() {
        assert_eq!(shares(&[0, 5, 0]), [0, 20_000, 0]);
        assert_eq!(shares(&[0, 0]), [20_000, 0]);
    }

    proptest! {
        #[test]
        fn raising_a_weight_only_adds_clients_to_it(
            weights in prop::collection::vec(0u32..1_000, 2..=4), which in 0usize..4, more in 1u32..5_000, key: u64,
        ) {
            let which = which % weights.len();
            let mut raised = weights.clone();
            raised[which] += more;
            let (before, after) = (split(&weights).pick(key), split(&raised).pick(key));
            let some = weights.iter().any(|&weight| weight > 0);
            prop_assert!(after == before || after == which || !some);
        }
    }
}
