use proptest::prelude::*;

use super::{ChunkProgress, ChunkScanner, Refusal};

fn feed(body: &str) -> Result<ChunkProgress, Refusal> {
    ChunkScanner::new().feed(body.as_bytes())
}

#[test]
fn finds_the_end_and_leaves_the_next_request() {
    let body = "5;x=\"y\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
    assert_eq!(
        feed(&format!("{body}GET /")),
        Ok(ChunkProgress {
            done_at: Some(body.len())
        })
    );
    let mut scanner = ChunkScanner::new();
    assert_eq!(
        scanner.feed(&body.as_bytes()[..20]),
        Ok(ChunkProgress { done_at: None })
    );
    assert_eq!(
        scanner.feed(&body.as_bytes()[20..]),
        Ok(ChunkProgress {
            done_at: Some(body.len() - 20)
        })
    );
    assert_eq!(
        scanner.feed(b"GET /"),
        Ok(ChunkProgress { done_at: Some(0) })
    );
}

#[test]
fn the_largest_size_is_a_size() {
    assert_eq!(
        feed("ffffffffffffffff\r\nx"),
        Ok(ChunkProgress { done_at: None })
    );
    assert_eq!(
        feed("0000000000000001\r\nx\r\n"),
        Ok(ChunkProgress { done_at: None })
    );
    assert_eq!(
        feed("10000000000000000\r\n"),
        Err(Refusal::ChunkSizeOverflow)
    );
    assert_eq!(
        feed("00000000000000001\r\n"),
        Err(Refusal::ChunkSizeOverflow)
    );
}

#[test]
fn extensions_are_bounded_in_one_chunk_and_in_all() {
    let chunk = |length: usize| format!("1;{}\r\nx\r\n", "e".repeat(length - 1));
    assert!(feed(&chunk(256)).is_ok());
    assert_eq!(feed(&chunk(257)), Err(Refusal::ChunkExtTooLong));
    assert!(feed(&chunk(256).repeat(4)).is_ok());
    assert_eq!(
        feed(&format!("{}1;", chunk(256).repeat(4))),
        Err(Refusal::ChunkExtTooLong)
    );
}

#[test]
fn trailers_are_bounded() {
    let trailer = |length: usize| format!("0\r\nX: {}\r\n\r\n", "y".repeat(length - 7));
    assert!(feed(&trailer(8192)).is_ok());
    assert_eq!(feed(&trailer(8193)), Err(Refusal::TrailerTooLarge));
}

proptest! {
    #[test]
    fn well_made_bodies_end_where_they_end(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8), cut in any::<prop::sample::Index>(),
    ) {
        let mut body = Vec::new();
        for chunk in &chunks {
            body.extend(format!("{:x}\r\n", chunk.len()).bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
        let cut = cut.index(body.len());
        let mut scanner = ChunkScanner::new();
        prop_assert_eq!(scanner.feed(&body[..cut]), Ok(ChunkProgress { done_at: None }));
        prop_assert_eq!(scanner.feed(&body[cut..]), Ok(ChunkProgress { done_at: Some(body.len() - cut) }));
    }
}
