//! A listener's certificates by the names in them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use boring::asn1::Asn1Time;
use boring::nid::Nid;
use boring::pkey::{Id, PKey, Private};
use boring::ssl::SslCredential;
use boring::x509::{X509, X509Ref};

use super::{TlsError, ffi};
use crate::config::model::CertificateFiles;
use crate::observe::metrics::CertificateExpiry;

/// What clients get that ask for one name: an ECDSA and an RSA certificate, say.
pub struct Identity {
    /// In order of preference: ECDSA before RSA, then as in the file. What the client can verify decides.
    pub credentials: Vec<Arc<SslCredential>>,
    /// One of the credentials is ECDSA.
    pub ecdsa: bool,
    /// One of the credentials is RSA.
    pub rsa: bool,
    /// Names that every one of the certificates has, in lower case.
    names: Vec<String>,
}

/// All certificates of a listener.
pub struct Certificates {
    exact: HashMap<String, Arc<Identity>>,
    /// By what follows the `*`, with the dot.
    wildcard: HashMap<String, Arc<Identity>>,
    default: Arc<Identity>,
    /// For metrics and warnings.
    pub expiries: Vec<CertificateExpiry>,
}

struct Loaded {
    credential: Arc<SslCredential>,
    ecdsa: bool,
    names: Vec<String>,
}

impl Certificates {
    /// Reads the files; each pair must exist, parse and belong together.
    pub fn load(files: &[CertificateFiles]) -> Result<Certificates, TlsError> {
        let mut loaded = Vec::with_capacity(files.len());
        let mut expiries = Vec::with_capacity(files.len());
        for files in files {
            let (one, not_after) = load(files)?;
            expiries.push(CertificateExpiry {
                sni: one.names.first().cloned().unwrap_or_default(),
                key_type: if one.ecdsa { "ecdsa" } else { "rsa" },
                not_after,
            });
            loaded.push(one);
        }
        let first = loaded.first().ok_or(TlsError::NoCertificates)?;
        let default = match first.names.first() {
            Some(name) => identity(&loaded, |one| one.names.contains(name)),
            None => identity(&loaded[..1], |_| true),
        };
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for name in loaded.iter().flat_map(|one| &one.names) {
            let (map, key) = match name.strip_prefix('*') {
                Some(suffix) => (&mut wildcard, suffix),
                None => (&mut exact, name.as_str()),
            };
            if !map.contains_key(key) {
                let identity = identity(&loaded, |one| one.names.contains(name));
                map.insert(key.to_owned(), Arc::new(identity));
            }
        }
        Ok(Certificates {
            exact,
            wildcard,
            default: Arc::new(default),
            expiries,
        })
    }

    /// For the name that the client asks for; `None` when no certificate has it.
    pub fn named(&self, name: &str) -> Option<&Arc<Identity>> {
        let name = name.to_ascii_lowercase();
        self.exact.get(&name).or_else(|| {
            let dot = name.find('.')?;
            self.wildcard.get(&name[dot..])
        })
    }

    /// For clients that ask for no name.
    pub fn default(&self) -> &Arc<Identity> {
        &self.default
    }
}

impl Identity {
    /// Whether its certificates are made out to this name (RFC 9110, section 4.3.4: wildcards stand for one label).
    pub fn covers(&self, host: &str) -> bool {
        let parent = host.find('.').map(|dot| &host[dot..]);
        self.names
            .iter()
            .any(|name| match (name.strip_prefix('*'), parent) {
                (Some(suffix), Some(parent)) => suffix.eq_ignore_ascii_case(parent),
                (Some(_), None) => false,
                (None, _) => name.eq_ignore_ascii_case(host),
            })
    }
}

fn identity(all: &[Loaded], wanted: impl Fn(&Loaded) -> bool) -> Identity {
    let mut mine: Vec<&Loaded> = all.iter().filter(|one| wanted(one)).collect();
    mine.sort_by_key(|one| !one.ecdsa);
    let (first, others) = match mine.split_first() {
        Some((first, others)) => (first.names.as_slice(), others),
        None => (&[][..], &[][..]),
    };
    let names = first
        .iter()
        .filter(|name| others.iter().all(|one| one.names.contains(name)));
    Identity {
        names: names.cloned().collect(),
        ecdsa: mine.iter().any(|one| one.ecdsa),
        rsa: mine.iter().any(|one| !one.ecdsa),
        credentials: mine.iter().map(|one| one.credential.clone()).collect(),
    }
}

fn load(files: &CertificateFiles) -> Result<(Loaded, i64), TlsError> {
    let chain = read_chain(&files.cert)?;
    let leaf = chain
        .first()
        .ok_or_else(|| TlsError::NoCertificate(files.cert.clone()))?;
    let key = read_key(&files.cert, &files.key, leaf)?;
    let ecdsa = match key.id() {
        Id::EC => true,
        Id::RSA => false,
        _ => return Err(TlsError::KeyType(files.key.clone())),
    };
    let ocsp = files.ocsp.as_deref().map(read).transpose()?;
    let loaded = Loaded {
        credential: Arc::new(ffi::credential(&chain, &key, ocsp.as_deref())?),
        ecdsa,
        names: names(leaf),
    };
    let not_after = expiry(leaf)?.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = not_after.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
    Ok((loaded, seconds))
}

/// DNS names and addresses; the common name only where there are none (RFC 6125, section 6.4.4).
fn names(certificate: &X509Ref) -> Vec<String> {
    let mut names = Vec::new();
    for name in certificate.subject_alt_names().into_iter().flatten() {
        if let Some(dns) = name.dnsname() {
            names.push(dns.to_ascii_lowercase());
        } else if let Some(ip) = name.ipaddress().and_then(address) {
            names.push(ip);
        }
    }
    if names.is_empty() {
        let mut common = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
        let common = common.next().and_then(|name| name.data().as_utf8().ok());
        names.extend(common.map(|name| name.to_ascii_lowercase()));
    }
    names
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(format!("[{}]", std::net::Ipv6Addr::from(v6)))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source: io::Error| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// A PEM file's certificates: at least one.
pub(super) fn read_chain(path: &Path) -> Result<Vec<X509>, TlsError> {
    match X509::stack_from_pem(&read(path)?) {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(TlsError::NoCertificate(path.to_owned())),
    }
}

fn read_key(cert: &Path, path: &Path, leaf: &X509) -> Result<PKey<Private>, TlsError> {
    let key =
        PKey::private_key_from_pem(&read(path)?).map_err(|_| TlsError::BadKey(path.to_owned()))?;
    if leaf.public_key()?.public_eq(&key) {
        return Ok(key);
    }
    Err(TlsError::Mismatch {
        cert: cert.to_owned(),
        key: path.to_owned(),
    })
}

fn expiry(certificate: &X509) -> Result<SystemTime, TlsError> {
    let epoch = Asn1Time::from_unix(0)?;
    let left = epoch.diff(certificate.not_after())?;
    let seconds = i64::from(left.days) * 86_400 + i64::from(left.secs);
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.names).finish()
    }
}

#[cfg(test)]
mod tests;
