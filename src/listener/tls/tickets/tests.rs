use super::*;
use crate::config::model::Secret;

const HOUR: Duration = Duration::from_secs(3600);

fn cluster(secrets: &[&str]) -> Source {
    Source::Derived(
        secrets.iter().map(|s| s.as_bytes().to_vec()).collect(),
        HOUR.as_secs(),
    )
}

fn names(source: &Source, unix: u64) -> Vec<[u8; 16]> {
    let ring = Ring::derive(source, source.epoch(unix)).unwrap();
    ring.keys.iter().map(|key| key.name).collect()
}

/// A ticket as BoringSSL lays it out, its content left aside.
fn ticket(key: &TicketKey) -> Vec<u8> {
    let mut ticket = key.name.to_vec();
    ticket.extend([7; 16 + 48]);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.authentication).unwrap();
    mac.update(&ticket);
    ticket.extend(mac.finalize().into_bytes());
    ticket
}

#[test]
fn two_instances_derive_the_same_keys() {
    assert_eq!(
        names(&cluster(&["a"]), 7_200),
        names(&cluster(&["a"]), 7_200)
    );
    let (a, b) = (
        names(&cluster(&["a"]), 7_200),
        names(&cluster(&["b"]), 7_200),
    );
    assert!(a.iter().all(|name| !b.contains(name)));
}

#[test]
fn an_epoch_s_key_opens_for_two_epochs_more_and_one_before() {
    let source = cluster(&["a"]);
    let at = |epoch: u64| epoch * HOUR.as_secs();
    let sealing = names(&source, at(10))[0];
    for epoch in [9, 10, 11, 12] {
        assert!(names(&source, at(epoch)).contains(&sealing), "{epoch}");
    }
    for epoch in [8, 13] {
        assert!(!names(&source, at(epoch)).contains(&sealing), "{epoch}");
    }
    assert_ne!(names(&source, at(11))[0], sealing);
}

#[test]
fn of_a_list_of_secrets_the_first_makes_and_all_open() {
    let old = names(&cluster(&["old"]), 0)[0];
    let both = names(&cluster(&["new", "old"]), 0);
    assert_eq!(both[0], names(&cluster(&["new"]), 0)[0]);
    assert!(both.contains(&old));
}

#[test]
fn only_tickets_of_ours_count_as_resumptions() {
    let keys = TicketKeys::Cluster(vec![Secret("x".repeat(32).into())], HOUR);
    let tickets = Tickets::new(&keys, b"").unwrap();
    let good = ticket(tickets.ring().sealing());
    assert!(tickets.made(&good));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(!tickets.made(&bad), "byte {at}");
        assert!(!tickets.made(&good[..at]), "cut at {at}");
    }
}

#[test]
fn files_make_keys_of_any_length_over_32_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("a"), dir.path().join("b"));
    std::fs::write(&first, [1; 48]).unwrap();
    std::fs::write(&second, [2; 32]).unwrap();
    let files = TicketKeys::Files(vec![first.clone(), second.clone()]);
    let both = Tickets::new(&files, b"").unwrap();
    let alone = Tickets::new(&TicketKeys::Files(vec![second.clone()]), b"").unwrap();
    assert!(
        both.made(&ticket(alone.ring().sealing())),
        "the second opens"
    );
    assert!(
        !alone.made(&ticket(both.ring().sealing())),
        "the first makes"
    );
    std::fs::write(&second, [2; 31]).unwrap();
    assert!(matches!(
        Tickets::new(&files, b""),
        Err(TlsError::TicketKeys)
    ));
}
