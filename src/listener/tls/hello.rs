//! What a ClientHello decides: the certificate, and whether the handshake will be a full one, which has to wait for a
//! thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use boring::error::ErrorStack;
use boring::ex_data::Index;
use boring::ssl::{ClientHello, ExtensionType, NameType, SelectCertError, Ssl};

use super::TlsError;
use super::certificates::{Certificates, Identity};
use super::ffi;
use super::tickets::Tickets;
use crate::config::model::ListenerTls;
use crate::observe::metrics::KeyType;

/// Kept with one handshake, from its ClientHello to its end.
#[derive(Default)]
pub struct Handshake {
    /// A full handshake was seen and may go on now.
    admitted: AtomicBool,
    /// No certificate has the name that the client asks for.
    pub unknown_name: AtomicBool,
    pub chosen: OnceLock<(Arc<Identity>, KeyType)>,
}

/// Where a connection keeps its `Handshake`.
pub fn index() -> Result<Index<Ssl, Arc<Handshake>>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, Arc<Handshake>>> = OnceLock::new();
    match INDEX.get() {
        Some(index) => Ok(*index),
        None => {
            let index = Ssl::new_ex_index()?;
            Ok(*INDEX.get_or_init(|| index))
        }
    }
}

/// How ClientHellos are answered on one listener.
pub struct Chooser {
    pub certificates: Arc<Certificates>,
    pub tickets: Option<Arc<Tickets>>,
    pub close_unknown_names: bool,
}

impl Chooser {
    /// Reads certificates and ticket keys. `own` is this process's secret, for when none is configured.
    pub fn new(config: &ListenerTls, own: &[u8]) -> Result<Chooser, TlsError> {
        let tickets = config.tickets.as_ref();
        let tickets = tickets
            .map(|keys| Tickets::new(keys, own).map(Arc::new))
            .transpose()?;
        Ok(Chooser {
            certificates: Arc::new(Certificates::load(&config.certificates)?),
            tickets,
            close_unknown_names: config.close_unknown_names,
        })
    }

    /// Gives the connection its certificates. Breaks off once, with `RETRY`, where a full handshake begins: nothing
    /// costly has happened by then.
    pub fn choose(&self, mut hello: ClientHello<'_>) -> Result<(), SelectCertError> {
        let index = index().map_err(|_| SelectCertError::ERROR)?;
        let handshake = hello.ssl().ex_data(index).cloned();
        let handshake = handshake.ok_or(SelectCertError::ERROR)?;
        let Some(identity) = self.identity(&hello) else {
            handshake.unknown_name.store(true, Ordering::Relaxed);
            return Err(SelectCertError::ERROR);
        };
        if !self.resumes(&hello) && !handshake.admitted.swap(true, Ordering::Relaxed) {
            return Err(SelectCertError::RETRY);
        }
        if prefers_chacha20(hello.ciphers()) {
            let set = ffi::prefer_chacha20(hello.ssl_mut());
            set.map_err(|_| SelectCertError::ERROR)?;
        }
        for credential in &identity.credentials {
            hello
                .ssl_mut()
                .add_credential(credential)
                .map_err(|_| SelectCertError::ERROR)?;
        }
        let key_type = match (identity.ecdsa && takes_ecdsa(&hello), identity.rsa) {
            (true, _) | (false, false) => KeyType::Ecdsa,
            (false, true) => KeyType::Rsa,
        };
        let _ = handshake.chosen.set((identity, key_type));
        Ok(())
    }

    fn identity(&self, hello: &ClientHello<'_>) -> Option<Arc<Identity>> {
        let Some(name) = hello.servername(NameType::HOST_NAME) else {
            return Some(self.certificates.default().clone());
        };
        match self.certificates.named(name) {
            Some(identity) => Some(identity.clone()),
            None if self.close_unknown_names => None,
            None => Some(self.certificates.default().clone()),
        }
    }

    /// A ticket of ours is offered. Its MAC is checked, so that made-up tickets don't get past the limit on full handshakes.
    fn resumes(&self, hello: &ClientHello<'_>) -> bool {
        let Some(tickets) = &self.tickets else {
            return false;
        };
        let psk = hello.get_extension(ExtensionType::PRE_SHARED_KEY);
        let offered = psk.and_then(first_identity);
        let ticket = offered.or_else(|| hello.get_extension(ExtensionType::SESSION_TICKET));
        ticket.is_some_and(|ticket| tickets.made(ticket))
    }
}

/// The first of the offered identities: the only one that BoringSSL looks at (RFC 8446, section 4.2.11).
fn first_identity(extension: &[u8]) -> Option<&[u8]> {
    let (_identities, rest) = extension.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// Clients name it first that compute AES without help from their processor.
fn prefers_chacha20(ciphers: &[u8]) -> bool {
    let mut known = ciphers
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
        .filter(|cipher| (0x1301..=0x1303).contains(cipher));
    known.next() == Some(ffi::CHACHA20)
}

/// The client can verify ECDSA: `signature_algorithms` holds one of ecdsa_secp256r1_sha256 and ecdsa_secp384r1_sha384
/// (RFC 8446, section 4.2.3).
fn takes_ecdsa(hello: &ClientHello<'_>) -> bool {
    let algorithms = hello.get_extension(ExtensionType::SIGNATURE_ALGORITHMS);
    algorithms
        .and_then(|list| list.get(2..))
        .is_some_and(|list| {
            list.chunks_exact(2)
                .any(|pair| matches!(pair, [0x04, 0x03] | [0x05, 0x03]))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chacha20_is_preferred_by_whoever_names_it_first() {
        assert!(prefers_chacha20(&[0x0a, 0x0a, 0x13, 0x03, 0x13, 0x01]));
        assert!(!prefers_chacha20(&[0x13, 0x01, 0x13, 0x03]));
        assert!(!prefers_chacha20(&[0xc0, 0x2b, 0x13]));
    }

    #[test]
    fn the_first_identity_is_found_and_nothing_breaks_on_what_is_cut_off() {
        let extension = [0, 9, 0, 3, b'a', b'b', b'c', 0, 0, 0, 0];
        assert_eq!(first_identity(&extension), Some(&b"abc"[..]));
        for cut in 0..7 {
            assert_eq!(first_identity(&extension[..cut]), None, "{cut}");
        }
        assert_eq!(first_identity(&[0, 9, 0xff, 0xff, 1]), None);
    }
}
