//! What the fuzz targets call, and the replay of their corpora: each function gives the bytes to one parser of
//! untrusted input, in one piece and byte by byte, and fails when the two differ or a promise is broken.

mod cookies;
mod forwarded;
mod response;
mod rewrite;
mod session_cookie;
mod sticky;

use std::time::Instant;

pub use self::cookies::cookies;
pub use self::forwarded::forwarded;
pub use self::response::response_head;
pub use self::rewrite::rewrite;
pub use self::session_cookie::session_cookie;
pub use self::sticky::sticky;

use crate::config::model::ListenerLimits;
use crate::listener::chunked::ChunkScanner;
use crate::listener::h2_frames::{FloodBudget, FrameScanner, Framer, Verdict};
use crate::listener::h2_streams::Streams;
use crate::listener::head::{HeadLimits, HeadScanner, Progress};
use crate::listener::proxy_protocol::{Parsed, parse};
use crate::route::{host_name, path};

const LIMITS: HeadLimits = HeadLimits {
    max_header_bytes: 4096,
    max_headers: 16,
    max_uri_bytes: 1024,
};

/// A request head.
pub fn head(data: &[u8]) {
    let whole = HeadScanner::new(LIMITS).feed(data);
    let mut scanner = HeadScanner::new(LIMITS);
    let pieces = (0..=data.len()).map(|end| scanner.feed(&data[..end]));
    let split = pieces
        .into_iter()
        .find(|progress| *progress != Progress::NeedMore);
    assert_eq!(whole, split.unwrap_or(Progress::NeedMore));
    if let Progress::Complete(facts) = whole {
        assert!(facts.len <= data.len() && data[..facts.len].ends_with(b"\r\n\r\n"));
    }
}

/// A chunked body.
pub fn chunked(data: &[u8]) {
    let whole = ChunkScanner::new()
        .feed(data)
        .map(|progress| progress.done_at);
    let mut scanner = ChunkScanner::new();
    let mut split = Ok(None);
    for (at, byte) in data.iter().enumerate() {
        split = scanner
            .feed(std::slice::from_ref(byte))
            .map(|progress| progress.done_at.map(|taken| at + taken));
        if split != Ok(None) {
            break;
        }
    }
    assert_eq!(whole, split);
}

/// A PROXY header.
pub fn proxy_protocol(data: &[u8]) {
    let whole = parse(data);
    let pieces = (0..=data.len()).map(|end| parse(&data[..end]));
    let split = pieces
        .into_iter()
        .find(|parsed| *parsed != Parsed::NeedMore);
    assert_eq!(whole, split.unwrap_or(Parsed::NeedMore));
    if let Parsed::Header(header) = whole {
        assert!(header.consumed <= data.len());
        assert_eq!(header.source.is_some(), header.destination.is_some());
    }
}

/// The client's side of an HTTP/2 connection.
pub fn h2_frames(data: &[u8]) {
    let now = Instant::now();
    let (mut whole, mut split) = (
        FrameScanner::new(FloodBudget::default(), now),
        FrameScanner::new(FloodBudget::default(), now),
    );
    let verdict = whole.feed(data, now);
    let verdicts = data.chunks(1).map(|byte| split.feed(byte, now));
    let other = verdicts.into_iter().find(|verdict| *verdict != Verdict::Ok);
    assert_eq!(verdict, other.unwrap_or(Verdict::Ok));
    if verdict == Verdict::Ok {
        assert_eq!(whole.phase(), split.phase());
    }
    turns(data);
}

/// The same bytes, as what the client sent and as what we did: streams stay bounded, whatever they say.
fn turns(data: &[u8]) {
    let limits = ListenerLimits::default();
    let mut streams = Streams::new(limits.max_concurrent_streams);
    let (mut framer, mut rest) = (Framer::default(), data);
    while let Some(event) = framer.next(&mut rest) {
        streams.client(&event, &limits.request_body, &limits.response);
        streams.server(&event);
        assert!(streams.len() <= 2 * limits.max_concurrent_streams as usize);
    }
    let (waited, open) = (limits.response.idle, streams.len());
    let look = streams.look(waited, &limits.request_body, &limits.response, 1, false);
    assert!(look.slow.len() <= open && look.lagging <= open);
    assert!(streams.give_up(open).len() <= look.lagging);
}

/// The path of a request, and its authority.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    assert!(text.starts_with(host_name(text)));
    if let Ok(normal) = path::normalise(text) {
        assert!(normal == "*" || normal.starts_with('/'));
        assert!(!normal.contains("//") && !normal.split('/').any(|segment| segment == ".."));
        assert!(path::normalise(&normal).is_ok_and(|again| again == normal));
    }
}

#[cfg(test)]
mod tests;
