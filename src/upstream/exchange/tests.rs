use std::time::Duration;

use http::StatusCode;
use pingora_core::ErrorType;
use tokio::io::DuplexStream;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn exchange() -> (Exchange, DuplexStream) {
    let (ours, backend) = tokio::io::duplex(64 * 1024);
    let limits = Limits {
        connect: SECOND,
        silence: SECOND,
        write: SECOND,
    };
    (
        Exchange::new(Stream::Other(Box::new(ours)), limits),
        backend,
    )
}

async fn ask(exchange: &mut Exchange, method: &str) {
    let mut request = RequestHeader::build(method, b"/", None).unwrap();
    request.insert_header("host", "a").unwrap();
    exchange.send(&request).await.unwrap();
}

/// Status and body of a final response, and whether the connection may be used again.
type Seen = (u16, String, bool);

/// What is seen of these pieces.
async fn read(method: &str, pieces: &[&str], closes: bool) -> Result<Seen> {
    let (mut exchange, mut backend) = exchange();
    ask(&mut exchange, method).await;
    let writing = async {
        for piece in pieces {
            backend.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        (!closes).then_some(backend)
    };
    let reading = async {
        let mut response = exchange.response().await?;
        while response.status.is_informational() {
            response = exchange.response().await?;
        }
        let mut body = Vec::new();
        while let Some(piece) = exchange.body().await? {
            body.extend_from_slice(&piece);
        }
        let body = String::from_utf8(body).unwrap();
        Ok((
            response.status.as_u16(),
            body,
            exchange.into_idle().is_some(),
        ))
    };
    let (_backend, read) = tokio::join!(writing, reading);
    read
}

#[tokio::test]
async fn a_body_ends_where_its_head_says() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let hello = |kept| (200, "hello".to_owned(), kept);
    let cases: [(&[&str], bool, Seen); 8] = [
        (&[length, "hello"], false, hello(true)),
        (&[length, "hel", "lo"], false, hello(true)),
        (
            &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!"],
            false,
            hello(false),
        ),
        (
            &[chunked, "2\r\nhe\r\n3\r", "\nllo\r\n0\r\n\r\n"],
            false,
            hello(true),
        ),
        (&["HTTP/1.1 200 OK\r\n\r\n", "hello"], true, hello(false)),
        (
            &["HTTP/1.1 100 Continue\r\n\r\n", length, "hello"],
            false,
            hello(true),
        ),
        (
            &["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"],
            false,
            hello(false),
        ),
        (
            &["HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
            false,
            hello(false),
        ),
    ];
    for (pieces, closes, expected) in cases {
        assert_eq!(
            read("GET", pieces, closes).await.unwrap(),
            expected,
            "{pieces:?}"
        );
    }
}

#[tokio::test]
async fn some_responses_have_no_body_whatever_they_say() {
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
        let seen = read(method, &[&head], false).await.unwrap();
        assert_eq!(seen, (status, String::new(), true));
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_an_error() {
    for piece in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ] {
        let error = read("GET", &[piece], true).await.unwrap_err();
        assert_eq!(*error.etype(), ErrorType::ConnectionClosed, "{piece:?}");
        assert!(!error.retry(), "{piece:?}");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_told_from_one_that_broke() {
    let (mut exchange, backend) = exchange();
    ask(&mut exchange, "GET").await;
    drop(backend);
    let mut error = exchange.response().await.unwrap_err();
    error.retry.decide_reuse(true);
    assert!(error.retry());
}

#[tokio::test(start_paused = true)]
async fn silence_is_bounded() {
    let (mut exchange, mut backend) = exchange();
    ask(&mut exchange, "GET").await;
    let late = exchange.response().await.unwrap_err();
    assert_eq!(*late.etype(), ErrorType::ReadTimedout);
    backend
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        .await
        .unwrap();
    assert_eq!(exchange.response().await.unwrap().status, StatusCode::OK);
    assert_eq!(exchange.body().await.unwrap().unwrap(), "hel");
    let late = exchange.body().await.unwrap_err();
    assert_eq!(*late.etype(), ErrorType::ReadTimedout);
}

#[tokio::test]
async fn a_piece_that_does_not_come_loses_nothing() {
    use futures_util::FutureExt;
    let (mut exchange, mut backend) = exchange();
    ask(&mut exchange, "GET").await;
    backend
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        .await
        .unwrap();
    exchange.response().await.unwrap();
    assert!(exchange.body().now_or_never().is_none());
    backend.write_all(b"hello").await.unwrap();
    assert_eq!(exchange.body().await.unwrap().unwrap(), "hello");
    assert!(exchange.is_over());
}
