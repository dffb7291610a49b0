use proptest::prelude::*;

use super::*;
use crate::sticky::{Reject, SEALED, Ticket, open, seal};

const HOUR: u64 = 3_600;

fn source(secrets: &[&str], rotation: u64) -> Source {
    Source::Secrets(
        secrets
            .iter()
            .map(|secret| Secret((*secret).into()))
            .collect(),
        Duration::from_secs(rotation),
    )
}

fn keys(source: Source, ttl: u64, unix: u64) -> Keys {
    Keys::new(source, Duration::from_secs(ttl), unix).unwrap()
}

fn listed(listed: &[&str]) -> Keys {
    keys(
        Source::Listed(listed.iter().map(|key| Secret((*key).into())).collect()),
        HOUR,
        0,
    )
}

const TICKET: Ticket = Ticket {
    pool: 1,
    backend: 2,
    session: 3,
    issued: 4,
    expires: 5,
    last_seen: 4,
    moved_from: 0,
    moved_at: 0,
    moves: 0,
};

fn sealed(keys: &Keys) -> [u8; SEALED] {
    seal(&TICKET, keys.ring().sealing().unwrap(), [1; 12], b"x").unwrap()
}

fn opens(keys: &Keys, value: &[u8]) -> Result<(), Reject> {
    open(value, &keys.ring(), b"x").map(|ticket| assert_eq!(ticket, TICKET))
}

#[test]
fn instances_with_one_secret_have_the_same_keys() {
    let (one, two) = (
        keys(source(&["a"], HOUR), HOUR, 5 * HOUR),
        keys(source(&["a"], HOUR), HOUR, 5 * HOUR + 99),
    );
    assert_eq!(sealed(&one), sealed(&two));
    assert_eq!(opens(&two, &sealed(&one)), Ok(()));
    let other = keys(source(&["b"], HOUR), HOUR, 5 * HOUR);
    assert_eq!(opens(&other, &sealed(&one)), Err(Reject::UnknownKey));
}

#[test]
fn the_current_epoch_seals_and_its_neighbours_open() {
    let at = |epoch: u64| keys(source(&["a"], HOUR), HOUR - 60, epoch * HOUR);
    let ten = at(10);
    for (epoch, expected) in [
        (7, false),
        (8, true),
        (9, true),
        (10, true),
        (11, true),
        (12, false),
    ] {
        assert_eq!(
            opens(&ten, &sealed(&at(epoch))).is_ok(),
            expected,
            "{epoch}"
        );
    }
}

#[test]
fn advancing_is_as_good_as_starting_anew() {
    let running = keys(source(&["a"], HOUR), HOUR, 10 * HOUR);
    assert!(!running.advance(10 * HOUR + 3_599));
    assert!(running.advance(11 * HOUR));
    assert!(!running.advance(11 * HOUR + 1));
    assert_eq!(
        sealed(&running),
        sealed(&keys(source(&["a"], HOUR), HOUR, 11 * HOUR))
    );
}

#[test]
fn the_first_secret_seals_and_all_open() {
    let (old, both) = (
        keys(source(&["old"], HOUR), HOUR, 0),
        keys(source(&["new", "old"], HOUR), HOUR, 0),
    );
    assert_eq!(opens(&both, &sealed(&old)), Ok(()));
    assert_eq!(opens(&old, &sealed(&both)), Err(Reject::UnknownKey));
    assert_eq!(
        opens(&keys(source(&["new"], HOUR), HOUR, 0), &sealed(&both)),
        Ok(())
    );
}

#[test]
fn listed_keys_do_the_same_and_never_rotate() {
    let (old, both) = (listed(&["old"]), listed(&["new", "old"]));
    assert_eq!(opens(&both, &sealed(&old)), Ok(()));
    assert_eq!(opens(&listed(&["new"]), &sealed(&both)), Ok(()));
    assert!(!both.advance(u64::MAX));
    // The same text as a secret is another key.
    assert_eq!(
        opens(&keys(source(&["old"], HOUR), HOUR, 0), &sealed(&old)),
        Err(Reject::UnknownKey)
    );
}

#[test]
fn what_cannot_be_is_said() {
    let new = |source, ttl| Keys::new(source, Duration::from_secs(ttl), 0).err();
    assert_eq!(new(Source::Listed(vec![]), HOUR), Some(KeyError::None));
    assert_eq!(new(source(&[], HOUR), HOUR), Some(KeyError::None));
    assert_eq!(
        new(source(&["a"], HOUR), 256 * HOUR),
        Some(KeyError::TooManyEpochs)
    );
    assert_eq!(new(source(&["a"], HOUR), 256 * HOUR - 60), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Sealed by a clock that is a minute behind or ahead, opened at any time until its end.
    #[test]
    fn no_rotation_ends_a_session(
        rotation in 60u64..50_000, ttl in 60u64..100_000, start in 10_000_000u64..20_000_000,
        skew in 0u64..=120, part in 0.0f64..=1.0,
    ) {
        prop_assume!(previous_epochs(Duration::from_secs(ttl), Duration::from_secs(rotation)).is_some());
        let sealer = keys(source(&["a"], rotation), ttl, start + skew - 60);
        let later = start + (ttl as f64 * part) as u64;
        let opener = keys(source(&["a"], rotation), ttl, later);
        prop_assert_eq!(opens(&opener, &sealed(&sealer)), Ok(()));
    }
}
