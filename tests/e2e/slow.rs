//! Clients that keep us waiting, in every phase of a connection and on every transport: the connection or the stream
//! ends, and the phase's counter moves. And those that only look like them, which live.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Raw, read_head};
use crate::client::{self, Http1, Http2};
use crate::frames::{
    self, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, RST_STREAM, SETTINGS, Stream,
};
use crate::harness::{PATIENCE, Tidegate};
use crate::listening::{TLS, certificate};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CALM: u32 = 11;

/// Short deadlines; two listeners, clear text and TLS.
async fn in_front_of(backend: SocketAddr, more: &str) -> Tidegate {
    let limits = format!(
        "    limits: {{ proxy_header_timeout: 300ms, tls_handshake_timeout: 300ms, header_timeout: 300ms, \
         idle_timeout: 300ms, request_body_idle_timeout: 1s, response_idle_timeout: 1s, min_rate_grace: 500ms{more} }}\n"
    );
    with(backend, &limits).await
}

async fn with(backend: SocketAddr, listener: &str) -> Tidegate {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "test.example");
    let config = format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - name: plain
    listen: "127.0.0.1:0"
{listener}
  - name: tls
    listen: "127.0.0.1:0"
{TLS}
{listener}
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools:
  web:
    backends: ["{backend}"]
    timeouts: {{ first_byte: 30s }}
"#
    );
    Tidegate::start_in(dir, &config).await
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Transport {
    Plain,
    Tls,
    H2,
    H2c,
}

use Transport::{H2, H2c, Plain, Tls};

impl Transport {
    fn listener(self) -> &'static str {
        match self {
            Plain | H2c => "plain",
            Tls | H2 => "tls",
        }
    }

    async fn connect(self, tidegate: &Tidegate) -> Box<dyn Stream> {
        let address = tidegate.address(self.listener());
        match self {
            Plain | H2c => Box::new(TcpStream::connect(address).await.unwrap()),
            Tls => Box::new(client::tls(address, "test.example", b"\x08http/1.1").await),
            H2 => Box::new(client::tls(address, "test.example", b"\x02h2").await),
        }
    }

    async fn slow_closed(self, tidegate: &Tidegate, phase: &str) -> f64 {
        let listener = self.listener();
        let series = format!(
            "tidegate_slow_client_closed_total{{listener=\"{listener}\",phase=\"{phase}\"}}"
        );
        tidegate.metric(&series).await
    }

    async fn wait_slow(self, tidegate: &Tidegate, phase: &str, at_least: f64) {
        let listener = self.listener();
        let series = format!(
            "tidegate_slow_client_closed_total{{listener=\"{listener}\",phase=\"{phase}\"}}"
        );
        tidegate.wait_metric(&series, at_least).await;
    }
}

/// Everything that comes until the connection ends.
async fn to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
    let _ = read.await.expect("the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends `bytes`, then `each` over and over, and expects the end and one more in the counter of `phase`.
async fn dribbles(
    tidegate: &Tidegate,
    transport: Transport,
    bytes: &[u8],
    each: &'static [u8],
    phase: &str,
) -> String {
    let before = transport.slow_closed(tidegate, phase).await;
    let stream = transport.connect(tidegate).await;
    let (mut read, mut write) = tokio::io::split(stream);
    let _ = write.write_all(bytes).await;
    let _ = write.flush().await;
    let dribble = tokio::spawn(async move {
        while !each.is_empty() && write.write_all(each).await.is_ok() {
            let _ = write.flush().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    });
    let answer = to_end(&mut read).await;
    dribble.abort();
    transport.wait_slow(tidegate, phase, before + 1.0).await;
    answer
}

#[tokio::test]
async fn a_head_that_does_not_come_and_one_that_dribbles() {
    let backend = Raw::answering(OK).await;
    let tidegate = in_front_of(backend.address, "").await;
    let preface = &frames::PREFACE[..20];
    let begun = [frames::PREFACE, &frames::frame(SETTINGS, 0, 0, b"")].concat();
    let open_block = [&begun[..], &frames::frame(HEADERS, 0, 1, b"\x82")].concat();
    let half_frame = [&begun[..], b"\0\0\x10\x01"].concat();
    let dribble = b"GET / HTTP/1.1\r\nx: ";
    // What was sent, what is sent over and over, and whether there is anybody to say 408 to.
    for (transport, bytes, each, phase, told) in [
        (Plain, &b""[..], &b""[..], "header", true),
        (Tls, b"", b"", "header", true),
        (H2, b"", b"", "preface", false),
        (Plain, dribble, b"y", "header", true),
        (Tls, dribble, b"y", "header", true),
        (H2, preface, b"", "preface", false),
        (H2c, preface, b"", "header", true),
        (H2, frames::PREFACE, b"", "preface", false),
        (H2c, frames::PREFACE, b"", "preface", false),
        (H2, &open_block, b"", "header", false),
        (H2c, &open_block, b"", "header", false),
        (H2, &half_frame, b"", "header", false),
        (H2c, &half_frame, b"", "header", false),
    ] {
        let answer = dribbles(&tidegate, transport, bytes, each, phase).await;
        let is_told = answer.starts_with("HTTP/1.1 408");
        assert_eq!(is_told, told, "{transport:?} {bytes:?}: {answer:?}");
    }
    assert_eq!(backend.seen().len(), 0);
}

#[tokio::test]
async fn a_proxy_header_and_a_handshake_that_do_not_come() {
    let backend = Raw::answering(OK).await;
    let listener = "    proxy_protocol: required\n    trusted: [\"127.0.0.0/8\"]\n    \
        limits: { proxy_header_timeout: 300ms, tls_handshake_timeout: 300ms }\n";
    let tidegate = with(backend.address, listener).await;
    for listener in ["plain", "tls"] {
        for bytes in [&b""[..], b"PROXY TCP4 "] {
            assert_eq!(client::raw(tidegate.address(listener), bytes).await, "");
        }
        let series =
            format!("tidegate_slow_client_closed_total{{listener=\"{listener}\",phase=\"proxy\"}}");
        tidegate.wait_metric(&series, 2.0).await;
    }
    // The handshake has its own time, after the header.
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let header = b"PROXY TCP4 203.0.113.9 127.0.0.1 4321 80\r\n";
        let begun = [header, bytes].concat();
        assert_eq!(client::raw(tidegate.address("tls"), &begun).await, "");
    }
    Tls.wait_slow(&tidegate, "tls", 2.0).await;
}

#[tokio::test]
async fn a_kept_connection_that_idles_and_a_further_head_that_dribbles() {
    let backend = Raw::answering(OK).await;
    let tidegate = in_front_of(backend.address, "").await;
    let get = b"GET / HTTP/1.1\r\nhost: test.example\r\n\r\n";
    for transport in [Plain, Tls] {
        let answer = dribbles(&tidegate, transport, get, b"", "idle").await;
        assert!(answer.ends_with("ok"), "{answer}");
        let mut stream = transport.connect(&tidegate).await;
        stream.write_all(get).await.unwrap();
        let mut ok = [0; 16];
        stream.read_exact(&mut ok).await.unwrap();
        stream.write_all(b"GET /again HTTP/1.1\r\n").await.unwrap();
        let answer = to_end(&mut stream).await;
        assert!(answer.contains("HTTP/1.1 408"), "{answer}");
        transport.wait_slow(&tidegate, "header", 1.0).await;
    }
    for transport in [H2, H2c] {
        let before = transport.slow_closed(&tidegate, "idle").await;
        let mut frames = Frames::begin(transport.connect(&tidegate).await, &[]).await;
        let get = frames::frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            1,
            &frames::request("GET", "/"),
        );
        frames.send(&get).await;
        frames.until(DATA, 1).await;
        // PINGs keep nothing open.
        let ping = frames::frame(PING, 0, 0, &[0; 8]);
        while frames.send(&ping).await {
            match frames.next().await {
                Some(_) => tokio::time::sleep(Duration::from_millis(30)).await,
                None => break,
            }
        }
        transport.wait_slow(&tidegate, "idle", before + 1.0).await;
    }
}

/// Reads for ever, answers never.
async fn silent() -> Raw {
    Raw::start(|mut stream, _, _| async move {
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
    })
    .await
}

const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: test.example\r\ncontent-length: 1000\r\n\r\n";
const CHUNKED: &[u8] =
    b"POST / HTTP/1.1\r\nhost: test.example\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_request_body_that_stalls_or_dribbles() {
    let backend = silent().await;
    let tidegate = in_front_of(backend.address, "").await;
    for transport in [Plain, Tls] {
        for (head, each) in [
            (POST, &b""[..]),
            (POST, b"x"),
            (CHUNKED, b""),
            (CHUNKED, b"1\r\nx\r\n"),
        ] {
            let answer = dribbles(&tidegate, transport, head, each, "body").await;
            assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        }
    }
    tidegate
        .access
        .wait("a slow body in the log", |l| {
            l["reason"] == "request_body_slow" && l["flags"] == "SI" && l["status"] == 408
        })
        .await;
    // Nothing of this is the backend's doing.
    assert_eq!(
        tidegate.backend("web", &backend.address.to_string()).await["state"],
        "healthy"
    );
}

#[tokio::test]
async fn a_body_that_stalls_resets_its_stream_and_no_other() {
    let backend = Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let head = String::from_utf8_lossy(&seen.lock().unwrap()[index]).into_owned();
        if head.starts_with("GET") {
            let _ = stream.write_all(OK).await;
        }
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
    })
    .await;
    let tidegate = in_front_of(backend.address, "").await;
    for transport in [H2, H2c] {
        let before = transport.slow_closed(&tidegate, "body").await;
        let mut frames = Frames::begin(transport.connect(&tidegate).await, &[]).await;
        let post = frames::frame(HEADERS, END_HEADERS, 1, &frames::request("POST", "/"));
        frames.send(&post).await;
        frames.send(&frames::frame(DATA, 0, 1, b"some")).await;
        assert_eq!(frames.until(RST_STREAM, 1).await.code(), CALM);
        transport.wait_slow(&tidegate, "body", before + 1.0).await;
        let get = frames::request("GET", "/");
        let get = frames::frame(HEADERS, END_STREAM | END_HEADERS, 3, &get);
        frames.send(&get).await;
        assert_eq!(frames.until(DATA, 3).await.payload, b"ok");
    }
    tidegate
        .access
        .wait("a slow stream in the log", |l| {
            l["reason"] == "request_body_slow" && l["flags"] == "SI"
        })
        .await;
}

#[tokio::test]
async fn the_rest_of_a_data_frame_that_does_not_come() {
    let backend = silent().await;
    let tidegate = in_front_of(backend.address, "").await;
    let post = frames::frame(HEADERS, END_HEADERS, 1, &frames::request("POST", "/"));
    let half = [
        frames::PREFACE,
        &frames::frame(4, 0, 0, b""),
        &post,
        b"\0\x10\0\0\0\0\0\0\x01half",
    ]
    .concat();
    for transport in [H2, H2c] {
        dribbles(&tidegate, transport, &half, b"", "body").await;
    }
}

/// Much more than any buffer on the way holds.
async fn endless() -> Raw {
    Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
        let _ = stream.write_all(head).await;
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    })
    .await
}

#[tokio::test]
async fn a_response_that_is_not_taken() {
    let backend = endless().await;
    let tidegate = in_front_of(backend.address, "").await;
    for transport in [Plain, Tls] {
        let before = transport.slow_closed(&tidegate, "response").await;
        let mut stream = transport.connect(&tidegate).await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: test.example\r\n\r\n")
            .await
            .unwrap();
        transport
            .wait_slow(&tidegate, "response", before + 1.0)
            .await;
    }
    let get = frames::frame(
        HEADERS,
        END_STREAM | END_HEADERS,
        1,
        &frames::request("GET", "/"),
    );
    for transport in [H2, H2c] {
        // Reads frames but opens no window.
        let before = transport.slow_closed(&tidegate, "response").await;
        let mut frames = Frames::begin(transport.connect(&tidegate).await, &[]).await;
        frames.send(&get).await;
        assert_eq!(frames.until(RST_STREAM, 1).await.code(), CALM);
        transport
            .wait_slow(&tidegate, "response", before + 1.0)
            .await;
        // Opens all windows but reads nothing.
        let wide = [(4, 0x7fff_ffff)];
        let mut frames = Frames::begin(transport.connect(&tidegate).await, &wide).await;
        let update = frames::frame(frames::WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
        frames.send(&[update, get.clone()].concat()).await;
        transport
            .wait_slow(&tidegate, "response", before + 2.0)
            .await;
    }
    tidegate
        .access
        .wait("a slow reader in the log", |l| {
            l["reason"] == "response_slow" && l["flags"] == "SI"
        })
        .await;
}

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
    // A WebSocket, and a gRPC stream that is answered at once.
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
    let tidegate = in_front_of(backends[1].address, "").await;
    let mut frames = Frames::begin(H2c.connect(&tidegate).await, &[]).await;
    let call = frames::block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "test.example"),
        (":path", "/service/method"),
        ("content-type", "application/grpc"),
    ]);
    frames
        .send(&frames::frame(HEADERS, END_HEADERS, 1, &call))
        .await;
    assert_eq!(frames.until(DATA, 1).await.payload, b"ok");
}

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
