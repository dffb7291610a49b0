//! One 64-bit hash for everything that must come out the same on every instance and in every version: weighted
//! splits and consistent hashing. FNV-1a takes the bytes in; the finaliser of MurmurHash3 spreads the result, which
//! FNV alone does badly for short keys. It is not keyed: never use it for a map whose keys a client chooses.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The stable hash of some bytes. Its values are part of the contract: changing them moves clients.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    spread(bytes.iter().fold(OFFSET, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    }))
}

/// A hash of two hashes; the order counts.
pub fn combine(first: u64, second: u64) -> u64 {
    spread(first.rotate_left(32).wrapping_mul(PRIME) ^ second)
}

fn spread(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::{combine, stable_hash};

    #[test]
    fn values_never_change() {
        assert_eq!(stable_hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(stable_hash(b"a"), 0x82a2_a958_a9be_ce5b);
        assert_eq!(combine(1, 2), 0x2133_970c_b5e7_a30e);
    }

    #[test]
    fn near_keys_spread_evenly() {
        let mut buckets = [0u32; 16];
        for number in 0u32..16_000 {
            let key = format!("10.0.{}.{}", number / 256, number % 256);
            buckets[(stable_hash(key.as_bytes()) >> 60) as usize] += 1;
        }
        assert!(
            buckets.iter().all(|&count| (850..1150).contains(&count)),
            "{buckets:?}"
        );
    }

    #[test]
    fn order_counts() {
        assert_ne!(combine(1, 2), combine(2, 1));
    }
}
