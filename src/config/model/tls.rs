//! TLS on both sides.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;

/// TLS of one listener.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    /// At least one.
    pub certificates: Vec<CertificateFiles>,
    /// Refuse TLS 1.2.
    pub only_tls13: bool,
    /// Refuse clients that ask for a name which no certificate has.
    pub close_unknown_names: bool,
    /// Trusted proxies may ask for hosts that the connection's certificate is not made out to.
    pub misdirected_from_proxies: bool,
    pub client_auth: Option<ClientAuth>,
    /// `None`: no session tickets.
    pub tickets: Option<TicketKeys>,
    pub early_data: bool,
}

/// What the keys of session tickets are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketKeys {
    /// Of the cluster's secrets, one key for each epoch of this length.
    Cluster(Vec<Secret>, Duration),
    /// Files; the first one's key makes tickets, all open them.
    Files(Vec<PathBuf>),
    /// Of a secret that this process makes up, one key for each epoch of this length.
    Own(Duration),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientAuth {
    pub ca: PathBuf,
    pub required: bool,
    /// Send the certificate itself to backends, too.
    pub forward_certificate: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ocsp: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Server name for SNI and for the certificate check.
    pub server_name: String,
    /// PEM bundle; `None` is the system's roots.
    pub ca: Option<PathBuf>,
    /// PEM files of our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub verify: bool,
}
