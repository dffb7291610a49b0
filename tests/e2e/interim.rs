//! Streams of HTTP/2 beyond a plain request and its response: what comes before the final head, and what comes after a fault.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Raw, read_head};
use crate::harness::{PATIENCE, Tidegate};
use crate::setup::one_pool;

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

/// A POST of four bytes that waits for a 100.
fn expecting(sender: &mut SendRequest<Bytes>) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post("http://test.example/x")
        .header("expect", "100-continue")
        .header("content-length", 4)
        .body(())
        .unwrap();
    sender.send_request(request, false).unwrap()
}

/// The next interim response; `None` once the final one is there.
async fn interim(response: &mut ResponseFuture) -> Option<http::Response<()>> {
    let next = poll_fn(|cx| response.poll_informational(cx));
    let next = tokio::time::timeout(PATIENCE, next).await;
    next.expect("neither an interim nor a final response")
        .map(Result::unwrap)
}

/// Answers `first` to a head and then, if there is a body to be read, `second` and the body.
async fn backend(first: &'static [u8], second: &'static [u8]) -> Raw {
    Raw::start(move |mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let _ = stream.write_all(first).await;
        if second.is_empty() {
            // Until the other side is done.
            let _ = stream.read(&mut [0; 16]).await;
            return;
        }
        let mut data = [0; 4];
        let _ = stream.read_exact(&mut data).await;
        let _ = stream.write_all(&[second, &data[..]].concat()).await;
    })
    .await
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Whatever the backend says, a client that waits for a 100 gets one and only one, and nothing interim behind the final head.
#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_one_of_the_backend_or_of_us() {
    const HINTS: &[u8] =
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: x-a\r\nx-a: 1\r\n\r\n";
    const BOTH: &[u8] =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    const LATE: &[u8] =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
    for (name, first, second, expected) in [
        ("of the backend", CONTINUE, OK, &[100][..]),
        ("of us", b"", OK, &[100]),
        ("of us, not twice", b"", LATE, &[100]),
        ("hints, then of us", HINTS, OK, &[103, 100]),
        ("then hints", BOTH, OK, &[100, 103]),
    ] {
        let backend = backend(first, second).await;
        let tidegate = Tidegate::start(&one_pool(&[backend.address], "")).await;
        let mut sender = connect(tidegate.address("public")).await;
        let (mut response, mut upload) = expecting(&mut sender);
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            let interim = interim(&mut response).await.expect(name);
            assert!(!interim.headers().contains_key("x-a"), "{name}");
            let link = interim.headers().contains_key("link");
            assert_eq!(link, interim.status() == 103, "{name}");
            seen.push(interim.status().as_u16());
        }
        assert_eq!(seen, expected, "{name}");
        upload.send_data(Bytes::from_static(b"data"), true).unwrap();
        assert!(interim(&mut response).await.is_none(), "{name}");
        let mut response = response.await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        let body = response.body_mut().data().await.unwrap().unwrap();
        assert_eq!(body, "data", "{name}");
        assert!(response.body_mut().data().await.is_none(), "{name}");
    }
}

/// An interim response to a request without a body, and one to a HEAD.
#[tokio::test]
async fn hints_come_before_the_response() {
    let backend = Raw::answering(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let tidegate = Tidegate::start(&one_pool(&[backend.address], "")).await;
    for method in ["GET", "HEAD", "POST"] {
        let mut sender = connect(tidegate.address("public")).await;
        let request = Request::builder()
            .method(method)
            .uri("http://test.example/x")
            .body(())
            .unwrap();
        let (mut response, _) = sender.send_request(request, true).unwrap();
        let hints = interim(&mut response).await.expect(method);
        assert_eq!(hints.status(), StatusCode::EARLY_HINTS, "{method}");
        assert!(interim(&mut response).await.is_none(), "{method}");
        let response = response.await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{method}");
        assert!(response.body().is_end_stream(), "{method}");
    }
}

/// A backend with no use for the body says so at once: the client gets the whole answer, and is then told to send no more.
#[tokio::test]
async fn a_refusal_comes_before_the_body() {
    let backend = backend(
        b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nno\n",
        b"",
    )
    .await;
    let tidegate = Tidegate::start(&one_pool(&[backend.address], "")).await;
    let mut sender = connect(tidegate.address("public")).await;
    let (mut response, mut upload) = expecting(&mut sender);
    assert!(interim(&mut response).await.is_none());
    let mut response = response.await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let body = response.body_mut().data().await.unwrap().unwrap();
    assert_eq!(body, "no\n");
    let reset = poll_fn(|cx| upload.poll_reset(cx));
    let reset = tokio::time::timeout(PATIENCE, reset).await.unwrap();
    assert_eq!(reset.unwrap(), Reason::NO_ERROR);
    // The connection goes on.
    let (response, _) = expecting(&mut sender);
    assert_eq!(response.await.unwrap().status(), 413);
}

/// A body that breaks off ends with a reset, never as if it were whole.
#[tokio::test]
async fn a_body_that_breaks_off_is_reset() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n",
    ] {
        let backend = Raw::answering(answer).await;
        let tidegate = Tidegate::start(&one_pool(&[backend.address], "")).await;
        let mut sender = connect(tidegate.address("public")).await;
        let request = Request::get("http://test.example/x").body(()).unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        let broken = tokio::time::timeout(PATIENCE, whole(response)).await;
        let broken = broken.unwrap().unwrap_err();
        assert!(broken.is_reset() && broken.is_remote(), "{broken}");
    }
}

/// Reads a response to its end. h2's client may learn of a reset before it is asked for what came first.
async fn whole(response: ResponseFuture) -> Result<(), h2::Error> {
    let mut body = response.await?.into_body();
    while let Some(data) = body.data().await {
        assert_eq!(data?, "some");
    }
    Ok(())
}

/// What a client that was told to go on sends too slowly is its fault as before.
#[tokio::test]
async fn a_100_lifts_no_bound_of_the_body() {
    let backend = backend(CONTINUE, OK).await;
    let limits = "limits: { request_body_idle_timeout: 1s, min_rate_grace: 500ms }";
    let named = "name: public,";
    let config = one_pool(&[backend.address], "").replace(named, &format!("{named} {limits},"));
    let tidegate = Tidegate::start(&config).await;
    let mut sender = connect(tidegate.address("public")).await;
    let (mut response, mut upload) = expecting(&mut sender);
    let interim = interim(&mut response).await.unwrap();
    assert_eq!(interim.status(), StatusCode::CONTINUE);
    upload.send_data(Bytes::from_static(b"d"), false).unwrap();
    let ended = tokio::time::timeout(PATIENCE, response).await.unwrap();
    assert_eq!(ended.unwrap_err().reason(), Some(Reason::ENHANCE_YOUR_CALM));
}
