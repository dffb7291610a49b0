//! What is changed on the way: headers, target, place to go.

use super::*;
use crate::backend::Raw;
use crate::setup::{demo, demos};

#[tokio::test]
async fn headers() {
    let backend = demo().await;
    let filters = "{ headers: { request: { remove: [x-debug], set: { x-env: prod }, add: { x-hop: b } }, response: { remove: [x-backend], set: { server: tidegate } } } }";
    let tidegate = behind(backend.address, filters).await;
    let sent = [("x-debug", "1"), ("x-env", "dev"), ("x-hop", "a")];
    let reply = ask(&tidegate, "/headers", &sent).await;
    assert_eq!(saw(&reply, "x-debug"), None);
    assert_eq!(saw(&reply, "x-env").as_deref(), Some("prod"));
    assert_eq!(saw(&reply, "x-hop").as_deref(), Some("a|b"));
    assert_eq!(reply.header("x-backend"), "");
    assert_eq!(reply.header("server"), "tidegate");
}

#[tokio::test]
async fn rewrite() {
    let backend = Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let filters = "{ rewrite: { pattern: \"^/api/v1/(.*)$\", replacement: \"/$1\", host: internal.example, remove_query: [utm] } }";
    let tidegate = behind(backend.address, filters).await;
    for (n, (from, to)) in [
        ("/api/v1/a%20b?utm=x&q=1", "/a%20b?q=1"),
        ("/api/v1//evil.example/", "/evil.example/"),
        ("/other?utm=1", "/other"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(ask(&tidegate, from, &[]).await.status, 200);
        let seen = backend.seen()[n].to_lowercase();
        assert!(
            seen.starts_with(&format!("get {to} http/1.1\r\n")),
            "{seen}"
        );
        assert!(seen.contains("\r\nhost: internal.example\r\n"), "{seen}");
    }
    // The log has what the client asked for.
    let line = logged(&tidegate, "/api/v1/a%20b").await;
    assert_eq!(line["query"], "utm=x&q=1");
    assert_eq!(line["host"], "test.example");
}

#[tokio::test]
async fn redirect() {
    let backend = demo().await;
    let filters = "{ redirect: { from: \"^/old/(.*)$\", to: \"/new/$1\", status: 301 } }, { redirect: { https: true, from: \"^/account\" } }, { redirect: { host: www.example.com, from: \"^/www\" } }";
    let tidegate = behind(backend.address, filters).await;
    for (path, status, location) in [
        ("/old/a?b=c", 301, "http://test.example/new/a?b=c"),
        ("/account?x=1", 308, "https://test.example/account?x=1"),
        ("/www/a", 308, "http://www.example.com/www/a"),
    ] {
        let reply = ask(&tidegate, path, &[]).await;
        assert_eq!((reply.status, reply.header("location")), (status, location));
    }
    assert_eq!(backend.requests(), 0);
    assert_eq!(ask(&tidegate, "/headers", &[]).await.status, 200);
}

#[tokio::test]
async fn request_id() {
    let backend = demo().await;
    let filters = "{ request_id: { header: x-trace, trust: true } }";
    let tidegate = behind(backend.address, filters).await;
    let reply = ask(&tidegate, "/headers", &[("x-trace", "mine-1")]).await;
    assert_eq!(saw(&reply, "x-trace").as_deref(), Some("mine-1"));
    assert_eq!(reply.header("x-trace"), "mine-1");
    let line = logged(&tidegate, "/headers").await;
    assert_eq!(line["attributes"]["request_id"], "mine-1");
    for sent in [&[][..], &[("x-trace", "not one id")]] {
        let reply = ask(&tidegate, "/headers", sent).await;
        let made = saw(&reply, "x-trace").unwrap();
        assert_eq!((made.len(), made.as_bytes()[14]), (36, b'7'), "{made}");
        assert_eq!(reply.header("x-trace"), made);
    }
}

#[tokio::test]
async fn canary() {
    let backends = demos(3).await;
    let filters = "{ canary: { pool: next, header: { name: x-canary, value: \"yes\" }, cookie: { name: canary } } }";
    let config = config(&[backends[0].address], filters);
    let next = format!(
        "{config}\n  next:\n    policy: consistent_hash\n    hash: {{ key: {{ header: x-key }} }}\n    slow_start: 0s\n    timeouts: {{ connect: 200ms, total: 500ms }}\n    backends: [{{ address: \"{}\", id: one }}, {{ address: \"{}\", id: two }}]\n",
        backends[1].address, backends[2].address
    );
    let tidegate = Tidegate::start(&next).await;
    let canary = |name| ("x-canary", name);
    for (headers, new) in [
        (&[][..], false),
        (&[canary("no")], false),
        (&[canary("yes")], true),
        (&[("cookie", "a=b; canary=1")], true),
    ] {
        let reply = ask(&tidegate, "/headers", headers).await;
        assert_eq!(reply.header("x-backend") != "b0", new, "{headers:?}");
    }
    let line = tidegate
        .access
        .wait("by the canary", |l| l["pool"] == "next")
        .await;
    assert_eq!(line["attributes"]["canary"], true);
    // What counts is what the pool says that serves it: its hash key, its time.
    let mut by_key = std::collections::BTreeSet::new();
    for key in 0..16 {
        let key = key.to_string();
        let headers = [canary("yes"), ("x-key", &*key)];
        let first = ask(&tidegate, "/headers", &headers).await;
        let again = ask(&tidegate, "/headers", &headers).await;
        assert_eq!(
            first.header("x-backend"),
            again.header("x-backend"),
            "{key}"
        );
        by_key.insert(first.header("x-backend").to_owned());
    }
    assert_eq!(by_key.len(), 2, "all keys are on one backend");
    assert_eq!(ask(&tidegate, "/slow?ms=700", &[]).await.status, 200);
    let late = ask(&tidegate, "/slow?ms=60000", &[canary("yes")]).await;
    assert_eq!(late.status, 504);
    let requests = "tidegate_requests_total{listener=\"public\",route=\"/\",pool=\"next\"";
    tidegate.wait_metric(requests, 35.0).await;
}
