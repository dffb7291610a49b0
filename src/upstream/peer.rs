//! One backend as it is connected to, with its idle connections; and one attempt at it, as Pingora's connector asks for it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::upstreams::peer::{HttpPeer, Peer, PeerOptions};
use pingora_core::utils::tls::CertKey;

use super::Limits;
use super::idle::Idle;

/// How to connect to one backend.
#[derive(Debug)]
pub struct Target {
    peer: HttpPeer,
    key: u64,
    idle: Arc<Idle>,
}

impl Target {
    /// Idle connections to the same backend, made in the same way, are kept from `before`.
    pub fn new(peer: HttpPeer, before: Option<&Target>) -> Target {
        let key = peer.reuse_hash();
        let same = before.filter(|before| before.key == key);
        Target {
            peer,
            key,
            idle: same.map_or_else(Arc::default, |before| before.idle.clone()),
        }
    }

    /// What kept connections have in common: those made under another key are not used.
    #[cfg(test)]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Connections that wait for a request.
    pub fn idle(&self) -> &Idle {
        &self.idle
    }

    /// Until when a connection that is idle from `now` on is kept.
    pub fn idle_until(&self, now: Instant) -> Instant {
        let longest = self.peer.idle_timeout();
        now + longest.unwrap_or_default()
    }

    /// To be copied and changed at will.
    pub fn peer(&self) -> &HttpPeer {
        &self.peer
    }
}

/// One attempt at a [`Target`] to which Pingora connects.
#[derive(Debug, Clone)]
pub struct AttemptPeer {
    target: Arc<Target>,
    connect: Duration,
}

impl AttemptPeer {
    pub fn new(target: Arc<Target>, limits: &Limits) -> AttemptPeer {
        AttemptPeer {
            target,
            connect: limits.connect,
        }
    }
}

impl Peer for AttemptPeer {
    fn address(&self) -> &SocketAddr {
        self.target.peer.address()
    }

    fn tls(&self) -> bool {
        self.target.peer.tls()
    }

    fn sni(&self) -> &str {
        self.target.peer.sni()
    }

    fn reuse_hash(&self) -> u64 {
        self.target.key
    }

    fn get_peer_options(&self) -> Option<&PeerOptions> {
        self.target.peer.get_peer_options()
    }

    fn get_client_cert_key(&self) -> Option<&Arc<CertKey>> {
        self.target.peer.get_client_cert_key()
    }

    fn connection_timeout(&self) -> Option<Duration> {
        Some(self.connect)
    }

    fn total_connection_timeout(&self) -> Option<Duration> {
        Some(self.connect)
    }
}

impl fmt::Display for AttemptPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.peer.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::stream::Stream;

    #[test]
    fn idle_connections_are_handed_on_where_the_way_to_connect_is_the_same() {
        let peer = |port: u16| HttpPeer::new(("127.0.0.1", port), false, String::new());
        let now = Instant::now();
        let before = Target::new(peer(1), None);
        let (ours, _theirs) = tokio::io::duplex(1);
        let later = now + Duration::from_secs(1);
        before.idle().put(Stream::Other(Box::new(ours)), later);
        let other = Target::new(peer(2), Some(&before));
        assert!(other.idle().take(now).is_none());
        let same = Target::new(peer(1), Some(&before));
        assert!(same.idle().take(now).is_some());
    }
}
