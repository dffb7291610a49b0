use std::future::poll_fn;

use pingora_core::ErrorType;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

fn exchange() -> (Exchange, DuplexStream) {
    let (ours, backend) = tokio::io::duplex(256 * 1024);
    (Exchange::new(Stream::Other(Box::new(ours))), backend)
}

async fn ask(exchange: &mut Exchange, method: &str) {
    let mut request = RequestHeader::build(method, b"/", None).unwrap();
    request.insert_header("host", "a").unwrap();
    exchange.begin(&request, Framing::None).unwrap();
    flush(exchange).await;
}

async fn flush(exchange: &mut Exchange) {
    poll_fn(|cx| exchange.poll_flush(cx)).await.unwrap();
}

async fn response(exchange: &mut Exchange) -> Result<Box<ResponseHeader>> {
    poll_fn(|cx| exchange.poll_response(cx)).await
}

async fn body(exchange: &mut Exchange) -> Result<Option<Bytes>> {
    poll_fn(|cx| exchange.poll_body(cx)).await
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
        let mut head = response(&mut exchange).await?;
        while head.status.is_informational() {
            head = response(&mut exchange).await?;
        }
        let mut read = Vec::new();
        while let Some(piece) = body(&mut exchange).await? {
            read.extend_from_slice(&piece);
        }
        let read = String::from_utf8(read).unwrap();
        let status = head.status.as_u16();
        Ok((status, read, exchange.into_idle().is_some()))
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
    let mut error = response(&mut exchange).await.unwrap_err();
    error.retry.decide_reuse(true);
    assert!(error.retry());
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
    response(&mut exchange).await.unwrap();
    assert!(body(&mut exchange).now_or_never().is_none());
    backend.write_all(b"hello").await.unwrap();
    assert_eq!(body(&mut exchange).await.unwrap().unwrap(), "hello");
    assert!(exchange.is_over());
}

/// What the backend reads of a request with these pieces of a body.
async fn sent(framing: Framing, pieces: &[usize]) -> Result<String> {
    let (mut exchange, mut backend) = exchange();
    let mut request = RequestHeader::build("POST", b"/", None).unwrap();
    request.insert_header("host", "a").unwrap();
    exchange.begin(&request, framing).unwrap();
    assert!(exchange.is_untouched());
    for length in pieces {
        exchange.piece(Bytes::from(vec![b'x'; *length]))?;
        assert!(!exchange.has_room());
        flush(&mut exchange).await;
    }
    exchange.end()?;
    flush(&mut exchange).await;
    assert!(!exchange.is_untouched() && !exchange.owes());
    drop(exchange);
    let mut read = String::new();
    backend.read_to_string(&mut read).await.unwrap();
    Ok(read.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn a_body_goes_out_in_its_frame_whole_or_not_at_all() {
    let large = 100_000;
    assert_eq!(sent(Framing::Length(5), &[2, 3]).await.unwrap(), "xxxxx");
    let chunks = sent(Framing::Chunked, &[2, 17, 0]).await.unwrap();
    let expected = format!("2\r\nxx\r\n11\r\n{}\r\n0\r\n\r\n", "x".repeat(17));
    assert_eq!(chunks, expected);
    let chunk = sent(Framing::Chunked, &[large]).await.unwrap();
    let expected = format!("186a0\r\n{}\r\n0\r\n\r\n", "x".repeat(large));
    assert_eq!(chunk, expected);
    let whole = sent(Framing::Length(large as u64), &[large]).await.unwrap();
    assert_eq!(whole.len(), large);
    assert!(sent(Framing::Length(5), &[2, 2]).await.is_err());
    assert!(sent(Framing::Length(5), &[2, 4]).await.is_err());
    assert!(sent(Framing::None, &[1]).await.is_err());
}
