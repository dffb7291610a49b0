//! The PROXY header of a connection: who may send one, who must, and how long it may take.

use bytes::BytesMut;
use ipnet::IpNet;
use pingora_timeout::timeout;
use tokio::io::AsyncReadExt;

use super::connection::Connection;
use super::proxy_protocol::{Parsed, parse};
use super::socket::Socket;
use crate::config::model::ProxyProtocol;
use crate::observe::metrics::{RejectReason, SlowPhase};

/// Reads the PROXY header, if this listener takes one, and sets the connection's client.
///
/// `Err` is why the connection must be closed, as the metric's `reason`.
pub async fn read(socket: &mut Socket, connection: &mut Connection) -> Result<(), RejectReason> {
    let config = connection.config.clone();
    let (trusted, required) = match &config.proxy_protocol {
        ProxyProtocol::Off => return Ok(()),
        ProxyProtocol::Optional { trusted } => (trusted, false),
        ProxyProtocol::Required { trusted } => (trusted, true),
    };
    if !is_trusted(connection, trusted) {
        return without_header(connection, required, RejectReason::ProxyUntrusted);
    }
    let deadline = config.limits.proxy_header_timeout;
    match timeout(deadline, read_header(socket, connection)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => without_header(connection, required, RejectReason::ProxyMissing),
        Ok(Err(reason)) => Err(reason),
        Err(_) => {
            connection
                .listener
                .metrics
                .slow_closed
                .inc(SlowPhase::Proxy);
            Err(RejectReason::ProxyTimeout)
        }
    }
}

/// The L4 balancer's own health check has no header: it gets the health path and nothing else.
fn without_header(
    connection: &mut Connection,
    required: bool,
    reason: RejectReason,
) -> Result<(), RejectReason> {
    if !required {
        return Ok(());
    }
    if connection.config.health_path.is_none() {
        return Err(reason);
    }
    connection.health_only = true;
    Ok(())
}

/// A Unix socket's peer is on this machine and was let in by the file's permissions.
fn is_trusted(connection: &Connection, trusted: &[IpNet]) -> bool {
    connection.peer.is_none()
        || trusted
            .iter()
            .any(|net| net.contains(&connection.peer_ip()))
}

/// `true` when there was a header, `false` when the first bytes are something else.
async fn read_header(
    socket: &mut Socket,
    connection: &mut Connection,
) -> Result<bool, RejectReason> {
    let mut bytes = BytesMut::new();
    loop {
        if socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return Err(RejectReason::ProxyClosed);
        }
        match parse(&bytes) {
            Parsed::NeedMore => {}
            Parsed::NotProxy => {
                socket.unread(bytes);
                return Ok(false);
            }
            Parsed::Invalid(_) => return Err(RejectReason::ProxyInvalid),
            Parsed::Header(header) => {
                // LOCAL and UNKNOWN carry no source: the socket's peer is the client.
                connection.client = header.source.or(connection.peer);
                if let Some(destination) = header.destination {
                    connection.local_port = destination.port();
                }
                socket.unread(bytes.split_off(header.consumed));
                return Ok(true);
            }
        }
    }
}
