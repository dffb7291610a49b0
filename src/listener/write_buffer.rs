//! Gathers small writes, so that a response head and its short body cost one system call and one TLS record.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

/// What is held back at most until a flush, in bytes: one TLS record, and for HTTP/2 a whole frame with others.
const CAPACITY: usize = 16 * 1024;
const CAPACITY_HTTP2: usize = 32 * 1024;

/// Bytes written but not yet sent. Holds no memory when it is empty.
#[derive(Debug)]
pub struct WriteBuffer {
    held: BytesMut,
    capacity: usize,
}

impl Default for WriteBuffer {
    fn default() -> WriteBuffer {
        WriteBuffer {
            held: BytesMut::new(),
            capacity: CAPACITY,
        }
    }
}

impl WriteBuffer {
    /// The frames of many streams go through it.
    pub fn http2() -> WriteBuffer {
        WriteBuffer {
            held: BytesMut::new(),
            capacity: CAPACITY_HTTP2,
        }
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Holds these few bytes back, too.
    pub fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Holds `data` back if it is small, else sends it together with what is held.
    pub fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() + data.len() <= self.capacity {
            self.held.extend_from_slice(data);
            return Poll::Ready(Ok(data.len()));
        }
        if self.held.is_empty() {
            return Pin::new(to).poll_write(cx, data);
        }
        if !to.is_write_vectored() {
            ready!(self.poll_drain(to, cx))?;
            return Pin::new(to).poll_write(cx, data);
        }
        loop {
            let slices = [IoSlice::new(&self.held), IoSlice::new(data)];
            let written = ready!(Pin::new(&mut *to).poll_write_vectored(cx, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            match written.checked_sub(self.held.len()) {
                Some(of_data) if of_data > 0 => {
                    self.held = BytesMut::new();
                    return Poll::Ready(Ok(of_data));
                }
                Some(_) => {
                    self.held = BytesMut::new();
                    return Pin::new(to).poll_write(cx, data);
                }
                None => self.held.advance(written),
            }
        }
    }

    /// Sends everything that is held.
    pub fn poll_drain<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.held))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(n);
        }
        self.held = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}
