//! What `compress` does to a response's framing and fields, over each protocol and both ways of a request.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::responses::decoded;
use super::*;
use crate::backend::{Raw, read_head};
use crate::client::{Http1, Http2, raw, request};
use crate::harness::PATIENCE;

/// Large enough to be compressed, and not so regular that nothing is sent before its end.
fn page() -> String {
    (0..3000)
        .map(|n| format!("{:x} ", n * 7919 % 65_521))
        .collect()
}

/// A backend that gives this head with the page, or with as much of it as `sent` says, and closes.
async fn answering(head: &'static str, sent: usize) -> Raw {
    Raw::start(move |mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let body = &page()[..sent.min(page().len())];
        let head = head.replace("LENGTH", &page().len().to_string());
        let text = match head.contains("chunked") {
            true => format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
            false => body.to_owned(),
        };
        let text = format!("HTTP/1.1 {head}\r\ncontent-type: text/plain\r\n\r\n{text}");
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

const WITH_LENGTH: &str = "200 OK\r\nconnection: close\r\ncontent-length: LENGTH";
const IN_CHUNKS: &str = "200 OK\r\nconnection: close\r\ntransfer-encoding: chunked";
const TO_THE_END: &str = "200 OK\r\nconnection: close";

fn asking_for_gzip(method: Method) -> Request<Full<Bytes>> {
    let mut asked = request(method.clone(), "/page");
    let accept = "gzip".parse().unwrap();
    asked.headers_mut().insert("accept-encoding", accept);
    if method == Method::POST {
        *asked.body_mut() = "body".into();
    }
    asked
}

#[tokio::test]
async fn a_compressed_response_is_framed_anew_and_the_connection_stays() {
    for head in [WITH_LENGTH, IN_CHUNKS, TO_THE_END] {
        let backend = answering(head, usize::MAX).await;
        let tidegate = behind(backend.address, "{ compress: {} }").await;
        let address = tidegate.address("public");
        // All on one connection: it must not be closed by any of them.
        let mut http1 = Http1::connect(address).await.unwrap();
        let mut http2 = Http2::connect(address).await;
        for method in [Method::GET, Method::POST, Method::GET] {
            let of_1 = http1.send(asking_for_gzip(method.clone())).await.unwrap();
            let of_2 = http2.send(asking_for_gzip(method.clone())).await.unwrap();
            assert_eq!(
                of_1.header("transfer-encoding"),
                "chunked",
                "{head} {method}"
            );
            for reply in [of_1, of_2] {
                assert_eq!(reply.header("content-encoding"), "gzip", "{head} {method}");
                assert_eq!(reply.header("content-length"), "", "{head} {method}");
                let plain = decoded("gzip", &reply.body);
                assert!(plain == page().as_bytes(), "{head} {method}");
            }
        }
    }
}

/// A backend of HTTP/2 whose responses end by trailers.
async fn ending_by_trailers() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let head = http::Response::builder().header("content-type", "text/plain");
                    let mut body = respond
                        .send_response(head.body(()).unwrap(), false)
                        .unwrap();
                    body.send_data(page().into(), false).unwrap();
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("x-checksum", "1".parse().unwrap());
                    body.send_trailers(trailers).unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_body_that_ends_by_trailers_is_whole() {
    let backend = ending_by_trailers().await;
    let text = config(&[backend], "{ compress: {} }") + "    upstream: { protocol: http2 }\n";
    let tidegate = Tidegate::start(&text).await;
    let address = tidegate.address("public");
    for method in [Method::GET, Method::POST] {
        let mut http1 = Http1::connect(address).await.unwrap();
        let mut http2 = Http2::connect(address).await;
        let of_1 = http1.send(asking_for_gzip(method.clone())).await.unwrap();
        let of_2 = http2.send(asking_for_gzip(method.clone())).await.unwrap();
        for reply in [of_1, of_2] {
            assert_eq!(reply.header("content-encoding"), "gzip", "{method}");
            assert!(
                decoded("gzip", &reply.body) == page().as_bytes(),
                "{method}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_breaks_off_at_the_client() {
    let backend = answering(WITH_LENGTH, 9000).await;
    let tidegate = behind(backend.address, "{ compress: {} }").await;
    let address = tidegate.address("public");
    for method in [Method::GET, Method::POST] {
        let mut http1 = Http1::connect(address).await.unwrap();
        let reply = http1.send(asking_for_gzip(method.clone())).await;
        assert!(reply.is_err(), "{method} over HTTP/1.1 looks whole");
        let mut http2 = Http2::connect(address).await;
        let reply = http2.send(asking_for_gzip(method.clone())).await;
        assert!(reply.is_err(), "{method} over HTTP/2 looks whole");
    }
    // To the byte: no last chunk.
    let asked = b"GET /page HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(asked).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the connection stays open");
    assert!(!answer.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_the_length_and_the_plain_bytes() {
    let backend = answering(WITH_LENGTH, usize::MAX).await;
    let tidegate = behind(backend.address, "{ compress: {} }").await;
    let asked = b"GET /page HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
    let answer = raw(tidegate.address("public"), asked).await;
    let answer_lower = answer.to_lowercase();
    assert!(!answer_lower.contains("content-encoding"), "{answer}");
    assert!(
        answer_lower.contains(&format!("content-length: {}", page().len())),
        "{answer}"
    );
    assert!(answer.ends_with(&page()));
}

#[tokio::test]
async fn head_has_the_fields_of_get() {
    let head = "200 OK\r\nconnection: close\r\ncontent-length: LENGTH\r\netag: \"abc\"\r\nrepr-digest: sha-256=:YQ==:\r\ncontent-digest: sha-256=:YQ==:\r\naccept-ranges: bytes\r\nvary: Accept-Encoding";
    let backend = answering(head, usize::MAX).await;
    let tidegate = behind(backend.address, "{ compress: {} }").await;
    let address = tidegate.address("public");
    let mut http1 = Http1::connect(address).await.unwrap();
    let mut http2 = Http2::connect(address).await;
    let mut replies = Vec::new();
    for method in [Method::HEAD, Method::GET] {
        replies.push(http1.send(asking_for_gzip(method.clone())).await.unwrap());
        replies.push(http2.send(asking_for_gzip(method)).await.unwrap());
    }
    for reply in replies {
        assert_eq!(reply.status, 200);
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("etag", "W/\"abc\""),
            ("vary", "Accept-Encoding"),
            ("content-length", ""),
            ("repr-digest", ""),
            ("content-digest", ""),
            ("accept-ranges", ""),
        ] {
            assert_eq!(reply.header(name), value, "{name}");
        }
        assert_eq!(reply.headers.get_all("vary").iter().count(), 1);
    }
}

#[tokio::test]
async fn a_304_revalidates_what_was_given_out() {
    // Answers 304 to its own tag, compared as RFC 9110 13.1.2 has it for If-None-Match.
    let backend = Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let asked = String::from_utf8_lossy(&seen.lock().unwrap()[index]).to_lowercase();
        let answer = match asked.contains("if-none-match: w/\"abc\"") {
            true => "HTTP/1.1 304 Not Modified\r\nconnection: close\r\netag: \"abc\"\r\n\r\n".to_owned(),
            false => format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\netag: \"abc\"\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{}",
                page().len(),
                page()
            ),
        };
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await;
    let tidegate = behind(backend.address, "{ compress: {} }").await;
    let gzip = ("accept-encoding", "gzip");
    let first = ask(&tidegate, "/page", &[gzip]).await;
    let tag = first.header("etag").to_owned();
    assert_eq!((first.status, &*tag), (200, "W/\"abc\""));
    let second = ask(&tidegate, "/page", &[gzip, ("if-none-match", &tag)]).await;
    assert_eq!((second.status, second.header("etag")), (304, &*tag));
    assert_eq!(second.header("vary"), first.header("vary"));
}

#[tokio::test]
async fn every_line_counts_in_what_client_and_backend_say() {
    type Fields = &'static [(&'static str, &'static str)];
    let cases: [(&'static str, Fields, bool); 6] = [
        (
            "",
            &[("accept-encoding", "deflate"), ("accept-encoding", "gzip")],
            true,
        ),
        (
            "",
            &[("accept-encoding", "identity;q=1, gzip;q=0.1")],
            false,
        ),
        (
            "cache-control: public\r\ncache-control: No-Transform\r\n",
            &[("accept-encoding", "gzip")],
            false,
        ),
        (
            "",
            &[
                ("accept-encoding", "gzip"),
                ("cache-control", "no-transform"),
            ],
            false,
        ),
        (
            "content-encoding: identity\r\ncontent-encoding: br\r\n",
            &[("accept-encoding", "gzip")],
            false,
        ),
        ("", &[("accept-encoding", "*;q=0")], false),
    ];
    for (fields, asked, compressed) in cases {
        let head = format!("200 OK\r\n{fields}connection: close\r\ncontent-length: LENGTH");
        let backend = answering(head.leak(), usize::MAX).await;
        let tidegate = behind(backend.address, "{ compress: {} }").await;
        let reply = ask(&tidegate, "/page", asked).await;
        let is = reply
            .headers
            .get_all("content-encoding")
            .iter()
            .any(|v| v == "gzip");
        assert_eq!(is, compressed, "{fields:?} {asked:?}");
        if !compressed {
            assert_eq!(reply.text(), page(), "{fields:?} {asked:?}");
        }
    }
}
