//! The client's end of a request, polled rather than awaited: its body is read while the response is written.
//!
//! A session of HTTP/1 is ours and keeps what is on its way (`listener/http1/session.rs`). One of HTTP/2 is Pingora's, whose
//! writing can't be given up half-way: once the head is written, the stream is written to here.

use std::collections::VecDeque;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{HeaderMap, StatusCode};
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use crate::outcome::{self, Failure};

/// What is on its way to the client, over HTTP/2; over HTTP/1, whether anything is.
#[derive(Default)]
pub struct Client {
    owes: bool,
    stream: Option<SendStream<Bytes>>,
    pieces: VecDeque<Bytes>,
    trailers: Option<Box<HeaderMap>>,
    /// No more comes.
    ends: bool,
    /// Bytes of the body that were sent over HTTP/2.
    sent: u64,
    /// Why the stream was given up, if it was for the client's pace.
    slow: Option<Failure>,
}

impl Client {
    /// Whether the client has yet to take something.
    pub fn owes(&self) -> bool {
        self.owes
    }

    /// Bytes of the body that the session itself did not count.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Why the client was given up, if it was for its pace.
    pub fn slow(&self) -> Option<Failure> {
        self.slow
    }

    /// Adds a head, a piece of the body or trailers; nothing waits.
    pub fn send(&mut self, session: &mut Session, task: HttpTask) -> Result<()> {
        self.owes = true;
        match session.as_mut() {
            ServerSession::Custom(session) => {
                session.send_proxy_task(task);
                return Ok(());
            }
            ServerSession::H2(session) => match task {
                HttpTask::Header(head, end) => {
                    let interim = head.status.is_informational();
                    session
                        .write_response_header(head, end)
                        .map_err(Error::into_down)?;
                    if !interim && !end {
                        self.stream = session.take_response_body_writer();
                    }
                }
                HttpTask::Body(data, end) => {
                    self.pieces.extend(data.filter(|data| !data.is_empty()));
                    self.ends |= end;
                }
                HttpTask::Trailer(trailers) => {
                    self.trailers = trailers;
                    self.ends = true;
                }
                HttpTask::Done => self.ends = true,
                HttpTask::Failed(error) => return Err(error),
                HttpTask::UpgradedBody(..) => return Err(unserved()),
            },
            _ => return Err(unserved()),
        }
        Ok(())
    }

    /// Sends what there is.
    pub fn poll_flush(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = match session.as_mut() {
            ServerSession::Custom(session) => {
                let flushed = pin!(session.write_proxy_tasks()).poll(cx);
                ready!(flushed).map(|_| ())
            }
            _ => ready!(self.poll_stream(cx)),
        };
        self.owes = false;
        Poll::Ready(flushed)
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        while let Some(piece) = self.pieces.front_mut() {
            stream.reserve_capacity(piece.len());
            let room = match stream.capacity() {
                0 => ready!(stream.poll_capacity(cx)),
                room => Some(Ok(room)),
            };
            let room = match room {
                Some(Ok(room)) => room.min(piece.len()),
                Some(Err(error)) => return Poll::Ready(Err(unwritten(error))),
                None => {
                    let (slow, error) = given_up(stream, cx);
                    self.slow = slow;
                    return Poll::Ready(Err(error));
                }
            };
            let data = piece.split_to(room);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            let last = self.ends && self.pieces.is_empty() && self.trailers.is_none();
            self.sent += data.len() as u64;
            stream.send_data(data, last).map_err(unwritten)?;
            if last {
                self.stream = None;
                return Poll::Ready(Ok(()));
            }
        }
        let ended = match (self.ends, self.trailers.take()) {
            (false, _) => return Poll::Ready(Ok(())),
            (true, Some(trailers)) => stream.send_trailers(*trailers),
            (true, None) => stream.send_data(Bytes::new(), true),
        };
        self.stream = None;
        Poll::Ready(ended.map_err(unwritten))
    }

    /// The next piece of the request's body; `None` at its end.
    pub fn poll_read(
        &mut self,
        session: &mut Session,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>>> {
        match session.as_mut() {
            ServerSession::Custom(session) => pin!(session.read_body_bytes()).poll(cx),
            ServerSession::H2(session) => {
                let read = ready!(session.poll_read_body_bytes(cx)).transpose();
                Poll::Ready(read.map_err(|error| {
                    let why = "reading the request's body";
                    Error::because(ErrorType::ReadError, why, error).into_down()
                }))
            }
            _ => Poll::Ready(Err(unserved())),
        }
    }

    /// Ready when the client is gone.
    pub fn poll_gone(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Poll<Box<Error>> {
        if let Some(stream) = &mut self.stream {
            let reset = ready!(stream.poll_reset(cx));
            let why = format!("the client closed its stream: {reset:?}");
            return Poll::Ready(Error::explain(ErrorType::H2Error, why).into_down());
        }
        let left = pin!(session.as_mut().read_body_or_idle(true)).poll(cx);
        left.map(|left| match left {
            Err(error) => error.into_down(),
            Ok(_) => Error::new_down(ErrorType::ConnectionClosed),
        })
    }
}

/// The client, or the watch in its name, has reset the stream.
fn given_up(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> (Option<Failure>, Box<Error>) {
    let reason = match stream.poll_reset(cx) {
        Poll::Ready(Ok(reason)) => Some(reason),
        _ => None,
    };
    let slow = (reason == Some(Reason::ENHANCE_YOUR_CALM)).then_some(outcome::RESPONSE_SLOW);
    let why = format!("the client closed its stream: {reason:?}");
    (slow, Error::explain(ErrorType::H2Error, why).into_down())
}

fn unwritten(error: h2::Error) -> Box<Error> {
    Error::because(ErrorType::WriteError, "sending the response", error).into_down()
}

/// `suits` lets no other session come here.
fn unserved() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "a session that can't be polled").into_in()
}

/// A 100 of our own.
pub fn continue_head() -> Result<HttpTask> {
    let head = pingora_http::ResponseHeader::build(StatusCode::CONTINUE, Some(0))?;
    Ok(HttpTask::Header(Box::new(head), false))
}
