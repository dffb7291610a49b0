//! Clients that are slow for a good reason, or only look so: none of them is cut, and no backend is blamed for them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Raw, read_head};
use crate::client::{self, Http1, Http2};
use crate::frames::{self, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM};
use crate::harness::Tidegate;

use crate::slow::*;

#[tokio::test]
async fn slow_but_fast_enough_and_silent_for_good_reason_live() {
    // Answers a request when it is whole, one second late: later than any deadline of this listener but the rate's.
    let backend = Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let mut bytes = [0; 4096];
        let whole = |seen: &[u8]| seen.windows(4).any(|bytes| bytes == b"last");
        while !whole(&seen.lock().unwrap()[index]) {
            match stream.read(&mut bytes).await {
                Ok(n) if n > 0 => seen.lock().unwrap()[index].extend_from_slice(&bytes[..n]),
                _ => return,
            }
        }
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let _ = stream.write_all(OK).await;
    })
    .await;
    let tidegate = in_front_of(backend.address, ", request_body_min_rate: 100").await;
    // 20 bytes each 50 ms: four times the rate, and three times the idle timeout long.
    for transport in [Plain, Tls] {
        let mut stream = transport.connect(&tidegate).await;
        let head = "POST / HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\ncontent-length: 1204\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..60 {
            stream.write_all(&[b'x'; 20]).await.unwrap();
            stream.flush().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stream.write_all(b"last").await.unwrap();
        let answer = to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    for transport in [H2, H2c] {
        let mut frames = Frames::begin(transport.connect(&tidegate).await, &[]).await;
        let post = frames::frame(HEADERS, END_HEADERS, 1, &frames::request("POST", "/"));
        frames.send(&post).await;
        for _ in 0..60 {
            frames.send(&frames::frame(DATA, 0, 1, &[b'x'; 20])).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        frames
            .send(&frames::frame(DATA, END_STREAM, 1, b"last"))
            .await;
        assert_eq!(frames.until(DATA, 1).await.payload, b"ok");
    }
    for (phase, transport) in [("body", Plain), ("body", Tls), ("response", Plain)] {
        assert_eq!(transport.slow_closed(&tidegate, phase).await, 0.0);
    }
}

#[tokio::test]
async fn a_reader_that_is_slow_but_reads_lives() {
    let backend = endless().await;
    let tidegate = in_front_of(backend.address, ", response_min_rate: 10KiB").await;
    let mut stream = TcpStream::connect(tidegate.address("plain")).await.unwrap();
    let get = b"GET / HTTP/1.1\r\nhost: test.example\r\n\r\n";
    stream.write_all(get).await.unwrap();
    // Far less than the socket buffers hold, so that the proxy's writes stay blocked all the time.
    let mut bytes = vec![0; 256 * 1024];
    for _ in 0..30 {
        stream.read_exact(&mut bytes).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(Plain.slow_closed(&tidegate, "response").await, 0.0);
}

#[tokio::test]
async fn conversations_may_be_silent() {
    let mut backends = Vec::new();
    // A WebSocket, and a call that is answered late.
    for (answer, lasts) in [
        (&b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"[..], 2500),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 2500),
    ] {
        let backend = Raw::start(move |mut stream, seen, index| async move {
            read_head(&mut stream, &seen, index).await;
            if answer.starts_with(b"HTTP/1.1 101") {
                let _ = stream.write_all(answer).await;
                tokio::time::sleep(Duration::from_millis(lasts)).await;
                let _ = stream.write_all(b"late").await;
            } else {
                tokio::time::sleep(Duration::from_millis(lasts)).await;
                let _ = stream.write_all(answer).await;
            }
        });
        backends.push(backend.await);
    }
    let tidegate = in_front_of(backends[0].address, "").await;
    let mut stream = TcpStream::connect(tidegate.address("plain")).await.unwrap();
    let upgrade = b"GET / HTTP/1.1\r\nhost: test.example\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    stream.write_all(upgrade).await.unwrap();
    let answer = to_end(&mut stream).await;
    assert!(answer.ends_with("late"), "{answer}");
    // Routes and pools say which requests are streams; that the client calls it gRPC means nothing.
    let config = STREAMS.replace("BACKEND", &backends[1].address.to_string());
    let tidegate = Tidegate::start(&config).await;
    for (path, answered) in [
        ("/calls", true),
        ("/calls/short", false),
        ("/pages", false),
        ("/pages/live", true),
    ] {
        let mut frames = Frames::begin(H2c.connect(&tidegate).await, &[]).await;
        let call = frames::block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "test.example"),
            (":path", path),
            ("content-type", "application/grpc"),
        ]);
        let head = frames::frame(HEADERS, END_HEADERS, 1, &call);
        frames.send(&head).await;
        match answered {
            true => assert_eq!(frames.until(DATA, 1).await.payload, b"ok", "{path}"),
            false => assert_eq!(frames.until(RST_STREAM, 1).await.code(), CALM, "{path}"),
        }
        let mut stream = TcpStream::connect(tidegate.address("plain")).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: test.example\r\ntransfer-encoding: chunked\r\n\
             content-type: application/grpc\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        let expected = ["HTTP/1.1 408", "HTTP/1.1 200"][usize::from(answered)];
        assert_eq!(String::from_utf8_lossy(&status), expected, "{path}");
    }
}

const STREAMS: &str = r#"
version: 1
admin: { listen: "127.0.0.1:0" }
listeners:
  - name: plain
    listen: "127.0.0.1:0"
    limits: { request_body_idle_timeout: 1s, min_rate_grace: 500ms }
routes:
  - { match: { path: /calls/short }, pool: calls, streaming: false }
  - { match: { path_prefix: /calls }, pool: calls }
  - { match: { path: /pages/live }, pool: pages, streaming: true }
  - { match: { path_prefix: /pages }, pool: pages }
pools:
  calls:
    backends: ["BACKEND"]
    upstream: { streaming: true }
    timeouts: { first_byte: 30s }
  pages:
    backends: ["BACKEND"]
    timeouts: { first_byte: 30s }
"#;

#[tokio::test]
async fn fast_clients_on_every_transport_are_not_counted() {
    let backend = Raw::answering(OK).await;
    let tidegate = in_front_of(backend.address, "").await;
    for transport in [Plain, Tls] {
        let stream = transport.connect(&tidegate).await;
        assert_eq!(
            Http1::over(stream).await.unwrap().get("/").await.status,
            200
        );
    }
    for transport in [H2, H2c] {
        let stream = transport.connect(&tidegate).await;
        assert_eq!(Http2::over(stream).await.get("/").await.status, 200);
    }
    for phase in ["proxy", "tls", "preface", "header", "body", "response"] {
        assert_eq!(Plain.slow_closed(&tidegate, phase).await, 0.0, "{phase}");
        assert_eq!(Tls.slow_closed(&tidegate, phase).await, 0.0, "{phase}");
    }
}

#[tokio::test]
async fn an_upload_longer_than_the_backends_time_is_not_the_backends_fault() {
    let backend = Raw::start(|mut stream, seen, index| async move {
        let mut bytes = [0; 4096];
        while let Ok(n) = stream.read(&mut bytes).await
            && n > 0
        {
            let mut all = seen.lock().unwrap();
            all[index].extend_from_slice(&bytes[..n]);
            if all[index].ends_with(b"last") {
                break;
            }
        }
        let _ = stream.write_all(OK).await;
    })
    .await;
    let tidegate = Tidegate::start(&crate::setup::one_pool(
        &[backend.address],
        "    timeouts: { first_byte: 500ms }\n",
    ))
    .await;
    let mut stream = TcpStream::connect(tidegate.address("public"))
        .await
        .unwrap();
    let head = "POST / HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\ncontent-length: 30004\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..30 {
        let _ = stream.write_all(&[b'x'; 1000]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _ = stream.write_all(b"last").await;
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn half_a_body_does_not_make_the_backend_look_sick() {
    let backend = silent().await;
    let tidegate = Tidegate::start(&crate::setup::one_pool(
        &[backend.address],
        "    timeouts: { first_byte: 500ms }\n    retry: { attempts: 0 }\n",
    ))
    .await;
    let address = tidegate.address("public");
    let half = [POST, b"half"].concat();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&half).await.unwrap();
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let mut frames = Frames::begin(TcpStream::connect(address).await.unwrap(), &[]).await;
    let post = frames::frame(HEADERS, END_HEADERS, 1, &frames::request("POST", "/"));
    frames.send(&post).await;
    frames.send(&frames::frame(DATA, 0, 1, b"half")).await;
    frames.until(HEADERS, 1).await;
    let series = "tidegate_slow_client_closed_total{listener=\"public\",phase=\"body\"}";
    tidegate.wait_metric(series, 2.0).await;
    let timeouts = "tidegate_upstream_requests_total{pool=\"web\",backend=\"";
    let timeouts = format!("{timeouts}{}\",outcome=\"timeout\"", backend.address);
    assert_eq!(tidegate.metric(&timeouts).await, 0.0);
    // A whole request that is not answered does.
    client::get(address, "/").await;
    tidegate.wait_metric(&timeouts, 1.0).await;
}
