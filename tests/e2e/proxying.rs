//! What reaches the backend, what comes back, and over which protocols.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Response};
use http_body_util::Full;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::backend::{Raw, read_head};
use crate::client::{self, Http1, Http2, get, raw, request, send};
use crate::harness::Tidegate;
use crate::setup::{demo, one_pool};

#[tokio::test]
async fn the_backend_learns_who_asked_and_forgeries_are_replaced() {
    let backend = Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let tidegate = Tidegate::start(&one_pool(&[backend.address], "")).await;
    let mut forged = request(Method::GET, "/x?y=1");
    for (name, value) in [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("x-real-ip", "6.6.6.6"),
        ("x-request-id", "forged"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("proxy-authorization", "secret"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ] {
        forged.headers_mut().insert(name, value.parse().unwrap());
    }
    let reply = send(tidegate.address("public"), forged).await;
    let seen = backend.seen()[0].to_lowercase();
    let port = tidegate.address("public").port();
    assert!(seen.starts_with("get /x?y=1 http/1.1\r\n"), "{seen}");
    for expected in [
        "host: test.example\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-host: test.example\r\n",
        &format!("x-forwarded-port: {port}\r\n"),
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
    ] {
        assert!(seen.contains(expected), "{expected} is not in {seen}");
    }
    for gone in ["6.6.6.6", "evil", "forged", "x-hop", "secret"] {
        assert!(!seen.contains(gone), "{gone} is in {seen}");
    }
    let id = reply.header("x-request-id").to_owned();
    assert_eq!(id.as_bytes()[14], b'7', "UUIDv7: {id}");
    assert!(seen.contains(&format!("x-request-id: {id}\r\n")));
    let line = tidegate
        .access
        .wait("log line", |l| l["path"] == "/x")
        .await;
    assert_eq!(line["request_id"], id);
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(line["status"], 200);
    assert_eq!(line["pool"], "web");
    assert_eq!(line["backend"], backend.address.to_string());
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let backend = Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let config = one_pool(&[backend.address], "");
    let trusting = format!(
        "trusted_proxies: [\"127.0.0.0/8\"]\n{}",
        config.trim_start()
    );
    let tidegate = Tidegate::start(&trusting).await;
    let mut through = request(Method::GET, "/");
    for (name, value) in [
        ("x-forwarded-for", "6.6.6.6, 203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "from-the-edge"),
    ] {
        through.headers_mut().insert(name, value.parse().unwrap());
    }
    send(tidegate.address("public"), through).await;
    let seen = backend.seen()[0].to_lowercase();
    assert!(
        seen.contains("x-forwarded-for: 6.6.6.6, 203.0.113.9, 127.0.0.1\r\n"),
        "{seen}"
    );
    assert!(seen.contains("x-forwarded-proto: https\r\n"), "{seen}");
    assert!(seen.contains("x-request-id: from-the-edge\r\n"), "{seen}");
    let line = tidegate.access.wait("log line", |l| l["path"] == "/").await;
    assert_eq!(line["client_ip"], "203.0.113.9");
    assert_eq!(line["peer_ip"], "127.0.0.1");
}

#[tokio::test]
async fn http2_in_clear_text_and_http1_on_one_port() {
    let backend = demo().await;
    let tidegate = Tidegate::start(&one_pool(&[backend.address], "")).await;
    let mut h2 = Http2::connect(tidegate.address("public")).await;
    assert_eq!(h2.get("/healthz").await.status, 200);
    let mut h1 = Http1::connect(tidegate.address("public")).await.unwrap();
    assert_eq!(h1.get("/healthz").await.status, 200);
    assert_eq!(h1.get("/status/503").await.status, 503);
    // Shorter than the HTTP/2 preface: must not hang.
    let answer = client::raw(tidegate.address("public"), b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

#[tokio::test]
async fn http2_backends_get_http2() {
    let backend = demo().await;
    let upstream = "    upstream: { protocol: http2 }\n";
    let tidegate = Tidegate::start(&one_pool(&[backend.address], upstream)).await;
    let mut h2 = Http2::connect(tidegate.address("public")).await;
    let reply = h2.get("/headers").await;
    let told: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(told["version"], "HTTP/2.0", "{told}");
    assert_eq!(
        get(tidegate.address("public"), "/bytes?n=100000")
            .await
            .body
            .len(),
        100_000
    );
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let backend = demo().await;
    let tidegate = Tidegate::start(&one_pool(&[backend.address], "")).await;
    let big = Bytes::from(vec![b'x'; 3_000_000]);
    for (path, expected) in [("/echo", big.clone()), ("/upload", Bytes::from("3000000"))] {
        let mut upload = request(Method::POST, path);
        *upload.body_mut() = Full::new(big.clone());
        let reply = send(tidegate.address("public"), upload.clone()).await;
        assert_eq!(reply.status, 200);
        assert!(reply.body.starts_with(&expected), "{path} over HTTP/1.1");
        let mut h2 = Http2::connect(tidegate.address("public")).await;
        assert!(
            h2.send(upload).await.unwrap().body.starts_with(&expected),
            "{path} over HTTP/2"
        );
    }
    let reply = get(tidegate.address("public"), "/bytes?n=5000000&chunked=1").await;
    assert_eq!(reply.body.len(), 5_000_000);
}

/// pingora#935: the end of an HTTP/2 body in an empty DATA frame was written twice, and the second one was the
/// next request on a pooled connection.
#[tokio::test]
async fn an_empty_data_frame_does_not_poison_the_pooled_connection() {
    let backend = Raw::start(|mut stream, seen, index| async move {
        let mut answered = 0;
        let mut buf = [0; 1024];
        while let Ok(n) = stream.read(&mut buf).await {
            let ends = {
                let mut all = seen.lock().unwrap();
                all[index].extend_from_slice(&buf[..n]);
                let text = String::from_utf8_lossy(&all[index]).into_owned();
                text.matches("hello\r\n0\r\n\r\n").count()
            };
            while answered < ends {
                answered += 1;
                let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(ok).await.unwrap();
            }
            if n == 0 {
                return;
            }
        }
    })
    .await;
    let tidegate = Tidegate::start(&one_pool(&[backend.address], "")).await;
    for round in 0..5 {
        let stream = tokio::net::TcpStream::connect(tidegate.address("public"))
            .await
            .unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let post = Request::post("http://test.example/echo").body(()).unwrap();
        let (response, mut body) = sender.send_request(post, false).unwrap();
        body.send_data(Bytes::from_static(b"hello"), false).unwrap();
        // In a frame of its own, not merged with the data.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        body.send_data(Bytes::new(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200, "round {round}");
        tidegate
            .access
            .wait_nth("log line", round, |l| l["path"] == "/echo")
            .await;
    }
    for bytes in backend.seen() {
        assert!(!bytes.contains("0\r\n\r\n0\r\n\r\n"), "{bytes}");
    }
}

#[tokio::test]
async fn a_websocket_works_and_stays() {
    let backend = demo().await;
    let short = "    timeouts: { first_byte: 1s, read: 1s, total: 2s }\n";
    let tidegate = Tidegate::start(&one_pool(&[backend.address], short)).await;
    let url = format!("ws://{}/ws", tidegate.address("public"));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for round in 0..3 {
        socket
            .send(Message::text(format!("hello {round}")))
            .await
            .unwrap();
        let echoed = socket.next().await.unwrap().unwrap();
        assert_eq!(
            echoed.into_text().unwrap().as_str(),
            format!("hello {round}")
        );
        // Longer than every timeout of a request.
        tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    }
    assert_eq!(
        tidegate.backend("web", &backend.address.to_string()).await["in_flight"],
        1
    );
    socket.close(None).await.unwrap();
    crate::harness::eventually("in-flight is given back", || async {
        tidegate.backend("web", &backend.address.to_string()).await["in_flight"] == 0
    })
    .await;
}

/// pingora#946: a 101 that is there before the request's end was handled tore the connection down. This backend
/// says 101 as soon as it is connected to.
#[tokio::test]
async fn an_early_101_does_not_tear_the_connection_down() {
    let backend = Raw::start(|mut stream, seen, index| async move {
        let hello = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(hello).await.unwrap();
        read_head(&mut stream, &seen, index).await;
        let mut buf = [0; 64];
        while let Ok(n) = stream.read(&mut buf).await {
            if n == 0 || stream.write_all(&buf[..n]).await.is_err() {
                return;
            }
        }
    })
    .await;
    let tidegate = Tidegate::start(&one_pool(&[backend.address], "")).await;
    for round in 0..30 {
        let mut stream = tokio::net::TcpStream::connect(tidegate.address("public"))
            .await
            .unwrap();
        stream
            .write_all(b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await;
            answer.push(byte.unwrap_or_else(|e| panic!("round {round}: {e}")));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "round {round}");
        stream.write_all(b"ping").await.unwrap();
        let mut echoed = [0; 4];
        let read = stream.read_exact(&mut echoed).await;
        assert!(
            read.is_ok() && &echoed == b"ping",
            "round {round}: {read:?}"
        );
    }
}

#[tokio::test]
async fn grpc_with_trailers() {
    let backend = grpc_backend("0").await;
    let upstream = "    upstream: { protocol: http2 }\n";
    let tidegate = Tidegate::start(&one_pool(&[backend], upstream)).await;
    let trailers = grpc_call(&tidegate).await;
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["grpc-message"], "fine");
}

#[tokio::test]
async fn a_grpc_status_in_trailers_is_evidence_too() {
    let sick = grpc_backend("14").await;
    let spare = grpc_backend("0").await;
    let pool = "    policy: round_robin
    upstream: { protocol: http2 }
    outlier_detection: { error_rate: false }
";
    let tidegate = Tidegate::start(&one_pool(&[sick, spare], pool)).await;
    for _ in 0..12 {
        grpc_call(&tidegate).await;
    }
    let id = sick.to_string();
    tidegate.wait_state("web", &id, "ejected").await;
    let told = tidegate.backend("web", &id).await;
    assert_eq!(told["reason"], "consecutive_failures", "{told}");
}

/// One unary call; its trailers.
async fn grpc_call(tidegate: &Tidegate) -> http::HeaderMap {
    let stream = tokio::net::TcpStream::connect(tidegate.address("public"))
        .await
        .unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let call = Request::post("http://test.example/pkg.Service/Method")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (response, mut body) = sender.send_request(call, false).unwrap();
    body.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), true)
        .unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let message = body.data().await.unwrap().unwrap();
    assert_eq!(message, Bytes::from_static(b"\0\0\0\0\x02hi"));
    body.trailers().await.unwrap().unwrap()
}

/// Echoes one message and ends with trailers; refuses a call without `te: trailers`.
async fn grpc_backend(status: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        assert_eq!(request.headers()["te"], "trailers");
                        let mut body = request.into_body();
                        let message = body.data().await.unwrap().unwrap();
                        let head = Response::builder()
                            .header("content-type", "application/grpc")
                            .body(())
                            .unwrap();
                        let mut out = respond.send_response(head, false).unwrap();
                        out.send_data(message, false).unwrap();
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("grpc-status", status.parse().unwrap());
                        trailers.insert("grpc-message", "fine".parse().unwrap());
                        out.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn backends_that_fail_each_in_its_way() {
    let garbage = Raw::answering(b"this is not HTTP\r\n\r\n").await;
    let reset = Raw::start(|stream, _, _| async move { drop(stream) }).await;
    let hang = Raw::start(|stream, _, _| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = closed.local_addr().unwrap();
    drop(closed);
    let short = "    timeouts: { first_byte: 500ms, connect: 500ms }\n";
    for (name, backend, status, flags) in [
        ("garbage", garbage.address, 502, "UPE"),
        ("reset", reset.address, 502, "UC"),
        ("hang", hang.address, 504, "UT"),
        ("dead", dead, 502, "UF"),
    ] {
        let tidegate = Tidegate::start(&one_pool(&[backend], short)).await;
        let reply = get(tidegate.address("public"), "/").await;
        assert_eq!(reply.status, status, "{name}");
        let line = tidegate.access.wait(name, |l| l["path"] == "/").await;
        assert_eq!(line["flags"], flags, "{name}: {line}");
        assert_eq!(line["backend"], backend.to_string(), "{name}");
        assert!(
            !reply.text().contains(&backend.to_string()),
            "no backend names to clients"
        );
    }
}

#[tokio::test]
async fn a_refused_connection_goes_to_another_backend_whatever_the_method() {
    let alive = demo().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = closed.local_addr().unwrap();
    drop(closed);
    let pool = "    policy: round_robin\n    outlier_detection: { mode: off }\n";
    let tidegate = Tidegate::start(&one_pool(&[dead, alive.address], pool)).await;
    for _ in 0..10 {
        let mut post = request(Method::POST, "/echo");
        *post.body_mut() = Full::new(Bytes::from_static(b"once"));
        let reply = send(tidegate.address("public"), post).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "once"));
    }
    let lines = tidegate.access.all();
    let retried = lines
        .iter()
        .find(|l| l["attempts"].as_array().is_some_and(|a| a.len() == 2));
    assert!(retried.is_some(), "{lines:#?}");
}

#[tokio::test]
async fn connections_to_backends_are_reused_and_not_past_their_idle_limit() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let backend = Raw::start(move |mut stream, seen, index| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            loop {
                seen.lock().unwrap()[index].clear();
                read_head(&mut stream, &seen, index).await;
                let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                if seen.lock().unwrap()[index].is_empty() || stream.write_all(ok).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let upstream = "    upstream: { idle_timeout: 2s }\n";
    let mut tidegate = Tidegate::start(&one_pool(&[backend.address], upstream)).await;
    for n in 0..5 {
        assert_eq!(get(tidegate.address("public"), "/").await.status, 200);
        // The connection is given back before the line is written.
        tidegate
            .access
            .wait_nth("log line", n, |l| l["path"] == "/")
            .await;
    }
    // A reload that leaves the way to connect alone leaves the connection, too.
    let changed = format!("{upstream}    timeouts: {{ connect: 3s }}\n");
    let changed = one_pool(&[backend.address], &changed);
    assert_eq!(tidegate.reload(&changed).await["result"], "taken");
    assert_eq!(get(tidegate.address("public"), "/").await.status, 200);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert_eq!(get(tidegate.address("public"), "/").await.status, 200);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn headers_are_edited_and_paths_rewritten() {
    let backend = Raw::answering(
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nserver: secret/1.0\r\nx-old: 1\r\n\r\n",
    )
    .await;
    let tidegate = Tidegate::start(&format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes:
  - match: {{ path_prefix: /api/orders }}
    pool: web
    rewrite: {{ strip_prefix: true }}
    request_headers: {{ set: {{ x-env: prod }}, remove: [x-internal] }}
    response_headers: {{ set: {{ x-new: "2" }}, remove: [server, x-old] }}
  - match: {{ path_prefix: / }}
    pool: web
    rewrite: {{ regex: {{ pattern: "^/old/(.*)$", replacement: "/new/$1" }} }}
pools: {{ web: {{ backends: ["{}"] }} }}
"#,
        backend.address
    ))
    .await;
    let mut first = request(Method::GET, "/api/orders/1?q=%20");
    first
        .headers_mut()
        .insert("x-internal", "1".parse().unwrap());
    let reply = send(tidegate.address("public"), first).await;
    let seen = backend.seen()[0].to_lowercase();
    assert!(seen.starts_with("get /1?q=%20 http/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("x-env: prod\r\n") && !seen.contains("x-internal"),
        "{seen}"
    );
    assert_eq!(reply.header("x-new"), "2");
    assert!(reply.headers.get("server").is_none() && reply.headers.get("x-old").is_none());
    get(tidegate.address("public"), "/old/a/b?c").await;
    assert!(
        backend.seen()[1].starts_with("GET /new/a/b?c HTTP/1.1"),
        "{:?}",
        backend.seen()[1]
    );
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks_and_nothing_of_the_backends_connection() {
    let backend = Raw::answering(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nkeep-alive: timeout=5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let tidegate = Tidegate::start(&one_pool(&[backend.address], "")).await;
    let public = tidegate.address("public");
    let old = raw(public, b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert!(old.ends_with("\r\n\r\nhello"), "{old}");
    let modern = raw(
        public,
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(
        modern.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        "{modern}"
    );
    for answer in [old, modern] {
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(!answer.contains("timeout=5"), "{answer}");
    }
}
