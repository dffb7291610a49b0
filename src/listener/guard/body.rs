//! The guarded stream of HTTP/1, read by ours: a request's body without the frames of its chunks, and what comes after.

use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use pingora_core::protocols::IO;
use tokio::io::{AsyncReadExt, AsyncWrite, ReadBuf};

use super::{Guard, Reading};
use crate::listener::chunked::ChunkScanner;
use crate::listener::seats::Waits;

/// What is read at once of a large body whose length is known: straight into its own memory, without a copy.
const LARGE: usize = 64 * 1024;
/// What is read at once of any other. The room is on the stack of the poll: a client that keeps us waiting costs none.
const SMALL: usize = 16 * 1024;

impl<S: IO> Guard<S> {
    /// Whether all of the request's body was handed on.
    pub fn is_body_over(&self) -> bool {
        matches!(self.reading, Reading::Length(0))
    }

    /// Whether what is left of the body is here already, so that passing over it costs nothing.
    pub fn is_rest_here(&self) -> bool {
        matches!(self.reading, Reading::Length(left) if self.ahead.len() as u64 >= left)
    }

    /// The client waits for a 100 before it sends its body: no byte of that has come, and none was sent to it.
    pub fn awaits_continue(&self) -> bool {
        self.awaits_continue
    }

    /// The next piece of the request's body; `None` at its end. A body that breaks off or breaks the rules of chunks is an
    /// error; for the latter it holds the [`Refusal`](super::super::head::Refusal).
    pub fn poll_request_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if self.connection.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let piece = match self.reading {
            Reading::Length(0) | Reading::Http2(_) => return Poll::Ready(Ok(None)),
            Reading::Length(left) if left > SMALL as u64 && self.ahead.is_empty() => {
                ready!(self.poll_large(left, cx))?
            }
            Reading::Length(left) => ready!(self.poll_small(left, cx))?,
            Reading::Chunked(_) => return self.poll_chunks(cx),
        };
        match piece.is_empty() {
            true => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            false => Poll::Ready(Ok(Some(piece))),
        }
    }

    fn poll_large(&mut self, left: u64, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let room = usize::try_from(left).map_or(LARGE, |left| left.min(LARGE));
        let mut bytes = BytesMut::with_capacity(room);
        // What the allocator gave may be more: the next request's bytes are none of this one's.
        let mut within = (&mut bytes).limit(room);
        let read = ready!(pin!(Body(self).read_buf(&mut within)).poll(cx))?;
        self.reading = Reading::Length(left.saturating_sub(read as u64));
        // What is kept for a retry must not hold much more memory than it has bytes.
        Poll::Ready(Ok(match read < room / 4 {
            true => Bytes::copy_from_slice(&bytes),
            false => bytes.freeze(),
        }))
    }

    fn poll_small(&mut self, left: u64, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let room = usize::try_from(left).map_or(SMALL, |left| left.min(SMALL));
        let mut space = [MaybeUninit::uninit(); SMALL];
        let mut read = ReadBuf::uninit(space.get_mut(..room).unwrap_or_default());
        ready!(self.poll_body(cx, &mut read))?;
        self.reading = Reading::Length(left - read.filled().len() as u64);
        Poll::Ready(Ok(Bytes::copy_from_slice(read.filled())))
    }

    fn poll_chunks(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let mut space = [MaybeUninit::uninit(); SMALL];
        loop {
            let mut read = ReadBuf::uninit(&mut space);
            ready!(self.poll_body(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let Reading::Chunked(scanner) = &mut self.reading else {
                return Poll::Ready(Ok(None));
            };
            let (data, end) = decode(scanner, read.filled()).map_err(|refusal| {
                self.connection.listener.metrics.refused.inc(refusal);
                io::Error::new(io::ErrorKind::InvalidData, refusal)
            })?;
            if let Some(end) = end {
                self.put_back(&mut read, end);
                self.reading = Reading::Length(0);
            }
            match (data.is_empty(), end) {
                (false, _) => return Poll::Ready(Ok(Some(data))),
                (true, Some(_)) => return Poll::Ready(Ok(None)),
                (true, None) => {}
            }
        }
    }

    /// After a 101: whatever comes; `None` at its end.
    pub fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let mut space = [MaybeUninit::uninit(); SMALL];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(self.poll_fill(cx, &mut read))?;
        let read = read.filled();
        Poll::Ready(Ok((!read.is_empty()).then(|| Bytes::copy_from_slice(read))))
    }

    /// Reads and forgets what the client still sends; how much that was, 0 at its end.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); SMALL];
        let mut read = ReadBuf::uninit(&mut space);
        self.connection.waits(Waits::Slow);
        ready!(self.poll_fill(cx, &mut read))?;
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Says that nothing more is sent; the client may go on sending.
    pub fn poll_end_of_sending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }
}

/// The data in these bytes of a chunked body, and where among them the body ended.
fn decode(
    scanner: &mut ChunkScanner,
    read: &[u8],
) -> Result<(Bytes, Option<usize>), super::super::head::Refusal> {
    let mut data = BytesMut::with_capacity(read.len());
    let progress = scanner.feed_to(read, |piece| data.extend_from_slice(piece))?;
    Ok((data.freeze(), progress.done_at))
}

/// The bytes of a body whose length is known, at the client's pace.
struct Body<'g, S>(&'g mut Guard<S>);

impl<S: IO> tokio::io::AsyncRead for Body<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_body(cx, buf)
    }
}
