//! Who is to blame: a client that has not sent its whole request never makes a backend look sick, whatever it sends, over
//! whatever protocol, and whatever the backend does about it. One that hangs with whole requests does.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::backend::{Raw, read_head};
use crate::client;
use crate::frames::{self, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM};
use crate::harness::{PATIENCE, Tidegate, eventually};
use crate::listening::{TLS, certificate};
use crate::setup::demo;
use crate::slow::{H2, H2c, Plain, Tls, Transport, silent};

/// Times of the backends that are shorter than those of the listener: the attempt is over before the client is cut.
async fn in_front_of(backends: &[&Raw], pool: &str) -> Tidegate {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "test.example");
    let backends: Vec<_> = backends
        .iter()
        .map(|b| format!("{:?}", b.address.to_string()))
        .collect();
    let backends = backends.join(", ");
    let config = format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - {{ name: plain, listen: "127.0.0.1:0", limits: {{ header_timeout: 1m }} }}
  - name: tls
    listen: "127.0.0.1:0"
{TLS}
    limits: {{ tls_handshake_timeout: 1m, header_timeout: 1m }}
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools:
  web:
    slow_start: 0s
    backends: [{backends}]
{pool}
"#
    );
    Tidegate::start_in(dir, &config).await
}

/// Heads over HTTP/1, each with what belongs to its body.
fn heads() -> Vec<(String, Vec<u8>)> {
    let mut heads = Vec::new();
    let chunked = b"a\r\n0123456789\r\n0\r\n\r\n".to_vec();
    for (line, fields, body) in [
        (
            "POST / HTTP/1.1",
            "content-length: 10",
            b"0123456789".to_vec(),
        ),
        (
            "PUT / HTTP/1.1",
            "content-length: 10",
            b"0123456789".to_vec(),
        ),
        (
            "POST / HTTP/1.0",
            "content-length: 10",
            b"0123456789".to_vec(),
        ),
        (
            "POST / HTTP/1.1",
            "transfer-encoding: chunked",
            chunked.clone(),
        ),
        ("GET / HTTP/1.1", "transfer-encoding: chunked", chunked),
    ] {
        for more in [
            "",
            "expect: 100-continue\r\n",
            "content-type: application/grpc\r\n",
        ] {
            if more.starts_with("expect") && line.ends_with("1.0") {
                continue;
            }
            let head = format!("{line}\r\nhost: test.example\r\n{fields}\r\n{more}\r\n");
            heads.push((head, body.clone()));
        }
    }
    heads
}

/// How much of a body of so many bytes is sent: nothing, a part, all but the last byte.
fn parts(length: usize) -> [usize; 3] {
    [0, length / 2, length - 1]
}

/// Sends a part of the body and no more; the status that comes back.
async fn withhold_http1(tidegate: &Tidegate, transport: Transport, bytes: Vec<u8>) -> String {
    let mut stream = transport.connect(tidegate).await;
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = vec![0; 1024];
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer));
        let n = read.await.expect("no answer").unwrap_or(0);
        let text = String::from_utf8_lossy(&answer[..n]).into_owned();
        if !text.starts_with("HTTP/1.1 100") {
            return text.get(9..12).unwrap_or("").to_owned();
        }
    }
}

async fn withhold_http2(
    tidegate: &Tidegate,
    transport: Transport,
    method: &str,
    more: &[(&str, &str)],
    sent: usize,
) {
    let mut fields = vec![
        (":method", method),
        (":scheme", "http"),
        (":authority", "test.example"),
        (":path", "/"),
    ];
    fields.extend(more);
    let mut frames = Frames::begin(transport.connect(tidegate).await, &[]).await;
    let head = frames::frame(HEADERS, END_HEADERS, 1, &frames::block(&fields));
    frames.send(&head).await;
    if sent > 0 {
        frames
            .send(&frames::frame(DATA, 0, 1, &vec![b'x'; sent]))
            .await;
    }
    loop {
        let frame = frames.next().await.expect("a response or a reset");
        if frame.stream == 1 && [HEADERS, RST_STREAM].contains(&frame.kind) {
            return;
        }
    }
}

/// Every protocol, method and way to frame a body, with nothing, a part and all but one byte of it.
async fn withhold_everything(tidegate: &Tidegate) -> Vec<String> {
    let (mut http1, mut http2) = (Vec::new(), Vec::new());
    // Every fifth over TLS: handshakes are the slowest part.
    for (transport, each) in [(Plain, 1), (Tls, 5)] {
        for (head, body) in heads().into_iter().step_by(each) {
            for sent in parts(body.len()) {
                let bytes = [head.as_bytes(), &body[..sent]].concat();
                http1.push(withhold_http1(tidegate, transport, bytes));
            }
        }
    }
    let fields: [&[(&str, &str)]; 4] = [
        &[],
        &[("content-type", "application/grpc"), ("te", "trailers")],
        &[("content-length", "10")],
        &[("expect", "100-continue"), ("content-length", "10")],
    ];
    for (transport, methods) in [(H2c, &["POST", "PUT", "DELETE"][..]), (H2, &["POST"])] {
        for method in methods {
            for more in fields {
                for sent in parts(10) {
                    http2.push(withhold_http2(tidegate, transport, method, more, sent));
                }
            }
        }
    }
    let (statuses, _) = tokio::join!(
        futures_util::future::join_all(http1),
        futures_util::future::join_all(http2)
    );
    statuses
}

async fn assert_unblamed(tidegate: &Tidegate, backends: &[&Raw], what: &str) {
    for backend in backends {
        let status = tidegate.backend("web", &backend.address.to_string()).await;
        assert_eq!(status["state"], "healthy", "{what}: {status}");
        assert_eq!(status["bad"], 0, "{what}: {status}");
        assert_eq!(status["ejections"], 0, "{what}: {status}");
        assert!(status["latency_p99_ms"].is_null(), "{what}: {status}");
    }
}

const FAST: &str = "    timeouts: { first_byte: 700ms }\n";

#[tokio::test]
async fn a_withheld_end_is_a_408_and_no_failure_of_a_silent_backend() {
    let (one, two) = (silent().await, silent().await);
    let tidegate = in_front_of(&[&one, &two], FAST).await;
    let statuses = withhold_everything(&tidegate).await;
    assert!(statuses.iter().all(|s| s == "408"), "{statuses:?}");
    assert_unblamed(&tidegate, &[&one, &two], "silent").await;
    tidegate
        .access
        .wait("a 408 of a gRPC call without an end", |l| {
            l["protocol"] == "HTTP/2.0" && l["status"] == 408 && l["reason"] == "request_body_slow"
        })
        .await;
}

#[tokio::test]
async fn the_total_time_and_that_of_a_try_blame_nobody_either() {
    for times in [
        "{ connect: 500ms, total: 700ms }",
        "{ per_try: 700ms }",
        "{ read: 700ms }",
        "{ connect: 500ms, first_byte: 700ms, total: 900ms }",
    ] {
        let backend = silent().await;
        let tidegate = in_front_of(&[&backend], &format!("    timeouts: {times}\n")).await;
        let statuses = withhold_everything(&tidegate).await;
        assert!(statuses.iter().all(|s| s == "408"), "{times}: {statuses:?}");
        assert_unblamed(&tidegate, &[&backend], times).await;
    }
}

/// Reads a head, waits a while for more, and then says this, or nothing, and closes.
async fn impatient(answer: &'static [u8]) -> Raw {
    Raw::start(move |mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let _ = stream.write_all(answer).await;
    })
    .await
}

#[tokio::test]
async fn what_a_backend_does_about_a_body_that_does_not_come_is_no_failure() {
    for answer in [
        &b""[..],
        b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"timed out waiting for you\r\n",
    ] {
        let backend = impatient(answer).await;
        let tidegate = in_front_of(&[&backend], "    timeouts: { first_byte: 10s }\n").await;
        withhold_everything(&tidegate).await;
        let what = String::from_utf8_lossy(answer);
        assert_unblamed(&tidegate, &[&backend], &what).await;
    }
}

#[tokio::test]
async fn a_backend_that_hangs_with_whole_requests_is_ejected() {
    let ok = demo().await;
    for (transport, body) in [(Plain, false), (Plain, true), (H2c, false), (H2c, true)] {
        let hung = silent().await;
        let both = format!("    backends: [\"{}\", \"{}\"]\n", hung.address, ok.address);
        let config = crate::setup::one_pool(
            &[],
            "    timeouts: { first_byte: 500ms }\n    retry: { attempts: 0 }\n",
        )
        .replace("    backends: []\n", &both)
        .replace("name: public", "name: plain");
        let tidegate = Tidegate::start(&config).await;
        let id = hung.address.to_string();
        while tidegate.backend("web", &id).await["state"] != "ejected" {
            match transport {
                Plain if body => {
                    let post = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                    client::raw(tidegate.address("plain"), post).await;
                }
                Plain => {
                    client::get(tidegate.address("plain"), "/").await;
                }
                _ => {
                    let mut frames = Frames::begin(transport.connect(&tidegate).await, &[]).await;
                    let method = if body { "POST" } else { "GET" };
                    let flags = if body {
                        END_HEADERS
                    } else {
                        END_HEADERS | END_STREAM
                    };
                    let head = frames::request(method, "/");
                    frames.send(&frames::frame(HEADERS, flags, 1, &head)).await;
                    if body {
                        frames
                            .send(&frames::frame(DATA, END_STREAM, 1, b"ok"))
                            .await;
                    }
                    frames.until(HEADERS, 1).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn an_upload_that_ends_just_before_a_time_out_is_not_held_against_the_backend() {
    let backend = silent().await;
    let tidegate = in_front_of(
        &[&backend],
        "    timeouts: { total: 2s }\n    retry: { attempts: 0 }\n",
    )
    .await;
    let late = async |transport: Transport| {
        let mut stream = transport.connect(&tidegate).await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 40\r\nconnection: close\r\n\r\n";
        stream.write_all(head).await.unwrap();
        for _ in 0..40 {
            // Where the machine is slow, the time may be over already.
            let _ = stream.write_all(b"x").await;
            let _ = stream.flush().await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        let mut answer = [0; 12];
        let _ = stream.read_exact(&mut answer).await;
    };
    tokio::join!(late(Plain), late(Plain), late(Plain), late(Tls));
    let status = tidegate.backend("web", &backend.address.to_string()).await;
    assert_eq!(
        (&status["state"], &status["bad"]),
        (&"healthy".into(), &0.into())
    );
}

#[tokio::test]
async fn a_backend_that_gives_up_sending_to_a_slow_reader_is_not_to_blame() {
    let backend = Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
        let _ = stream.write_all(head).await;
        // As nginx's send_timeout: no byte taken for a while is the end.
        let patience = Duration::from_millis(2500);
        let bytes = vec![b'x'; 65536];
        while let Ok(Ok(_)) = tokio::time::timeout(patience, stream.write(&bytes)).await {}
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        seen.lock().unwrap()[index].extend_from_slice(b"gave up");
    })
    .await;
    let tidegate = in_front_of(&[&backend], "").await;
    for (given_up, transport) in [(1, Plain), (2, Tls)] {
        let mut stream = transport.connect(&tidegate).await;
        let get = b"GET / HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n\r\n";
        stream.write_all(get).await.unwrap();
        eventually("the backend gives up", || async {
            let seen = backend.seen();
            seen.iter().filter(|s| s.ends_with("gave up")).count() == given_up
        })
        .await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        tidegate
            .access
            .wait("a response that broke off", |l| {
                l["listener"] == transport.listener() && l["status"] == 200
            })
            .await;
    }
    let status = tidegate.backend("web", &backend.address.to_string()).await;
    assert_eq!(
        (&status["state"], &status["bad"]),
        (&"healthy".into(), &0.into())
    );
}
