//! From a picked backend to the peer that Pingora connects to. Everything that does not change from request to
//! request is made when the snapshot is built.

mod connect;
pub(crate) mod exchange;
mod idle;
mod peer;
mod stream;

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use boring::pkey::PKey;
use boring::x509::X509;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::upstreams::peer::{HttpPeer, PeerOptions};
use pingora_core::utils::tls::CertKey;

pub use connect::Connector;
pub use exchange::{Exchange, Framing};
pub use peer::Target;

use crate::config::model::{Address, Timeouts, Upstream, UpstreamProtocol};

/// Why connections to a pool's backends can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The CA bundle can't be read.
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file holds no certificate.
    #[error("{}: no certificate in it; write a PEM bundle", .0.display())]
    NoCertificate(PathBuf),
    /// The key is unusable, or another certificate's.
    #[error("{}: not the private key of the certificate in {}", key.display(), cert.display())]
    BadKey { cert: PathBuf, key: PathBuf },
    /// A Unix socket's path is not one.
    #[error("{}: not usable as a Unix socket path", .0.display())]
    BadPath(PathBuf),
}

/// What all peers of one pool have in common.
#[derive(Debug, Clone)]
pub struct Connect {
    options: PeerOptions,
    server_name: String,
    tls: bool,
    /// Shown to backends that ask.
    identity: Option<Arc<CertKey>>,
    /// Part of the key of pooled connections, here and in Pingora. It covers what decides whom a connection trusts and who it
    /// claims to be: server name, verification, and the contents of CA, certificate and key. The contents, because these
    /// files are replaced under the same path, and a connection made under the old ones must not serve a request any more.
    group: u64,
}

impl Connect {
    /// Reads the CA bundle, if there is one.
    pub fn new(upstream: &Upstream) -> Result<Connect, UpstreamError> {
        let mut options = PeerOptions::new();
        options.idle_timeout = Some(upstream.idle_timeout);
        options.max_h2_streams = upstream.max_streams;
        options.alpn = match upstream.protocol {
            UpstreamProtocol::Http1 => ALPN::H1,
            UpstreamProtocol::Http2 => ALPN::H2,
            UpstreamProtocol::Auto => ALPN::H2H1,
        };
        let mut server_name = String::new();
        let mut identity = None;
        let mut group = DefaultHasher::new();
        if let Some(tls) = &upstream.tls {
            server_name.clone_from(&tls.server_name);
            options.verify_cert = tls.verify;
            options.verify_hostname = tls.verify;
            (&tls.server_name, tls.verify, tls.ca.is_some()).hash(&mut group);
            if let Some(path) = &tls.ca {
                let pem = read(path, &mut group)?;
                options.ca = Some(Arc::new(chain(path, &pem)?.into_boxed_slice()));
            }
            if let Some((cert, key)) = &tls.identity {
                let pem = (read(cert, &mut group)?, read(key, &mut group)?);
                identity = Some(Arc::new(certificate_and_key(
                    (cert.as_path(), key.as_path()),
                    &pem,
                )?));
            }
        }
        Ok(Connect {
            options,
            server_name,
            tls: upstream.tls.is_some(),
            identity,
            group: group.finish(),
        })
    }

    /// The peer of one backend.
    pub fn peer(&self, address: &Address) -> Result<HttpPeer, UpstreamError> {
        let mut peer = match address {
            Address::Tcp(address) => HttpPeer::new(*address, self.tls, self.server_name.clone()),
            Address::Unix(path) => {
                let text = path
                    .to_str()
                    .ok_or_else(|| UpstreamError::BadPath(path.clone()))?;
                HttpPeer::new_uds(text, self.tls, self.server_name.clone())
                    .map_err(|_| UpstreamError::BadPath(path.clone()))?
            }
        };
        peer.options = self.options.clone();
        peer.client_cert_key.clone_from(&self.identity);
        peer.group_key = self.group;
        Ok(peer)
    }
}

/// One attempt's timeouts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connect: Duration,
    /// Of the backend, before or within its response: one timer in Pingora, so that the shorter one counts.
    pub silence: Duration,
    pub write: Duration,
}

impl Limits {
    /// `left` is what remains of the request's total time.
    pub fn new(timeouts: &Timeouts, left: Duration) -> Limits {
        let mut silence = timeouts.first_byte.min(timeouts.read).min(left);
        if let Some(per_try) = timeouts.per_try {
            silence = silence.min(per_try);
        }
        Limits {
            connect: timeouts.connect.min(left),
            silence,
            write: timeouts.write.min(left),
        }
    }

    /// Sets them on a peer of its own.
    pub fn set(&self, peer: &mut HttpPeer) {
        peer.options.connection_timeout = Some(self.connect);
        peer.options.total_connection_timeout = Some(self.connect);
        peer.options.read_timeout = Some(self.silence);
        peer.options.write_timeout = Some(self.write);
    }
}

/// The same address with another port: for probes.
pub fn with_port(mut peer: HttpPeer, port: u16) -> HttpPeer {
    if let SocketAddr::Inet(address) = &mut peer._address {
        address.set_port(port);
    }
    peer
}

/// A file's contents, which become part of `group`: the very bytes that are used, in case the file changes meanwhile.
fn read(path: &Path, group: &mut DefaultHasher) -> Result<Vec<u8>, UpstreamError> {
    let bytes = fs::read(path).map_err(|source| UpstreamError::Read {
        path: path.to_owned(),
        source,
    })?;
    bytes.hash(group);
    Ok(bytes)
}

fn chain(path: &Path, pem: &[u8]) -> Result<Vec<X509>, UpstreamError> {
    match X509::stack_from_pem(pem) {
        Ok(stack) if !stack.is_empty() => Ok(stack),
        _ => Err(UpstreamError::NoCertificate(path.to_owned())),
    }
}

fn certificate_and_key(
    (cert, key): (&Path, &Path),
    (cert_pem, key_pem): &(Vec<u8>, Vec<u8>),
) -> Result<CertKey, UpstreamError> {
    let chain = chain(cert, cert_pem)?;
    let private = PKey::private_key_from_pem(key_pem).ok();
    let public = chain.first().and_then(|leaf| leaf.public_key().ok());
    match (private, public) {
        (Some(private), Some(public)) if public.public_eq(&private) => {
            Ok(CertKey::new(chain, private))
        }
        _ => Err(UpstreamError::BadKey {
            cert: cert.to_owned(),
            key: key.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
