//! The answer to a request that is refused before it is one: a few fixed bytes, then the connection or the stream ends.

use std::time::Duration;

use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use pingora_core::protocols::IO;
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use pingora_timeout::timeout;
use tokio::io::AsyncWriteExt;

use super::connection::Connection;
use super::guard::Guard;
use super::head::Refusal;
use super::linger;
use super::listening::{HTTP2, RefusedRequest};

/// How long the client may take to take the answer.
const TAKEN: Duration = Duration::from_secs(1);

/// Answers, says that the connection ends, and ends it.
pub async fn answer<S: IO>(guard: &mut Guard<S>, refusal: Refusal) {
    let connection = guard.connection().clone();
    connection.listener.refuse(&connection, refusal);
    let body = body(refusal);
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

/// Answers one stream of an HTTP/2 connection, which goes on.
pub async fn answer_stream(connection: &Connection, mut session: ServerSession, refusal: Refusal) {
    let refused = RefusedRequest {
        protocol: HTTP2,
        head: Some(session.req_header()),
        status: Some(refusal.status()),
    };
    connection
        .listener
        .refuse_request(connection, refusal, &refused);
    let answered = timeout(TAKEN, async {
        let body = body(refusal);
        let mut head = ResponseHeader::build(refusal.status(), Some(3))?;
        head.insert_header(CONTENT_TYPE, "text/plain")?;
        head.insert_header(CONTENT_LENGTH, body.len())?;
        session.write_response_header(Box::new(head)).await?;
        if session.req_header().method != Method::HEAD {
            session.write_response_body(body.into(), true).await?;
        }
        session.finish().await
    });
    // A client that is gone, or takes nothing, has had its chance.
    drop(answered.await);
}

fn body(refusal: Refusal) -> String {
    format!("{}: {}\n", refusal.status(), refusal.reason())
}

fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason())
        .unwrap_or("")
}
