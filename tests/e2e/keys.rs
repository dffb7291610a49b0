//! Keys of the configuration that no other test sees the effect of.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::Raw;
use crate::client::{Http1, Http2, get, request, send, try_send};
use crate::harness::{PATIENCE, Tidegate, eventually};
use crate::listening::{TLS, certificate};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(listener: &str, route: &str, backend: SocketAddr, pool: &str) -> String {
    format!(
        r#"
version: 1
threads: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - name: public
    listen: "127.0.0.1:0"
{listener}
  - {{ name: other, listen: "127.0.0.2:0" }}
routes:
{route}
  - {{ match: {{ path_prefix: / }}, pool: web }}
pools:
  web:
    backends: ["{backend}"]
{pool}
"#
    )
}

/// Sends these bytes and waits until the other side ends the connection.
async fn until_closed(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    let _ = ended.expect("the connection stays open");
}

#[tokio::test]
async fn the_proxy_header_and_the_tls_handshake_have_deadlines() {
    let backend = Raw::answering(OK).await;
    let limits = "    limits: { proxy_header_timeout: 300ms, tls_handshake_timeout: 300ms }\n";
    let proxy = "    proxy_protocol: required\n    trusted: [\"127.0.0.0/8\"]\n";
    let tidegate = Tidegate::start(&config(
        &format!("{proxy}{limits}"),
        "",
        backend.address,
        "",
    ))
    .await;
    until_closed(tidegate.address("public"), b"PROXY TCP4 203.0").await;
    let slow = "tidegate_slow_client_closed_total{listener=\"public\",phase";
    tidegate
        .wait_metric(&format!("{slow}=\"proxy\""), 1.0)
        .await;
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "test.example");
    let tidegate = Tidegate::start_in(
        dir,
        &config(&format!("{TLS}{limits}"), "", backend.address, ""),
    )
    .await;
    until_closed(tidegate.address("public"), b"").await;
    until_closed(tidegate.address("public"), b"\x16\x03\x01\x02\x00\x01").await;
    tidegate.wait_metric(&format!("{slow}=\"tls\""), 2.0).await;
}

#[tokio::test]
async fn connections_and_streams_are_capped() {
    let backend = Raw::start(|stream, _, _| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let limits = "    limits: { max_connections: 2, max_concurrent_streams: 3 }\n";
    let tidegate = Tidegate::start(&config(limits, "", backend.address, "")).await;
    let address = tidegate.address("public");
    let h2 = Http2::connect(address).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut h2 = h2.clone();
        streams.push(tokio::spawn(async move {
            h2.send(request(Method::GET, "/")).await.is_ok()
        }));
    }
    let in_flight = || async { tidegate.status().await["pools"][0]["in_flight"].as_u64() };
    eventually("three streams in flight", || async {
        in_flight().await == Some(3)
    })
    .await;
    let _second = TcpStream::connect(address).await.unwrap();
    eventually("two connections", || async {
        let listeners = tidegate.status().await["listeners"].clone();
        let mut listeners = listeners.as_array().unwrap().iter();
        listeners.any(|l| l["listener"] == "public" && l["connections"] == 2)
    })
    .await;
    until_closed(address, b"").await;
    let rejected =
        "tidegate_connections_rejected_total{listener=\"public\",reason=\"max_connections\"";
    tidegate.wait_metric(rejected, 1.0).await;
    assert_eq!(in_flight().await, Some(3));
}

#[tokio::test]
async fn a_body_over_the_routes_limit_is_refused_whether_it_says_so_or_not() {
    let backend = Raw::answering(OK).await;
    let route = "  - { match: { path: /small }, pool: web, max_body: 1KiB }\n";
    let tidegate = Tidegate::start(&config("", route, backend.address, "")).await;
    let address = tidegate.address("public");
    let mut large = request(Method::POST, "/small");
    *large.body_mut() = Full::new(Bytes::from(vec![b'x'; 2000]));
    assert_eq!(send(address, large).await.status, 413);
    assert_eq!(backend.seen().len(), 0);
    let chunked = format!(
        "POST /small HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n{}\r\n0\r\n\r\n",
        "x".repeat(2000)
    );
    let answer = crate::client::raw(address, chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let mut small = request(Method::POST, "/small");
    *small.body_mut() = Full::new(Bytes::from_static(b"fits"));
    assert_eq!(send(address, small).await.status, 200);
}

#[tokio::test]
async fn routes_can_ask_for_the_listener_and_the_clients_network() {
    let backend = Raw::answering(OK).await;
    let route = "  - { match: { path: /y, listener: other }, respond: { status: 200, body: other } }\n  - { match: { path: /x, client: [\"127.0.0.0/8\"] }, respond: { status: 200, body: near, content_type: text/html } }\n  - { match: { path: /x }, respond: { status: 200, body: far } }\n";
    let tidegate = Tidegate::start(&config("", route, backend.address, "")).await;
    let near = get(tidegate.address("public"), "/x").await;
    assert_eq!(
        (near.text().as_str(), near.header("content-type")),
        ("near", "text/html")
    );
    assert_eq!(get(tidegate.address("public"), "/y").await.text(), "ok");
    assert_eq!(get(tidegate.address("other"), "/y").await.text(), "other");
}

#[tokio::test]
async fn prefixes_are_replaced_hosts_set_and_headers_added() {
    let backend = Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nvary: a\r\n\r\n").await;
    let route = "  - match: { path_prefix: /old }\n    pool: web\n    rewrite: { replace_prefix: /new }\n    request_headers: { add: { x-tag: two } }\n    response_headers: { add: { vary: b } }\n";
    let pool = "    upstream: { host: inner.example }\n";
    let tidegate = Tidegate::start(&config("", route, backend.address, pool)).await;
    let mut tagged = request(Method::GET, "/old/a?b");
    tagged.headers_mut().insert("x-tag", "one".parse().unwrap());
    let reply = send(tidegate.address("public"), tagged).await;
    let seen = backend.seen()[0].to_lowercase();
    assert!(seen.starts_with("get /new/a?b http/1.1\r\n"), "{seen}");
    assert!(seen.contains("host: inner.example\r\n"), "{seen}");
    assert!(
        seen.contains("x-forwarded-host: inner.example")
            || seen.contains("x-forwarded-host: test.example"),
        "{seen}"
    );
    assert!(
        seen.contains("x-tag: one\r\n") && seen.contains("x-tag: two\r\n"),
        "{seen}"
    );
    let varies: Vec<_> = reply.headers.get_all("vary").iter().collect();
    assert_eq!(varies.len(), 2);
}

#[tokio::test]
async fn one_try_can_be_shorter_than_all_together() {
    let hanging = Raw::start(|stream, _, _| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let good = Raw::answering(OK).await;
    let pool = format!(
        "    policy: round_robin\n    outlier_detection: {{ mode: off }}\n    timeouts: {{ per_try: 300ms }}\n    backends: [\"{}\", \"{}\"]\n",
        hanging.address, good.address
    );
    let config = config("", "", good.address, &pool).replacen(
        &format!("    backends: [\"{}\"]\n", good.address),
        "",
        1,
    );
    let tidegate = Tidegate::start(&config).await;
    for _ in 0..4 {
        assert_eq!(get(tidegate.address("public"), "/").await.status, 200);
    }
    tidegate
        .wait_metric(
            "tidegate_retries_total{pool=\"web\",reason=\"timeout\"",
            1.0,
        )
        .await;
}

#[tokio::test]
async fn the_access_log_can_go_to_a_file_that_is_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let backend = Raw::answering(OK).await;
    let log = format!("log: {{ access: \"{}\" }}\n", path.display());
    let config =
        config("", "", backend.address, "").replace("version: 1\n", &format!("version: 1\n{log}"));
    let mut tidegate = Tidegate::start_in(dir, &config).await;
    let lines = |path: std::path::PathBuf| {
        move || {
            let path = path.clone();
            async move {
                std::fs::read_to_string(path)
                    .unwrap_or_default()
                    .lines()
                    .count()
                    == 1
            }
        }
    };
    get(tidegate.address("public"), "/one").await;
    eventually("a line", lines(path.clone())).await;
    std::fs::rename(&path, path.with_extension("1")).unwrap();
    let before = tidegate.reloads();
    tidegate.signal("HUP");
    tidegate.after_reload(before).await;
    get(tidegate.address("public"), "/two").await;
    eventually("a line in the new file", lines(path)).await;
}

#[tokio::test]
async fn a_request_that_waits_for_100_continue_gets_it() {
    let backend = Raw::start(|mut stream, seen, index| async move {
        crate::backend::read_head(&mut stream, &seen, index).await;
        let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        let mut body = [0; 5];
        let _ = stream.read_exact(&mut body).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
            .await;
        let _ = stream.write_all(&body).await;
    })
    .await;
    let tidegate = Tidegate::start(&config("", "", backend.address, "")).await;
    let mut stream = TcpStream::connect(tidegate.address("public"))
        .await
        .unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut first)).await;
    read.expect("no 100 comes").unwrap();
    assert_eq!(&first, b"HTTP/1.1 100");
    stream.write_all(b"hello").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(
        rest.contains("HTTP/1.1 200 OK") && rest.ends_with("hello"),
        "{rest}"
    );
}

#[tokio::test]
async fn filters_run_through_the_real_process() {
    let backend = Raw::answering(OK).await;
    let route = "  - match: { path_prefix: /limited }\n    pool: web\n    filters:\n      - security_headers: {}\n      - rate_limit: { key: client_ip, requests: 2, per: 60s }\n  - match: { path_prefix: /private }\n    pool: web\n    filters:\n      - ip_access: { allow: [\"10.0.0.0/8\"] }\n";
    let tidegate = Tidegate::start(&config("", route, backend.address, "")).await;
    let address = tidegate.address("public");
    let mut connection = Http1::connect(address).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let reply = match connection.send(request(Method::GET, "/limited")).await {
            Ok(reply) => reply,
            Err(_) => try_send(address, request(Method::GET, "/limited"))
                .await
                .unwrap(),
        };
        assert_eq!(
            reply.header("x-content-type-options"),
            "nosniff",
            "{}",
            reply.status
        );
        statuses.push(reply.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(get(address, "/private").await.status, 403);
    tidegate
        .wait_metric(
            "tidegate_filter_duration_seconds_count{filter=\"rate_limit\"",
            3.0,
        )
        .await;
}
