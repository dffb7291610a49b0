//! One request and its response over a connection to an HTTP/1.1 backend: the head out, the response's head and body back.
//!
//! A strict reading like that of requests, and nothing kept that the next reader does not need: header names in one map,
//! values as slices of what was read.

pub(crate) mod body;
pub(crate) mod head;

use std::io;

use bytes::{Bytes, BytesMut};
use http::Method;
use pingora_core::protocols::http::v1::client::http_req_header_to_wire;
use pingora_core::{Error, ErrorType, Result, RetryType};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Limits;
use super::stream::Stream;
use crate::listener::deadline;
use body::Body;

/// What is read at once of a head and the body that comes with it, and of a body, in bytes.
const READ_HEAD: usize = 4 * 1024;
const READ_BODY: usize = 64 * 1024;

/// A connection lent for one exchange.
pub struct Exchange {
    stream: Stream,
    limits: Limits,
    /// Read from the backend, not yet handed on.
    read: BytesMut,
    body: Body,
    /// The request was HEAD: there is no body, whatever the head says of one.
    head_only: bool,
    /// The backend keeps the connection open.
    keeps: bool,
}

impl Exchange {
    pub fn new(stream: Stream, limits: Limits) -> Exchange {
        Exchange {
            stream,
            limits,
            read: BytesMut::new(),
            body: Body::Unknown,
            head_only: false,
            keeps: false,
        }
    }

    /// Sends a request that has no body.
    pub async fn send(&mut self, request: &RequestHeader) -> Result<()> {
        self.head_only = request.method == Method::HEAD;
        let bytes = http_req_header_to_wire(request).ok_or_else(|| {
            Error::explain(
                ErrorType::InvalidHTTPHeader,
                "a target that can't be written",
            )
        })?;
        let stream = &mut self.stream;
        let sending = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        match deadline::within(self.limits.write, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::because(
                ErrorType::WriteError,
                "sending the head",
                error,
            )),
            Err(_) => Err(Error::explain(ErrorType::WriteTimedout, "sending the head")),
        }
        .map_err(Error::into_up)
    }

    /// The next response head: interim ones first, then the final one.
    pub async fn response(&mut self) -> Result<Box<ResponseHeader>> {
        loop {
            if let Some(response) = head::take(&mut self.read)? {
                if !response.status.is_informational() {
                    self.keeps = head::keeps_connection(&response);
                    self.body = Body::of(&response, self.head_only)?;
                }
                return Ok(response);
            }
            let began = !self.read.is_empty();
            if self.fill(READ_HEAD).await? == 0 {
                return Err(closed(began, "closed before a whole response head"));
            }
        }
    }

    /// The next piece of the body; `None` when it has none left.
    pub async fn body(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.is_over() {
                return Ok(None);
            }
            if let Some(piece) = self.body.take(&mut self.read)? {
                return Ok(Some(piece));
            }
            if self.is_over() {
                return Ok(None);
            }
            let room = self.body.room(READ_BODY);
            if self.fill(room).await? == 0 {
                self.keeps = false;
                self.body.end()?;
            }
        }
    }

    /// Whether the body has come to its end.
    pub fn is_over(&self) -> bool {
        matches!(self.body, Body::Over)
    }

    /// The connection, if another request may go over it.
    pub fn into_idle(self) -> Option<Stream> {
        (self.keeps && self.is_over() && self.read.is_empty()).then_some(self.stream)
    }

    /// Reads once, into room for this much; 0 at the end of the connection.
    async fn fill(&mut self, room: usize) -> Result<usize> {
        self.read.reserve(room);
        let reading = self.stream.read_buf(&mut self.read);
        match deadline::within(self.limits.silence, reading).await {
            Ok(Ok(n)) => Ok(n),
            Ok(Err(error)) => Err(broken(error)),
            Err(_) => {
                Err(Error::explain(ErrorType::ReadTimedout, "the backend is silent").into_up())
            }
        }
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
