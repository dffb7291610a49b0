//! The tables of `tests/smuggling/` against the real process: a backend that reads by the letter sees the one clean
//! reading of a request or nothing, and a client the one clean reading of a response or 502.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Raw, read_head};
use crate::client;
use crate::harness::{PATIENCE, Tidegate};
use crate::strict::{Seen, Strict, find};

const CANARY: &[u8] = b"GET /canary HTTP/1.1\r\nhost: c\r\nconnection: close\r\n\r\n";

/// With the limits that the tables are written for.
async fn in_front_of(backend: SocketAddr) -> Tidegate {
    Tidegate::start(&format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - name: public
    listen: "127.0.0.1:0"
    limits: {{ max_header_bytes: 4KiB, max_headers: 24, max_uri_bytes: 256, max_new_per_address: 0 }}
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools: {{ web: {{ backends: ["{backend}"], retry: {{ attempts: 0 }} }} }}
"#
    ))
    .await
}

/// Verdict, text and bytes of every line.
fn cases(file: &str) -> Vec<(&str, &str, Vec<u8>)> {
    let lines = file
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|line| {
            let (verdict, text) = line.split_once('|').unwrap();
            let text = text.strip_prefix(' ').unwrap_or(text);
            (verdict.trim(), text, unescape(&repeat(text)))
        })
        .collect()
}

/// Writes out every `{text*times}`.
fn repeat(text: &str) -> String {
    let part = regex::Regex::new(r"\{([^{}*]+)\*([0-9]+)\}").unwrap();
    let written = part.replace_all(text, |found: &regex::Captures<'_>| {
        found[1].repeat(found[2].parse().unwrap())
    });
    written.into_owned()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match (byte, byte == b'\\') {
            (_, false) => byte,
            _ => match bytes.next().unwrap() {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
        });
    }
    out
}

/// Sends the bytes, says that no more come, and reads to the end.
async fn send(address: SocketAddr, bytes: &[u8], half_close: bool) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    if half_close {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
    let _ = read.await.expect("the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_canary(seen: &Seen) -> bool {
    seen.line == "GET /canary HTTP/1.1"
}

#[tokio::test]
async fn heads_reach_the_backend_as_their_one_reading_or_not_at_all() {
    let backend = Strict::start().await;
    let tidegate = in_front_of(backend.address).await;
    let (mut wrong, mut forwarded, mut refusals) = (String::new(), 0, 0);
    for (verdict, text, bytes) in cases(include_str!("../smuggling/heads.txt")) {
        let refused = verdict.split(' ').next().unwrap();
        let is_refused = refused.parse::<u16>().is_ok();
        let length: u64 = match verdict.strip_prefix("length ") {
            Some(length) => length.parse().unwrap(),
            None => 0,
        };
        let head_end = find(&bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        let whole = !is_refused && verdict != "more" && length < 10_000;
        let mut sent = if whole {
            bytes[..head_end].to_vec()
        } else {
            bytes.clone()
        };
        let body = if verdict == "chunked" {
            b"3\r\nabc\r\n0\r\n\r\n".to_vec()
        } else {
            vec![b'b'; length.min(10_000) as usize]
        };
        if whole {
            sent.extend_from_slice(&body);
        }
        if verdict != "more" && length < 10_000 {
            sent.extend_from_slice(CANARY);
        }
        let half_close = verdict == "more" || length >= 10_000;
        let answer = send(tidegate.address("public"), &sent, half_close).await;
        let (requests, violations) = backend.take();
        let decoded = if verdict == "chunked" {
            &b"abc"[..]
        } else {
            &body
        };
        let others: Vec<&Seen> = requests.iter().filter(|seen| !is_canary(seen)).collect();
        let clean = violations.is_empty()
            && match whole {
                false => requests.is_empty(),
                // What is refused later, by its path, say, is not seen either.
                true => others.len() <= 1 && others.iter().all(|seen| seen.body == decoded),
            };
        let told = !is_refused || answer.starts_with(&format!("HTTP/1.1 {refused}"));
        let told = told && !answer.to_lowercase().contains("server:");
        refusals += usize::from(is_refused);
        if !clean || !told {
            wrong += &format!("\n{verdict}: {text}: {requests:?} {violations:?}: {answer:.80}");
        }
        forwarded += others.len();
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(forwarded >= 35, "only {forwarded} were forwarded");
    let all = tidegate
        .access
        .wait_nth("a line for each refusal", refusals - 1, |line| {
            line["flags"] == "DPE"
        });
    all.await;
    let series = "tidegate_requests_refused_total{listener=\"public\"";
    tidegate.wait_metric(series, refusals as f64).await;
}

#[tokio::test]
async fn chunked_bodies_reach_the_backend_whole_or_never_end() {
    let backend = Strict::start().await;
    let tidegate = in_front_of(backend.address).await;
    let head = b"POST /case HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut wrong = String::new();
    for (verdict, text, bytes) in cases(include_str!("../smuggling/bodies.txt")) {
        let done = verdict
            .strip_prefix("done ")
            .map(|n| n.parse::<usize>().unwrap());
        let body = &bytes[..bytes.len() - done.unwrap_or(0)];
        let sent = match verdict {
            "more" => [head, body].concat(),
            _ => [head, body, CANARY].concat(),
        };
        let answer = send(tidegate.address("public"), &sent, verdict == "more").await;
        let (requests, violations) = backend.take();
        let lines: Vec<&str> = requests.iter().map(|seen| seen.line.as_str()).collect();
        let expected: &[&str] = match done {
            Some(_) => &["POST /case HTTP/1.1", "GET /canary HTTP/1.1"],
            None => &[],
        };
        if lines != expected || !violations.is_empty() {
            wrong += &format!("\n{verdict}: {text}: {lines:?} {violations:?}: {answer:.80}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn responses_reach_the_client_as_their_one_reading_or_as_502() {
    let mut wrong = String::new();
    for (verdict, text, bytes) in cases(include_str!("../smuggling/responses.txt")) {
        let first = bytes.clone();
        let backend = Raw::start(move |mut stream, seen, index| {
            let bytes = first.clone();
            async move {
                read_head(&mut stream, &seen, index).await;
                let canary = seen.lock().unwrap()[index].starts_with(b"GET /canary");
                let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ncanary";
                let _ = stream.write_all(if canary { ok } else { &bytes }).await;
                // Stays open: a connection that is reused would be read from again.
                let close = text_closes(&bytes);
                let mut more = [0; 1024];
                while !close && matches!(stream.read(&mut more).await, Ok(n) if n > 0) {
                    seen.lock().unwrap()[index].extend_from_slice(b"reused");
                }
            }
        })
        .await;
        let tidegate = tidegate_for_responses(backend.address).await;
        let two = [b"GET /case HTTP/1.1\r\nhost: a\r\n\r\n", CANARY].concat();
        let answer = send(tidegate.address("public"), &two, false).await;
        if let Err(why) = judge(verdict, &answer) {
            wrong += &format!("\n{verdict}: {text}: {why}: {answer:?}");
        }
        if verdict.contains("unused") && backend.seen().iter().any(|seen| seen.contains("reused")) {
            wrong += &format!("\n{verdict}: {text}: the connection was used again");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A body that ends with the connection.
fn text_closes(bytes: &[u8]) -> bool {
    find(bytes, b"X-Close").is_some()
}

async fn tidegate_for_responses(backend: SocketAddr) -> Tidegate {
    Tidegate::start(&format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools: {{ web: {{ backends: ["{backend}"], retry: {{ attempts: 0 }}, timeouts: {{ first_byte: 1s, read: 1s }} }} }}
"#
    ))
    .await
}

/// `STATUS BODY [unused]`, `STATUS cut` for a response that breaks off, in what the client read.
fn judge(verdict: &str, answer: &str) -> Result<(), String> {
    let mut words = verdict.split(' ');
    let (status, body) = (words.next().unwrap(), words.next().unwrap_or_default());
    let start = answer.find(&format!("HTTP/1.1 {status}")).ok_or("status")?;
    let finals = &answer[start..];
    let (head, rest) = finals.split_once("\r\n\r\n").ok_or("head")?;
    for line in head.split("\r\n").skip(1) {
        if line.starts_with([' ', '\t']) || !line.contains(':') || line.contains(['\r', '\n']) {
            return Err(format!("field {line:?}"));
        }
    }
    let lower = head.to_lowercase();
    let framings = lower.matches("\r\ncontent-length:").count()
        + lower.matches("\r\ntransfer-encoding:").count();
    if framings > 1
        || lower.contains("transfer-encoding:")
            && !lower.contains("transfer-encoding: chunked\r\n")
            && !lower.ends_with("transfer-encoding: chunked")
    {
        return Err(format!("framing {head:?}"));
    }
    let ends_well = |text: &str| text.ends_with("canary") || !text.contains("canary");
    match body {
        "cut" if rest.ends_with("0\r\n\r\n") || rest.contains("smuggled") => {
            Err("whole".to_owned())
        }
        "any" if answer.contains("smuggled") => Err("body".to_owned()),
        "cut" | "any" => Ok(()),
        body if !rest.contains(body) || rest.contains("smuggled") || !ends_well(rest) => {
            Err("body".to_owned())
        }
        _ => Ok(()),
    }
}

#[tokio::test]
async fn http2_requests_are_not_smuggled_into_http1() {
    use crate::frames::{self, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, frame};
    let backend = Strict::start().await;
    let tidegate = in_front_of(backend.address).await;
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/case"),
    ];
    let bad: &[&[(&str, &str)]] = &[
        &[("transfer-encoding", "chunked")],
        &[("connection", "close")],
        &[("content-length", "4"), ("content-length", "5")],
        &[("content-length", "x")],
        &[("x", "a\r\nsmuggled: b")],
        &[("x", "a\nb")],
        &[("x", "a\0b")],
        &[("x: y\r\nsmuggled", "b")],
        &[("X-Upper", "b")],
        &[("x y", "b")],
        &[("", "b")],
        &[(":path", "/other")],
        &[("host", "other.example")],
    ];
    for extra in bad {
        let stream = TcpStream::connect(tidegate.address("public"))
            .await
            .unwrap();
        let mut client = Frames::begin(stream, &[]).await;
        let fields = [&usual[..], extra].concat();
        let block = frames::block(&fields);
        client.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
        client
            .send(&frame(DATA, END_STREAM, 1, b"GET /smuggled"))
            .await;
        // A response, a reset, or the end: then it is decided.
        while let Some(frame) = client.next().await {
            if frame.stream == 1 || frame.kind == frames::GOAWAY {
                break;
            }
        }
        let (requests, violations) = backend.take();
        let hosts = |seen: &Seen| {
            seen.fields
                .iter()
                .any(|(n, v)| n == "host" && v.contains("other"))
        };
        assert!(violations.is_empty(), "{extra:?}: {violations:?}");
        assert!(
            requests.is_empty() || !requests.iter().any(hosts),
            "{extra:?}: {requests:?}"
        );
        assert!(
            requests.len() <= 1 && requests.iter().all(|r| r.body == b"GET /smuggled"),
            "{extra:?}: {requests:?}"
        );
    }
    assert_eq!(
        client::get(tidegate.address("public"), "/").await.status,
        200
    );
}
