//! Certificates of clients: which are taken, and how the rest of the way is told who showed one.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::ssl::{SslContextBuilder, SslRef, SslVerifyMode};
use boring::x509::X509Ref;
use boring::x509::store::X509StoreBuilder;
use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::TlsError;
use super::certificates::{read, read_chain};
use crate::config::model::ClientAuth;

/// Who a client is, by the certificate that it showed and that was verified.
#[derive(Debug)]
pub struct ClientCertificate {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs.
    pub uri: Vec<String>,
    /// Of the certificate in DER form; hexadecimal, lower case.
    pub sha256: String,
    /// `X-Forwarded-Client-Cert`, in Envoy's form: hash, subject, URIs and DNS names.
    pub forwarded: HeaderValue,
    /// `Client-Cert` (RFC 9440), where it is asked for.
    pub whole: Option<HeaderValue>,
}

/// Asks clients for certificates of these CAs.
pub fn ask(context: &mut SslContextBuilder, auth: &ClientAuth) -> Result<(), TlsError> {
    let mut store = X509StoreBuilder::new()?;
    for ca in read_chain(&auth.ca)? {
        context.add_client_ca(&ca)?;
        store.add_cert(ca)?;
    }
    context.set_verify_cert_store(store.build())?;
    let mode = match auth.required {
        true => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
        false => SslVerifyMode::PEER,
    };
    context.set_verify(mode);
    Ok(())
}

/// Keeps sessions apart that were begun under other demands on clients: a session begun without a certificate, or with
/// one of another CA, is not resumed where one is required.
pub fn session_context(auth: Option<&ClientAuth>) -> Result<[u8; 32], TlsError> {
    let mut hash = Sha256::new();
    if let Some(auth) = auth {
        hash.update([1, u8::from(auth.required)]);
        hash.update(ca_bytes(&auth.ca)?);
    }
    Ok(hash.finalize().into())
}

fn ca_bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    read(path)
}

/// The certificate that the client showed; `None` where it showed none.
pub fn shown(ssl: &SslRef, auth: &ClientAuth) -> Option<ClientCertificate> {
    let certificate = ssl.peer_certificate()?;
    let sha256 = certificate.digest(MessageDigest::sha256()).ok()?;
    let sha256 = sha256.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let (mut dns, mut uri) = (Vec::new(), Vec::new());
    for name in certificate.subject_alt_names().into_iter().flatten() {
        dns.extend(name.dnsname().map(str::to_owned));
        uri.extend(name.uri().map(str::to_owned));
    }
    let mut common = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
    let common_name = common.next().and_then(|name| name.data().as_utf8().ok());
    let whole = match auth.forward_certificate {
        true => certificate.to_der().ok().and_then(|der| {
            // A byte sequence (RFC 9651, section 3.3.5).
            HeaderValue::from_str(&format!(":{}:", STANDARD.encode(der))).ok()
        }),
        false => None,
    };
    let forwarded = forwarded(&sha256, &subject(&certificate), &uri, &dns);
    Some(ClientCertificate {
        common_name: common_name.map(|name| name.to_string()),
        forwarded: HeaderValue::from_str(&forwarded).ok()?,
        whole,
        dns,
        uri,
        sha256,
    })
}

fn forwarded(sha256: &str, subject: &str, uri: &[String], dns: &[String]) -> String {
    let mut text = format!("Hash={sha256};Subject={}", quoted(subject));
    for uri in uri {
        let _ = write!(text, ";URI={}", quoted(uri));
    }
    for dns in dns {
        let _ = write!(text, ";DNS={}", quoted(dns));
    }
    text
}

/// What a certificate says is its owner's choice: quotes can't end the value, and nothing but visible ASCII goes out.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(quoted, "%{byte:02X}");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

/// `CN=a,O=b`, in the order of the certificate.
fn subject(certificate: &X509Ref) -> String {
    let entry = |entry: &boring::x509::X509NameEntryRef| {
        let key = entry.object().nid().short_name().unwrap_or("?");
        let value = entry.data().as_utf8().ok()?;
        let value = value.replace('\\', "\\\\").replace(',', "\\,");
        Some(format!("{key}={value}"))
    };
    let entries: Vec<String> = certificate
        .subject_name()
        .entries()
        .filter_map(entry)
        .collect();
    entries.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_says_cannot_break_out_of_its_quotes() {
        assert_eq!(
            quoted("a\";URI=\"spiffe://admin"),
            r#""a\";URI=\"spiffe://admin""#
        );
        assert_eq!(quoted("a\r\nb\\ü"), r#""a%0D%0Ab\\%C3%BC""#);
        let text = forwarded(
            "00ff",
            "CN=x",
            &["spiffe://a/b".into()],
            &["a.example".into()],
        );
        assert_eq!(
            text,
            r#"Hash=00ff;Subject="CN=x";URI="spiffe://a/b";DNS="a.example""#
        );
    }
}
