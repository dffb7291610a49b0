//! The one hash for everything that must come out the same on every instance and in every release: splits, affinity,
//! consistent hashing. Not keyed: never for a map whose keys a client chooses.

/// FNV-1a over the bytes, then mixed. Not for secrets: a client that chooses keys can choose backends.
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

/// A bijection in which every input bit moves every output bit (the finaliser of SplitMix64).
pub fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A hash of two hashes; the order counts.
pub fn combine(first: u64, second: u64) -> u64 {
    mix(first.rotate_left(32) ^ mix(second))
}

/// Maps a hash evenly to `0..bound` without a division; 0 when `bound` is 0.
pub fn scale(hash: u64, bound: u64) -> u64 {
    ((u128::from(hash) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_same_in_every_release() {
        assert_eq!(hash(b""), 0xc381_7c01_6ba4_ff30);
        assert_eq!(hash(b"a"), 0x5f29_c2aa_dd9b_8527);
        assert_eq!(hash(b"10.0.0.1:80"), hash(b"10.0.0.1:80"));
        assert_ne!(hash(b"10.0.0.1:80"), hash(b"10.0.0.2:80"));
    }

    #[test]
    fn near_keys_spread_evenly_and_order_counts() {
        let mut buckets = [0u32; 16];
        for number in 0u32..16_000 {
            let key = format!("10.0.{}.{}", number / 256, number % 256);
            buckets[(hash(key.as_bytes()) >> 60) as usize] += 1;
        }
        assert!(
            buckets.iter().all(|n| (850..1150).contains(n)),
            "{buckets:?}"
        );
        assert_ne!(combine(1, 2), combine(2, 1));
    }

    #[test]
    fn scales_evenly() {
        let mut seen = [0u32; 10];
        for i in 0..10_000u64 {
            seen[scale(mix(i), 10) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (900..1100).contains(n)), "{seen:?}");
        assert_eq!(scale(u64::MAX, 10), 9);
    }
}
