//! What clients may take of a listener: too much is refused and counted by its reason, and near the limit a new client
//! gets in at the cost of one that nobody misses.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::backend::{Raw, read_head};
use crate::client::raw;
use crate::harness::{PATIENCE, Tidegate, eventually};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const LAST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

async fn in_front_of(backend: SocketAddr, listener: &str) -> Tidegate {
    Tidegate::start(&format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - name: public
    listen: "127.0.0.1:0"
{listener}
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools: {{ web: {{ backends: ["{backend}"] }} }}
"#
    ))
    .await
}

/// A connection from this address of the loopback network.
async fn from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// One request on a connection that stays open; false when the connection is closed instead.
async fn ask(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 1024];
    if stream.write_all(GET).await.is_err() {
        return false;
    }
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer));
    matches!(read.await.expect("no answer, no end"), Ok(n) if n > 0)
}

/// Whether the other end has closed it.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut byte));
    matches!(read.await.expect("it stays open"), Ok(0) | Err(_))
}

async fn rejected(tidegate: &Tidegate, reason: &str) -> f64 {
    let series =
        format!("tidegate_connections_rejected_total{{listener=\"public\",reason=\"{reason}\"}}");
    tidegate.metric(&series).await
}

#[tokio::test]
async fn connections_of_one_address() {
    let backend = Raw::answering(OK).await;
    let limits = "    limits: { max_connections_per_address: 2 }\n";
    let tidegate = in_front_of(backend.address, limits).await;
    let address = tidegate.address("public");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = from("127.0.0.2", address).await;
        assert!(ask(&mut stream).await);
        held.push(stream);
    }
    assert!(is_closed(&mut from("127.0.0.2", address).await).await);
    assert_eq!(
        rejected(&tidegate, "max_connections_per_address").await,
        1.0
    );
    assert!(ask(&mut from("127.0.0.3", address).await).await);
    // One that ends makes room.
    held.pop();
    eventually("there is room again", || async {
        ask(&mut from("127.0.0.2", address).await).await
    })
    .await;
}

#[tokio::test]
async fn the_clients_address_counts_and_not_the_balancers() {
    let backend = Raw::answering(OK).await;
    let listener = "    proxy_protocol: optional\n    trusted: [\"127.0.0.0/8\"]\n    \
        limits: { max_connections_per_address: 1 }\n";
    let tidegate = in_front_of(backend.address, listener).await;
    let address = tidegate.address("public");
    let of = |client: &str| format!("PROXY TCP4 {client} 127.0.0.1 4321 80\r\n").into_bytes();
    let mut held = Vec::new();
    for client in ["203.0.113.1", "203.0.113.2"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&of(client)).await.unwrap();
        assert!(ask(&mut stream).await, "{client}");
        held.push(stream);
    }
    assert_eq!(raw(address, &[&of("203.0.113.1"), LAST].concat()).await, "");
    assert_eq!(
        rejected(&tidegate, "max_connections_per_address").await,
        1.0
    );
    // Without a header, the balancer's own address has no cap.
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut stream).await);
        held.push(stream);
    }
}

#[tokio::test]
async fn addresses_that_are_shared_have_no_cap() {
    let backend = Raw::answering(OK).await;
    let limits =
        "    limits: { max_connections_per_address: 1, shared_addresses: [127.0.0.2/32] }\n";
    let tidegate = in_front_of(backend.address, limits).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = from("127.0.0.2", tidegate.address("public")).await;
        assert!(ask(&mut stream).await);
        held.push(stream);
    }
}

#[tokio::test]
async fn new_connections_of_one_address_a_second() {
    let backend = Raw::answering(OK).await;
    let limits = "    limits: { max_new_per_address: 2 }\n";
    let tidegate = in_front_of(backend.address, limits).await;
    let address = tidegate.address("public");
    eventually("one is too many", || async {
        let mut stream = from("127.0.0.2", address).await;
        !ask(&mut stream).await
    })
    .await;
    assert!(rejected(&tidegate, "max_new_per_address").await >= 1.0);
    assert!(ask(&mut from("127.0.0.3", address).await).await);
    eventually("time heals it", || async {
        ask(&mut from("127.0.0.2", address).await).await
    })
    .await;
}

#[tokio::test]
async fn heads_that_are_not_whole() {
    let backend = Raw::answering(OK).await;
    let limits = "    limits: { max_unfinished_per_address: 2, max_unfinished: 4 }\n";
    let tidegate = in_front_of(backend.address, limits).await;
    let address = tidegate.address("public");
    // Whole ones don't count: this one stays for later.
    let mut kept = from("127.0.0.2", address).await;
    assert!(ask(&mut kept).await);
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = from("127.0.0.2", address).await;
        let _ = stream.write_all(b"GET / HT").await;
        held.push(stream);
    }
    let reason = "reason=\"max_unfinished_per_address\"";
    let refused = format!("tidegate_connections_rejected_total{{listener=\"public\",{reason}");
    tidegate.wait_metric(&refused, 1.0).await;
    // Nor may a kept connection begin one.
    kept.write_all(b"GET / HT").await.unwrap();
    assert!(is_closed(&mut kept).await);
    tidegate.wait_metric(&refused, 2.0).await;
    // In all: the one that takes longest gives way, once it had its second.
    let _third = from("127.0.0.3", address).await;
    let _fourth = from("127.0.0.4", address).await;
    eventually("a new client gets in", || async {
        ask(&mut from("127.0.0.5", address).await).await
    })
    .await;
    let evicted = "tidegate_connections_evicted_total{listener=\"public\",while=\"unfinished\"}";
    assert!(tidegate.metric(evicted).await >= 1.0);
}

#[tokio::test]
async fn near_the_limit_idle_then_slow_clients_give_way_and_busy_ones_do_not() {
    let backend = Raw::start(|mut stream, seen, index| async move {
        loop {
            seen.lock().unwrap()[index].clear();
            read_head(&mut stream, &seen, index).await;
            let head = String::from_utf8_lossy(&seen.lock().unwrap()[index]).into_owned();
            if head.starts_with("GET / ") {
                let _ = stream.write_all(OK).await;
            } else {
                // Busy: a backend that takes its time.
                std::future::pending::<()>().await;
            }
        }
    })
    .await;
    let limits = "    limits: { max_connections: 3, idle_timeout: 10m, header_timeout: 10m }\n";
    let tidegate = in_front_of(backend.address, limits).await;
    let address = tidegate.address("public");
    let wait = b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut busy = from("127.0.0.2", address).await;
    busy.write_all(wait).await.unwrap();
    let mut idle = from("127.0.0.3", address).await;
    assert!(ask(&mut idle).await);
    let mut dribbling = from("127.0.0.4", address).await;
    dribbling.write_all(b"GET / HT").await.unwrap();
    let open = "tidegate_connections{listener=\"public\"";
    tidegate.wait_metric(open, 3.0).await;
    evicts(&tidegate, "idle").await;
    assert!(is_closed(&mut idle).await);
    eventually("there is room for one", || async {
        tidegate.metric(open).await <= 2.0
    })
    .await;
    let mut second = from("127.0.0.2", address).await;
    second.write_all(wait).await.unwrap();
    tidegate.wait_metric(open, 3.0).await;
    evicts(&tidegate, "unfinished").await;
    assert!(is_closed(&mut dribbling).await);
    for stream in [&mut busy, &mut second] {
        let mut byte = [0];
        let early = std::time::Duration::from_millis(50);
        let read = tokio::time::timeout(early, stream.read(&mut byte));
        assert!(read.await.is_err(), "a busy connection was closed");
    }
}

/// Connects until somebody had to make room.
async fn evicts(tidegate: &Tidegate, whom: &str) {
    let series =
        format!("tidegate_connections_evicted_total{{listener=\"public\",while=\"{whom}\"}}");
    eventually("a new client gets in", || async {
        let _new = from("127.0.0.5", tidegate.address("public")).await;
        tidegate.metric(&series).await >= 1.0
    })
    .await;
}
