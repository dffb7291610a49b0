//! The guarded stream: what Pingora reads and writes instead of the client's socket.
//!
//! Over HTTP/1 it lends Pingora exactly one request's bytes: a body that breaks the chunked rules ends the
//! connection, and the next request of a pipeline waits here until its turn. Over HTTP/2 it watches frames and
//! holds the deadlines that h2 lacks. Small writes are gathered, so that a head and a short body leave together.

mod body;
mod http2;

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::{ALPN, SslDigest, TlsRef};
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, IO, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::chunked::ChunkScanner;
use super::connection::Connection;
use super::frame_watch::FrameWatch;
use super::head::Framing;
use super::pace::Turn;
use super::seats::Waits;
use super::tls;
use super::unread::{self, LAG, Sent};
use super::write_buffer::WriteBuffer;
use crate::observe::metrics::SlowPhase;

/// Bytes of a pipelined request that are taken in while the one before is served.
const MAX_AHEAD: usize = 4096;

/// A client's stream with its facts, its framing and its deadlines.
pub struct Guard<S> {
    inner: S,
    connection: Arc<Connection>,
    /// Read from the client, not yet given to Pingora.
    ahead: BytesMut,
    out: WriteBuffer,
    /// Of HTTP/2: other streams had their chance to add to what is held.
    gathered: bool,
    reading: Reading,
    /// The TLS handshake is not done yet.
    early: bool,
    /// Of an HTTP/1 request body; made when the client first keeps us waiting.
    body_turn: Option<Box<Turn>>,
    /// The client said `Expect: 100-continue`: until something is sent to it, the body is not its turn.
    awaits_continue: bool,
    taking: Taking,
}

/// How the client takes what is sent to it.
#[derive(Default)]
struct Taking {
    /// Made when the client first keeps us waiting.
    turn: Option<Box<Turn>>,
    /// The kernel's count of bytes that the client has, at the last look.
    acked: u64,
}

/// How the bytes that come in are understood.
enum Reading {
    /// HTTP/1 body with this many bytes left; 0 between requests.
    Length(u64),
    Chunked(Box<ChunkScanner>),
    Http2(Box<FrameWatch>),
}

impl<S: IO> Guard<S> {
    /// Guards a stream whose facts are known.
    pub fn new(inner: S, connection: Arc<Connection>) -> Guard<S> {
        Guard {
            inner,
            early: connection.early_data().is_unfinished(),
            connection,
            ahead: BytesMut::new(),
            out: WriteBuffer::default(),
            gathered: false,
            reading: Reading::Length(0),
            body_turn: None,
            awaits_continue: false,
            taking: Taking::default(),
        }
    }

    /// The facts of this connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Takes what was read past the last request.
    pub fn take_ahead(&mut self) -> BytesMut {
        std::mem::take(&mut self.ahead)
    }

    /// Begins a request: `rest` was read past its head, `framing` says how long its body is.
    pub fn begin_request(&mut self, rest: BytesMut, framing: Framing, expects_continue: bool) {
        self.ahead = rest;
        self.awaits_continue = expects_continue && self.ahead.is_empty();
        self.body_turn = None;
        self.taking.turn = None;
        self.connection.set_lagged(false);
        self.reading = match framing {
            Framing::None => Reading::Length(0),
            Framing::Length(n) => Reading::Length(n),
            Framing::Chunked => Reading::Chunked(Box::default()),
        };
    }

    /// From here on frames are watched; `first` was read already.
    pub fn begin_http2(&mut self, first: BytesMut) {
        let watch = FrameWatch::new(self.connection.clone(), self.inner.id());
        self.ahead = first;
        self.out = WriteBuffer::http2();
        self.reading = Reading::Http2(Box::new(watch));
    }

    /// Reads what there is, without framing: for heads.
    pub fn poll_read_raw(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.early {
            self.look_for_end_of_handshake();
        }
        read
    }

    /// Reading is what drives a handshake on whose requests are served already.
    fn look_for_end_of_handshake(&mut self) {
        let unfinished = self.inner.get_ssl().is_some_and(tls::in_early_data);
        if !unfinished {
            self.early = false;
            self.connection.early_data().end();
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return self.poll_read_raw(cx, buf);
        }
        let n = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..n]);
        self.ahead.advance(n);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads a request body, at the client's pace but not slower than it may be.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.poll_fill(cx, buf);
        let awaits = read.is_pending() && !self.awaits_continue;
        self.connection
            .waits(if awaits { Waits::Slow } else { Waits::Busy });
        if read.is_ready() {
            self.awaits_continue = false;
            if let Some(turn) = &mut self.body_turn {
                turn.moved(buf.filled().len() - before, Instant::now());
            }
            return read;
        }
        if self.awaits_continue || self.connection.streaming() > 0 {
            return Poll::Pending;
        }
        let limits = &self.connection.config.limits.request_body;
        let turn = self
            .body_turn
            .get_or_insert_with(|| Box::new(Turn::new(limits)));
        ready!(turn.poll_slow(limits, cx, Instant::now()));
        self.connection.slow(SlowPhase::Body);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// What became of a write, with the client's pace held.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Reading::Http2(watch) = &mut self.reading {
            watch.blocked = wrote.is_pending();
        }
        if wrote.is_ready() {
            self.awaits_continue = false;
            if let Some(turn) = &mut self.taking.turn {
                turn.moved(0, Instant::now());
                self.connection.waits(Waits::Busy);
                // The streams of HTTP/2 are counted by the watch.
                if !matches!(self.reading, Reading::Http2(_)) {
                    self.connection.keep_waiting(0);
                }
            }
            return wrote;
        }
        ready!(self.poll_unread(cx));
        self.connection.slow(SlowPhase::Response);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Waits for a client that takes nothing now. `Ready`: it is too slow, or too much of its like is kept waiting. What goes
    /// through a tunnel has no pace.
    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let tunnel = self.connection.is_upgraded();
        let answers = match &self.reading {
            Reading::Http2(watch) => watch.answering().max(1),
            _ => 1,
        };
        self.connection.waits(Waits::Slow);
        let limits = &self.connection.config.limits.response;
        let (socket, acked) = (self.inner.id(), &mut self.taking.acked);
        let turn = self.taking.turn.get_or_insert_with(|| {
            *acked = Sent::on(socket).acked;
            Box::new(Turn::new(limits))
        });
        loop {
            // The kernel takes more only when much of its buffer is free: what the client has of it is the better measure.
            let unseen = || {
                let before = std::mem::replace(acked, Sent::on(socket).acked);
                acked.saturating_sub(before)
            };
            let looked = ready!(turn.poll_look(limits, cx, Instant::now(), unseen));
            if !looked.keeps && !tunnel {
                return Poll::Ready(());
            }
            if looked.blocked >= LAG {
                self.connection.set_lagged(true);
                if self.connection.keep_waiting(answers) > 0 {
                    return Poll::Ready(());
                }
            }
        }
    }

    /// The last word, where there is one: TLS's (RFC 8446 6.1). TCP's end comes with the drop, but for a client that has not
    /// been sent everything yet: it is waited for at its pace, so that what the kernel holds for it counts as its own.
    pub async fn part(&mut self) {
        if self.connection.is_reset() {
            return;
        }
        if self.sent().unsent {
            Box::pin(self.linger()).await;
        } else if self.inner.get_ssl().is_some() {
            Shutdown::shutdown(self).await;
        }
    }

    async fn linger(&mut self) {
        let (connection, socket) = (self.connection.clone(), self.inner.id());
        connection.waits(Waits::Slow);
        let mut taken = pin!(unread::taken(socket, &connection.config.limits.response));
        let keeps = tokio::select! {
            biased;
            // Even the last word may find no room.
            () = Shutdown::shutdown(self) => taken.await,
            keeps = &mut taken => keeps,
        };
        if !keeps {
            connection.slow(SlowPhase::Response);
        }
    }

    /// What the client has been sent.
    pub fn sent(&self) -> Sent {
        Sent::on(self.inner.id())
    }

    /// Sends both pieces, one behind the other and behind what is held back; `sent` of them went out already.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        pieces: [&[u8]; 2],
        sent: &mut usize,
    ) -> Poll<io::Result<()>> {
        let [first, second] = pieces;
        if !self.out.is_empty() {
            let drained = self.out.poll_drain(&mut self.inner, cx);
            ready!(self.written(cx, drained))?;
        }
        while *sent < first.len() + second.len() {
            let inner = Pin::new(&mut self.inner);
            let wrote = match first.get(*sent..).filter(|left| !left.is_empty()) {
                Some(left) if second.is_empty() || !inner.is_write_vectored() => {
                    inner.poll_write(cx, left)
                }
                Some(left) => {
                    let both = [io::IoSlice::new(left), io::IoSlice::new(second)];
                    inner.poll_write_vectored(cx, &both)
                }
                None => inner.poll_write(cx, &second[*sent - first.len()..]),
            };
            match ready!(self.written(cx, wrote))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => *sent += n,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Between two requests only the end of the connection is news; early bytes wait.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < MAX_AHEAD {
            let mut bytes = [std::mem::MaybeUninit::uninit(); 512];
            let mut early = ReadBuf::uninit(&mut bytes);
            ready!(self.poll_read_raw(cx, &mut early))?;
            if early.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(early.filled());
        }
        Poll::Pending
    }

    fn poll_length(
        &mut self,
        left: u64,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.poll_body(cx, buf))?;
        let read = buf.filled().len() - before;
        let mine = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        self.put_back(buf, before + mine);
        self.reading = Reading::Length(left - mine as u64);
        Poll::Ready(Ok(()))
    }

    fn poll_chunked(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.poll_body(cx, buf))?;
        let Reading::Chunked(scanner) = &mut self.reading else {
            return Poll::Ready(Ok(()));
        };
        match scanner.feed(&buf.filled()[before..]) {
            Ok(progress) => {
                if let Some(end) = progress.done_at {
                    self.put_back(buf, before + end);
                    self.reading = Reading::Length(0);
                }
                Poll::Ready(Ok(()))
            }
            Err(refusal) => {
                self.connection.listener.refuse(&self.connection, refusal);
                buf.set_filled(before);
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    refusal.reason(),
                )))
            }
        }
    }

    /// Keeps for the next request what was read past `end`.
    fn put_back(&mut self, buf: &mut ReadBuf<'_>, end: usize) {
        let extra = &buf.filled()[end..];
        if extra.is_empty() {
            return;
        }
        let mut ahead = BytesMut::with_capacity(extra.len() + self.ahead.len());
        ahead.extend_from_slice(extra);
        ahead.extend_from_slice(&self.ahead);
        self.ahead = ahead;
        buf.set_filled(end);
    }
}

impl<S: IO> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        match &this.reading {
            Reading::Length(0) if this.connection.is_upgraded() => this.poll_fill(cx, buf),
            Reading::Length(0) => this.poll_end(cx),
            Reading::Length(left) => this.poll_length(*left, cx, buf),
            Reading::Chunked(_) => this.poll_chunked(cx, buf),
            Reading::Http2(_) => this.poll_http2(cx, buf),
        }
    }
}

impl<S: IO> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if matches!(this.reading, Reading::Http2(_)) {
            return this.poll_write_frames(cx, data);
        }
        let wrote = this.out.poll_write(&mut this.inner, cx, data);
        this.written(cx, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !matches!(this.reading, Reading::Http2(_)) {
            let first = bufs.iter().find(|b| !b.is_empty());
            return Pin::new(this).poll_write(cx, first.map_or(&[], |b| b));
        }
        let mut written = 0;
        for slice in bufs.iter().filter(|b| !b.is_empty()) {
            let n = match this.poll_write_frames(cx, slice)? {
                Poll::Ready(n) => n,
                Poll::Pending if written == 0 => return Poll::Pending,
                Poll::Pending => break,
            };
            written += n;
            if n < slice.len() {
                break;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.reading, Reading::Http2(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.reading, Reading::Http2(_)) {
            return this.poll_flush_frames(cx);
        }
        let drained = this.out.poll_drain(&mut this.inner, cx);
        ready!(this.written(cx, drained))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.out.poll_drain(&mut this.inner, cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl<S: IO> Shutdown for Guard<S> {
    async fn shutdown(&mut self) {
        // The peer may be gone already: there is nobody left to tell.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl<S: IO> UniqueID for Guard<S> {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl<S: IO> Ssl for Guard<S> {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

/// Not supported on purpose: Pingora then takes an h2c stream at its word, and we have looked already.
impl<S: IO> Peek for Guard<S> {}

impl<S: IO> GetTimingDigest for Guard<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S: IO> GetProxyDigest for Guard<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl<S: IO> GetSocketDigest for Guard<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl<S> std::fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
