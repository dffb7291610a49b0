//! A connection to a backend: an idle one, else a new one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::l4::socket::SocketAddr as Address;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::Peer;
use pingora_core::{Error, ErrorType, Result};
use tokio::net::{TcpSocket, TcpStream};

use super::Limits;
use super::peer::{AttemptPeer, Target};
use super::stream::Stream;
use crate::listener::deadline;

/// Connects to backends of HTTP/1.1.
pub struct Connector {
    /// For TLS, and for Unix sockets.
    pingora: TransportConnector,
}

impl Connector {
    pub fn new(conf: &ServerConf) -> Connector {
        let options = ConnectorOptions::from_server_conf(conf);
        Connector {
            pingora: TransportConnector::new(Some(options)),
        }
    }

    /// `true`: the connection was idle. The error is the backend's or, where there is no socket to be had, ours.
    pub async fn get(
        &self,
        target: &Arc<Target>,
        limits: &Limits,
        now: Instant,
    ) -> Result<(Stream, bool)> {
        if let Some(stream) = target.idle().take(now) {
            return Ok((stream, true));
        }
        Ok((self.fresh(target, limits).await?, false))
    }

    /// A new one.
    pub async fn fresh(&self, target: &Arc<Target>, limits: &Limits) -> Result<Stream> {
        Ok(match target.peer().address() {
            Address::Inet(address) if !target.peer().tls() => {
                Stream::Tcp(plain(*address, limits).await?)
            }
            _ => {
                let peer = AttemptPeer::new(target.clone(), limits);
                Stream::Other(Box::pin(self.pingora.new_stream(&peer)).await?)
            }
        })
    }
}

async fn plain(address: SocketAddr, limits: &Limits) -> Result<TcpStream> {
    let socket = socket_for(address).map_err(|error| {
        // No descriptor: the fault is on this side.
        Error::because(ErrorType::SocketError, address.to_string(), error)
    })?;
    deadline::within(limits.connect, socket.connect(address))
        .await
        .map_err(|_| Error::explain(ErrorType::ConnectTimedout, address.to_string()))?
        .map_err(|error| failed(address, error))
}

fn socket_for(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A request is one write: nothing is gained by waiting for more.
    socket.set_nodelay(true)?;
    Ok(socket)
}

fn failed(address: SocketAddr, error: io::Error) -> Box<Error> {
    use io::ErrorKind as Kind;
    let kind = match error.kind() {
        Kind::ConnectionRefused => ErrorType::ConnectRefused,
        Kind::TimedOut => ErrorType::ConnectTimedout,
        Kind::HostUnreachable | Kind::NetworkUnreachable => ErrorType::ConnectNoRoute,
        // No local port, or a firewall of our own.
        Kind::AddrNotAvailable | Kind::AddrInUse => ErrorType::BindError,
        Kind::PermissionDenied => ErrorType::InternalError,
        _ => ErrorType::ConnectError,
    };
    Error::because(kind, address.to_string(), error)
}
