//! The backend of one attempt, as Pingora's connector asks for it: what is the same for every attempt is shared, and the
//! key of its idle connections is known since the snapshot was built.

use std::fmt;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::upstreams::peer::{HttpPeer, Peer, PeerOptions};
use pingora_core::utils::tls::CertKey;

use super::Limits;

/// How to connect to one backend.
#[derive(Debug)]
pub struct Target {
    peer: HttpPeer,
    key: u64,
}

impl Target {
    pub fn new(peer: HttpPeer) -> Target {
        Target {
            key: peer.reuse_hash(),
            peer,
        }
    }

    /// To be copied and changed at will.
    pub fn peer(&self) -> &HttpPeer {
        &self.peer
    }
}

/// One attempt at a [`Target`].
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

    /// Idle connections lie under the backend's own key: asking the kernel whose each one is would be a system call for
    /// every request.
    fn matches_fd<V: AsRawFd>(&self, _fd: V) -> bool {
        true
    }
}

impl fmt::Display for AttemptPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.peer.fmt(f)
    }
}
