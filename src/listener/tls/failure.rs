//! Why a handshake with a client failed, in few words: for the metrics and the log.

use boring::ssl::Error;

use crate::observe::metrics::HandshakeFailure as Reason;

/// A handshake that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Too many full handshakes wait already.
    #[error("too many handshakes are waiting")]
    Overloaded,
    /// The client asked for a name that no certificate has.
    #[error("no certificate for the name that the client asks for")]
    UnknownName,
    /// The connection or its TLS could not be set up.
    #[error("{0}")]
    Setup(Box<pingora_core::Error>),
    /// BoringSSL refuses, or the client ended it.
    #[error("{0}")]
    Tls(#[from] Error),
}

impl From<boring::error::ErrorStack> for HandshakeError {
    fn from(error: boring::error::ErrorStack) -> HandshakeError {
        HandshakeError::Tls(error.into())
    }
}

impl HandshakeError {
    /// For the metrics.
    pub fn reason(&self) -> Reason {
        match self {
            HandshakeError::Overloaded => Reason::Overloaded,
            HandshakeError::UnknownName => Reason::UnknownName,
            HandshakeError::Setup(_) => Reason::Other,
            HandshakeError::Tls(error) => of_tls(error),
        }
    }
}

fn of_tls(error: &Error) -> Reason {
    let Some(stack) = error.ssl_error() else {
        return Reason::Closed;
    };
    let texts = stack.errors().iter().filter_map(|e| e.reason());
    texts.map(of_text).next().unwrap_or(Reason::Other)
}

/// BoringSSL's own names of its errors.
fn of_text(text: &str) -> Reason {
    match text {
        "UNSUPPORTED_PROTOCOL" | "PROTOCOL_IS_SHUTDOWN" | "TLSV1_ALERT_PROTOCOL_VERSION" => {
            Reason::Version
        }
        "WRONG_VERSION_NUMBER" | "HTTP_REQUEST" | "HTTPS_PROXY_REQUEST" => Reason::NotTls,
        "NO_SHARED_CIPHER" | "NO_COMMON_SIGNATURE_ALGORITHMS" | "NO_SHARED_GROUP" => {
            Reason::NothingShared
        }
        "NO_APPLICATION_PROTOCOL" => Reason::NoApplicationProtocol,
        "PEER_DID_NOT_RETURN_A_CERTIFICATE" => Reason::NoClientCertificate,
        "CERTIFICATE_VERIFY_FAILED" | "CANNOT_PARSE_LEAF_CERT" => Reason::ClientCertificate,
        "UNEXPECTED_EOF_DURING_HANDSHAKE" | "CONNECTION_REJECTED" => Reason::Closed,
        alert if alert.contains("_ALERT_") => Reason::Alert,
        _ => Reason::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_refuse_is_told_from_what_we_refuse() {
        assert_eq!(of_text("TLSV1_ALERT_UNKNOWN_CA"), Reason::Alert);
        assert_eq!(
            of_text("CERTIFICATE_VERIFY_FAILED"),
            Reason::ClientCertificate
        );
        assert_eq!(of_text("HTTP_REQUEST"), Reason::NotTls);
        assert_eq!(
            of_text("NO_APPLICATION_PROTOCOL"),
            Reason::NoApplicationProtocol
        );
        assert_eq!(
            of_text("TLSV1_ALERT_NO_APPLICATION_PROTOCOL"),
            Reason::Alert
        );
        assert_eq!(of_text("TLSV1_ALERT_PROTOCOL_VERSION"), Reason::Version);
        assert_eq!(of_text("BAD_EXTENSION"), Reason::Malformed);
    }
}
