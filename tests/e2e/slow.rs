//! Clients that keep us waiting, in every phase of a connection and on every transport: the connection or the stream
//! ends, and the phase's counter moves. And those that only look like them, which live.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Raw, read_head};
use crate::client;
use crate::frames::{
    self, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, RST_STREAM, SETTINGS, Stream,
};
use crate::harness::{PATIENCE, Tidegate};
use crate::listening::{TLS, certificate};

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
pub const CALM: u32 = 11;

/// Short deadlines; two listeners, clear text and TLS.
pub async fn in_front_of(backend: SocketAddr, more: &str) -> Tidegate {
    let limits = format!(
        "    limits: {{ proxy_header_timeout: 300ms, tls_handshake_timeout: 300ms, header_timeout: 300ms, \
         idle_timeout: 300ms, request_body_idle_timeout: 1s, response_idle_timeout: 1s, min_rate_grace: 500ms{more} }}\n"
    );
    with(backend, &limits).await
}

pub async fn with(backend: SocketAddr, listener: &str) -> Tidegate {
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
pub enum Transport {
    Plain,
    Tls,
    H2,
    H2c,
}

pub use Transport::{H2, H2c, Plain, Tls};

impl Transport {
    pub fn listener(self) -> &'static str {
        match self {
            Plain | H2c => "plain",
            Tls | H2 => "tls",
        }
    }

    pub async fn connect(self, tidegate: &Tidegate) -> Box<dyn Stream> {
        let address = tidegate.address(self.listener());
        match self {
            Plain | H2c => Box::new(TcpStream::connect(address).await.unwrap()),
            Tls => Box::new(client::tls(address, "test.example", b"\x08http/1.1").await),
            H2 => Box::new(client::tls(address, "test.example", b"\x02h2").await),
        }
    }

    pub async fn slow_closed(self, tidegate: &Tidegate, phase: &str) -> f64 {
        let listener = self.listener();
        let series = format!(
            "tidegate_slow_client_closed_total{{listener=\"{listener}\",phase=\"{phase}\"}}"
        );
        tidegate.metric(&series).await
    }

    pub async fn wait_slow(self, tidegate: &Tidegate, phase: &str, at_least: f64) {
        let listener = self.listener();
        let series = format!(
            "tidegate_slow_client_closed_total{{listener=\"{listener}\",phase=\"{phase}\"}}"
        );
        tidegate.wait_metric(&series, at_least).await;
    }
}

/// Everything that comes until the connection ends.
pub async fn to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
    let _ = read.await.expect("the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends `bytes`, then `each` over and over, and expects the end and one more in the counter of `phase`.
pub async fn dribbles(
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
pub async fn silent() -> Raw {
    Raw::start(|mut stream, _, _| async move {
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
    })
    .await
}

pub const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: test.example\r\ncontent-length: 1000\r\n\r\n";
pub const CHUNKED: &[u8] =
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
            // Every connection is asked once: the end tells that it is not to be used again.
            let _ = stream.write_all(OK).await;
            return;
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
pub async fn endless() -> Raw {
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
