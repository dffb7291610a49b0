//! A body up and a response down, over every version of HTTP that a client may speak: what the backend reads, what the client
//! reads, byte for byte; and what happens when one of the two does not keep to the plain course.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Raw, read_head};
use crate::client::{self, raw};
use crate::harness::{PATIENCE, Tidegate};
use crate::listening::{TLS, certificate};
use crate::setup::one_pool;
use crate::strict::Strict;

/// How a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Old,
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
}

const VERSIONS: [Version; 5] = [
    Version::Old,
    Version::Http1,
    Version::Http1Tls,
    Version::Http2,
    Version::Http2Tls,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Length(usize),
    Chunked(usize),
}

/// `public` in clear text and `secure` over TLS, in front of one backend.
async fn in_front_of(backend: SocketAddr, pool: &str) -> Tidegate {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "test.example");
    let clear = "listeners: [{ name: public, listen: \"127.0.0.1:0\" }]";
    let both = format!(
        "listeners:\n  - {{ name: public, listen: \"127.0.0.1:0\" }}\n  - name: secure\n    listen: \"127.0.0.1:0\"\n{TLS}\n"
    );
    let config = one_pool(&[backend], pool).replace(clear, &both);
    Tidegate::start_in(dir, &config).await
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Version {
    async fn connect(self, tidegate: &Tidegate) -> Box<dyn Stream + 'static> {
        let tls: &[u8] = match self {
            Version::Http1Tls => b"\x08http/1.1",
            Version::Http2Tls => b"\x02h2",
            _ => {
                let address = tidegate.address("public");
                return Box::new(TcpStream::connect(address).await.unwrap());
            }
        };
        Box::new(client::tls(tidegate.address("secure"), "test.example", tls).await)
    }

    fn can_send(self, body: Body) -> bool {
        // HTTP/1.0 has no chunks.
        !matches!((self, body), (Version::Old, Body::Chunked(_)))
    }

    /// Status and body of the response.
    async fn ask(self, tidegate: &Tidegate, method: &Method, body: Body) -> (u16, Vec<u8>) {
        let mut stream = self.connect(tidegate).await;
        if matches!(self, Version::Http2 | Version::Http2Tls) {
            return ask_http2(stream, method, body).await;
        }
        let version = if self == Version::Old { "1.0" } else { "1.1" };
        let mut request =
            format!("{method} /x HTTP/{version}\r\nhost: test.example\r\nconnection: close\r\n");
        request += &match body {
            Body::None => "\r\n".to_owned(),
            Body::Length(n) => format!("content-length: {n}\r\n\r\n{}", text(n)),
            Body::Chunked(n) => chunked(n),
        };
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(PATIENCE, read).await.unwrap();
        split(&answer)
    }
}

fn text(length: usize) -> String {
    "0123456789abcdef".chars().cycle().take(length).collect()
}

/// In two chunks, the field in front.
fn chunked(length: usize) -> String {
    let (first, second) = (length / 3, length - length / 3);
    let text = text(length);
    let mut all = "transfer-encoding: chunked\r\n\r\n".to_owned();
    if first > 0 {
        all += &format!("{first:x}\r\n{}\r\n", &text[..first]);
    }
    if second > 0 {
        all += &format!("{second:x}\r\n{}\r\n", &text[first..]);
    }
    all + "0\r\n\r\n"
}

fn split(answer: &[u8]) -> (u16, Vec<u8>) {
    let text = String::from_utf8_lossy(answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), body.as_bytes().to_vec())
}

async fn ask_http2(stream: Box<dyn Stream>, method: &Method, body: Body) -> (u16, Vec<u8>) {
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri("http://test.example/x");
    if let Body::Length(n) = body {
        request = request.header("content-length", n);
    }
    let empty = matches!(body, Body::None);
    let mut sender = sender.ready().await.unwrap();
    let (response, mut upload) = sender
        .send_request(request.body(()).unwrap(), empty)
        .unwrap();
    if let Body::Length(n) | Body::Chunked(n) = body {
        upload.send_data(Bytes::from(text(n)), true).unwrap();
    }
    let (head, mut download) = response.await.unwrap().into_parts();
    let mut read = Vec::new();
    while let Some(data) = download.data().await {
        let data = data.unwrap();
        let _ = download.flow_control().release_capacity(data.len());
        read.extend_from_slice(&data);
    }
    (head.status.as_u16(), read)
}

#[tokio::test]
async fn every_body_of_every_method_over_every_version_comes_whole() {
    let backend = Strict::start().await;
    let tidegate = in_front_of(backend.address, "").await;
    let mut wrong = String::new();
    for version in VERSIONS {
        for method in [Method::GET, Method::POST, Method::PUT] {
            for body in [
                Body::None,
                Body::Length(0),
                Body::Length(5),
                Body::Length(300_000),
                Body::Chunked(0),
                Body::Chunked(5),
                Body::Chunked(300_000),
            ] {
                if !version.can_send(body) {
                    continue;
                }
                let answer = version.ask(&tidegate, &method, body).await;
                let (requests, violations) = backend.take();
                let expected = match body {
                    Body::None => String::new(),
                    Body::Length(n) | Body::Chunked(n) => text(n),
                };
                let field = |name: &str| {
                    let fields = &requests.first()?.fields;
                    let found = fields.iter().find(|(n, _)| n == name);
                    found.map(|(_, value)| value.clone())
                };
                let has_length = matches!(body, Body::Length(_));
                let framed = match body {
                    Body::Length(n) => field("content-length") == Some(n.to_string()),
                    Body::Chunked(1..) => field("transfer-encoding").as_deref() == Some("chunked"),
                    Body::None | Body::Chunked(_) => true,
                };
                let whole = requests.len() == 1
                    && requests[0].body == expected.as_bytes()
                    && requests[0].line == format!("{method} /x HTTP/1.1");
                if !whole || !framed || !violations.is_empty() || answer != (200, b"ok".to_vec()) {
                    let seen = requests.iter().map(|r| (&r.line, &r.fields, r.body.len()));
                    let seen: Vec<_> = seen.collect();
                    wrong += &format!(
                        "\n{version:?} {method} {body:?} ({has_length}): {seen:?} {violations:?} {answer:?}"
                    );
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Answers each request and closes a moment later, as servers do whose idle timeout is short.
async fn closes_behind_each_answer() -> Raw {
    Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let _ = stream.write_all(ok).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    })
    .await
}

/// 46 % of these failed.
#[tokio::test]
async fn a_kept_connection_that_was_closed_is_nobodys_fault() {
    let backend = closes_behind_each_answer().await;
    let pool = "    retry: { attempts: 0 }\n    outlier_detection: { consecutive_failures: 3 }\n";
    let tidegate = Tidegate::start(&one_pool(&[backend.address], pool)).await;
    let address = tidegate.address("public");
    let clients: Vec<_> = [20, 3, 1, 1, 2, 2, 3, 4]
        .into_iter()
        .map(|pause| {
            tokio::spawn(async move {
                let mut connection = client::Http1::connect(address).await.unwrap();
                let mut failed = 0;
                for _ in 0..60 {
                    failed += usize::from(connection.get("/").await.status != 200);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                failed
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), 0);
    }
    assert_eq!(tidegate.metric("tidegate_retries_total").await, 0.0);
    let state = tidegate.backend("web", &backend.address.to_string()).await;
    assert_eq!(state["state"], "healthy");
}

/// Answers at once and reads no body.
async fn refusing(answer: &'static [u8]) -> Raw {
    Raw::start(move |mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let _ = stream.write_all(answer).await;
        let mut bytes = [0; 65536];
        // The backend lingers, too.
        while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
    })
    .await
}

/// Sends a large body without a look at what comes, then reads.
async fn upload_blindly(address: SocketAddr, head: &str) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let head =
        format!("POST /x HTTP/1.1\r\nhost: test.example\r\n{head}content-length: 5000000\r\n\r\n");
    writing.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..500 {
        if writing.write_all(&[b'x'; 10_000]).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let read = reading.read_to_end(&mut answer);
    let ended = tokio::time::timeout(PATIENCE, read).await.unwrap();
    ended.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&answer)));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let backend = refusing(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 4\r\n\r\nwho?").await;
    let tidegate = Tidegate::start(&one_pool(&[backend.address], "").replace(
        "routes: [",
        "routes: [{ match: { path: /small }, pool: web, max_body: 1KiB }, ",
    ))
    .await;
    let address = tidegate.address("public");
    let uploads: Vec<_> = (0..10)
        .map(|_| tokio::spawn(upload_blindly(address, "")))
        .collect();
    for upload in uploads {
        let answer = upload.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nwho?"), "{answer}");
    }
}

#[tokio::test]
async fn a_half_closed_client_gets_its_response() {
    let backend = Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let _ = stream.write_all(ok).await;
    })
    .await;
    let tidegate = in_front_of(backend.address, "").await;
    for version in [Version::Old, Version::Http1, Version::Http1Tls] {
        for (method, body) in [("GET", ""), ("POST", "content-length: 4\r\n")] {
            let mut stream = version.connect(&tidegate).await;
            let data = if body.is_empty() { "" } else { "data" };
            let request = format!("{method} /x HTTP/1.1\r\nhost: test.example\r\n{body}\r\n{data}");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer);
            let _ = tokio::time::timeout(PATIENCE, read).await.unwrap();
            assert!(
                answer.ends_with("\r\n\r\nok"),
                "{version:?} {method}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_malformed_chunk_is_answered_logged_and_counted() {
    let backend = refusing(b"").await;
    let tidegate = in_front_of(backend.address, "").await;
    for (n, (method, bad)) in [
        ("POST", "x\r\n"),
        ("PUT", "2\r\nabc\r\n"),
        ("GET", "-1\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = format!(
            "{method} /bad{n} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n{bad}"
        );
        let answer = raw(tidegate.address("public"), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let path = format!("/bad{n}");
        let line = tidegate.access.wait("log", |l| l["path"] == path.as_str());
        let line = line.await;
        assert_eq!(line["status"], 400);
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.starts_with("chunk_"), "{reason}");
    }
    assert_eq!(
        tidegate.metric("tidegate_requests_refused_total").await,
        3.0
    );
}

#[tokio::test]
async fn a_body_that_is_kept_is_sent_again_and_a_longer_one_is_not() {
    let broken = Raw::start(|mut stream, seen, index| async move {
        // Breaks off in the middle of the body.
        read_head(&mut stream, &seen, index).await;
        let mut bytes = [0; 10];
        let _ = stream.read(&mut bytes).await;
    })
    .await;
    let good = Strict::start().await;
    let pool = "    policy: round_robin\n    outlier_detection: { mode: off }\n    retry: { buffer: 1KiB }\n";
    let tidegate = Tidegate::start(&one_pool(&[broken.address, good.address], pool)).await;
    let put = |length: usize| {
        let body = text(length);
        format!(
            "PUT /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let mut failed = 0;
    for _ in 0..10 {
        let answer = raw(tidegate.address("public"), put(1000).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let answer = raw(tidegate.address("public"), put(100_000).as_bytes()).await;
        failed += usize::from(answer.starts_with("HTTP/1.1 502"));
    }
    assert!(failed > 0);
    let (requests, violations) = good.take();
    assert!(violations.is_empty(), "{violations:?}");
    let whole = |body: &[u8]| body == text(1000).as_bytes() || body == text(100_000).as_bytes();
    assert!(requests.iter().all(|seen| whole(&seen.body)));
}

/// What the client gets of a backend's interim responses.
#[tokio::test]
async fn interim_responses_go_to_those_who_know_them() {
    let backend = Raw::answering(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: x-a\r\nx-a: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let tidegate = in_front_of(backend.address, "").await;
    let address = tidegate.address("public");
    for (body, data) in [("", ""), ("content-length: 4\r\n", "data")] {
        for (version, expected) in [("1.0", 0), ("1.1", 1)] {
            let request = format!(
                "POST /x HTTP/{version}\r\nhost: a\r\nconnection: close\r\n{body}\r\n{data}"
            );
            let answer = raw(address, request.as_bytes()).await;
            assert_eq!(answer.matches(" 103 ").count(), expected, "{answer}");
            assert!(!answer.contains("x-a"), "{answer}");
            assert!(answer.ends_with("ok"), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_one_of_the_backend_or_of_us() {
    let answering = Strict::start().await;
    let asking = Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        let mut data = [0; 4];
        let _ = stream.read_exact(&mut data).await;
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
        let _ = stream.write_all(&[ok, &data[..]].concat()).await;
    })
    .await;
    for backend in [answering.address, asking.address] {
        let tidegate = in_front_of(backend, "").await;
        let mut stream = TcpStream::connect(tidegate.address("public"))
            .await
            .unwrap();
        let head = b"POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut interim = [0; 25];
        let read = stream.read_exact(&mut interim);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        assert_eq!(interim, *b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"data").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

/// Fields of the backend's connection reach no client, whatever the method and version.
#[tokio::test]
async fn what_is_of_the_backends_connection_goes_no_further() {
    let backend = Raw::answering(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close, x-named\r\nx-named: 1\r\nproxy-connection: close\r\nkeep-alive: timeout=5\r\nupgrade: h2c\r\nte: gzip\r\ntrailer: x-t\r\nx-kept: 1\r\n\r\nok",
    )
    .await;
    let tidegate = in_front_of(backend.address, "").await;
    for method in [Method::GET, Method::POST] {
        let mut h2 = client::Http2::connect(tidegate.address("public")).await;
        let mut h1 = client::Http1::connect(tidegate.address("public"))
            .await
            .unwrap();
        for reply in [
            h2.send(client::request(method.clone(), "/x"))
                .await
                .unwrap(),
            h1.send(client::request(method.clone(), "/x"))
                .await
                .unwrap(),
        ] {
            let gone = [
                "x-named",
                "proxy-connection",
                "keep-alive",
                "upgrade",
                "te",
                "trailer",
            ];
            for name in gone {
                assert!(
                    !reply.headers.contains_key(name),
                    "{method} {name}: {reply:?}"
                );
            }
            assert_eq!(reply.header("x-kept"), "1");
            assert_eq!(reply.text(), "ok");
        }
    }
}

#[tokio::test]
async fn an_absolute_target_reaches_no_origin_as_it_came() {
    let backend = Strict::start().await;
    let tidegate = in_front_of(backend.address, "").await;
    for (request, line) in [
        (
            "GET http://a/x?y HTTP/1.1\r\nhost: a\r\n",
            "GET /x?y HTTP/1.1",
        ),
        ("GET http://a HTTP/1.1\r\nhost: a\r\n", "GET / HTTP/1.1"),
        ("GET http://a/x HTTP/1.0\r\n", "GET /x HTTP/1.1"),
        (
            "POST http://a/x HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n",
            "POST /x HTTP/1.1",
        ),
        (
            "OPTIONS http://a HTTP/1.1\r\nhost: a\r\n",
            "OPTIONS * HTTP/1.1",
        ),
    ] {
        let request = format!("{request}connection: close\r\n\r\n");
        let answer = raw(tidegate.address("public"), request.as_bytes()).await;
        let (seen, violations) = backend.take();
        assert!(violations.is_empty(), "{violations:?}");
        let lines: Vec<_> = seen.iter().map(|s| s.line.as_str()).collect();
        assert_eq!(lines, [line], "{answer}");
    }
}

/// A backend that echoes after a 101, and says how it was asked.
async fn switching() -> Raw {
    Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let head = String::from_utf8_lossy(&seen.lock().unwrap()[index]).to_lowercase();
        if !head.contains("\r\nupgrade: ") {
            let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain";
            let _ = stream.write_all(ok).await;
            return;
        }
        let hello =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        let _ = stream.write_all(hello).await;
        let mut bytes = [0; 1024];
        while let Ok(n) = stream.read(&mut bytes).await {
            if n == 0 {
                let _ = stream.write_all(b"bye").await;
                return;
            }
            let _ = stream.write_all(&bytes[..n]).await;
        }
    })
    .await
}

#[tokio::test]
async fn only_a_real_upgrade_is_passed_on_and_each_side_may_end_first() {
    let backend = switching().await;
    let tidegate = in_front_of(backend.address, "").await;
    let fields = "connection: upgrade\r\nupgrade: ";
    for (request, switched) in [
        (
            format!("GET /x HTTP/1.1\r\nhost: a\r\n{fields}websocket\r\n\r\n"),
            true,
        ),
        (
            format!("POST /x HTTP/1.1\r\nhost: a\r\n{fields}x-mine\r\n\r\n"),
            true,
        ),
        (
            format!("GET /x HTTP/1.1\r\nhost: a\r\n{fields}h2c\r\n\r\n"),
            false,
        ),
        (
            "GET /x HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n".to_owned(),
            false,
        ),
        (
            format!(
                "POST /x HTTP/1.1\r\nhost: a\r\n{fields}websocket\r\ncontent-length: 4\r\n\r\ndata"
            ),
            false,
        ),
    ] {
        let mut stream = TcpStream::connect(tidegate.address("public"))
            .await
            .unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        assert_eq!(
            head.starts_with("http/1.1 101"),
            switched,
            "{request}: {head}"
        );
        if switched {
            assert!(head.contains("\r\nupgrade: x\r\n") && head.contains("connection: upgrade"));
            stream.write_all(b"ping").await.unwrap();
            let mut echoed = [0; 4];
            stream.read_exact(&mut echoed).await.unwrap();
            assert_eq!(&echoed, b"ping");
            stream.shutdown().await.unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "bye");
        }
    }
}

#[tokio::test]
async fn a_tunnel_that_is_silent_for_too_long_ends() {
    let backend = switching().await;
    let pool = "    timeouts: { tunnel_idle_timeout: 300ms }\n";
    let tidegate = in_front_of(backend.address, pool).await;
    let request =
        b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let answer = raw(tidegate.address("public"), request).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
}

/// The words that name another protocol lift no deadline before a 101 has come.
#[tokio::test]
async fn a_wish_for_another_protocol_lifts_no_deadline() {
    let backend = crate::slow::silent().await;
    let pool = "    timeouts: { first_byte: 200ms }\n    retry: { attempts: 0 }\n";
    let tidegate = in_front_of(backend.address, pool).await;
    for protocol in ["websocket", "h2c", "x-mine"] {
        let request = format!(
            "GET /x HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: {protocol}\r\n\r\n"
        );
        let answer = raw(tidegate.address("public"), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 504"), "{protocol}: {answer}");
    }
}

/// A backend that breaks off is seen to have, by every client and behind every filter.
#[tokio::test]
async fn a_response_that_breaks_off_is_seen_as_broken() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100000\r\n\r\nsome"[..],
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n",
    ] {
        let backend = Raw::answering(answer).await;
        let tidegate = Tidegate::start(&one_pool(&[backend.address], "").replace(
            "routes: [",
            "routes: [{ match: { path: /z }, pool: web, filters: [{ compress: {} }] }, ",
        ))
        .await;
        let address = tidegate.address("public");
        for path in ["/x", "/z"] {
            for method in [Method::GET, Method::POST] {
                let mut ask = client::request(method.clone(), path);
                let gzip = "gzip".parse().unwrap();
                ask.headers_mut().insert("accept-encoding", gzip);
                let over1 = client::try_send(address, ask.clone()).await;
                assert!(over1.is_err(), "{method} {path}: {over1:?}");
                let over2 = client::Http2::connect(address).await.send(ask).await;
                assert!(over2.is_err(), "{method} {path}: {over2:?}");
            }
        }
    }
}
