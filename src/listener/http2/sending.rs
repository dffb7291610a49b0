//! What is on its way to the client on one stream: heads go at once, the body as far as the client's windows let it through.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use pingora_core::{Error, ErrorType, Result};

/// The rest of a response.
#[derive(Default)]
pub struct Sending {
    /// Since the final head was written.
    stream: Option<SendStream<Bytes>>,
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// No more comes.
    ends: bool,
    /// The client was told so.
    over: bool,
    sent: usize,
}

impl Sending {
    /// The final head was written, and whether the stream ended with it.
    pub fn begin(&mut self, stream: SendStream<Bytes>, over: bool) {
        self.stream = Some(stream);
        (self.ends, self.over) = (over, over);
    }

    /// Adds a piece of the body.
    pub fn piece(&mut self, data: Bytes) {
        if !data.is_empty() && !self.ends {
            self.pieces.push_back(data);
        }
    }

    /// Nothing follows but these.
    pub fn trailers(&mut self, trailers: HeaderMap) {
        if !self.ends {
            self.trailers = Some(trailers);
            self.ends = true;
        }
    }

    /// Nothing follows.
    pub fn end(&mut self) {
        self.ends = true;
    }

    /// The stream as h2 has it, since the final head was written.
    pub fn stream(&mut self) -> Option<&mut SendStream<Bytes>> {
        self.stream.as_mut()
    }

    /// Whether the client has the whole response.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether there is something to be sent.
    pub fn owes(&self) -> bool {
        self.stream.is_some() && !self.over && (self.ends || !self.pieces.is_empty())
    }

    /// Bytes of the body so far.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Sends what the client's windows let through now. True: that was all there is.
    pub fn send(&mut self) -> Result<bool> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.over) else {
            return Ok(true);
        };
        while let Some(piece) = self.pieces.front_mut() {
            stream.reserve_capacity(piece.len());
            let room = stream.capacity().min(piece.len());
            if room == 0 {
                return Ok(false);
            }
            let data = piece.split_to(room);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            self.over = self.ends && self.pieces.is_empty() && self.trailers.is_none();
            self.sent += data.len();
            stream.send_data(data, self.over).map_err(unwritten)?;
        }
        if !self.ends || self.over {
            return Ok(true);
        }
        self.over = true;
        let ended = match self.trailers.take() {
            Some(trailers) => stream.send_trailers(trailers),
            None => stream.send_data(Bytes::new(), true),
        };
        ended.map(|()| true).map_err(unwritten)
    }

    /// Sends all of it, as the client takes it. May be given up and taken up again.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.send()? {
            let Some(stream) = &mut self.stream else {
                break;
            };
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(unwritten(error))),
                None => return Poll::Ready(Err(given_up(stream, cx))),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The client, or the watch in its name, has reset the stream.
fn given_up(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Box<Error> {
    match stream.poll_reset(cx) {
        Poll::Ready(Ok(reason)) => reset(reason, ErrorType::H2Error),
        Poll::Ready(Err(error)) => unwritten(error),
        Poll::Pending => Error::new_down(ErrorType::H2Error),
    }
}

/// Why a stream that was reset is over.
pub fn reset(reason: Reason, kind: ErrorType) -> Box<Error> {
    let cause = h2::Error::from(reason);
    Error::because(kind, "the client closed its stream", cause).into_down()
}

/// Why nothing can be sent.
pub fn unwritten(error: h2::Error) -> Box<Error> {
    Error::because(ErrorType::WriteError, "sending the response", error).into_down()
}
