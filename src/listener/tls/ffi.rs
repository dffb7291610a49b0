//! What BoringSSL can do and its Rust binding does not offer: credentials, early data, lifetimes. The only module with
//! `unsafe`; every function here is safe to call with any arguments.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::pkey::{PKeyRef, Private};
use boring::ssl::{SslContextBuilder, SslCredential, SslRef, TicketKeyCallbackResult};
use boring::symm::Cipher;
use boring::x509::X509;
use foreign_types::{ForeignType, ForeignTypeRef};
use pingora_core::tls::ssl_sys as sys;

use super::tickets::{IV_LENGTH, Tickets};

/// A certificate chain, leaf first, with its key, and an OCSP response in DER form to staple.
pub fn credential(
    chain: &[X509],
    key: &PKeyRef<Private>,
    ocsp: Option<&[u8]>,
) -> Result<SslCredential, ErrorStack> {
    let buffers = Buffers::of(chain)?;
    // SAFETY: a fresh credential that we own; null is turned into an error.
    let credential = unsafe {
        let raw = sys::SSL_CREDENTIAL_new_x509();
        if raw.is_null() {
            return Err(ErrorStack::get());
        }
        SslCredential::from_ptr(raw)
    };
    // SAFETY: all pointers live through their calls; BoringSSL takes references of its own.
    unsafe {
        let raw = credential.as_ptr();
        let chain = buffers.0.as_ptr();
        done(sys::SSL_CREDENTIAL_set1_cert_chain(
            raw,
            chain,
            buffers.0.len(),
        ))?;
        done(sys::SSL_CREDENTIAL_set1_private_key(raw, key.as_ptr()))?;
        if let Some(ocsp) = ocsp {
            let response = buffer(ocsp)?;
            let set = sys::SSL_CREDENTIAL_set1_ocsp_response(raw, response);
            sys::CRYPTO_BUFFER_free(response);
            done(set)?;
        }
    }
    Ok(credential)
}

/// Certificates in the form that credentials take.
struct Buffers(Vec<*mut sys::CRYPTO_BUFFER>);

impl Buffers {
    fn of(chain: &[X509]) -> Result<Buffers, ErrorStack> {
        let mut buffers = Buffers(Vec::with_capacity(chain.len()));
        for certificate in chain {
            buffers.0.push(buffer(&certificate.to_der()?)?);
        }
        Ok(buffers)
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        for buffer in &self.0 {
            // SAFETY: each one is ours and freed once.
            unsafe { sys::CRYPTO_BUFFER_free(*buffer) };
        }
    }
}

fn buffer(bytes: &[u8]) -> Result<*mut sys::CRYPTO_BUFFER, ErrorStack> {
    // SAFETY: the bytes are copied; without a pool the result is ours alone.
    let buffer = unsafe { sys::CRYPTO_BUFFER_new(bytes.as_ptr(), bytes.len(), ptr::null_mut()) };
    if buffer.is_null() {
        return Err(ErrorStack::get());
    }
    Ok(buffer)
}

fn done(result: std::ffi::c_int) -> Result<(), ErrorStack> {
    if result == 1 {
        return Ok(());
    }
    Err(ErrorStack::get())
}

/// Lets servers of this context take early data (0-RTT).
pub fn enable_early_data(context: &mut SslContextBuilder) {
    // SAFETY: the builder holds a valid context.
    unsafe { sys::SSL_CTX_set_early_data_enabled(context.as_ptr(), 1) };
}

/// How long a session may be resumed after its full handshake: TLS 1.2 and 1.3.
pub fn set_session_lifetime(context: &mut SslContextBuilder, lifetime: Duration) {
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    // SAFETY: the builder holds a valid context.
    unsafe {
        sys::SSL_CTX_set_timeout(context.as_ptr(), seconds);
        sys::SSL_CTX_set_session_psk_dhe_timeout(context.as_ptr(), seconds);
    }
}

/// TLS_AES_128_GCM_SHA256, the one with SHA-384, TLS_CHACHA20_POLY1305_SHA256 (RFC 8446, appendix B.4).
const AES_128: u16 = 0x1301;
const AES_256: u16 = 0x1302;
pub const CHACHA20: u16 = 0x1303;

/// TLS 1.3 ciphers in Mozilla's order: processors have instructions for AES and SHA-256, few for SHA-384.
pub fn prefer_aes_128(context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    let ciphers = [AES_128, AES_256, CHACHA20];
    // SAFETY: the builder holds a valid context; the list is copied, and no flags are given.
    done(unsafe {
        sys::SSL_CTX_set1_tls13_ciphers(
            context.as_ptr(),
            ciphers.as_ptr(),
            ptr::null(),
            ciphers.len(),
        )
    })
}

/// The same for one connection whose client has no instructions for AES.
pub fn prefer_chacha20(ssl: &mut SslRef) -> Result<(), ErrorStack> {
    let ciphers = [CHACHA20, AES_128, AES_256];
    // SAFETY: the connection is ours alone; the list is copied, and no flags are given.
    done(unsafe {
        sys::SSL_set1_tls13_ciphers(ssl.as_ptr(), ciphers.as_ptr(), ptr::null(), ciphers.len())
    })
}

/// Whether the handshake is not done yet and what is read is early data.
pub fn in_early_data(ssl: &SslRef) -> bool {
    // SAFETY: a live connection is only looked at.
    unsafe { sys::SSL_in_early_data(ssl.as_ptr()) == 1 }
}

/// Tickets are made and opened with these keys.
pub fn set_tickets(context: &mut SslContextBuilder, tickets: Arc<Tickets>) {
    let callback = move |_: &SslRef,
                         name: &mut [u8; 16],
                         iv: &mut [u8; IV_LENGTH],
                         cipher: &mut boring::symm::CipherCtxRef,
                         hmac: &mut boring::hmac::HmacCtxRef,
                         encrypt: bool| {
        let ring = tickets.ring();
        let (aes, sha) = (Cipher::aes_256_cbc(), MessageDigest::sha256());
        if encrypt {
            let key = ring.sealing();
            let ready = getrandom::fill(iv).is_ok()
                && cipher.init_encrypt(&aes, &key.encryption, iv).is_ok()
                && hmac.init(&key.authentication, &sha).is_ok();
            *name = key.name;
            return match ready {
                true => TicketKeyCallbackResult::Success,
                false => TicketKeyCallbackResult::Noop,
            };
        }
        let Some((key, current)) = ring.named(name) else {
            return TicketKeyCallbackResult::Noop;
        };
        let ready = cipher.init_decrypt(&aes, &key.encryption, iv).is_ok()
            && hmac.init(&key.authentication, &sha).is_ok();
        match (ready, current) {
            (false, _) => TicketKeyCallbackResult::Noop,
            (true, true) => TicketKeyCallbackResult::Success,
            (true, false) => TicketKeyCallbackResult::DecryptSuccessRenew,
        }
    };
    // SAFETY: the callback sets name, IV and both contexts before it says that they are.
    unsafe { context.set_ticket_key_callback(callback) };
}
