//! Floods over one HTTP/2 connection: each ends with GOAWAY and close, is counted by its kind, and hurts nobody else.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::backend::{Raw, read_head};
use crate::client::{self, Http2};
use crate::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, PING, PRIORITY,
    RST_STREAM, SETTINGS, Stream, WINDOW_UPDATE, frame,
};
use crate::harness::{Tidegate, eventually, write};
use crate::listening::{TLS, certificate};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const PROTOCOL_ERROR: u32 = 1;
const CALM: u32 = 11;

async fn in_front_of(backend: &Raw) -> Tidegate {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "test.example");
    let config = format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - {{ name: plain, listen: "127.0.0.1:0" }}
  - name: tls
    listen: "127.0.0.1:0"
{TLS}
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools: {{ web: {{ backends: ["{}"] }} }}
"#,
        backend.address
    );
    write(&dir.path().join("tidegate.yaml"), &config);
    Tidegate::start_in(dir, &config).await
}

async fn connect(tidegate: &Tidegate, listener: &str) -> Box<dyn Stream> {
    let address = tidegate.address(listener);
    match listener {
        "tls" => Box::new(client::tls(address, "test.example", b"\x02h2").await),
        _ => Box::new(TcpStream::connect(address).await.unwrap()),
    }
}

async fn counted(tidegate: &Tidegate, listener: &str, reason: &str) -> f64 {
    let series =
        format!("tidegate_http2_abuse_total{{listener=\"{listener}\",reason=\"{reason}\"}}");
    tidegate.metric(&series).await
}

/// h2 has bounds of its own, and may be the first to say so.
async fn counted_by_anyone(tidegate: &Tidegate, listener: &str, reason: &str) -> f64 {
    let mut sum = 0.0;
    for reason in [reason, "enhance_your_calm", "protocol_error"] {
        sum += counted(tidegate, listener, reason).await;
    }
    sum
}

fn get(stream: u32) -> Vec<u8> {
    let request = frames::request("GET", "/");
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &request)
}

fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &frames::request("POST", "/"))
}

#[tokio::test]
async fn each_kind_ends_with_goaway_and_is_counted() {
    let backend = Raw::start(|mut stream, _, _| async move {
        let mut bytes = [0; 4096];
        while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
    })
    .await;
    let tidegate = in_front_of(&backend).await;
    let padded = frame(DATA, 0x8, 1, &[0; 1]);
    let step = 1_u32.to_be_bytes();
    let cases: Vec<(&str, Vec<u8>, Vec<u8>, usize)> = vec![
        (
            "rst_stream",
            get(1),
            frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            250,
        ),
        ("settings", vec![], frame(SETTINGS, 0, 0, b""), 50),
        ("ping", vec![], frame(PING, 0, 0, &[0; 8]), 250),
        ("empty_data", post(1), frame(DATA, 0, 1, b""), 250),
        ("empty_data", post(1), padded, 250),
        ("priority", vec![], frame(PRIORITY, 0, 3, &[0; 5]), 1_100),
        (
            "window_update",
            vec![],
            frame(WINDOW_UPDATE, 0, 0, &step),
            45_000,
        ),
        (
            "continuation",
            frame(HEADERS, 0, 1, b"\x82"),
            frame(CONTINUATION, 0, 1, b""),
            250,
        ),
        ("unknown", vec![], frame(99, 0, 0, b"?"), 250),
    ];
    for listener in ["plain", "tls"] {
        for (reason, first, each, times) in &cases {
            let before = counted_by_anyone(&tidegate, listener, reason).await;
            let mut client = Frames::begin(connect(&tidegate, listener).await, &[]).await;
            client.send(first).await;
            client.send(&each.repeat(*times)).await;
            let code = client.goaway().await;
            assert!(
                matches!(code, Some(CALM | PROTOCOL_ERROR)),
                "{listener} {reason}: {code:?}"
            );
            eventually("it is counted once", || async {
                counted_by_anyone(&tidegate, listener, reason).await == before + 1.0
            })
            .await;
        }
    }
    // In clear text our count comes first for what h2 lets pass.
    for reason in ["settings", "ping", "priority", "window_update", "unknown"] {
        assert_eq!(counted(&tidegate, "plain", reason).await, 1.0, "{reason}");
    }
}

#[tokio::test]
async fn what_is_no_http2_is_told_so() {
    let backend = Raw::answering(OK).await;
    let tidegate = in_front_of(&backend).await;
    let mut client = Frames(connect(&tidegate, "tls").await);
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.goaway().await, Some(PROTOCOL_ERROR));
    assert_eq!(counted(&tidegate, "tls", "bad_preface").await, 1.0);
    assert_eq!(backend.seen().len(), 0);
}

/// A backend that begins to answer and never ends.
async fn beginning() -> Raw {
    Raw::start(|mut stream, seen, index| async move {
        use tokio::io::AsyncWriteExt;
        read_head(&mut stream, &seen, index).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
        let _ = stream.write_all(head).await;
        let mut bytes = [0; 16];
        while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
    })
    .await
}

#[tokio::test]
async fn rapid_reset_before_and_after_a_stream_is_taken_up() {
    let backend = beginning().await;
    let tidegate = in_front_of(&backend).await;
    let reset = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    // Before: each is reset in the same breath.
    let mut client = Frames::begin(connect(&tidegate, "plain").await, &[]).await;
    let burst: Vec<u8> = (0..1000)
        .flat_map(|n| [get(2 * n + 1), reset(2 * n + 1)].concat())
        .collect();
    client.send(&burst).await;
    assert_eq!(client.goaway().await, Some(CALM));
    // After: each is answered first.
    let mut client = Frames::begin(connect(&tidegate, "plain").await, &[]).await;
    let mut next = 1;
    let code = loop {
        let batch: Vec<u32> = (0..80).map(|n| next + 2 * n).collect();
        next += 160;
        let opened: Vec<u8> = batch.iter().flat_map(|stream| get(*stream)).collect();
        client.send(&opened).await;
        if let Some(code) = answers(&mut client, batch.len()).await {
            break code;
        }
        let resets: Vec<u8> = batch.iter().flat_map(|stream| reset(*stream)).collect();
        client.send(&resets).await;
    };
    assert_eq!(code, CALM);
    eventually("both are counted", || async {
        let ours = counted(&tidegate, "plain", "rst_stream").await;
        ours + counted(&tidegate, "plain", "enhance_your_calm").await == 2.0
    })
    .await;
    // Whom it does not concern is served.
    let mut client = Http2::connect(tidegate.address("admin")).await;
    assert_eq!(client.get("/readyz").await.status, 200);
}

/// Waits for so many response heads; the code of a GOAWAY that comes instead.
async fn answers<S: Stream>(client: &mut Frames<S>, mut wanted: usize) -> Option<u32> {
    while wanted > 0 {
        match client.next().await {
            Some(Frame { kind: HEADERS, .. }) => wanted -= 1,
            Some(goaway) if goaway.kind == frames::GOAWAY => return Some(goaway.code()),
            Some(_) => {}
            None => panic!("closed without GOAWAY"),
        }
    }
    None
}

#[tokio::test]
async fn a_header_list_over_the_limit_is_not_forwarded() {
    let backend = Raw::answering(OK).await;
    let tidegate = in_front_of(&backend).await;
    let mut client = Frames::begin(connect(&tidegate, "plain").await, &[]).await;
    let value = "x".repeat(120);
    let mut fields = frames::request("GET", "/");
    for _ in 0..400 {
        fields.extend(frames::block(&[("x-long", &value)]));
    }
    let mut pieces = fields.chunks(16_000);
    let mut bytes = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap());
    let rest: Vec<&[u8]> = pieces.collect();
    for (n, piece) in rest.iter().enumerate() {
        let last = n + 1 == rest.len();
        let flags = if last { END_HEADERS } else { 0 };
        bytes.extend(frame(CONTINUATION, flags, 1, piece));
    }
    client.send(&bytes).await;
    let answer = loop {
        let frame = client.next().await.unwrap();
        if frame.stream == 1 || frame.kind == frames::GOAWAY {
            break frame;
        }
    };
    // 431, or a reset where h2 gives up before the end of the block.
    let refused = (answer.kind == HEADERS && answer.flags & END_STREAM != 0)
        || answer.kind == RST_STREAM
        || answer.kind == frames::GOAWAY;
    assert!(refused, "{answer:?}");
    assert_eq!(backend.seen().len(), 0);
}
