//! The answer to a request that is refused before it is one: a few fixed bytes, then the connection ends.

use std::time::Duration;

use pingora_core::protocols::IO;
use pingora_timeout::timeout;
use tokio::io::AsyncWriteExt;

use super::guard::Guard;
use super::head::Refusal;
use super::linger;

/// How long the client may take to take the answer.
const TAKEN: Duration = Duration::from_secs(1);

/// Answers, says that the connection ends, and ends it.
pub async fn answer<S: IO>(guard: &mut Guard<S>, refusal: Refusal) {
    let connection = guard.connection().clone();
    connection.listener.refuse(&connection, refusal);
    let body = format!("{}: {}\n", refusal.status(), refusal.reason());
    let response = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        refusal.status(),
        reason_phrase(refusal.status()),
        body.len(),
    );
    let sent = timeout(TAKEN, async {
        guard.write_all(response.as_bytes()).await?;
        guard.flush().await
    });
    if matches!(sent.await, Ok(Ok(()))) {
        linger::end(guard).await;
    }
}

fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason())
        .unwrap_or("")
}
