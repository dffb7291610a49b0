//! Tidegate's own failures and filters' refusals, as gRPC clients get them.

use tokio::net::TcpStream;

use super::*;
use crate::backend::{Raw, read_head};
use crate::client::Http2;

/// Routes whose requests fail in different ways.
fn failing(silent: SocketAddr) -> String {
    format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes:
  - {{ match: {{ path: /token }}, pool: dead, filters: [jwt: {{ secret: 0123456789abcdef0123456789abcdef }}] }}
  - {{ match: {{ path: /denied }}, pool: dead, filters: [ip_access: {{ deny: [127.0.0.0/8] }}] }}
  - {{ match: {{ path: /large }}, pool: dead, max_body: 10B }}
  - {{ match: {{ path: /dead }}, pool: dead }}
  - {{ match: {{ path: /silent }}, pool: silent }}
pools:
  dead: {{ backends: ["127.0.0.1:1"] }}
  silent: {{ backends: ["{silent}"], timeouts: {{ first_byte: 300ms }}, retry: {{ attempts: 0 }} }}
"#
    )
}

fn call(path: &str, kind: &str) -> Request<Full<Bytes>> {
    let mut asked = asking(path, &[("content-type", kind), ("te", "trailers")]);
    *asked.method_mut() = http::Method::POST;
    *asked.body_mut() = Bytes::from_static(b"\0\0\0\0\x07message").into();
    asked
}

/// Whether the response to a call is over with its fields, as a frame that ends the stream.
async fn is_over_with_its_fields(address: SocketAddr, path: &str) -> bool {
    let stream = TcpStream::connect(address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let asked = Request::builder()
        .method("POST")
        .uri(format!("http://test.example{path}"))
        .header("content-type", "application/grpc");
    let mut send = send.ready().await.unwrap();
    let (response, mut body) = send.send_request(asked.body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"\0\0\0\0\x07message"), true)
        .unwrap();
    response.await.unwrap().body().is_end_stream()
}

#[tokio::test]
async fn own_failures_are_trailers_only_and_the_log_keeps_the_status() {
    let silent = Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        tokio::time::sleep(crate::harness::PATIENCE).await;
    })
    .await;
    let tidegate = Tidegate::start(&failing(silent.address)).await;
    let address = tidegate.address("public");
    let mut http2 = Http2::connect(address).await;
    for (path, status, code, says) in [
        ("/nowhere", 404, "12", "404 Not Found: no_route"),
        ("/token", 401, "16", "401 Unauthorized"),
        ("/denied", 403, "7", "403 Forbidden"),
        ("/large", 413, "8", "413 Payload Too Large: body_too_large"),
        ("/dead", 502, "14", "502 Bad Gateway: connect_refused"),
        ("/silent", 504, "4", "504 Gateway Timeout: response_timeout"),
    ] {
        for kind in ["application/grpc", "application/grpc+proto"] {
            let reply = http2.send(call(path, kind)).await.unwrap();
            assert_eq!(reply.status, 200, "{path}");
            assert_eq!(reply.header("content-type"), "application/grpc", "{path}");
            assert_eq!(reply.header("grpc-status"), code, "{path}");
            assert_eq!(reply.header("grpc-message"), says, "{path}");
            assert!(reply.body.is_empty(), "{path}");
            assert_ne!(reply.header("x-request-id"), "", "{path}");
        }
        assert!(is_over_with_its_fields(address, path).await, "{path}");
        let line = logged(&tidegate, path).await;
        assert_eq!(line["status"], status, "{path}: {line}");
    }
    let told = http2
        .send(call("/token", "application/grpc"))
        .await
        .unwrap();
    assert_eq!(told.header("www-authenticate"), "Bearer", "fields stay");
    let line = logged(&tidegate, "/nowhere").await;
    assert_eq!(
        (&line["flags"], &line["reason"]),
        (&"NR".into(), &"no_route".into())
    );
    // gRPC is spoken over HTTP/2 only; whoever is no gRPC client gets HTTP.
    let over_1 = send(address, call("/token", "application/grpc")).await;
    assert_eq!((over_1.status, over_1.header("grpc-status")), (401, ""));
    for kind in ["application/grpc-web+proto", "application/json"] {
        let reply = http2.send(call("/token", kind)).await.unwrap();
        assert_eq!(
            (reply.status, reply.header("grpc-status")),
            (401, ""),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_failure_without_a_body_ends_its_stream() {
    let silent = Raw::answering(b"").await;
    let tidegate = Tidegate::start(&failing(silent.address)).await;
    let mut http2 = Http2::connect(tidegate.address("public")).await;
    for path in ["/dead", "/nowhere", "/token"] {
        let mut asked = asking(path, &[]);
        *asked.method_mut() = http::Method::HEAD;
        let reply = http2.send(asked).await.unwrap();
        assert!(reply.status >= 400, "{path}: {}", reply.status);
    }
}
