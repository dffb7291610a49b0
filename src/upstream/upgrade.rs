//! Connections for upgrade requests (WebSocket), around pingora#946.
//!
//! Pingora tears an upgraded connection down when it handles the backend's 101 before the end of the request, which a
//! quick backend can bring about. On these connections the first read after each write is put off by one poll, so
//! that the request's end, which waits in a queue by then, is always handled first. They are never pooled together
//! with others.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Sets these connections apart in Pingora's pool, which looks only at the peer's address and this key.
const GROUP: u64 = 0x7570_6772_6164_6500;

/// Makes `peer` one that an upgrade request can be sent to. Silence is allowed for as long as both sides like.
pub fn prepare(peer: &mut HttpPeer) {
    peer.options.read_timeout = None;
    peer.options.write_timeout = None;
    peer.options.custom_l4 = Some(Arc::new(Connector));
    peer.group_key ^= GROUP;
}

#[derive(Debug)]
struct Connector;

#[async_trait]
impl Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let socket: Box<dyn VirtualSocket> = match address {
            SocketAddr::Inet(address) => {
                let stream = TcpStream::connect(address)
                    .await
                    .map_err(|e| refused(e, address))?;
                stream
                    .set_nodelay(true)
                    .or_err(ErrorType::ConnectError, "TCP_NODELAY")?;
                Box::new(Deferring::new(stream))
            }
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().unwrap_or(std::path::Path::new(""));
                let stream = UnixStream::connect(path).await;
                Box::new(Deferring::new(
                    stream.map_err(|e| refused(e, &path.display()))?,
                ))
            }
        };
        Ok(VirtualSocketStream::new(socket).into())
    }
}

fn refused(error: io::Error, address: &dyn std::fmt::Display) -> Box<Error> {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ErrorType::ConnectRefused,
        _ => ErrorType::ConnectError,
    };
    Error::because(kind, format!("connecting to {address}"), error)
}

/// A stream whose first read after a write is put off once.
#[derive(Debug)]
struct Deferring<S> {
    inner: S,
    defer: bool,
}

impl<S> Deferring<S> {
    fn new(inner: S) -> Deferring<S> {
        Deferring { inner, defer: true }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Deferring<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.defer) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deferring<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.defer = true;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S> VirtualSocket for Deferring<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug,
{
    /// The options that matter were set when it was connected.
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
