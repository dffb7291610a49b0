//! The client's end of a request, polled rather than awaited: its body is read while the response is written.
//!
//! Sessions of ours keep what is on its way (`listener/http1/session.rs`, `listener/http2/session.rs`), so that nothing is
//! lost when a write is given up half-way.

use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use pingora_core::protocols::http::custom::server;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

/// Whether something is on its way to the client.
#[derive(Default)]
pub struct Client {
    owes: bool,
}

impl Client {
    /// Whether the client has yet to take something.
    pub fn owes(&self) -> bool {
        self.owes
    }

    /// Adds a head, a piece of the body or trailers; nothing waits.
    pub fn send(&mut self, session: &mut Session, task: HttpTask) -> Result<()> {
        self.owes = true;
        ours(session)?.send_proxy_task(task);
        Ok(())
    }

    /// Sends what there is.
    pub fn poll_flush(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let session = ours(session)?;
        let flushed = match session.has_pending_proxy_tasks() {
            true => ready!(pin!(session.write_proxy_tasks()).poll(cx)).map(drop),
            // It went at once.
            false => Ok(()),
        };
        self.owes = false;
        Poll::Ready(flushed)
    }

    /// The next piece of the request's body; `None` at its end.
    pub fn poll_read(
        &mut self,
        session: &mut Session,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>>> {
        pin!(ours(session)?.read_body_bytes()).poll(cx)
    }

    /// Ready when the client is gone.
    pub fn poll_gone(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        let left = pin!(session.as_mut().read_body_or_idle(true)).poll(cx);
        left.map(|left| match left {
            Err(error) => error.into_down(),
            Ok(_) => Error::new_down(ErrorType::ConnectionClosed),
        })
    }
}

/// `suits` lets no other session come here.
fn ours(session: &mut Session) -> Result<&mut Box<dyn server::Session>> {
    match session.as_mut() {
        ServerSession::Custom(session) => Ok(session),
        _ => {
            let why = "a session that can't be polled";
            Err(Error::explain(ErrorType::InternalError, why).into_in())
        }
    }
}

/// A 100 of our own.
pub fn continue_head() -> Result<HttpTask> {
    let head = pingora_http::ResponseHeader::build(StatusCode::CONTINUE, Some(0))?;
    Ok(HttpTask::Header(Box::new(head), false))
}
