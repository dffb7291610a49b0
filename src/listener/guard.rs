//! The guarded stream: what Pingora reads and writes instead of the client's socket.
//!
//! Over HTTP/1 it lends Pingora exactly one request's bytes: a body that breaks the chunked rules ends the
//! connection, and the next request of a pipeline waits here until its turn. Over HTTP/2 it watches frames and
//! holds the deadlines that h2 lacks. Small writes are gathered, so that a head and a short body leave together.

use std::future::Future;
use std::io;
use std::pin::Pin;
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
use super::frame_watch::{Ended, FrameWatch};
use super::head::Framing;
use super::tls;
use super::write_buffer::WriteBuffer;
use crate::observe::metrics::RejectReason;

/// Bytes of a pipelined request that are taken in while the one before is served.
const MAX_AHEAD: usize = 4096;

/// A client's stream with its facts, its framing and its deadlines.
pub struct Guard<S> {
    inner: S,
    connection: Arc<Connection>,
    socket_digest: Arc<SocketDigest>,
    proxy_digest: Arc<ProxyDigest>,
    /// Read from the client, not yet given to Pingora.
    ahead: BytesMut,
    out: WriteBuffer,
    reading: Reading,
    /// The TLS handshake is not done yet.
    early: bool,
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
        let socket_digest = SocketDigest::from_raw_fd(inner.id());
        if let Some(client) = connection.client {
            let _ = socket_digest.peer_addr.set(Some(client.into()));
        }
        Guard {
            inner,
            early: connection.early_data().is_unfinished(),
            proxy_digest: connection.clone().into_digest(),
            connection,
            socket_digest: Arc::new(socket_digest),
            ahead: BytesMut::new(),
            out: WriteBuffer::default(),
            reading: Reading::Length(0),
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
    pub fn begin_request(&mut self, rest: BytesMut, framing: Framing) {
        self.ahead = rest;
        self.reading = match framing {
            Framing::None => Reading::Length(0),
            Framing::Length(n) => Reading::Length(n),
            Framing::Chunked => Reading::Chunked(Box::default()),
        };
    }

    /// From here on frames are watched; `first` was read already.
    pub fn begin_http2(&mut self, first: BytesMut) {
        let watch = FrameWatch::new(self.connection.config.limits.header_timeout);
        self.ahead = first;
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
        ready!(self.poll_fill(cx, buf))?;
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
        ready!(self.poll_fill(cx, buf))?;
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

    fn poll_http2(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.poll_fill(cx, buf);
        let Reading::Http2(watch) = &mut self.reading else {
            return read;
        };
        let ended = match read {
            Poll::Ready(Ok(())) => match watch.saw(&buf.filled()[before..], Instant::now()) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(ended) => ended,
            },
            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            Poll::Pending => {
                ready!(watch.deadline().poll(cx));
                Ended::Slow(watch.slow_phase())
            }
        };
        let metrics = &self.connection.listener.metrics;
        let kind = match ended {
            Ended::Slow(phase) => {
                metrics.slow_closed.inc(phase);
                io::ErrorKind::TimedOut
            }
            Ended::Flood => {
                metrics.rejected.inc(RejectReason::Http2Flood);
                io::ErrorKind::InvalidData
            }
        };
        Poll::Ready(Err(kind.into()))
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
            // h2 gathers its frames itself.
            return Pin::new(&mut this.inner).poll_write(cx, data);
        }
        this.out.poll_write(&mut this.inner, cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if matches!(this.reading, Reading::Http2(_)) {
            return Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|b| !b.is_empty());
        this.out
            .poll_write(&mut this.inner, cx, first.map_or(&[], |b| b))
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.reading, Reading::Http2(_)) && self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.out.poll_drain(&mut this.inner, cx))?;
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
        Some(self.proxy_digest.clone())
    }
}

impl<S: IO> GetSocketDigest for Guard<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket_digest.clone())
    }
}

impl<S> std::fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
