//! One request and its response over a connection to an HTTP/1.1 backend: head and body out, head and body back, both at
//! the same time.
//!
//! A strict reading like that of requests, and nothing kept that the next reader does not need: header names in one map,
//! values as slices of what was read. Everything here is polled, so that one task can look after both directions.

pub(crate) mod body;
pub(crate) mod head;
mod out;

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::Method;
use pingora_core::protocols::http::v1::client::http_req_header_to_wire;
use pingora_core::{Error, ErrorType, Result, RetryType};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::stream::Stream;
use body::Body;
pub use out::Framing;
use out::Out;

/// What is read at once of a head and the body that comes with it, and of a body, in bytes.
const READ_HEAD: usize = 4 * 1024;
const READ_BODY: usize = 64 * 1024;

/// A connection lent for one exchange.
pub struct Exchange {
    stream: Stream,
    out: Out,
    /// Of the request's body: what is still to come.
    framing: Framing,
    ended: bool,
    /// Read from the backend, not yet handed on.
    read: BytesMut,
    body: Body,
    /// The request was HEAD: there is no body, whatever the head says of one.
    head_only: bool,
    /// The backend keeps the connection open.
    keeps: bool,
    /// Some byte of a response has come.
    answered: bool,
}

impl Exchange {
    pub fn new(stream: Stream) -> Exchange {
        Exchange {
            stream,
            out: Out::default(),
            framing: Framing::None,
            ended: true,
            read: BytesMut::new(),
            body: Body::Unknown,
            head_only: false,
            keeps: false,
            answered: false,
        }
    }

    /// Begins a request. Nothing is sent before [`poll_flush`](Exchange::poll_flush), so that the first of the body can go
    /// with the head.
    pub fn begin(&mut self, request: &RequestHeader, framing: Framing) -> Result<()> {
        self.head_only = request.method == Method::HEAD;
        self.framing = framing;
        self.ended = framing == Framing::None;
        let head = http_req_header_to_wire(request).ok_or_else(|| {
            let why = "a target that can't be written";
            Error::explain(ErrorType::InvalidHTTPHeader, why).into_up()
        })?;
        self.out.head(head);
        Ok(())
    }

    /// Adds a piece of the request's body; there must be [room](Exchange::has_room).
    pub fn piece(&mut self, data: Bytes) -> Result<()> {
        self.out.piece(data, &mut self.framing)
    }

    /// Says that the request's body is over.
    pub fn end(&mut self) -> Result<()> {
        self.ended = true;
        self.out.end(&mut self.framing)
    }

    /// Whether something is to be sent.
    pub fn owes(&self) -> bool {
        self.out.owes()
    }

    /// Whether a piece of the body may be added.
    pub fn has_room(&self) -> bool {
        self.out.has_room()
    }

    /// Sends what there is.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = ready!(self.out.poll_flush(&mut self.stream, cx));
        Poll::Ready(flushed.map_err(|error| {
            let mut error = Error::because(ErrorType::WriteError, "sending the request", error);
            error.retry = RetryType::ReusedOnly;
            error.into_up()
        }))
    }

    /// Whether it is certain that the backend has seen nothing of the request.
    pub fn is_untouched(&self) -> bool {
        self.out.is_untouched()
    }

    /// Whether anything of a response has come.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// The next response head: interim ones first, then the final one.
    pub fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<ResponseHeader>>> {
        loop {
            if let Some(response) = head::take(&mut self.read)? {
                if !response.status.is_informational() {
                    self.keeps = head::keeps_connection(&response);
                    self.body = Body::of(&response, self.head_only)?;
                }
                return Poll::Ready(Ok(response));
            }
            let began = !self.read.is_empty();
            if ready!(self.poll_fill(READ_HEAD, cx))? == 0 {
                return Poll::Ready(Err(closed(began, "closed before a whole response head")));
            }
        }
    }

    /// The next piece of the body; `None` when it has none left.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            if self.is_over() {
                return Poll::Ready(Ok(None));
            }
            if let Some(piece) = self.body.take(&mut self.read)? {
                return Poll::Ready(Ok(Some(piece)));
            }
            if self.is_over() {
                return Poll::Ready(Ok(None));
            }
            let room = self.body.room(READ_BODY);
            if ready!(self.poll_fill(room, cx))? == 0 {
                self.keeps = false;
                self.body.end()?;
            }
        }
    }

    /// Whether the response has come to its end.
    pub fn is_over(&self) -> bool {
        matches!(self.body, Body::Over)
    }

    /// After a 101: whatever comes; `None` at its end.
    pub fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.read.is_empty() && ready!(self.poll_fill(READ_HEAD, cx))? == 0 {
            return Poll::Ready(Ok(None));
        }
        Poll::Ready(Ok(Some(self.read.split().freeze())))
    }

    /// After a 101: sends these bytes as they are.
    pub fn raw(&mut self, data: Bytes) -> Result<()> {
        self.framing = Framing::Length(data.len() as u64);
        self.piece(data)
    }

    /// Says that nothing more is sent.
    pub fn poll_end_of_sending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// The connection, if another request may go over it: both messages are over, and nothing lies behind them.
    pub fn into_idle(self) -> Option<Stream> {
        let sent = self.ended && !self.out.owes();
        (self.keeps && sent && self.is_over() && self.read.is_empty()).then_some(self.stream)
    }

    /// Reads once, into room for this much; 0 at the end of the connection.
    fn poll_fill(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        self.read.reserve(room);
        let reading = pin!(self.stream.read_buf(&mut self.read));
        let read = ready!(reading.poll(cx)).map_err(broken)?;
        self.answered |= read > 0;
        Poll::Ready(Ok(read))
    }
}

/// A connection that was idle may have been closed just as it was taken: then the request may be sent again.
fn closed(began: bool, why: &'static str) -> Box<Error> {
    let mut error = Error::explain(ErrorType::ConnectionClosed, why);
    if !began {
        error.retry = RetryType::ReusedOnly;
    }
    error.into_up()
}

fn broken(error: io::Error) -> Box<Error> {
    let of_socket = error.raw_os_error().is_some();
    let mut error = Error::because(ErrorType::ReadError, "reading the response", error);
    if of_socket {
        error.retry = RetryType::ReusedOnly;
    }
    error.into_up()
}

fn garbage(why: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, why).into_up()
}

#[cfg(test)]
mod tests;
