//! 0-RTT: requests that come before the handshake is done, and what becomes of recordings of them.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Raw, read_head};
use crate::client::{Http1, request};
use crate::harness::{PATIENCE, Tidegate, eventually};
use crate::pki::{Ca, Leaf, begin, exchange, folder};

fn config(backend: SocketAddr) -> String {
    format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - name: public
    listen: "127.0.0.1:0"
    limits: {{ tls_handshake_timeout: 500ms }}
    tls: {{ certificates: [{{ cert: a.crt, key: a.key }}], early_data: true }}
  - name: without
    listen: "127.0.0.2:0"
    tls: {{ certificates: [{{ cert: a.crt, key: a.key }}] }}
routes:
  - {{ match: {{ path_prefix: /page }}, early_data: true, pool: web }}
  - {{ match: {{ path_prefix: / }}, pool: web }}
pools: {{ web: {{ backends: ["{backend}"] }} }}
"#
    )
}

/// Answers 425 to what says that it is early, and 200 to all else.
async fn cautious() -> Raw {
    Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let head = String::from_utf8_lossy(&seen.lock().unwrap()[index]).to_lowercase();
        let status = match head.contains("early-data: 1") && head.contains("/page/cautious") {
            true => "425 Too Early",
            false => "200 OK",
        };
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

struct World {
    tidegate: Tidegate,
    backend: Raw,
    client: Arc<ClientConfig>,
    ca: Ca,
}

/// A running instance, and a client that has a session with it.
async fn world() -> World {
    let backend = cautious().await;
    let (dir, ca) = folder();
    let leaf = Leaf {
        names: &["a.example"],
        ..Leaf::default()
    };
    ca.issue(dir.path(), "a", &leaf);
    let tidegate = Tidegate::start_in(dir, &config(backend.address)).await;
    let client = ca.client(b"http/1.1");
    let address = tidegate.address("public");
    let (early, answer) = exchange(&client, address, "a.example", &get("/first")).await;
    assert!(!early && answer.starts_with(b"HTTP/1.1 200"));
    // Each one brings two tickets and takes one.
    for _ in 0..3 {
        exchange(&client, address, "a.example", &get("/first")).await;
    }
    World {
        tidegate,
        backend,
        client,
        ca,
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").into_bytes()
}

/// The first flight of a client that sends `request` early: what an attacker can record.
fn flight(client: &Arc<ClientConfig>, request: &[u8]) -> Vec<u8> {
    let mut tls = begin(client, "a.example");
    let mut early = tls.early_data().expect("a ticket that allows early data");
    early.write_all(request).unwrap();
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Sends a recording and waits until the other side gives up on the rest of the handshake.
async fn replay(address: SocketAddr, flight: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(flight).await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    let _ = ended.expect("the connection stays open");
}

impl World {
    fn seen(&self, path: &str) -> Vec<String> {
        let all = self.backend.seen().into_iter();
        all.filter(|head| head.contains(path))
            .map(|head| head.to_lowercase())
            .collect()
    }
}

#[tokio::test]
async fn a_route_that_allows_it_is_served_before_the_handshake_is_done() {
    let world = world().await;
    let address = world.tidegate.address("public");
    let (early, answer) = exchange(&world.client, address, "a.example", &get("/page/1")).await;
    assert!(early && answer.starts_with(b"HTTP/1.1 200"));
    assert!(world.seen("/page/1")[0].contains("early-data: 1\r\n"));
    let line = world
        .tidegate
        .access
        .wait("early", |l| l["path"] == "/page/1")
        .await;
    assert_eq!(
        (&line["early_data"], &line["tls_resumed"]),
        (&true.into(), &true.into())
    );
    let handshakes = "tidegate_tls_handshakes_total{listener=\"public\",version=\"TLSv1.3\",resumed=\"true\",early_data=\"true\"";
    world.tidegate.wait_metric(handshakes, 1.0).await;
}

#[tokio::test]
async fn every_other_request_waits_for_the_end_of_the_handshake() {
    let world = world().await;
    let address = world.tidegate.address("public");
    let post = b"POST /page/post HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody";
    let body = b"GET /page/body HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody";
    for (path, request) in [
        ("/account", &get("/account")[..]),
        ("/page/post", post),
        ("/page/body", body),
    ] {
        let (early, answer) = exchange(&world.client, address, "a.example", request).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            early && answer.starts_with("HTTP/1.1 200"),
            "{path}: {early} {answer}"
        );
        assert!(!world.seen(path)[0].contains("early-data"), "{path}");
    }
}

#[tokio::test]
async fn a_recording_reaches_a_backend_only_where_the_route_allows_it() {
    let world = world().await;
    let address = world.tidegate.address("public");
    let post = b"POST /page/post HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n\r\n";
    let refused = [
        flight(&world.client, &get("/account")),
        flight(&world.client, post),
    ];
    let allowed = flight(&world.client, &get("/page/replayed"));
    for flight in &refused {
        replay(address, flight).await;
    }
    assert!(world.seen("/account").is_empty() && world.seen("/page/post").is_empty());
    // That is what allowing it means.
    replay(address, &allowed).await;
    replay(address, &allowed).await;
    eventually("replayed twice", || async {
        world.seen("/page/replayed").len() == 2
    })
    .await;
}

#[tokio::test]
async fn over_http2_it_is_the_same() {
    let world = world().await;
    let address = world.tidegate.address("public");
    let client = world.ca.client(b"h2");
    for _ in 0..3 {
        exchange(&client, address, "a.example", &http2(b"\x82", "/first")).await;
    }
    replay(address, &flight(&client, &http2(b"\x82", "/account"))).await;
    replay(address, &flight(&client, &http2(b"\x83", "/page/post"))).await;
    replay(address, &flight(&client, &http2(b"\x82", "/page/http2"))).await;
    eventually("the allowed one", || async {
        world.seen("/page/http2").len() == 1
    })
    .await;
    assert!(world.seen("/page/http2")[0].contains("early-data: 1\r\n"));
    assert!(world.seen("/account").is_empty() && world.seen("/page/post").is_empty());
}

/// A whole HTTP/2 connection of one request, which then goes away. `method` as HPACK has it.
fn http2(method: &[u8], path: &str) -> Vec<u8> {
    let mut block = method.to_vec();
    block.extend(b"\x87\x41\x09a.example\x04");
    block.push(u8::try_from(path.len()).unwrap());
    block.extend(path.as_bytes());
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    bytes.extend(block);
    // GOAWAY: no more streams.
    bytes.extend([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

#[tokio::test]
async fn a_backend_that_finds_it_too_early_gets_it_again() {
    let world = world().await;
    let address = world.tidegate.address("public");
    let asked = get("/page/cautious");
    let (early, answer) = exchange(&world.client, address, "a.example", &asked).await;
    assert!(
        early && answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let seen = world.seen("/page/cautious");
    assert_eq!(seen.len(), 2);
    assert!(seen[0].contains("early-data: 1") && !seen[1].contains("early-data"));
}

#[tokio::test]
async fn what_clients_say_of_early_data_is_not_believed() {
    let world = world().await;
    let stream = crate::client::tls(
        world.tidegate.address("public"),
        "a.example",
        b"\x08http/1.1",
    )
    .await;
    let mut asked = request(Method::GET, "/page/claimed");
    asked
        .headers_mut()
        .insert("host", "a.example".parse().unwrap());
    asked
        .headers_mut()
        .insert("early-data", "1".parse().unwrap());
    let reply = Http1::over(stream)
        .await
        .unwrap()
        .send(asked)
        .await
        .unwrap();
    assert_eq!(reply.status, 200);
    assert!(!world.seen("/page/claimed")[0].contains("early-data"));
}

#[tokio::test]
async fn a_listener_without_it_takes_none() {
    let world = world().await;
    let address = world.tidegate.address("without");
    let (early, answer) = exchange(&world.client, address, "a.example", &get("/page/2")).await;
    assert!(!early, "rejected, and sent again after the handshake");
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!(
        world
            .seen("/page/2")
            .iter()
            .all(|head| !head.contains("early-data"))
    );
}
