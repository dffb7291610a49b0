//! How much, how fast, or not at all: limits, faults, maintenance, copies.

use std::time::Instant;

use tidegate::demo_backends::Mode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;
use crate::client::raw;
use crate::harness::eventually;
use crate::setup::{demo, demos};

#[tokio::test]
async fn rate_limit() {
    let backend = demo().await;
    let filters = "{ rate_limit: { key: { header: x-client }, requests: 2, per: 1h } }";
    let mut tidegate = behind(backend.address, filters).await;
    let a = [("x-client", "a")];
    for remaining in ["1", "0"] {
        let reply = ask(&tidegate, "/headers", &a).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("ratelimit-limit"), "2");
        assert_eq!(reply.header("ratelimit-remaining"), remaining);
    }
    let over = ask(&tidegate, "/over", &a).await;
    assert_eq!(
        (over.status, over.header("ratelimit-remaining")),
        (429, "0")
    );
    let wait: u64 = over.header("retry-after").parse().unwrap();
    assert!((1..=1800).contains(&wait), "{wait}");
    let line = logged(&tidegate, "/over").await;
    assert_eq!(line["reason"], "rate_limit: over the limit");
    // Others are others, and whoever has no header is told apart by address.
    assert_eq!(
        ask(&tidegate, "/headers", &[("x-client", "b")])
            .await
            .status,
        200
    );
    for status in [200, 200, 429] {
        assert_eq!(ask(&tidegate, "/headers", &[]).await.status, status);
    }
    // A reload forgives nobody, and forgets no count.
    let more = config(
        &[backend.address],
        &filters.replace("requests: 2", "requests: 3"),
    );
    assert_eq!(tidegate.reload(&more).await["result"], "taken");
    let over = ask(&tidegate, "/headers", &a).await;
    assert_eq!((over.status, over.header("ratelimit-limit")), (429, "3"));
    let refused = "tidegate_filter_events_total{filter=\"rate_limit\",event=\"refused\"}";
    assert_eq!(tidegate.metric(refused).await, 3.0);
}

#[tokio::test]
async fn concurrency_limit() {
    let backend = demo().await;
    let filters = "{ concurrency_limit: { key: route, max: 1 } }";
    let tidegate = behind(backend.address, filters).await;
    backend.set_mode(Mode::Hanging).await.unwrap();
    let address = tidegate.address("public");
    let first = tokio::spawn(send(address, asking("/headers", &[])));
    eventually("the first is served", || async { backend.requests() == 1 }).await;
    let over = ask(&tidegate, "/over", &[]).await;
    assert_eq!((over.status, over.header("retry-after")), (429, "1"));
    backend.set_mode(Mode::Healthy).await.unwrap();
    assert_eq!(first.await.unwrap().status, 200);
    eventually("its place is free", || async {
        ask(&tidegate, "/headers", &[]).await.status == 200
    })
    .await;
    // A client that leaves gives its place back, too.
    backend.set_mode(Mode::Hanging).await.unwrap();
    let before = backend.requests();
    let mut gone = TcpStream::connect(address).await.unwrap();
    let head = b"GET /headers HTTP/1.1\r\nhost: a\r\n\r\n";
    gone.write_all(head).await.unwrap();
    eventually("it is served", || async { backend.requests() > before }).await;
    assert_eq!(ask(&tidegate, "/over", &[]).await.status, 429);
    drop(gone);
    backend.set_mode(Mode::Healthy).await.unwrap();
    eventually("its place is free", || async {
        ask(&tidegate, "/headers", &[]).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn body_limit_by_length_and_by_counting() {
    let backend = demo().await;
    let tidegate = behind(backend.address, "{ body_limit: { max: 1KiB } }").await;
    let fits = post(&tidegate, "/upload", &[], "x".repeat(1024)).await;
    assert_eq!((fits.status, fits.text()), (200, "1024\n".to_owned()));
    let over = post(&tidegate, "/length", &[], "x".repeat(1025)).await;
    assert_eq!(
        (over.status, over.text()),
        (413, "413 Payload Too Large\n".to_owned())
    );
    assert_eq!(backend.requests(), 1);
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let head = "POST /counted HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = raw(
        tidegate.address("public"),
        format!("{head}{chunk}{chunk}").as_bytes(),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\n413 Payload Too Large\n"),
        "{answer}"
    );
    for path in ["/length", "/counted"] {
        let line = logged(&tidegate, path).await;
        assert_eq!(line["reason"], "body_limit: body too large", "{path}");
    }
    let head = "POST /upload HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let whole = format!("{head}{chunk}0\r\n\r\n");
    let answer = raw(tidegate.address("public"), whole.as_bytes()).await;
    assert!(answer.contains("1024\n"), "{answer}");
}

#[tokio::test]
async fn fault() {
    let backend = demo().await;
    let filters = "{ fault: { delay: { time: 300ms, percent: 100 }, only_with: x-slow } }, { fault: { abort: { status: 503, percent: 100 }, only_with: x-fail } }, { fault: { abort: { status: 500, percent: 0 } } }";
    let tidegate = behind(backend.address, filters).await;
    let started = Instant::now();
    let slow = ask(&tidegate, "/headers", &[("x-slow", "1")]).await;
    assert_eq!(slow.status, 200);
    assert!(started.elapsed().as_millis() >= 300);
    let line = logged(&tidegate, "/headers").await;
    assert_eq!(line["attributes"]["fault.delayed"], true);
    assert_eq!(
        ask(&tidegate, "/fail", &[("x-fail", "1")]).await.status,
        503
    );
    assert_eq!(logged(&tidegate, "/fail").await["reason"], "fault: aborted");
    assert_eq!(ask(&tidegate, "/headers", &[]).await.status, 200);
    assert_eq!(backend.requests(), 2);
    // Three filters of one name are one series.
    for event in ["delayed", "aborted"] {
        let series = format!("tidegate_filter_events_total{{filter=\"fault\",event=\"{event}\"}}");
        assert_eq!(tidegate.metric(&series).await, 1.0, "{event}");
    }
}

#[tokio::test]
async fn maintenance_by_a_file_that_comes_and_goes() {
    let backend = demo().await;
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("flag");
    let filters = format!(
        "{{ maintenance: {{ flag_file: {}, retry_after: 10m, allow: [203.0.113.0/24], body: \"<p>Soon</p>\" }} }}",
        flag.display()
    );
    let config = format!(
        "trusted_proxies: [127.0.0.0/8]\n{}",
        config(&[backend.address], &filters).trim_start()
    );
    let tidegate = Tidegate::start(&config).await;
    assert_eq!(ask(&tidegate, "/headers", &[]).await.status, 200);
    write(&flag, "");
    eventually("maintenance", || async {
        ask(&tidegate, "/headers", &[]).await.status == 503
    })
    .await;
    let before = backend.requests();
    let reply = ask(&tidegate, "/page", &[]).await;
    assert_eq!(reply.text(), "<p>Soon</p>");
    assert_eq!(reply.header("retry-after"), "600");
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(logged(&tidegate, "/page").await["reason"], "maintenance");
    assert_eq!(backend.requests(), before);
    let allowed = [("x-forwarded-for", "203.0.113.5")];
    assert_eq!(ask(&tidegate, "/headers", &allowed).await.status, 200);
    std::fs::remove_file(&flag).unwrap();
    eventually("the end of it", || async {
        ask(&tidegate, "/headers", &[]).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn mirror_compares_and_never_delays() {
    let backends = demos(2).await;
    let (primary, shadow) = (&backends[0], &backends[1]);
    let filters = format!(
        "{{ mirror: {{ url: \"http://{}\", methods: [GET, POST], max_body: 1KiB, max_in_flight: 1, timeout: 1h, compare: true }} }}",
        shadow.address
    );
    let tidegate = behind(primary.address, &filters).await;
    let event =
        |name: &str| format!("tidegate_filter_events_total{{filter=\"mirror\",event=\"{name}\"}}");
    let small = post(&tidegate, "/upload", &[], "x".repeat(1024)).await;
    assert_eq!(small.text(), "1024\n");
    tidegate.wait_metric(&event("same"), 1.0).await;
    // `/headers` names the backend: another body.
    ask(&tidegate, "/headers", &[]).await;
    tidegate.wait_metric(&event("body_differs"), 1.0).await;
    shadow.set_mode(Mode::Failing).await.unwrap();
    ask(&tidegate, "/bytes?n=10", &[]).await;
    tidegate.wait_metric(&event("status_differs"), 1.0).await;
    assert_eq!(shadow.requests(), 3);
    // Too large: the client's business alone.
    let large = post(&tidegate, "/upload", &[], "x".repeat(1025)).await;
    assert_eq!(large.text(), "1025\n");
    assert_eq!(tidegate.metric(&event("too_large")).await, 1.0);
    // A shadow that hangs: one copy is under way, one waits, the others are dropped.
    shadow.set_mode(Mode::Hanging).await.unwrap();
    for _ in 0..10 {
        assert_eq!(ask(&tidegate, "/bytes?n=10", &[]).await.status, 200);
    }
    tidegate.wait_metric(&event("dropped"), 5.0).await;
    assert_eq!(shadow.requests(), 4, "one at a time");
    assert_eq!(primary.requests(), 14);
}

#[tokio::test]
async fn a_mirrored_request_says_so() {
    let primary = demo().await;
    let shadow =
        crate::backend::Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let filters = format!("{{ mirror: {{ url: \"http://{}\" }} }}", shadow.address);
    let tidegate = behind(primary.address, &filters).await;
    let reply = ask(&tidegate, "/headers?a=b", &[("x-own", "1")]).await;
    assert_eq!(saw(&reply, "x-mirrored"), None);
    eventually("the copy", || async { shadow.seen().len() == 1 }).await;
    let events = "tidegate_filter_events_total{filter=\"mirror\",event=\"sent\"}";
    tidegate.wait_metric(events, 1.0).await;
    let copy = shadow.seen()[0].to_lowercase();
    assert!(copy.starts_with("get /headers?a=b http/1.1\r\n"), "{copy}");
    assert!(copy.contains("x-mirrored: 1\r\n"), "{copy}");
    assert!(copy.contains("x-own: 1\r\n"), "{copy}");
}
