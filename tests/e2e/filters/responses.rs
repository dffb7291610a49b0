//! What is done to responses: compression, headers for browsers.

use std::io::Read;

use rcgen::KeyPair;

use super::*;
use crate::backend::Raw;
use crate::client::{self, Http1, Http2};
use crate::setup::demo;

const TEXT: (&str, &str) = ("content-type", "text/plain");

/// The plain bytes.
pub fn decoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        "gzip" => flate2::read::GzDecoder::new(body)
            .read_to_end(&mut plain)
            .map(drop),
        "br" => brotli::Decompressor::new(body, 4096)
            .read_to_end(&mut plain)
            .map(drop),
        "zstd" => zstd::stream::copy_decode(body, &mut plain),
        other => panic!("{other}"),
    }
    .unwrap();
    plain
}

#[tokio::test]
async fn compress_as_the_client_likes() {
    let backend = demo().await;
    let tidegate = behind(backend.address, "{ compress: {} }").await;
    let text = "to be compressed ".repeat(1000);
    for (accept, encoding) in [
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip, br, zstd", "zstd"),
        ("gzip;q=1, br;q=0.5, zstd;q=0", "gzip"),
    ] {
        let headers = [TEXT, ("accept-encoding", accept)];
        let reply = post(&tidegate, "/echo", &headers, text.clone()).await;
        assert_eq!(reply.header("content-encoding"), encoding, "{accept}");
        assert_eq!(reply.header("vary"), "accept-encoding");
        assert!(reply.body.len() < text.len() / 10, "{}", reply.body.len());
        assert_eq!(decoded(encoding, &reply.body), text.as_bytes());
    }
    let mut h2 = Http2::connect(tidegate.address("public")).await;
    let mut request = asking("/echo", &[TEXT, ("accept-encoding", "br")]);
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = text.clone().into();
    let reply = h2.send(request).await.unwrap();
    assert_eq!(
        decoded(reply.header("content-encoding"), &reply.body),
        text.as_bytes()
    );
    let untouched = [
        ("no encoding asked for", TEXT.1, "", text.clone()),
        ("refused by the client", TEXT.1, "gzip;q=0", text.clone()),
        ("small", TEXT.1, "gzip", "x".repeat(1023)),
        ("compressed already", "image/png", "gzip", text.clone()),
    ];
    for (name, kind, accept, body) in untouched {
        let headers = [("content-type", kind), ("accept-encoding", accept)];
        let reply = post(&tidegate, "/echo", &headers, body.clone()).await;
        assert_eq!(reply.header("content-encoding"), "", "{name}");
        assert_eq!(
            reply.header("content-length"),
            body.len().to_string(),
            "{name}"
        );
        assert_eq!(reply.text(), body, "{name}");
    }
}

#[tokio::test]
async fn compress_not_twice_and_not_a_part() {
    for (head, name) in [
        ("200 OK\r\ncontent-encoding: br", "content-encoding"),
        ("200 OK\r\ncache-control: no-transform", "cache-control"),
        (
            "206 Partial Content\r\ncontent-range: bytes 0-1999/4000",
            "content-range",
        ),
    ] {
        let body = "a".repeat(2000);
        let answer = format!(
            "HTTP/1.1 {head}\r\ncontent-type: text/plain\r\ncontent-length: 2000\r\n\r\n{body}"
        );
        let backend = Raw::answering(answer.leak().as_bytes()).await;
        let tidegate = behind(backend.address, "{ compress: {} }").await;
        let reply = ask(&tidegate, "/", &[("accept-encoding", "gzip, br")]).await;
        assert!(head.ends_with(reply.header(name)), "{name}");
        assert_ne!(reply.header("content-encoding"), "gzip", "{name}");
        assert_eq!(reply.text(), body, "{name}");
    }
}

#[tokio::test]
async fn cors() {
    let backend = demo().await;
    let filters = "{ cors: { origins: [\"https://app.example.com\", \"https://*.example.org\"], methods: [GET, PUT], headers: [authorization], expose: [x-backend], credentials: true, max_age: 10m } }, { api_key: { keys: [{ name: a, key: 0123456789abcdef }] } }";
    let tidegate = behind(backend.address, filters).await;
    let mut preflight = asking(
        "/headers",
        &[
            ("origin", "https://app.example.com"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization"),
        ],
    );
    *preflight.method_mut() = http::Method::OPTIONS;
    let reply = send(tidegate.address("public"), preflight).await;
    assert_eq!(reply.status, 204, "not asked for a key");
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "authorization"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(reply.header(name), value, "{name}");
    }
    assert_eq!(backend.requests(), 0);
    let key = ("x-api-key", "0123456789abcdef");
    for (origin, allowed) in [
        ("https://app.example.com", true),
        ("https://a.example.org", true),
        ("https://example.org", false),
        ("http://app.example.com", false),
        ("https://app.example.com.evil.example", false),
    ] {
        for (headers, status) in [
            (vec![("origin", origin), key], 200),
            (vec![("origin", origin)], 401),
        ] {
            let reply = ask(&tidegate, "/headers", &headers).await;
            assert_eq!(reply.status, status);
            let seen = reply.header("access-control-allow-origin");
            assert_eq!(seen, if allowed { origin } else { "" }, "{status}");
            assert!(reply.header("vary").eq_ignore_ascii_case("origin"));
        }
    }
}

#[tokio::test]
async fn security_headers_and_hsts_over_tls_only() {
    let backend = Raw::answering(
        b"HTTP/1.1 200 OK\r\nx-frame-options: SAMEORIGIN\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["test.example".to_owned()]).unwrap();
    write(
        &dir.path().join("cert.pem"),
        &params.self_signed(&key).unwrap().pem(),
    );
    write(&dir.path().join("key.pem"), &key.serialize_pem());
    let filters = "{ security_headers: { content_security_policy: \"default-src 'self'\" } }";
    let both = config(&[backend.address], filters).replace(
        "listeners: [",
        "listeners: [{ name: tls, listen: \"127.0.0.1:0\", tls: { certificates: [{ cert: cert.pem, key: key.pem }] } }, ",
    );
    let tidegate = Tidegate::start_in(dir, &both).await;
    let stream = client::tls(tidegate.address("tls"), "test.example", b"\x08http/1.1").await;
    let secure = Http1::over(stream).await.unwrap().get("/").await;
    let plain = ask(&tidegate, "/", &[]).await;
    for reply in [&secure, &plain] {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "SAMEORIGIN"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("content-security-policy", "default-src 'self'"),
        ] {
            assert_eq!(reply.header(name), value, "{name}");
        }
    }
    let hsts = "strict-transport-security";
    assert_eq!(secure.header(hsts), "max-age=31536000");
    assert_eq!(plain.header(hsts), "");
}
