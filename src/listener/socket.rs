//! The accepted socket, TCP or Unix, as Pingora's traits want to see it, with what was read ahead of it.

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::seats::Closing;

/// A connection as the kernel gave it.
#[derive(Debug)]
pub enum Kernel {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What is read at once for a reader that asks for less, in bytes: most records of a request.
const READ_AHEAD: usize = 4096;

/// A client's socket. Bytes read past a PROXY header, or ahead of TLS, wait in `ahead` and are read first.
#[derive(Debug)]
pub struct Socket {
    kernel: Kernel,
    closing: Closing,
    ahead: BytesMut,
    reads_ahead: bool,
}

impl Socket {
    /// Wraps an accepted connection.
    pub fn new(kernel: Kernel, closing: Closing) -> Socket {
        Socket {
            kernel,
            closing,
            ahead: BytesMut::new(),
            reads_ahead: false,
        }
    }

    /// From now on TLS reads from it, which asks for a record's head and its body one after the other: both come by one
    /// system call.
    pub fn read_ahead(&mut self) {
        self.reads_ahead = true;
    }

    fn poll_read_kernel(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.kernel {
            Kernel::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Kernel::Unix(s) => Pin::new(s).poll_read(cx, buf),
        }
    }

    /// Gives back bytes that were read but belong to what comes next.
    pub fn unread(&mut self, bytes: BytesMut) {
        self.ahead = bytes;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Kernel::Tcp(stream) = &self.kernel
            && self.closing.is_reset()
        {
            // Where it fails, the kernel goes on trying to send for a while.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let n = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..n]);
            self.ahead.advance(n);
            if self.ahead.is_empty() {
                self.ahead = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        if !self.reads_ahead || buf.remaining() >= READ_AHEAD {
            return self.poll_read_kernel(cx, buf);
        }
        let mut bytes = [std::mem::MaybeUninit::uninit(); READ_AHEAD];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(self.poll_read_kernel(cx, &mut read))?;
        let (asked, ahead) = read
            .filled()
            .split_at(read.filled().len().min(buf.remaining()));
        buf.put_slice(asked);
        self.ahead.extend_from_slice(ahead);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.kernel {
            Kernel::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Kernel::Unix(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.kernel {
            Kernel::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Kernel::Unix(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kernel {
            Kernel::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Kernel::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

#[async_trait]
impl Shutdown for Socket {
    async fn shutdown(&mut self) {
        // The peer may be gone already: there is nobody left to tell.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Socket {
    fn id(&self) -> UniqueIDType {
        match &self.kernel {
            Kernel::Tcp(s) => s.as_raw_fd(),
            Kernel::Unix(s) => s.as_raw_fd(),
        }
    }
}

impl Ssl for Socket {}

impl Peek for Socket {}

impl GetTimingDigest for Socket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Socket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Socket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
