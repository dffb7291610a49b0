//! The guarded stream over HTTP/2: frames are watched both ways, and ours go in between.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use pingora_core::protocols::IO;
use tokio::io::ReadBuf;

use super::{Guard, Reading};
use crate::listener::frame_watch::{Ended, FrameWatch};

impl<S: IO> Guard<S> {
    pub(super) fn poll_http2(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.hold_frames_of_ours() {
            let _ = self.out.poll_drain(&mut self.inner, cx)?;
        }
        let before = buf.filled().len();
        let read = match self.watch().and_then(FrameWatch::for_h2) {
            Some(frames) => {
                let n = frames.len().min(buf.remaining());
                buf.put_slice(&frames.split_to(n));
                return Poll::Ready(Ok(()));
            }
            None => self.poll_fill(cx, buf),
        };
        let at_end = matches!(&read, Poll::Ready(Ok(())) if buf.filled().len() == before);
        if at_end || matches!(&read, Poll::Ready(Err(_))) {
            self.connection.mark_parted();
        }
        let Reading::Http2(watch) = &mut self.reading else {
            return read;
        };
        let ended = match read {
            Poll::Ready(Ok(())) => match watch.saw(&buf.filled()[before..], Instant::now()) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(ended) => ended,
            },
            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            Poll::Pending => match watch.poll_deadlines(cx) {
                Poll::Ready(ended) => ended,
                Poll::Pending => {
                    if watch.for_h2().is_some() {
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
            },
        };
        buf.set_filled(before);
        Poll::Ready(Err(self.end_http2(cx, ended)))
    }

    /// Says goodbye, as far as the client takes it at once.
    fn end_http2(&mut self, cx: &mut Context<'_>, ended: Ended) -> io::Error {
        self.connection.mark_parted();
        if let Some(watch) = self.watch() {
            watch.say_goaway(ended);
            let _ = self.poll_frames_of_ours(cx);
        }
        match ended {
            Ended::Slow(phase) => {
                self.connection.slow(phase);
                io::ErrorKind::TimedOut.into()
            }
            Ended::Abuse(abuse) => {
                self.connection.listener.metrics.http2_abuse.inc(abuse);
                io::ErrorKind::InvalidData.into()
            }
        }
    }

    fn watch(&mut self) -> Option<&mut FrameWatch> {
        match &mut self.reading {
            Reading::Http2(watch) => Some(watch),
            _ => None,
        }
    }

    /// Puts the watch's own frames where they fit between h2's, and sends what is held.
    pub(super) fn poll_frames_of_ours(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.hold_frames_of_ours();
        self.out.poll_drain(&mut self.inner, cx)
    }

    fn hold_frames_of_ours(&mut self) -> bool {
        let Reading::Http2(watch) = &mut self.reading else {
            return false;
        };
        let Some(frames) = watch.for_client() else {
            return false;
        };
        self.out.hold(&frames.split());
        true
    }

    /// Gathers frames: streams that answer at the same time share a record and a system call.
    pub(super) fn poll_write_frames(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.hold_frames_of_ours();
        let wrote = self.out.poll_write(&mut self.inner, cx, data);
        let n = ready!(self.written(cx, wrote))?;
        self.note_frames(cx, data.get(..n).unwrap_or_default())?;
        Poll::Ready(Ok(n))
    }

    /// Sends what is held, once all streams that are ready have added theirs: the connection's task goes behind them.
    pub(super) fn poll_flush_frames(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.hold_frames_of_ours();
        if !self.out.is_empty() && !std::mem::replace(&mut self.gathered, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let drained = self.out.poll_drain(&mut self.inner, cx);
        ready!(self.written(cx, drained))?;
        self.gathered = false;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Tells the watch what h2 wrote.
    pub(super) fn note_frames(&mut self, cx: &mut Context<'_>, written: &[u8]) -> io::Result<()> {
        match self
            .watch()
            .map(|watch| watch.wrote(written, Instant::now()))
        {
            Some(Err(ended)) => Err(self.end_http2(cx, ended)),
            _ => Ok(()),
        }
    }
}
