//! The end of a connection whose client may still be sending (RFC 9112 9.6).
//!
//! A socket that is closed while bytes lie unread in it answers with a reset, and a reset takes away what the client has not
//! yet read: its response. So the end of sending comes first, and what the client sends meanwhile is read and forgotten until
//! it ends or falls silent.

use std::future::poll_fn;
use std::time::Duration;

use pingora_core::protocols::IO;

use super::deadline;
use super::guard::Guard;

/// The longest silence that is waited through.
const SILENCE: Duration = Duration::from_secs(2);
/// All of it. A client that looks at the response only when it has sent everything needs the time.
const LONGEST: Duration = Duration::from_secs(30);
/// And how much is read.
const MOST: usize = 64 * 1024 * 1024;

/// Says that nothing more is sent, and lets the client come to its end.
pub async fn end<S: IO>(guard: &mut Guard<S>) {
    let _ = deadline::within(LONGEST, async {
        let said = poll_fn(|cx| guard.poll_end_of_sending(cx));
        if !matches!(deadline::within(SILENCE, said).await, Ok(Ok(()))) {
            return;
        }
        let mut left = MOST;
        while let Some(read) = discard(guard).await {
            match left.checked_sub(read) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    })
    .await;
}

/// Passes over the rest of a request's body, so that the connection can carry another. False: it goes on for too long.
pub async fn pass_over_body<S: IO>(guard: &mut Guard<S>) -> bool {
    let passed = deadline::within(SILENCE, async {
        let mut left = MOST / 64;
        loop {
            match poll_fn(|cx| guard.poll_request_body(cx)).await {
                Ok(None) => return true,
                Ok(Some(piece)) if piece.len() <= left => left -= piece.len(),
                _ => return false,
            }
        }
    });
    passed.await.unwrap_or(false)
}

/// How much came; `None` when it is time to go.
async fn discard<S: IO>(guard: &mut Guard<S>) -> Option<usize> {
    let reading = poll_fn(|cx| guard.poll_discard(cx));
    match deadline::within(SILENCE, reading).await {
        Ok(Ok(read)) if read > 0 => Some(read),
        _ => None,
    }
}
