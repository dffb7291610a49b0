//! Certificates for tests, and clients that check them: OpenSSL's, and rustls.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_RSA_SHA256,
    SanType,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::{PATIENCE, write};

/// A CA, with `ca.pem` in a directory of its own.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a certificate says, beside its names.
#[derive(Default)]
pub struct Leaf<'a> {
    pub names: &'a [&'a str],
    pub uri: Option<&'a str>,
    /// Days from now to its end; 0 is a month.
    pub days: i64,
    pub rsa: bool,
    /// Its serial number; 0 is any.
    pub serial: u64,
}

impl Ca {
    /// A new one, whose certificate is written to `dir`.
    pub fn new(dir: &Path) -> Ca {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        write(&dir.join("ca.pem"), &issuer.pem());
        Ca { issuer }
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub fn issue(&self, dir: &Path, file: &str, leaf: &Leaf<'_>) {
        let (cert, key) = self.made(leaf);
        write(&dir.join(format!("{file}.crt")), &cert);
        write(&dir.join(format!("{file}.key")), &key);
    }

    /// Certificate and key in PEM form.
    pub fn made(&self, leaf: &Leaf<'_>) -> (String, String) {
        let (params, key) = params(leaf);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    /// A rustls client that trusts this CA and remembers sessions.
    pub fn client(&self, alpn: &[u8]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let mut config = builder
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        config.enable_early_data = true;
        Arc::new(config)
    }
}

fn params(leaf: &Leaf<'_>) -> (CertificateParams, KeyPair) {
    let names: Vec<String> = leaf.names.iter().map(|&n| n.into()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let common = leaf.names.first().copied().unwrap_or("nobody");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    if let Some(uri) = leaf.uri {
        let uri = SanType::URI(uri.try_into().unwrap());
        params.subject_alt_names.push(uri);
    }
    if leaf.serial > 0 {
        params.serial_number = Some(leaf.serial.into());
    }
    let now = std::time::SystemTime::now();
    let day = std::time::Duration::from_secs(86_400);
    let days = if leaf.days == 0 { 30 } else { leaf.days };
    let length = day * u32::try_from(days.abs()).unwrap();
    params.not_before = (now - day * 60).into();
    params.not_after = if days > 0 { now + length } else { now - length }.into();
    let key = match leaf.rsa {
        true => rsa_key(),
        false => KeyPair::generate().unwrap(),
    };
    (params, key)
}

fn rsa_key() -> KeyPair {
    let key = boring::pkey::PKey::from_rsa(boring::rsa::Rsa::generate(2048).unwrap()).unwrap();
    let pem = String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    KeyPair::from_pem_and_sign_algo(&pem, &PKCS_RSA_SHA256).unwrap()
}

/// One signed by itself.
pub fn self_signed(dir: &Path, file: &str, leaf: &Leaf<'_>) {
    let (params, key) = params(leaf);
    let cert = params.self_signed(&key).unwrap();
    write(&dir.join(format!("{file}.crt")), &cert.pem());
    write(&dir.join(format!("{file}.key")), &key.serialize_pem());
}

/// A directory with a CA in it.
pub fn folder() -> (TempDir, Ca) {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new(dir.path());
    (dir, ca)
}

/// What `openssl s_client` says about a connection that asks for `/`, once it is closed.
pub async fn s_client(address: SocketAddr, args: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-connect", &address.to_string()])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";
    // It may have given up on the handshake already.
    let _ = stdin.write_all(request).await;
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output());
    let output = output.await.expect("s_client hangs").unwrap();
    drop(stdin);
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A rustls connection that is about to begin.
pub fn begin(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    ClientConnection::new(config.clone(), name).unwrap()
}

/// Sends `bytes` before the handshake is done where that is possible, else after it, and reads to the end. Says whether they
/// were accepted early.
pub async fn exchange(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
    bytes: &[u8],
) -> (bool, Vec<u8>) {
    let (mut tls, bytes) = (begin(config, name), bytes.to_vec());
    tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        if let Some(mut early) = tls.early_data() {
            early.write_all(&bytes).unwrap();
        }
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).unwrap();
        }
        let accepted = tls.is_early_data_accepted();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        if !accepted {
            stream.write_all(&bytes).unwrap();
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        (accepted, answer)
    })
    .await
    .unwrap()
}
