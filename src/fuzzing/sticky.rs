//! Sealed values and Cookie lines. The first byte says which.

use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::config::model::Secret;
use crate::sticky::{Keys, Source, Stripped, Ticket, cache_control, find, open, seal, strip};

const BOUND: &[u8] = b"fuzz";
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

/// Replays one input. Panics where something that must hold does not.
pub fn sticky(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 4 {
        0 => value(data),
        1 => lines(data),
        2 => caching(data),
        _ => changed(data),
    }
}

fn keys() -> Option<Keys> {
    let source = Source::Secrets(
        vec![Secret("the secret of the fuzz targets, 32".into())],
        Duration::from_secs(3_600),
    );
    Keys::new(source, Duration::from_secs(3_600), 1_800_000_000).ok()
}

/// What opens is what one of us sealed: it opens again, sealed anew.
fn value(data: &[u8]) {
    let Some(keys) = keys() else { return };
    let ring = keys.ring();
    let Ok(ticket) = open(data, &ring, BOUND) else {
        return;
    };
    let again = ring
        .sealing()
        .and_then(|key| seal(&ticket, key, [6; 12], BOUND));
    assert_eq!(
        again.map(|again| open(&again, &ring, BOUND)),
        Some(Ok(ticket))
    );
}

/// After stripping nothing of ours is left, and nothing of ours was needed to be there.
fn lines(data: &[u8]) {
    let values = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok());
    let headers: HeaderMap = values.take(100).map(|value| (COOKIE, value)).collect();
    match strip(&headers, "s") {
        Stripped::Unchanged => assert_eq!(find(&headers, "s"), None),
        Stripped::Removed => assert!(find(&headers, "s").is_some()),
        Stripped::Replaced(value) => {
            let after = HeaderMap::from_iter([(COOKIE, value)]);
            assert_eq!(find(&after, "s"), None);
            assert_eq!(strip(&after, "s"), Stripped::Unchanged);
        }
    }
}

/// Whatever the backend said, the result is private, and says enough when asked again.
fn caching(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let headers = HeaderMap::from_iter([(http::header::CACHE_CONTROL, value)]);
    if let Some(value) = cache_control(&headers) {
        assert!(value.as_bytes().starts_with(b"private"));
        assert_eq!(
            cache_control(&HeaderMap::from_iter([(
                http::header::CACHE_CONTROL,
                value
            )])),
            None
        );
    }
}

/// Six bytes name places and what to put there: a value that was changed never opens.
fn changed(data: &[u8]) {
    let Some(keys) = keys() else { return };
    let ring = keys.ring();
    let Some(sealed) = ring
        .sealing()
        .and_then(|key| seal(&TICKET, key, [5; 12], BOUND))
    else {
        return;
    };
    let mut other = sealed;
    for change in data.chunks_exact(2).take(8) {
        let (&[place, by], length) = (change, other.len()) else {
            return;
        };
        if let Some(character) = other.get_mut(usize::from(place) % length) {
            *character ^= by;
        }
    }
    assert_eq!(open(&other, &ring, BOUND).is_ok(), other == sealed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_replays() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/sticky");
        let files = std::fs::read_dir(folder).unwrap();
        let inputs: Vec<_> = files
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect();
        assert!(inputs.len() >= 10, "{}", inputs.len());
        inputs.iter().for_each(|input| sticky(input));
        // One of them is a value that opens, or the corpus would reach nothing behind the tag.
        let ring = keys().unwrap();
        let opens = |input: &&Vec<u8>| {
            input[0] == 0 && open(&input[1..], &ring.ring(), BOUND) == Ok(TICKET)
        };
        let good = seal(&TICKET, ring.ring().sealing().unwrap(), [5; 12], BOUND).unwrap();
        assert_eq!(
            inputs.iter().filter(opens).count(),
            1,
            "{}",
            String::from_utf8_lossy(&good)
        );
    }
}
