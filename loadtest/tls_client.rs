//! A client that makes one connection after the other: TLS handshake, one request, end. What the handshakes cost is
//! measured at the server, so this one saves itself the check of certificates.
//!
//! `tls_client ADDRESS[,ADDRESS...] full|resumed|early SECONDS [--rsa] [--rate N] [--threads N] [--path P]` prints one line
//! of JSON. Addresses are taken in turn. A client of TLS 1.3 with X25519.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
};

/// Takes any certificate, of one kind.
#[derive(Debug)]
struct Unchecked(SignatureScheme);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![self.0]
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Full,
    Resumed,
    Early,
}

struct Job {
    addresses: Vec<SocketAddr>,
    mode: Mode,
    scheme: SignatureScheme,
    request: Vec<u8>,
    /// Between two connections of one thread; zero: as fast as it goes.
    pace: Duration,
    until: Instant,
}

#[derive(Default)]
struct Tally {
    micros: Vec<u128>,
    resumed: usize,
    early: usize,
    failed: usize,
    error: Option<String>,
}

fn main() {
    let (job, threads, seconds) = job();
    let job = Arc::new(job);
    let workers: Vec<_> = (0..threads)
        .map(|n| {
            let job = job.clone();
            std::thread::spawn(move || visit(&job, n, threads))
        })
        .collect();
    let mut all = Tally::default();
    for worker in workers {
        let one = worker.join().unwrap();
        all.micros.extend(one.micros);
        all.resumed += one.resumed;
        all.early += one.early;
        all.failed += one.failed;
        all.error = all.error.or(one.error);
    }
    all.micros.sort_unstable();
    let done = all.micros.len();
    let share = |percent: usize| all.micros.get(done * percent / 100).copied().unwrap_or(0);
    let (p50, p99) = (share(50), share(99));
    let (resumed, early, failed) = (all.resumed, all.early, all.failed);
    let rate = done as f64 / seconds;
    let error = all
        .error
        .unwrap_or_default()
        .replace(['"', '\\', '\n'], " ");
    println!(
        "{{\"requests\":{done},\"rate\":{rate},\"resumed\":{resumed},\"early\":{early},\"failed\":{failed},\"p50_us\":{p50},\"p99_us\":{p99},\"error\":\"{error}\"}}"
    );
}

fn job() -> (Job, u32, f64) {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str| {
        let at = args.iter().position(|a| a == name)?;
        args.remove(at);
        Some(args.remove(at))
    };
    let threads: u32 = option("--threads").map_or(8, |n| n.parse().unwrap());
    let rate: f64 = option("--rate").map_or(0.0, |n| n.parse().unwrap());
    let path = option("--path").unwrap_or("/1024".into());
    let rsa = args.iter().any(|a| a == "--rsa");
    let seconds: f64 = args[2].parse().unwrap();
    let job = Job {
        addresses: args[0].split(',').map(|a| a.parse().unwrap()).collect(),
        mode: match args[1].as_str() {
            "full" => Mode::Full,
            "resumed" => Mode::Resumed,
            _ => Mode::Early,
        },
        scheme: match rsa {
            true => SignatureScheme::RSA_PSS_SHA256,
            false => SignatureScheme::ECDSA_NISTP256_SHA256,
        },
        request: format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .into(),
        pace: match rate > 0.0 {
            true => Duration::from_secs_f64(f64::from(threads) / rate),
            false => Duration::ZERO,
        },
        until: Instant::now() + Duration::from_secs_f64(seconds),
    };
    (job, threads, seconds)
}

/// One thread: visit after visit, with a session of its own.
fn visit(job: &Job, thread: u32, threads: u32) -> Tally {
    let config = config(job);
    let mut tally = Tally::default();
    let mut next = Instant::now() + job.pace * thread / threads;
    let mut first = job.mode != Mode::Full;
    for address in job.addresses.iter().cycle().skip(thread as usize) {
        if !job.pace.is_zero() {
            // The pace of the load is what is measured with; the thread is this client's own, nothing else waits on it.
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += job.pace;
        }
        let began = Instant::now();
        if began >= job.until {
            break;
        }
        match connect(job, &config, *address) {
            // It brings the first ticket and does not count.
            Ok(_) if first => first = false,
            Ok((resumed, early)) => {
                tally.micros.push(began.elapsed().as_micros());
                tally.resumed += usize::from(resumed);
                tally.early += usize::from(early);
            }
            Err(error) => {
                tally.failed += 1;
                tally.error = Some(error.to_string());
            }
        }
    }
    tally
}

fn config(job: &Job) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unchecked(job.scheme)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.enable_early_data = job.mode == Mode::Early;
    config.resumption = match job.mode {
        Mode::Full => Resumption::disabled(),
        _ => Resumption::in_memory_sessions(8),
    };
    Arc::new(config)
}

/// Whether it was resumed, and whether the request came early.
fn connect(job: &Job, config: &Arc<ClientConfig>, address: SocketAddr) -> io::Result<(bool, bool)> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    if let Some(mut early) = tls.early_data() {
        early.write_all(&job.request)?;
    }
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    let early = tls.is_early_data_accepted();
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    if !early {
        stream.write_all(&job.request)?;
    }
    let mut answer = Vec::with_capacity(2048);
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        // Some close without saying so.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        Err(e) => return Err(e),
    }
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(io::Error::other(
            String::from_utf8_lossy(&answer).into_owned(),
        ));
    }
    Ok((tls.handshake_kind() == Some(HandshakeKind::Resumed), early))
}
