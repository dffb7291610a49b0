//! Clients that don't take what they are sent: a response that the kernel swallowed whole is not taken yet, what is given up
//! is reset, so that its memory is free, and so much of one address waits and no more. And clients that vanish.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::backend::{Raw, read_head};
use crate::client;
use crate::frames::{self, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, SETTINGS, Stream};
use crate::harness::{PATIENCE, Tidegate, eventually};
use crate::slow::{CALM, H2, H2c, Plain, Tls, Transport, endless, with};

/// A connection that has room for little from then on.
async fn narrow(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// The same, over one of the transports.
async fn narrow_over(transport: Transport, tidegate: &Tidegate) -> Box<dyn Stream> {
    let stream = narrow("127.0.0.1", tidegate.address(transport.listener())).await;
    match transport {
        Plain | H2c => Box::new(stream),
        Tls => Box::new(client::tls_over(stream, "test.example", b"\x08http/1.1").await),
        H2 => Box::new(client::tls_over(stream, "test.example", b"\x02h2").await),
    }
}

/// Readers are given up soon.
fn limits(idle: &str) -> String {
    format!(
        "    limits: {{ tls_handshake_timeout: 1m, idle_timeout: {idle}, response_idle_timeout: 1s, \
         min_rate_grace: 500ms }}\n"
    )
}

/// Answers with so many bytes at once.
async fn answers(length: usize) -> Raw {
    Raw::start(move |mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&vec![b'x'; length]).await;
        // Until it is closed from the other side.
        let _ = stream.read(&mut [0]).await;
    })
    .await
}

/// Windows that take everything.
async fn wide(stream: Box<dyn Stream>) -> Frames<Box<dyn Stream>> {
    let mut frames = Frames::begin(stream, &[(4, 0x7fff_ffff)]).await;
    let update = 0x7fff_0000_u32.to_be_bytes();
    let update = frames::frame(frames::WINDOW_UPDATE, 0, 0, &update);
    frames.send(&update).await;
    frames
}

fn get(stream: u32) -> Vec<u8> {
    let fields = frames::request("GET", "/");
    frames::frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields)
}

/// What reading to the end brings.
async fn ends_with(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<std::io::ErrorKind> {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    read.expect("it stays open").err().map(|e| e.kind())
}

#[tokio::test]
async fn a_response_that_the_kernel_swallowed_whole_is_not_taken_yet() {
    // More than the client's side has room for, less than the kernel takes from us.
    let backend = answers(100_000).await;
    let tidegate = with(backend.address, &limits("1m")).await;
    let tidegate = &tidegate;
    let kept = b"GET / HTTP/1.1\r\nhost: test.example\r\n\r\n";
    let last = b"GET / HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n\r\n";
    for (transport, request) in [(Plain, &kept[..]), (Plain, last), (Tls, kept), (Tls, last)] {
        let before = transport.slow_closed(tidegate, "response").await;
        let mut stream = narrow_over(transport, tidegate).await;
        stream.write_all(request).await.unwrap();
        stream.flush().await.unwrap();
        transport
            .wait_slow(tidegate, "response", before + 1.0)
            .await;
        let end = ends_with(&mut stream).await;
        assert!(end.is_some(), "{transport:?}: it was ended, not reset");
    }
    for transport in [H2, H2c] {
        let before = transport.slow_closed(tidegate, "response").await;
        let mut frames = wide(narrow_over(transport, tidegate).await).await;
        frames.send(&get(1)).await;
        transport
            .wait_slow(tidegate, "response", before + 1.0)
            .await;
        assert!(
            ends_with(&mut frames.0).await.is_some(),
            "{transport:?}: it was ended, not reset"
        );
    }
}

#[tokio::test]
async fn one_that_is_taken_in_time_is_not_given_up() {
    let backend = answers(100_000).await;
    let tidegate = with(backend.address, &limits("4s")).await;
    let mut stream = narrow("127.0.0.1", tidegate.address("plain")).await;
    let get = b"GET / HTTP/1.1\r\nhost: test.example\r\n\r\n";
    stream.write_all(get).await.unwrap();
    let mut some = [0; 4000];
    for _ in 0..25 {
        stream.read_exact(&mut some).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(ends_with(&mut stream).await, None);
    assert_eq!(Plain.slow_closed(&tidegate, "response").await, 0.0);
    assert_eq!(Plain.slow_closed(&tidegate, "idle").await, 1.0);
}

#[tokio::test]
async fn a_time_out_of_a_reader_resets_its_connection() {
    let backend = endless().await;
    let tidegate = with(backend.address, &limits("1m")).await;
    for transport in [Plain, Tls] {
        let before = transport.slow_closed(&tidegate, "response").await;
        let mut stream = transport.connect(&tidegate).await;
        let get = b"GET / HTTP/1.1\r\nhost: test.example\r\n\r\n";
        stream.write_all(get).await.unwrap();
        transport
            .wait_slow(&tidegate, "response", before + 1.0)
            .await;
        let end = ends_with(&mut stream).await;
        assert!(end.is_some(), "{transport:?}: it was ended, not reset");
    }
    for transport in [H2, H2c] {
        let before = transport.slow_closed(&tidegate, "response").await;
        let mut frames = wide(transport.connect(&tidegate).await).await;
        frames.send(&get(1)).await;
        transport
            .wait_slow(&tidegate, "response", before + 1.0)
            .await;
        assert!(
            ends_with(&mut frames.0).await.is_some(),
            "{transport:?}: it was ended, not reset"
        );
    }
}

/// A listener whose clients may take as long as they like, but for what these limits say.
async fn patient(backend: SocketAddr, limits: &str) -> Tidegate {
    let config = format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - name: plain
    listen: "127.0.0.1:0"
    limits: {{ response_idle_timeout: 10m, min_rate_grace: 10m, response_min_rate: 0, {limits} }}
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools: {{ web: {{ backends: ["{backend}"], timeouts: {{ read: 10m, first_byte: 10m }} }} }}
"#
    );
    Tidegate::start(&config).await
}

/// Opens so many streams whose responses find no window.
async fn stalled(from: &str, tidegate: &Tidegate, streams: u32) -> Frames<TcpStream> {
    let stream = narrow(from, tidegate.address("plain")).await;
    let mut frames = Frames::begin(stream, &[(4, 100)]).await;
    for n in 0..streams {
        frames.send(&get(1 + 2 * n)).await;
    }
    frames
}

/// Reads until nothing has come for a while; how many streams were reset with `ENHANCE_YOUR_CALM`.
async fn resets(frames: &mut Frames<TcpStream>) -> usize {
    let mut resets = 0;
    let quiet = Duration::from_secs(4);
    while let Ok(Some(frame)) = tokio::time::timeout(quiet, frames.next()).await {
        assert!(frame.kind != RST_STREAM || frame.code() == CALM);
        resets += usize::from(frame.kind == RST_STREAM);
        if frame.kind == SETTINGS && frame.flags == 0 {
            frames.send(&frames::frame(SETTINGS, 1, 0, b"")).await;
        }
    }
    resets
}

#[tokio::test]
async fn so_many_responses_of_a_connection_wait_and_no_more() {
    let backend = endless().await;
    let tidegate = patient(backend.address, "max_unread_per_connection: 512KiB").await;
    let (mut few, mut many) = (
        stalled("127.0.0.1", &tidegate, 4).await,
        stalled("127.0.0.1", &tidegate, 10).await,
    );
    assert_eq!(tokio::join!(resets(&mut few), resets(&mut many)), (0, 6));
}

#[tokio::test]
async fn so_many_responses_of_an_address_wait_and_no_more() {
    let backend = endless().await;
    let tidegate = patient(backend.address, "max_unread_per_address: 512KiB").await;
    let (mut one, mut two, mut other) = (
        stalled("127.0.0.2", &tidegate, 5).await,
        stalled("127.0.0.2", &tidegate, 5).await,
        stalled("127.0.0.3", &tidegate, 4).await,
    );
    let (one, two, other) = tokio::join!(resets(&mut one), resets(&mut two), resets(&mut other));
    assert_eq!((one + two, other), (6, 0));
    // A connection of HTTP/1 is a response.
    let mut held = Vec::new();
    for from in [
        "127.0.0.4",
        "127.0.0.4",
        "127.0.0.4",
        "127.0.0.4",
        "127.0.0.4",
        "127.0.0.5",
    ] {
        let mut stream = narrow(from, tidegate.address("plain")).await;
        let get = b"GET / HTTP/1.1\r\nhost: test.example\r\n\r\n";
        stream.write_all(get).await.unwrap();
        held.push(stream);
    }
    let slow = "tidegate_slow_client_closed_total{listener=\"plain\",phase=\"response\"}";
    tidegate.wait_metric(slow, 7.0).await;
}

/// What the kernel's timer of the connection from `client` is for: `02` is keepalive.
fn timer(server: SocketAddr, client: SocketAddr) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (server, client) = (
        format!(":{:04X}", server.port()),
        format!(":{:04X}", client.port()),
    );
    let rows = table.lines().map(|line| line.split_whitespace().collect());
    let row = rows.into_iter().find(|row: &Vec<&str>| {
        row.len() > 5 && row[1].ends_with(&server) && row[2].ends_with(&client)
    })?;
    row[5].split(':').next().map(str::to_owned)
}

#[tokio::test]
async fn clients_are_asked_whether_they_are_still_there() {
    let backend = Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let mut tidegate = patient(backend.address, "").await;
    let address = tidegate.address("plain");
    let config = std::fs::read_to_string(tidegate.config_path()).unwrap();
    let with = |keepalive: &str| {
        config.replace(
            "response_min_rate: 0,",
            &format!("response_min_rate: 0, {keepalive}"),
        )
    };
    for (keepalive, asked) in [
        ("", "02"),
        ("tcp_keepalive: off", "00"),
        ("tcp_keepalive: { idle: 5s, interval: 1s, probes: 2 }", "02"),
    ] {
        if !keepalive.is_empty() {
            tidegate.reload(&with(keepalive)).await;
        }
        // The first after a reload, too.
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let get = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
            stream.write_all(get).await.unwrap();
            stream.read_exact(&mut [0; 12]).await.unwrap();
            let client = stream.local_addr().unwrap();
            eventually("its timer", || async {
                timer(address, client).as_deref() == Some(asked)
            })
            .await;
        }
    }
}
