//! Listeners: TLS, PROXY protocol, Unix sockets, the health path, and idle connections.

use std::net::SocketAddr;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::backend::Raw;
use crate::client::{self, Http1, Http2, raw};
use crate::harness::{Tidegate, run, write};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(listener: &str, backend: SocketAddr) -> String {
    format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - name: public
    listen: "127.0.0.1:0"
{listener}
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools: {{ web: {{ backends: ["{backend}"] }} }}
"#
    )
}

/// A certificate for `name` and its key, as files in `dir`.
pub fn certificate(dir: &std::path::Path, name: &str) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    write(&dir.join("cert.pem"), &certificate.pem());
    write(&dir.join("key.pem"), &key.serialize_pem());
}

pub const TLS: &str = "    tls: { certificates: [{ cert: cert.pem, key: key.pem }] }\n";

#[tokio::test]
async fn tls_with_http1_and_http2_by_alpn() {
    let backend = Raw::answering(OK).await;
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "test.example");
    let tidegate = Tidegate::start_in(dir, &config(TLS, backend.address)).await;
    let address = tidegate.address("public");
    let stream = client::tls(address, "test.example", b"\x08http/1.1").await;
    let reply = Http1::over(stream).await.unwrap().get("/one").await;
    assert_eq!(reply.status, 200);
    let stream = client::tls(address, "test.example", b"\x02h2").await;
    assert_eq!(stream.ssl().selected_alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(Http2::over(stream).await.get("/two").await.status, 200);
    assert!(
        backend.seen()[0]
            .to_lowercase()
            .contains("x-forwarded-proto: https\r\n")
    );
    let line = tidegate
        .access
        .wait("TLS facts", |l| l["path"] == "/two")
        .await;
    assert_eq!(line["tls_version"], "TLSv1.3");
    assert_eq!(line["sni"], "test.example");
    assert_eq!(line["protocol"], "HTTP/2.0");
    tidegate
        .wait_metric("tidegate_tls_handshakes_total{listener=\"public\"", 2.0)
        .await;
    // Not TLS: the connection ends, nothing breaks.
    raw(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let stream = client::tls(address, "test.example", b"\x08http/1.1").await;
    assert_eq!(
        Http1::over(stream)
            .await
            .unwrap()
            .get("/three")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_named_and_nothing_starts() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "a.example");
    let other = KeyPair::generate().unwrap();
    write(&dir.path().join("key.pem"), &other.serialize_pem());
    let path = dir.path().join("tidegate.yaml");
    write(&path, &config(TLS, "127.0.0.1:1".parse().unwrap()));
    for command in ["check", "run"] {
        let output = run(&[command, "-c", path.to_str().unwrap()]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(
            said.contains("key.pem") && said.contains("does not belong"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn proxy_protocol_v1_and_v2_set_the_client() {
    let backend = Raw::answering(OK).await;
    let listener = "    proxy_protocol: required\n    trusted: [\"127.0.0.0/8\"]\n";
    let tidegate = Tidegate::start(&config(listener, backend.address)).await;
    let address = tidegate.address("public");
    let get = b"GET /v1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let v1 = [b"PROXY TCP4 203.0.113.9 127.0.0.1 4321 80\r\n", &get[..]].concat();
    assert!(raw(address, &v1).await.starts_with("HTTP/1.1 200"));
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend_from_slice(&[203, 0, 113, 10, 127, 0, 0, 1, 0x10, 0xe1, 0, 80]);
    v2.extend_from_slice(b"GET /v2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(raw(address, &v2).await.starts_with("HTTP/1.1 200"));
    for (path, client) in [("/v1", "203.0.113.9"), ("/v2", "203.0.113.10")] {
        let line = tidegate.access.wait(path, |l| l["path"] == path).await;
        assert_eq!(line["client_ip"], client);
        assert_eq!(line["peer_ip"], "127.0.0.1");
    }
    let seen = backend.seen()[0].to_lowercase();
    assert!(seen.contains("x-forwarded-for: 203.0.113.9\r\n"), "{seen}");
    assert!(seen.contains("x-forwarded-port: 80\r\n"), "{seen}");
    // Without the header, and with a broken one: closed without an answer.
    assert_eq!(raw(address, get).await, "");
    assert_eq!(
        raw(address, b"PROXY NONSENSE\r\nGET / HTTP/1.1\r\n\r\n").await,
        ""
    );
    tidegate
        .wait_metric(
            "tidegate_connections_rejected_total{listener=\"public\"",
            2.0,
        )
        .await;
}

#[tokio::test]
async fn proxy_protocol_from_a_stranger_is_not_believed() {
    let backend = Raw::answering(OK).await;
    let listener = "    proxy_protocol: required\n    trusted: [\"10.0.0.0/8\"]\n";
    let tidegate = Tidegate::start(&config(listener, backend.address)).await;
    let forged = b"PROXY TCP4 203.0.113.9 127.0.0.1 4321 80\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(raw(tidegate.address("public"), forged).await, "");
    assert_eq!(backend.seen().len(), 0);
}

#[tokio::test]
async fn the_health_path_needs_no_proxy_header_and_nothing_else_is_served_without() {
    let backend = Raw::answering(OK).await;
    let listener =
        "    proxy_protocol: required\n    trusted: [\"127.0.0.0/8\"]\n    health_path: /healthz\n";
    let tidegate = Tidegate::start(&config(listener, backend.address)).await;
    let address = tidegate.address("public");
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(
        raw(address, ask("/healthz").as_bytes())
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        raw(address, ask("/other").as_bytes())
            .await
            .starts_with("HTTP/1.1 400")
    );
    assert_eq!(backend.seen().len(), 0);
}

#[tokio::test]
async fn unix_sockets_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let backend_path = dir.path().join("backend.sock");
    let backend = tokio::net::UnixListener::bind(&backend_path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = backend.accept().await {
            let mut buf = [0; 1024];
            let _ = stream.read(&mut buf).await;
            let _ = stream.write_all(OK).await;
        }
    });
    let listen = dir.path().join("public.sock");
    let config = format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "unix:{}" }}]
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools: {{ web: {{ backends: ["unix:{}"] }} }}
"#,
        listen.display(),
        backend_path.display()
    );
    let _tidegate = Tidegate::start_in(dir, &config).await;
    let stream = UnixStream::connect(&listen).await.unwrap();
    let reply = Http1::over(stream).await.unwrap().get("/").await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
}

#[tokio::test]
async fn idle_connections_are_closed_and_a_limit_of_requests_is_kept() {
    let backend = Raw::answering(OK).await;
    let limits =
        "    limits: { idle_timeout: 1s, header_timeout: 1s, max_requests_per_connection: 2 }\n";
    let tidegate = Tidegate::start(&config(limits, backend.address)).await;
    let address = tidegate.address("public");
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let ended = tokio::time::timeout(crate::harness::PATIENCE, idle.read_to_string(&mut answer));
    ended.await.expect("an idle connection stays open").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"));
    // Nothing sent at all, in either protocol.
    for first in [
        &b""[..],
        b"PRI * HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = raw(address, first).await;
        assert!(!answer.contains("200"), "{answer}");
    }
    let mut connection = Http1::connect(address).await.unwrap();
    assert_eq!(connection.get("/").await.header("connection"), "keep-alive");
    assert_eq!(connection.get("/").await.header("connection"), "close");
}
