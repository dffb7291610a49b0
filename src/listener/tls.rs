//! Certificates and the TLS handshake of a listener.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use boring::asn1::Asn1Time;
use boring::pkey::PKey;
use boring::ssl::{AlpnError, NameType, SslAcceptor, SslMethod, SslRef, select_next_proto};
use boring::x509::X509;
use pingora_core::protocols::tls::SslStream;
use pingora_core::protocols::tls::server::handshake;

use super::connection::TlsFacts;
use super::socket::Socket;
use crate::config::model::{CertificateFiles, ListenerTls};

/// Server preference: HTTP/2 where the client offers it.
const ALPN: &[u8] = b"\x02h2\x08http/1.1";

/// Why a certificate or key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file holds no PEM certificate.
    #[error("{}: no certificate in it; write a PEM chain, the server's own first", .0.display())]
    NoCertificate(PathBuf),
    /// The file holds no usable private key.
    #[error("{}: no usable private key in it; write an unencrypted PEM key", .0.display())]
    BadKey(PathBuf),
    /// Certificate and key do not belong together.
    #[error("{}: this key does not belong to the certificate in {}", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    /// BoringSSL refuses for another reason.
    #[error("TLS: {0}")]
    Library(#[from] boring::error::ErrorStack),
}

/// A listener's TLS, ready for handshakes. Replaced whole when certificates change.
#[derive(Clone)]
pub struct Tls {
    acceptor: Arc<SslAcceptor>,
    /// When the certificate expires.
    pub not_after: SystemTime,
}

impl Tls {
    /// Reads certificates and keys; they must exist, parse and belong together.
    pub fn load(config: &ListenerTls) -> Result<Tls, TlsError> {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
        let mut not_after = None;
        for files in &config.certificates {
            let chain = read_chain(&files.cert)?;
            let (leaf, intermediates) = chain
                .split_first()
                .ok_or_else(|| TlsError::NoCertificate(files.cert.clone()))?;
            let key = read_key(files, leaf)?;
            builder.set_certificate(leaf)?;
            builder.set_private_key(&key)?;
            for certificate in intermediates {
                builder.add_extra_chain_cert(certificate.clone())?;
            }
            not_after = Some(expiry(leaf)?);
        }
        builder.set_alpn_select_callback(|_, offered| {
            select_next_proto(ALPN, offered).ok_or(AlpnError::NOACK)
        });
        Ok(Tls {
            acceptor: Arc::new(builder.build()),
            not_after: not_after.unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    /// The server's side of a handshake. The caller holds the deadline.
    pub async fn accept(&self, socket: Socket) -> pingora_core::Result<SslStream<Socket>> {
        handshake(&self.acceptor, socket).await
    }
}

/// What a finished handshake agreed on.
pub fn facts(ssl: &SslRef) -> TlsFacts {
    TlsFacts {
        version: ssl.version_str(),
        cipher: ssl
            .current_cipher()
            .map_or("", |c| c.standard_name().unwrap_or(c.name())),
        server_name: ssl.servername(NameType::HOST_NAME).map(str::to_owned),
        resumed: ssl.session_reused(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_chain(path: &Path) -> Result<Vec<X509>, TlsError> {
    X509::stack_from_pem(&read(path)?).map_err(|_| TlsError::NoCertificate(path.to_owned()))
}

fn read_key(
    files: &CertificateFiles,
    leaf: &X509,
) -> Result<PKey<boring::pkey::Private>, TlsError> {
    let key = PKey::private_key_from_pem(&read(&files.key)?)
        .map_err(|_| TlsError::BadKey(files.key.clone()))?;
    if leaf.public_key()?.public_eq(&key) {
        return Ok(key);
    }
    Err(TlsError::Mismatch {
        cert: files.cert.clone(),
        key: files.key.clone(),
    })
}

fn expiry(certificate: &X509) -> Result<SystemTime, TlsError> {
    let epoch = Asn1Time::from_unix(0)?;
    let left = epoch.diff(certificate.not_after())?;
    let seconds = i64::from(left.days) * 86_400 + i64::from(left.secs);
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
