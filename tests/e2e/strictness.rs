//! One strict reading over every version of HTTP: what is refused over one is refused over the other, logged and counted, and
//! no answer is Pingora's own.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{self, Http2, raw};
use crate::frames::{self, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, frame};
use crate::harness::{PATIENCE, Tidegate};
use crate::listening::{TLS, certificate};
use crate::strict::Strict;

async fn start(backend: SocketAddr, listener: &str) -> Tidegate {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "test.example");
    let config = format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - name: public
    listen: "127.0.0.1:0"
{listener}
  - name: secure
    listen: "127.0.0.1:0"
{TLS}{listener}
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools: {{ web: {{ backends: ["{backend}"] }} }}
"#
    );
    Tidegate::start_in(dir, &config).await
}

/// What came of one stream: the text of its answer, `reset`, or `closed` for the whole connection.
async fn stream(
    client: &mut Frames<impl frames::Stream>,
    stream: u32,
    fields: &[(&str, &str)],
) -> String {
    let block = frames::block(fields);
    let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
    client.send(&head).await;
    let mut text = String::new();
    loop {
        let Some(next) = client.next().await else {
            return "closed".to_owned();
        };
        if next.kind == GOAWAY {
            return "closed".to_owned();
        }
        if next.stream != stream {
            continue;
        }
        match next.kind {
            frames::RST_STREAM => return "reset".to_owned(),
            HEADERS if next.flags & END_STREAM != 0 => return "status only".to_owned(),
            HEADERS => {
                let block = String::from_utf8_lossy(&next.payload).into_owned();
                assert!(!block.contains("Pingora"), "{block}");
            }
            DATA => text += &String::from_utf8_lossy(&next.payload),
            _ => {}
        }
        if next.flags & END_STREAM != 0 {
            return text;
        }
    }
}

/// The usual head with one of its parts changed, or with one field more.
fn head<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "test.example"),
        (":path", "/"),
    ];
    match fields.iter_mut().find(|(usual, _)| *usual == name) {
        Some(field) => field.1 = value,
        None => fields.push((name, value)),
    }
    fields
}

/// What each head is over HTTP/2: `ok`, our own refusal, or what h2 and Pingora say before us (`reset`, `status only`,
/// `closed`), with the reason that stands in the log then.
const OVER_HTTP2: &[(&str, &str, &str, &str)] = &[
    ("x", "y", "ok", ""),
    (":path", "/a?b={c}|`d", "ok", ""),
    (":authority", "a:", "ok", ""),
    ("te", "trailers", "ok", ""),
    (":authority", "a,b", "400: host_bad\n", "host_bad"),
    (":authority", ":80", "400: host_bad\n", "host_bad"),
    (":authority", "a:99999", "400: host_bad\n", "host_bad"),
    (":authority", "a;b", "400: host_bad\n", "host_bad"),
    (":authority", "u@a", "status only", "authority_bad"),
    ("host", "other.example", "status only", "authority_bad"),
    (":path", "?x", "400: target_bad\n", "target_bad"),
    (":path", "*", "400: target_bad\n", "target_bad"),
    (":path", "/\u{e9}", "400: target_bad\n", "target_bad"),
    (":path", "/?q=\u{e9}", "400: target_bad\n", "target_bad"),
    (":path", "http://a/", "reset", "http2_malformed"),
    (":path", "/a<b", "reset", "http2_malformed"),
    (":path", "/a`", "reset", "http2_malformed"),
    (":path", "/?q=\"x\"", "reset", "http2_malformed"),
    (":path", "", "reset", "http2_malformed"),
    (":path", "/ x", "reset", "http2_malformed"),
    (":scheme", "", "400: scheme_bad\n", "scheme_bad"),
    (":scheme", "ftp", "400: scheme_bad\n", "scheme_bad"),
    (
        ":method",
        "X23456789012345678901234567890123",
        "400: method_bad\n",
        "method_bad",
    ),
    ("content_length", "5", "400: name_bad\n", "name_bad"),
    (
        "transfer_encoding",
        "chunked",
        "400: name_bad\n",
        "name_bad",
    ),
    (
        "transfer.encoding",
        "chunked",
        "400: name_bad\n",
        "name_bad",
    ),
    ("x\"a", "y", "400: name_bad\n", "name_bad"),
    ("x", " y", "400: value_bad\n", "value_bad"),
    (
        "content-length",
        "18446744073709551615",
        "reset",
        "http2_malformed",
    ),
    ("content-length", "5", "reset", "http2_malformed"),
    ("connection", "close", "reset", "http2_malformed"),
    ("keep-alive", "5", "reset", "http2_malformed"),
    ("upgrade", "websocket", "reset", "http2_malformed"),
    ("te", "gzip", "reset", "http2_malformed"),
    ("transfer-encoding", "chunked", "reset", "http2_malformed"),
];

#[tokio::test]
async fn heads_of_http2_are_read_as_strictly_as_those_of_http1() {
    let backend = Strict::start().await;
    let tidegate = start(backend.address, "").await;
    for listener in ["public", "secure"] {
        for (name, value, wanted, _) in OVER_HTTP2 {
            let case = format!("{listener}: {name}: {value:?}");
            let fields = head(name, value);
            let got = if listener == "secure" {
                let tls = client::tls(tidegate.address(listener), "test.example", b"\x02h2").await;
                // The name that was asked for at the handshake is the one that may be asked for.
                stream(&mut Frames::begin(tls, &[]).await, 1, &fields).await
            } else {
                let tcp = tokio::net::TcpStream::connect(tidegate.address(listener));
                let tcp = tcp.await.unwrap();
                stream(&mut Frames::begin(tcp, &[]).await, 1, &fields).await
            };
            if listener == "secure" && *name == ":authority" && *wanted == "ok" {
                continue;
            }
            assert_eq!(&got, wanted, "{case}");
            let (requests, violations) = backend.take();
            assert!(violations.is_empty(), "{case}: {violations:?}");
            assert_eq!(
                requests.len(),
                usize::from(*wanted == "ok"),
                "{case}: {requests:?}"
            );
        }
        let refused = OVER_HTTP2
            .iter()
            .filter(|(_, _, _, reason)| !reason.is_empty());
        for (_, _, _, reason) in refused.clone() {
            let same = refused
                .clone()
                .filter(|(_, _, _, other)| other == reason)
                .count();
            let series = format!(
                "tidegate_requests_refused_total{{listener=\"{listener}\",reason=\"{reason}\""
            );
            tidegate.wait_metric(&series, same as f64).await;
            let line = tidegate.access.wait_nth(reason, same - 1, |l| {
                l["listener"] == listener && l["reason"] == *reason && l["protocol"] == "HTTP/2.0"
            });
            assert_eq!(line.await["flags"], "DPE");
        }
        let all = format!("tidegate_requests_refused_total{{listener=\"{listener}\"");
        assert_eq!(
            tidegate.metric(&all).await,
            refused.count() as f64,
            "{listener}"
        );
    }
}

#[tokio::test]
async fn limits_of_heads_hold_over_both() {
    let backend = Strict::start().await;
    let limits = "    limits: { max_header_bytes: 16KiB, max_headers: 40, max_uri_bytes: 1KiB }\n";
    let tidegate = start(backend.address, limits).await;
    let fields = |count: usize| vec![("x".to_owned(), "y".to_owned()); count];
    let sized = |bytes: usize| vec![("x".to_owned(), "y".repeat(bytes))];
    let crumbs = |count: usize| vec![("cookie".to_owned(), "a=b".to_owned()); count];
    let long = format!("/{}", "x".repeat(1100));
    for (path, fields, status, over_http1) in [
        ("/", fields(35), 200, 200),
        ("/", fields(60), 431, 431),
        ("/", fields(300), 431, 431),
        ("/", sized(15_000), 200, 200),
        ("/", sized(16_500), 431, 431),
        ("/", sized(40_000), 431, 431),
        (&long, fields(1), 414, 414),
        ("/", crumbs(200), 200, 431),
    ] {
        let mut request = Request::builder().uri(path).header("host", "test.example");
        for (name, value) in &fields {
            request = request.header(name, value);
        }
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let mut h2 = Http2::connect(tidegate.address("public")).await;
        let over_http2 = h2.send(request.clone()).await.unwrap();
        assert_eq!(over_http2.status, status, "{path:.9} {}", fields.len());
        assert_eq!(over_http2.header("server"), "");
        let reply = client::send(tidegate.address("public"), request).await;
        assert_eq!(reply.status, over_http1, "{path:.9} {}", fields.len());
        let (requests, violations) = backend.take();
        assert!(violations.is_empty(), "{violations:?}");
        let good = [status, over_http1].iter().filter(|s| **s == 200).count();
        assert_eq!(requests.len(), good);
    }
    tidegate
        .wait_metric("tidegate_requests_refused_total{listener=\"public\"", 11.0)
        .await;
    tidegate
        .access
        .wait_nth("refusals over HTTP/2", 4, |l| {
            l["flags"] == "DPE" && l["protocol"] == "HTTP/2.0"
        })
        .await;
}

/// Sends over TLS and reads to the end.
async fn raw_tls(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = client::tls(address, "test.example", b"\x08http/1.1").await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Heads, with `HTTP/V` for the version, and why they are refused.
const OVER_HTTP1: &[(&str, &str)] = &[
    ("GET /a<b HTTP/V\r\nHost: a\r\n\r\n", "target_bad"),
    ("GET /a>b HTTP/V\r\nHost: a\r\n\r\n", "target_bad"),
    ("GET /a` HTTP/V\r\nHost: a\r\n\r\n", "target_bad"),
    ("GET /?q=\"x\" HTTP/V\r\nHost: a\r\n\r\n", "target_bad"),
    ("GET /?<> HTTP/V\r\nHost: a\r\n\r\n", "target_bad"),
    ("GET http://a/a<b HTTP/V\r\nHost: a\r\n\r\n", "target_bad"),
    (
        "POST /a<b HTTP/V\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "target_bad",
    ),
    (
        "POST /?\" HTTP/V\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "target_bad",
    ),
    (
        "POST / HTTP/V\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n",
        "cl_bad",
    ),
    (
        "POST / HTTP/V\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
        "cl_bad",
    ),
    ("CONNECT a:443 HTTP/V\r\nHost: a\r\n\r\n", "connect"),
    ("GET / HTTP/V\r\nHost: u@a\r\n\r\n", "host_bad"),
    (
        "GET / HTTP/V\r\nHost: a\r\nContent.Length: 5\r\n\r\n",
        "name_bad",
    ),
    (
        "GET / HTTP/V\r\nHost: a\r\nConnection: X-Forwarded-For\r\n\r\n",
        "connection_names_protected",
    ),
    (
        "POST / HTTP/V\r\nHost: a\r\nConnection: x-forwarded-host\r\nContent-Length: 2\r\n\r\nhi",
        "connection_names_protected",
    ),
    (
        "GET / HTTP/V\r\nHost: a\r\nConnection: close, early-data\r\n\r\n",
        "connection_names_protected",
    ),
    (
        "GET / HTTP/V\r\nHost: a\r\nConnection: \"x\"\r\n\r\n",
        "connection_bad",
    ),
    (
        "GET / HTTP/V\r\nHost: a\r\nConnection: a,b,c,d,e\r\nConnection: f,g,h,i,j\r\n\r\n",
        "connection_bad",
    ),
];

#[tokio::test]
async fn nothing_of_http1_is_answered_by_pingora_alone() {
    let backend = Strict::start().await;
    let tidegate = start(backend.address, "").await;
    for (case, reason) in OVER_HTTP1 {
        for version in ["1.0", "1.1"] {
            let bytes = case.replacen("HTTP/V", &format!("HTTP/{version}"), 1);
            let answers = [
                raw(tidegate.address("public"), bytes.as_bytes()).await,
                raw_tls(tidegate.address("secure"), bytes.as_bytes()).await,
            ];
            for answer in answers {
                assert!(
                    answer.ends_with(&format!(": {reason}\n")),
                    "{bytes:?}: {answer:?}"
                );
                assert!(!answer.to_lowercase().contains("server:"), "{answer}");
            }
        }
    }
    let (requests, violations) = backend.take();
    assert!(
        requests.is_empty() && violations.is_empty(),
        "{requests:?} {violations:?}"
    );
    for listener in ["public", "secure"] {
        let series = format!("tidegate_requests_refused_total{{listener=\"{listener}\"");
        let all = 2 * OVER_HTTP1.len();
        tidegate.wait_metric(&series, all as f64).await;
        let refused = |l: &serde_json::Value| l["listener"] == listener && l["flags"] == "DPE";
        tidegate
            .access
            .wait_nth("log lines", all - 1, refused)
            .await;
    }
}

#[tokio::test]
async fn absolute_targets_reach_backends_in_origin_form_with_or_without_a_body() {
    let backend = Strict::start().await;
    let tidegate = start(backend.address, "").await;
    for (target, host, wanted) in [
        ("http://a/x?y", "Host: a\r\n", "/x?y"),
        ("http://a:80/x", "Host: a\r\n", "/x"),
        ("HTTP://A?x", "Host: a\r\n", "/?x"),
        ("https://a", "Host: a:443\r\n", "/"),
        ("http://[::1]:81/", "Host: [::1]:81\r\n", "/"),
    ] {
        for (method, body) in [("GET", "\r\n"), ("POST", "Content-Length: 2\r\n\r\nhi")] {
            let bytes = format!("{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{body}");
            let answer = raw(tidegate.address("public"), bytes.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{bytes}: {answer}");
            let (requests, violations) = backend.take();
            assert!(violations.is_empty(), "{violations:?}");
            assert_eq!(requests[0].line, format!("{method} {wanted} HTTP/1.1"));
        }
    }
    let old = b"GET http://old.example/x HTTP/1.0\r\n\r\n";
    let answer = raw(tidegate.address("public"), old).await;
    assert!(answer.contains(" 200 "), "{answer}");
    let seen = &backend.take().0[0];
    assert_eq!(seen.line, "GET /x HTTP/1.1");
    assert!(
        seen.fields
            .contains(&("host".to_owned(), "old.example".to_owned()))
    );
}
