//! What is on its way to the backend: the head, and the body's pieces in their frames.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use pingora_core::{Error, ErrorType, Result};
use tokio::io::AsyncWrite;

use crate::upstream::stream::Stream;

/// A piece up to this size is copied behind what is in front of it, so that both are one write.
const COPIED: usize = 16 * 1024;

/// How the backend knows where the request's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    Chunked,
}

/// Bytes in the order in which they go out.
#[derive(Debug, Default)]
pub struct Out {
    front: BytesMut,
    piece: Bytes,
    back: &'static [u8],
    sent: usize,
    /// Some byte has reached the connection.
    begun: bool,
    /// A piece of the body is among them.
    full: bool,
}

impl Out {
    /// Puts the head in front.
    pub fn head(&mut self, head: BytesMut) {
        self.front = head;
    }

    /// Whether something is to be sent.
    pub fn owes(&self) -> bool {
        !self.front.is_empty() || !self.piece.is_empty() || !self.back.is_empty()
    }

    /// Whether a piece of the body may be added: one at a time.
    pub fn has_room(&self) -> bool {
        !self.full
    }

    /// Whether it is certain that the backend has seen nothing.
    pub fn is_untouched(&self) -> bool {
        !self.begun
    }

    /// Adds a piece of the body in its frame.
    pub fn piece(&mut self, data: Bytes, framing: &mut Framing) -> Result<()> {
        self.full = true;
        let length = data.len() as u64;
        match framing {
            Framing::Length(left) => match left.checked_sub(length) {
                Some(rest) => *left = rest,
                None => return Err(wrong_length("more")),
            },
            Framing::Chunked if data.is_empty() => return Ok(()),
            Framing::Chunked => {
                let size = format!("{length:x}\r\n");
                self.front.put_slice(size.as_bytes());
                self.back = b"\r\n";
            }
            Framing::None => return Err(wrong_length("more")),
        }
        if data.len() > COPIED {
            self.piece = data;
        } else {
            self.front.put_slice(&data);
            self.front.put_slice(std::mem::take(&mut self.back));
        }
        Ok(())
    }

    /// Says that no more of the body comes.
    pub fn end(&mut self, framing: &mut Framing) -> Result<()> {
        match framing {
            Framing::Length(1..) => return Err(wrong_length("less")),
            Framing::Chunked if self.piece.is_empty() => self.front.put_slice(b"0\r\n\r\n"),
            Framing::Chunked => self.back = b"\r\n0\r\n\r\n",
            Framing::Length(0) | Framing::None => {}
        }
        *framing = Framing::None;
        Ok(())
    }

    /// Sends it all.
    pub fn poll_flush(&mut self, to: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut slices = [IoSlice::new(&[]); 3];
            let mut passed = self.sent;
            let mut used = 0;
            for part in [&self.front[..], &self.piece[..], self.back] {
                let skipped = passed.min(part.len());
                passed -= skipped;
                if let Some(slot) = slices.get_mut(used)
                    && skipped < part.len()
                {
                    *slot = IoSlice::new(&part[skipped..]);
                    used += 1;
                }
            }
            let wrote = match slices.get(..used).unwrap_or_default() {
                [] => break,
                [only] => Pin::new(&mut *to).poll_write(cx, only),
                several if to.is_write_vectored() => {
                    Pin::new(&mut *to).poll_write_vectored(cx, several)
                }
                [first, ..] => Pin::new(&mut *to).poll_write(cx, first),
            };
            match ready!(wrote)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += n,
            }
            self.begun = true;
        }
        ready!(Pin::new(to).poll_flush(cx))?;
        (self.front, self.piece, self.back) = (BytesMut::new(), Bytes::new(), b"");
        (self.sent, self.full) = (0, false);
        Poll::Ready(Ok(()))
    }
}

/// The client's length is held to before; only a filter can have changed it.
fn wrong_length(how: &'static str) -> Box<Error> {
    let why = match how {
        "more" => "a filter made the body longer than its length",
        _ => "a filter made the body shorter than its length",
    };
    Error::explain(ErrorType::InternalError, why)
}
