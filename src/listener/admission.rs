//! A listener's filters: asked about a connection when its client is known and nothing has been spent on TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pingora_timeout::timeout;
use tidegate_filters::{Chain, filter};

use super::connection::Connection;
use crate::observe::metrics::RejectReason;

/// The filters of one listener.
#[derive(Clone)]
pub struct Admission {
    /// As filters are told it.
    pub listener: Arc<str>,
    /// Every filter in it has a hook for connections.
    pub chain: Arc<Chain>,
}

impl Admission {
    /// `Err` is why the connection must be closed. One that may ask for nothing but the health path is not asked about: it
    /// is the balancer's own, and has no client.
    pub async fn ask(&self, connection: &Connection) -> Result<(), RejectReason> {
        if connection.health_only {
            return Ok(());
        }
        let asked = filter::Connection {
            client: connection.client_ip(),
            peer: socket(connection.peer, connection.peer_ip()),
            listener: self.listener.clone(),
        };
        let patience = connection.config.limits.header_timeout;
        let closed_by = match timeout(patience, self.chain.connection(&asked)).await {
            Ok(None) => return Ok(()),
            Ok(Some(filter)) => filter,
            Err(_) => "header_timeout",
        };
        log::debug!(
            "listener {}: connection of {} closed by {closed_by}",
            self.listener,
            asked.client
        );
        Err(RejectReason::Filter)
    }
}

/// A Unix socket's peer has no port.
fn socket(peer: Option<SocketAddr>, ip: IpAddr) -> SocketAddr {
    peer.unwrap_or((ip, 0).into())
}
