//! Descriptors run out: each step of the ladder is seen from outside, and so is the way back.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::backend::{Raw, read_head};
use crate::client::{Http1, Http2, Reply, get, get_admin, request};
use crate::harness::{PATIENCE, Tidegate, eventually};
use crate::setup::demo;

/// Connections that ask for nothing are let be for as long as the test takes.
fn config(backend: SocketAddr, steps: &str) -> String {
    format!(
        r#"
version: 1
threads: 1
admin: {{ listen: "127.0.0.1:0" }}
overload: {{ descriptors: {steps}, hold: 300ms }}
listeners:
  - {{ name: public, listen: "127.0.0.1:0", limits: {{ header_timeout: 5m, max_unfinished_per_address: 0, max_new_per_address: 0 }} }}
routes:
  - {{ match: {{ query: {{ kind: batch }} }}, pool: web, criticality: sheddable }}
  - {{ match: {{ path_prefix: / }}, pool: web }}
pools:
  web:
    backends: ["{backend}"]
    health_check: {{ path: /healthz, interval: 300ms, timeout: 300ms, fast_interval: 300ms, piggyback: false }}
"#
    )
}

/// What `/status` says of the descriptors.
async fn descriptors(tidegate: &Tidegate) -> Value {
    let overload = tidegate.status().await["overload"].clone();
    let resources = overload["resources"].as_array().unwrap().iter();
    let mut found = resources.filter(|r| r["resource"] == "descriptors");
    found.next().unwrap().clone()
}

/// Holds connections that ask for nothing until so many descriptors are in use.
async fn hold(tidegate: &Tidegate, held: &mut Vec<TcpStream>, used: u64) {
    let public = tidegate.address("public");
    let now = descriptors(tidegate).await["used"].as_u64().unwrap();
    for _ in now..used {
        held.push(TcpStream::connect(public).await.unwrap());
    }
}

async fn wait_level(tidegate: &Tidegate, from: &str, to: &str) {
    let fits = |l: &Value| l["type"] == "overload" && l["from"] == from && l["level"] == to;
    let line = tidegate.events.wait(&format!("{from} to {to}"), fits).await;
    assert_eq!(line["resource"], "descriptors");
}

/// A backend that keeps requests for `/hold`.
async fn holding() -> Raw {
    Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let held = seen.lock().unwrap()[index].starts_with(b"GET /hold ");
        if held {
            let _ = stream.read(&mut [0]).await;
        }
        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(ok).await;
    })
    .await
}

fn held(backend: &Raw) -> usize {
    let seen = backend.seen();
    seen.iter().filter(|s| s.starts_with("GET /hold ")).count()
}

async fn on(connection: &mut Http1, path: &str) -> Reply {
    connection.send(request(Method::GET, path)).await.unwrap()
}

/// One that has been answered and waits to be asked again.
async fn idle_connection(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"HEAD /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    stream
}

/// The idle connection is closed, and the HTTP/2 one takes no more streams.
async fn told_to_go(mut idle: TcpStream, h2: Http2) {
    let ended = tokio::time::timeout(PATIENCE, idle.read_to_end(&mut Vec::new())).await;
    assert!(ended.expect("the idle connection stays open").is_ok());
    eventually("the HTTP/2 connection is told to go", || {
        let mut h2 = h2.clone();
        async move { h2.send(request(Method::GET, "/")).await.is_err() }
    })
    .await;
}

/// But for the one that the accept loop had at hand.
async fn nothing_is_accepted(tidegate: &Tidegate, held: &mut Vec<TcpStream>) {
    let accepted = "tidegate_connections_total{listener=\"public\"}";
    let before = tidegate.metric(accepted).await;
    for _ in 0..5 {
        let more = TcpStream::connect(tidegate.address("public")).await;
        held.push(more.unwrap());
    }
    // Some readings later.
    let readings = "tidegate_overload_goodbyes_total";
    let until = tidegate.metric(readings).await + 4.0;
    tidegate.wait_metric(readings, until).await;
    assert!(tidegate.metric(accepted).await <= before + 1.0);
    let level = &tidegate.status().await["overload"]["level"];
    assert_eq!(level, "pause_accept");
}

async fn readiness(tidegate: &Tidegate) -> (u16, String) {
    let reply = get(tidegate.address("admin"), "/readyz").await;
    (reply.status, reply.text())
}

#[tokio::test]
async fn kept_connections_then_sheddable_routes_then_new_connections_are_given_up() {
    let backend = demo().await;
    let steps = "{ cut_keep_alive: 50, shed: 65, pause_accept: 80 }";
    let tidegate = Tidegate::start_within(&config(backend.address, steps), "-n 400").await;
    tidegate
        .wait_in_rotation("web", &backend.address.to_string())
        .await;
    let public = tidegate.address("public");
    let mut held = Vec::new();

    let reply = get(public, "/?kind=batch").await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, "keep-alive")
    );
    let idle = idle_connection(public).await;
    let mut h2 = Http2::connect(public).await;
    assert_eq!(h2.get("/").await.status, 200);
    // Asks for its first request when everything is given up.
    let mut early = Http1::connect(public).await.unwrap();

    hold(&tidegate, &mut held, 215).await;
    wait_level(&tidegate, "normal", "cut_keep_alive").await;
    let reply = get(public, "/?kind=batch").await;
    assert_eq!((reply.status, reply.header("connection")), (200, "close"));
    told_to_go(idle, h2).await;

    hold(&tidegate, &mut held, 275).await;
    wait_level(&tidegate, "cut_keep_alive", "shed").await;
    let reply = get(public, "/?kind=batch").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"));
    assert_eq!(get(public, "/").await.status, 200);
    tidegate
        .wait_metric("tidegate_overload_shed_total", 1.0)
        .await;
    tidegate
        .access
        .wait("the shed request", |l| {
            l["reason"] == "overload" && l["status"] == 503
        })
        .await;

    assert_eq!(readiness(&tidegate).await, (200, "ready\n".to_owned()));
    hold(&tidegate, &mut held, 330).await;
    wait_level(&tidegate, "shed", "pause_accept").await;
    let level = "tidegate_overload_level{resource=\"descriptors\"}";
    assert_eq!(tidegate.metric(level).await, 3.0);
    let (status, why) = readiness(&tidegate).await;
    assert_eq!((status, why.as_str()), (503, "overloaded\n"));
    assert_eq!(on(&mut early, "/").await.status, 200);
    let waiting = tokio::spawn(async move { get(public, "/").await });
    nothing_is_accepted(&tidegate, &mut held).await;
    assert!(!waiting.is_finished());

    held.clear();
    wait_level(&tidegate, "pause_accept", "shed").await;
    assert_eq!(waiting.await.unwrap().status, 200);
    wait_level(&tidegate, "shed", "cut_keep_alive").await;
    wait_level(&tidegate, "cut_keep_alive", "normal").await;
    assert_eq!(readiness(&tidegate).await.0, 200);
    let reply = get(public, "/?kind=batch").await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, "keep-alive")
    );
}

#[tokio::test]
async fn with_no_descriptor_left_operators_get_in_and_backends_are_not_blamed() {
    let backend = holding().await;
    let steps = "{ cut_keep_alive: 100, shed: 100, pause_accept: 100 }";
    let tidegate = Tidegate::start_within(&config(backend.address, steps), "-n 150").await;
    let id = backend.address.to_string();
    tidegate.wait_in_rotation("web", &id).await;
    let public = tidegate.address("public");
    // Each has its connection, but needs one more to the backend.
    let mut early = Vec::new();
    for _ in 0..30 {
        early.push(TcpStream::connect(public).await.unwrap());
    }
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(public).await.unwrap());
    }
    wait_level(&tidegate, "normal", "pause_accept").await;
    for path in ["/healthz", "/status", "/metrics"] {
        let asked = tokio::time::timeout(PATIENCE, get_admin(tidegate.address("admin"), path));
        assert_eq!(asked.await.expect("no answer to an operator").status, 200);
    }
    // Some find what operators' connections have given back, and the one behind a refused one what that gives back: from
    // then on there is none for probes.
    let skipped = "tidegate_health_checks_total{pool=\"web\",result=\"skipped\"";
    let (mut refused, mut inside) = (0, Vec::new());
    for mut connection in early {
        let asked = tokio::spawn(async move {
            let request = b"GET /hold HTTP/1.1\r\nhost: a\r\n\r\n";
            connection.write_all(request).await.unwrap();
            let mut answer = String::new();
            // Up to its end: then its descriptor is free again.
            connection.read_to_string(&mut answer).await.unwrap();
            answer
        });
        eventually("an answer, or a place at the backend", || async {
            asked.is_finished() || held(&backend) > inside.len()
        })
        .await;
        if held(&backend) == inside.len() {
            let answer = asked.await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            refused += 1;
            continue;
        }
        inside.push(asked);
        // One may be free still: what a probe that was under way has given back. To look would free more: two probes' time.
        if refused > 3 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            if tidegate.metric(skipped).await >= 1.0 {
                break;
            }
        }
    }
    assert!(refused > 3);
    assert!(tidegate.metric(skipped).await >= 1.0);
    let blamed = "tidegate_upstream_requests_total{pool=\"web\",backend=\"";
    let blamed = format!("{blamed}{id}\",outcome=\"connect_error\"");
    assert_eq!(tidegate.metric(&blamed).await, 0.0);
    assert_eq!(tidegate.backend("web", &id).await["state"], "healthy");

    inside.iter().for_each(JoinHandle::abort);
    silent.clear();
    wait_level(&tidegate, "cut_keep_alive", "normal").await;
    assert_eq!(get(public, "/").await.status, 200);
    assert_eq!(tidegate.backend("web", &id).await["state"], "healthy");
}

#[tokio::test]
async fn the_soft_limit_of_open_files_is_raised() {
    let backend = demo().await;
    let tidegate = Tidegate::start_within(&config(backend.address, "{}"), "-S -n 100").await;
    eventually("a reading", || async {
        let overload = tidegate.status().await["overload"].clone();
        overload["resources"]
            .as_array()
            .is_some_and(|r| r.len() == 3)
    })
    .await;
    assert!(descriptors(&tidegate).await["limit"].as_u64() > Some(100));
}
