//! TLS of a listener: its contexts, made when the configuration is loaded, and the server's side of a handshake.

mod certificates;
mod client_auth;
mod failure;
mod ffi;
mod hello;
mod threads;
mod tickets;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use boring::ssl::{
    AlpnError, ErrorCode, NameType, Ssl, SslAcceptor, SslContext, SslMethod, SslOptions, SslRef,
    SslSessionCacheMode, SslVersion, select_next_proto,
};
use pingora_core::protocols::tls::SslStream;

pub use certificates::{Certificates, Identity};
pub use client_auth::ClientCertificate;
pub use failure::HandshakeError;
pub use ffi::in_early_data;
pub use threads::HandshakeThreads;

use super::connection::TlsFacts;
use super::socket::Socket;
use crate::config::model::{ClientAuth, ListenerTls};
use crate::observe::metrics::KeyType;
use hello::{Chooser, Handshake};

/// What is spoken, in the server's order of preference: HTTP/2 where the client offers it. Whoever offers `http/1.0` alone is
/// served as well, since HTTP/1.0 is.
const ALPN: &[u8] = b"\x02h2\x08http/1.1\x08http/1.0";
/// The hybrid with ML-KEM holds against recordings that a quantum computer opens later.
const GROUPS: &str = "X25519MLKEM768:X25519:P-256:P-384";

/// Why a listener's TLS can't be as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file holds no PEM certificate.
    #[error("{}: no certificate in it; write a PEM chain, the server's own first", .0.display())]
    NoCertificate(PathBuf),
    /// None is configured.
    #[error("no certificates")]
    NoCertificates,
    /// The file holds no usable private key.
    #[error("{}: no usable private key in it; write an unencrypted PEM key", .0.display())]
    BadKey(PathBuf),
    /// The key is neither ECDSA nor RSA.
    #[error("{}: the key is neither ECDSA nor RSA, which is what clients take", .0.display())]
    KeyType(PathBuf),
    /// Certificate and key do not belong together.
    #[error("{}: this key does not belong to the certificate in {}", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    /// A key file of tickets is too short, or deriving failed.
    #[error("no keys for session tickets can be made; each file needs at least 32 bytes")]
    TicketKeys,
    /// The threads of handshakes can't be started.
    #[error("threads for handshakes: {0}")]
    Threads(io::Error),
    /// BoringSSL refuses for another reason.
    #[error("TLS: {0}")]
    Library(#[from] boring::error::ErrorStack),
}

/// What the TLS of all listeners of one process shares.
pub struct TlsShared {
    /// Of this process alone: for tickets where no secret is configured.
    own_secret: [u8; 32],
    threads: HandshakeThreads,
}

impl TlsShared {
    /// Starts the threads of full handshakes. `workers`: threads of the data path.
    pub fn start(workers: usize) -> Result<TlsShared, TlsError> {
        let mut own_secret = [0; 32];
        getrandom::fill(&mut own_secret).map_err(|_| TlsError::TicketKeys)?;
        Ok(TlsShared {
            own_secret,
            threads: HandshakeThreads::start(workers).map_err(TlsError::Threads)?,
        })
    }
}

/// A listener's TLS, ready for handshakes. Replaced whole when files or configuration change.
pub struct Tls {
    context: SslContext,
    /// For metrics and warnings.
    pub certificates: Arc<Certificates>,
    client_auth: Option<ClientAuth>,
    shared: Arc<TlsShared>,
    /// Requests may come before the handshake is done.
    pub early_data: bool,
}

impl Tls {
    /// Does what `load` does, and forgets it.
    pub fn check(config: &ListenerTls) -> Result<(), TlsError> {
        let chooser = Chooser::new(config, &[0; 32])?;
        context(config, chooser).map(drop)
    }

    /// Reads all files; they must exist, parse and belong together.
    pub fn load(config: &ListenerTls, shared: &Arc<TlsShared>) -> Result<Tls, TlsError> {
        let chooser = Chooser::new(config, &shared.own_secret)?;
        Ok(Tls {
            certificates: chooser.certificates.clone(),
            context: context(config, chooser)?,
            client_auth: config.client_auth.clone(),
            shared: shared.clone(),
            early_data: config.early_data,
        })
    }

    /// The server's side of a handshake. Resumptions are done here and now; full handshakes go to threads of their own,
    /// where at most `max_queued` wait. With early data it ends before the client's last word. The caller holds the deadline.
    pub async fn accept(
        &self,
        socket: Socket,
        max_queued: usize,
    ) -> Result<(SslStream<Socket>, TlsFacts), HandshakeError> {
        let handshake = Arc::new(Handshake::default());
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_ex_data(hello::index()?, handshake.clone());
        let mut stream = SslStream::new(ssl, socket).map_err(HandshakeError::Setup)?;
        let stream = match stream.accept().await {
            Ok(()) => stream,
            Err(e) if e.code() == ErrorCode::PENDING_CERTIFICATE => {
                self.shared.threads.accept(stream, max_queued).await?
            }
            Err(_)
                if handshake
                    .unknown_name
                    .load(std::sync::atomic::Ordering::Relaxed) =>
            {
                return Err(HandshakeError::UnknownName);
            }
            Err(e) => return Err(e.into()),
        };
        let facts = self.facts(stream.ssl(), &handshake);
        Ok((stream, facts))
    }

    fn facts(&self, ssl: &SslRef, handshake: &Handshake) -> TlsFacts {
        let cipher = ssl.current_cipher();
        let cipher = cipher.map_or("", |c| c.standard_name().unwrap_or(c.name()));
        let resumed = ssl.session_reused();
        let (identity, key_type) = match handshake.chosen.get() {
            Some((identity, key_type)) => (Some(identity.clone()), *key_type),
            None => (None, KeyType::None),
        };
        TlsFacts {
            version: ssl.version_str(),
            cipher,
            server_name: ssl.servername(NameType::HOST_NAME).map(str::to_owned),
            alpn: match ssl.selected_alpn_protocol() {
                Some(b"h2") => Some("h2"),
                Some(_) => Some("http/1.1"),
                None => None,
            },
            resumed,
            key_type: key_type_of(cipher, resumed, key_type),
            early_data: self.early_data && in_early_data(ssl),
            identity,
            client: self
                .client_auth
                .as_ref()
                .and_then(|auth| client_auth::shown(ssl, auth)),
        }
    }
}

/// The key that signed: none in a resumption; TLS 1.2 has it in the cipher's name.
fn key_type_of(cipher: &str, resumed: bool, preferred: KeyType) -> KeyType {
    match resumed {
        true => KeyType::None,
        false if cipher.contains("_RSA_WITH_") => KeyType::Rsa,
        false if cipher.contains("_ECDSA_WITH_") => KeyType::Ecdsa,
        false => preferred,
    }
}

fn context(config: &ListenerTls, chooser: Chooser) -> Result<SslContext, TlsError> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
    builder.set_min_proto_version(Some(match config.only_tls13 {
        true => SslVersion::TLS1_3,
        false => SslVersion::TLS1_2,
    }))?;
    builder.set_curves_list(GROUPS)?;
    ffi::prefer_aes_128(&mut builder)?;
    // A client that offers protocols, none of which is spoken here, is refused with `no_application_protocol`, as RFC 7301,
    // section 3.2 demands: a handshake that goes on would leave it to speak its own protocol to a server of HTTP (ALPACA). A
    // client that offers none at all is not asked, and speaks HTTP/1.1.
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(ALPN, offered).ok_or(AlpnError::ALERT_FATAL)
    });
    // Sessions are in tickets or nowhere: a cache would be memory that clients fill.
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    let session_context = client_auth::session_context(config.client_auth.as_ref())?;
    builder.set_session_id_context(&session_context)?;
    if let Some(auth) = &config.client_auth {
        client_auth::ask(&mut builder, auth)?;
    }
    match &chooser.tickets {
        Some(tickets) => {
            ffi::set_session_lifetime(&mut builder, tickets.lifetime());
            ffi::set_tickets(&mut builder, tickets.clone());
        }
        None => {
            builder.set_options(SslOptions::NO_TICKET);
        }
    }
    if config.early_data {
        ffi::enable_early_data(&mut builder);
    }
    builder.set_select_certificate_callback(move |hello| chooser.choose(hello));
    Ok(builder.build().into_context())
}
