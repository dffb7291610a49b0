//! Requests that are led in a circle, TRACE, `Max-Forwards` and `Via`.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Method};
use http_body_util::Full;

use crate::backend::{Raw, read_head};
use crate::client::{Http1, Http2, Reply, raw, request, send};
use crate::harness::{PATIENCE, Tidegate, eventually};
use crate::setup::{demo, one_pool};

const REQUESTS: &str = "tidegate_requests_total{";

/// One listener whose pool this address is, with these further lines under the pool and under the route.
fn leading_to(address: SocketAddr, pool: &str, route: &str) -> String {
    format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes:
  - match: {{}}
    pool: web
{route}
pools:
  web:
    backends: [{{ id: next, address: "{address}" }}]
    retry: {{ attempts: 3, on_status: [500-599] }}
{pool}
"#
    )
}

/// An instance whose pool leads back to its listener.
async fn circle(pool: &str, route: &str) -> Tidegate {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let mut tidegate = Tidegate::start(&leading_to(nowhere, pool, route)).await;
    let own = tidegate.address("public");
    let outcome = tidegate.reload(&leading_to(own, pool, route)).await;
    assert_eq!(outcome["result"], "taken");
    assert_eq!(tidegate.address("public"), own);
    tidegate
}

/// One request each way, over a new connection: HTTP/1.1 and HTTP/2, with a body and without.
async fn each_way(address: SocketAddr) -> Vec<Reply> {
    let mut replies = Vec::new();
    for method in [Method::GET, Method::POST, Method::PUT] {
        let mut asked = request(method.clone(), "/around");
        if method != Method::GET {
            *asked.body_mut() = Full::new(Bytes::from_static(b"a body"));
        }
        replies.push(send(address, asked.clone()).await);
        let mut two = Http2::connect(address).await;
        replies.push(two.send(asked).await.unwrap());
    }
    replies
}

#[tokio::test]
async fn a_circle_ends_after_ten_hops_and_is_nobodys_fault() {
    for protocol in ["http1", "http2"] {
        let pool = format!("    upstream: {{ protocol: {protocol} }}");
        let tidegate = circle(&pool, "").await;
        let replies = each_way(tidegate.address("public")).await;
        assert!(replies.iter().all(|r| r.status == 508), "{replies:?}");
        // The client's request, and what ten instances have sent on.
        let wanted = 11.0 * replies.len() as f64;
        tidegate.wait_metric(REQUESTS, wanted).await;
        assert_eq!(tidegate.metric(REQUESTS).await, wanted, "{protocol}");
        assert_eq!(tidegate.metric("tidegate_retries_total{").await, 0.0);
        let backend = tidegate.backend("web", "next").await;
        assert_eq!(backend["state"], "healthy", "{backend}");
        let refused = tidegate
            .access
            .wait("refused", |l| l["reason"] == "too_many_hops")
            .await;
        assert_eq!(refused["status"], 508, "{refused}");
    }
}

#[tokio::test]
async fn copies_and_questions_of_filters_count_as_hops() {
    let mut tidegate = circle("", "").await;
    let own = tidegate.address("public");
    let backend = demo().await;
    let mirror = format!("    filters: [mirror: {{ url: \"http://{own}\" }}]");
    let config = leading_to(backend.address, "", &mirror);
    assert_eq!(tidegate.reload(&config).await["result"], "taken");
    assert_eq!(send(own, request(Method::GET, "/")).await.status, 200);
    eventually("the last copy is refused", || async {
        let lines = tidegate.access.all();
        lines.iter().any(|l| l["reason"] == "too_many_hops")
    })
    .await;
    assert_eq!(backend.requests(), 10);
    let before = tidegate.metric(REQUESTS).await;
    assert_eq!(before, 11.0);
    let asking = format!("    filters: [ext_auth: {{ url: \"http://{own}/auth\" }}]");
    let config = leading_to(backend.address, "", &asking);
    assert_eq!(tidegate.reload(&config).await["result"], "taken");
    let reply = send(own, request(Method::GET, "/")).await;
    assert!(reply.status >= 500, "{reply:?}");
    tidegate.wait_metric(REQUESTS, before + 11.0).await;
    assert_eq!(tidegate.metric(REQUESTS).await, before + 11.0);
    assert_eq!(backend.requests(), 10, "none passed");
}

#[tokio::test]
async fn a_client_can_only_shorten_its_way() {
    let backend = Raw::start(|mut stream, seen, index| async move {
        use tokio::io::AsyncWriteExt;
        read_head(&mut stream, &seen, index).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    })
    .await;
    let config = one_pool(&[backend.address], "") + "max_hops: 3\n";
    let tidegate = Tidegate::start(&config).await;
    let address = tidegate.address("public");
    let cases: [(&[&str], u16, &str); 9] = [
        (&[], 200, "1"),
        (&["0"], 200, "1"),
        (&["2"], 200, "3"),
        (&["1", "2"], 200, "3"),
        (&["3"], 508, ""),
        (&["0, 3"], 508, ""),
        (&["-1"], 508, ""),
        (&["none"], 508, ""),
        (&["99999999999999999999"], 508, ""),
    ];
    let mut forwarded = 0;
    for (lines, status, told) in cases {
        for method in [Method::GET, Method::POST] {
            let mut asked = request(method.clone(), "/");
            for line in lines {
                let value = HeaderValue::from_str(line).unwrap();
                asked.headers_mut().append("x-tidegate-hops", value);
            }
            // A client that asks for the field to be taken away gets nothing by it.
            let names = HeaderValue::from_static("x-tidegate-hops");
            let mut hiding = asked.clone();
            if lines.is_empty() {
                hiding.headers_mut().insert("connection", names);
            }
            for asked in [asked, hiding] {
                let mut asked = asked;
                if method == Method::POST {
                    *asked.body_mut() = Full::new(Bytes::from_static(b"x"));
                }
                let reply = send(address, asked).await;
                assert_eq!(reply.status, status, "{method} {lines:?}");
                forwarded += usize::from(status == 200);
                if status == 200 {
                    let head = backend.seen().pop().unwrap().to_lowercase();
                    let field = format!("x-tidegate-hops: {told}\r\n");
                    assert_eq!(head.matches("x-tidegate-hops: ").count(), 1, "{head}");
                    assert!(head.contains(&field), "{lines:?}: {head}");
                }
            }
        }
    }
    assert_eq!(backend.seen().len(), forwarded);
}

/// The status line and everything behind it.
async fn one(address: SocketAddr, head: &str) -> String {
    raw(
        address,
        format!("{head}Connection: close\r\n\r\n").as_bytes(),
    )
    .await
}

#[allow(clippy::too_many_lines, reason = "most of it is the table")]
#[tokio::test]
async fn trace_and_max_forwards() {
    let backend = Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nback").await;
    let config = one_pool(&[backend.address], "").replace(
        "listeners: [",
        "listeners: [{ name: open, listen: \"127.0.0.2:0\", trace: pass }, ",
    );
    let tidegate = Tidegate::start(&config).await;
    let host = "Host: a.example\r\n";
    let n = |forwards: &str| format!("Max-Forwards: {forwards}\r\n");
    // Listener, method and fields, status, and what the backend must see of Max-Forwards; `None`: nothing reaches it.
    let cases = [
        ("public", "TRACE", String::new(), 405, None),
        ("public", "TRACE", n("0"), 405, None),
        ("public", "TRACE", n("5"), 405, None),
        ("open", "TRACE", String::new(), 200, Some("")),
        ("open", "TRACE", n("5"), 200, Some("max-forwards: 4\r\n")),
        ("open", "TRACE", n("0"), 200, None),
        ("open", "TRACE", n("x"), 400, None),
        ("open", "TRACE", "Content-Length: 1\r\n".into(), 400, None),
        ("public", "OPTIONS", String::new(), 200, Some("")),
        (
            "public",
            "OPTIONS",
            n("1"),
            200,
            Some("max-forwards: 0\r\n"),
        ),
        (
            "public",
            "OPTIONS",
            n("010"),
            200,
            Some("max-forwards: 9\r\n"),
        ),
        ("public", "OPTIONS", n("0"), 200, None),
        ("public", "OPTIONS", n(""), 400, None),
        ("public", "OPTIONS", n("-1"), 400, None),
        ("public", "OPTIONS", n("1, 2"), 400, None),
        ("public", "OPTIONS", n("1") + &n("1"), 400, None),
        ("public", "GET", n("0"), 200, Some("max-forwards: 0\r\n")),
        ("public", "GET", n("x"), 200, Some("max-forwards: x\r\n")),
    ];
    for version in ["1.0", "1.1"] {
        for (listener, method, fields, status, forwarded) in &cases {
            let before = backend.seen().len();
            let head = format!("{method} /a HTTP/{version}\r\n{host}{fields}");
            let body = if fields.contains("Content-Length") {
                "x"
            } else {
                ""
            };
            let bytes = format!("{head}Connection: close\r\n\r\n{body}");
            let answer = raw(tidegate.address(listener), bytes.as_bytes()).await;
            let got = answer.split(' ').nth(1).unwrap_or_default();
            assert_eq!(got, status.to_string(), "{head}: {answer}");
            let seen = backend.seen();
            assert_eq!(
                seen.len() - before,
                usize::from(forwarded.is_some()),
                "{head}"
            );
            if let Some(forwarded) = forwarded {
                let last = seen.last().unwrap().to_lowercase();
                let lines = last.matches("max-forwards").count();
                assert_eq!(lines, usize::from(!forwarded.is_empty()), "{last}");
                assert!(last.contains(forwarded), "{last}");
            }
            let says = answer.to_lowercase().contains("\r\nallow: get, head");
            let own =
                *status == 405 || (*method == "OPTIONS" && *status == 200 && forwarded.is_none());
            assert_eq!(says, own, "{head}: {answer}");
        }
    }
    let log = tidegate
        .access
        .wait("logged", |l| l["reason"] == "trace")
        .await;
    assert_eq!(log["status"], 405);
}

#[tokio::test]
async fn trace_that_ends_here_sends_back_no_secrets() {
    let config = one_pool(&["127.0.0.1:9".parse().unwrap()], "").replace(
        "listen: \"127.0.0.1:0\" }]",
        "listen: \"127.0.0.1:0\", trace: pass }]",
    );
    let tidegate = Tidegate::start(&config).await;
    let address = tidegate.address("public");
    let head = "TRACE /a?b HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 0\r\nAuthorization: Bearer s3cret\r\n\
                Cookie: s3cret\r\nX-Api-Key: s3cret\r\nX-Seen: by you\r\n";
    let answer = one(address, head).await.to_lowercase();
    assert!(answer.contains("content-type: message/http"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert!(
        body.starts_with("trace /a?b http/1.1\r\nhost: a.example\r\n"),
        "{body}"
    );
    assert!(
        body.contains("x-seen: by you\r\n") && !body.contains("s3cret"),
        "{body}"
    );
    let mut two = Http2::connect(address).await;
    let mut asked = request(Method::TRACE, "/a");
    asked
        .headers_mut()
        .insert("max-forwards", HeaderValue::from_static("0"));
    let reply = two.send(asked).await.unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.text().contains("host: test.example"), "{reply:?}");
}

#[tokio::test]
async fn trace_is_refused_over_http2_as_well() {
    let tidegate = Tidegate::start(&one_pool(&["127.0.0.1:9".parse().unwrap()], "")).await;
    let mut two = Http2::connect(tidegate.address("public")).await;
    let reply = two.send(request(Method::TRACE, "/")).await.unwrap();
    assert_eq!(reply.status, 405);
    assert!(reply.header("allow").contains("GET"), "{reply:?}");
}

#[tokio::test]
async fn via_names_us_where_it_is_asked_for() {
    let backend = Raw::start(|mut stream, seen, index| async move {
        use tokio::io::AsyncWriteExt;
        read_head(&mut stream, &seen, index).await;
        let answer = b"HTTP/1.0 200 OK\r\nvia: 1.1 inner\r\ncontent-length: 0\r\n\r\n";
        let _ = stream.write_all(answer).await;
    })
    .await;
    let config = one_pool(&[backend.address], "");
    let mut tidegate = Tidegate::start(&config).await;
    let address = tidegate.address("public");
    let seen = || {
        let head = backend.seen().pop().unwrap().to_lowercase();
        let lines = head.lines().filter_map(|l| l.strip_prefix("via: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let via = |reply: &Reply| {
        let all = reply.headers.get_all("via").iter();
        all.map(|v| v.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let reply = send(address, request(Method::GET, "/")).await;
    assert_eq!(
        (seen(), via(&reply)),
        (vec![], vec!["1.1 inner".to_owned()])
    );
    let on = config.clone() + "via: edge-1\n";
    assert_eq!(tidegate.reload(&on).await["result"], "taken");
    for method in [Method::GET, Method::POST] {
        let mut asked = request(method, "/");
        asked
            .headers_mut()
            .insert("via", HeaderValue::from_static("1.0 front"));
        let mut client = Http1::connect(address).await.unwrap();
        let reply = client.send(asked.clone()).await.unwrap();
        assert_eq!(seen().join(", "), "1.0 front, 1.1 edge-1");
        assert_eq!(via(&reply).join(", "), "1.1 inner, 1.0 edge-1");
        let mut two = Http2::connect(address).await;
        two.send(asked).await.unwrap();
        assert_eq!(seen().join(", "), "1.0 front, 2 edge-1");
    }
    one(address, "GET / HTTP/1.0\r\n").await;
    assert_eq!(seen(), ["1.0 edge-1"]);
    let own = one_pool(&["127.0.0.1:9".parse().unwrap()], "") + "via: edge-1\n";
    assert_eq!(tidegate.reload(&own).await["result"], "taken");
    let refused = tokio::time::timeout(PATIENCE, send(address, request(Method::GET, "/")));
    assert!(
        via(&refused.await.unwrap()).is_empty(),
        "an answer of our own"
    );
}
