//! Requests that are no requests: refused with a status, counted, never forwarded.

use std::net::SocketAddr;

use crate::backend::Raw;
use crate::client::raw;
use crate::harness::Tidegate;

async fn in_front_of(backend: SocketAddr) -> Tidegate {
    Tidegate::start(&format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - name: public
    listen: "127.0.0.1:0"
    limits: {{ max_header_bytes: 4KiB, max_headers: 20, max_uri_bytes: 1KiB, header_timeout: 1s }}
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools: {{ web: {{ backends: ["{backend}"] }} }}
"#
    ))
    .await
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn malformed_requests_are_refused_and_never_forwarded() {
    let backend = Raw::answering(OK).await;
    let tidegate = in_front_of(backend.address).await;
    let long_uri = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(2000));
    let long_header = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(5000)
    );
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(30));
    let cases: &[(&str, &[u8], u16)] = &[
        ("CL and TE", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("two CL", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc", 400),
        ("CL list", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 4\r\n\r\nabc", 400),
        ("bare CR", b"GET / HTTP/1.1\r\nhost: a\rb\r\n\r\n", 400),
        ("bare LF", b"GET / HTTP/1.1\nhost: a\n\n", 400),
        ("NUL", b"GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", 400),
        ("space before colon", b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        ("obs-fold", b"GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n", 400),
        ("unknown TE", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 400),
        ("chunked twice", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        ("no host", b"GET / HTTP/1.1\r\n\r\n", 400),
        ("two hosts", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("HTTP/0.9", b"GET /\r\n\r\n", 400),
        ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        ("URI", long_uri.as_bytes(), 414),
        ("header", long_header.as_bytes(), 431),
        ("headers", many.as_bytes(), 431),
    ];
    for (name, bytes, status) in cases {
        let answer = raw(tidegate.address("public"), bytes).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{name}: {answer}"
        );
    }
    assert_eq!(backend.seen().len(), 0, "{:?}", backend.seen());
    tidegate
        .wait_metric(
            "tidegate_requests_refused_total{listener=\"public\"",
            cases.len() as f64,
        )
        .await;
    tidegate
        .access
        .wait("a refusal in the log", |l| {
            l["flags"] == "DPE" && l["reason"] == "obs_fold"
        })
        .await;
}

#[tokio::test]
async fn a_bad_chunk_ends_the_connection() {
    let backend = Raw::answering(OK).await;
    let tidegate = in_front_of(backend.address).await;
    let bad = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\nGET /smuggled HTTP/1.1\r\n\r\n";
    raw(tidegate.address("public"), bad).await;
    assert!(
        backend.seen().iter().all(|s| !s.contains("smuggled")),
        "{:?}",
        backend.seen()
    );
    tidegate
        .wait_metric("tidegate_requests_refused_total{listener=\"public\"", 1.0)
        .await;
}

#[tokio::test]
async fn a_head_that_dribbles_is_cut_at_its_deadline() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let backend = Raw::answering(OK).await;
    let tidegate = in_front_of(backend.address).await;
    let stream = tokio::net::TcpStream::connect(tidegate.address("public"))
        .await
        .unwrap();
    let (mut read, mut write) = stream.into_split();
    let dribble = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nhost: a\r\nx: "
            .iter()
            .chain(std::iter::repeat(&b'y'))
        {
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let mut answer = String::new();
    let ended = tokio::time::timeout(crate::harness::PATIENCE, read.read_to_string(&mut answer));
    let _ = ended.await.expect("the connection stays open");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    dribble.abort();
    tidegate
        .wait_metric(
            "tidegate_slow_client_closed_total{listener=\"public\",phase=\"header\"",
            1.0,
        )
        .await;
}

#[tokio::test]
async fn pipelined_requests_are_served_in_order() {
    let backend = Raw::answering(OK).await;
    let tidegate = in_front_of(backend.address).await;
    let two = b"POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET /two HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = raw(tidegate.address("public"), two).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(backend.seen().iter().any(|s| s.starts_with("POST /one")));
    assert!(backend.seen().iter().any(|s| s.starts_with("GET /two")));
}
