use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode};
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::*;

const FREE_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// One request on a connection of its own, by HTTP/1.
async fn send(address: SocketAddr, method: Method, path: &str, body: Body) -> Response<Incoming> {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "demo.example")
        .body(body);
    sender.send_request(request.unwrap()).await.unwrap()
}

async fn get(address: SocketAddr, path: &str) -> (StatusCode, Bytes) {
    let response = send(address, Method::GET, path, Body::empty()).await;
    let status = response.status();
    (
        status,
        response.into_body().collect().await.unwrap().to_bytes(),
    )
}

async fn text(address: SocketAddr, path: &str) -> String {
    String::from_utf8(get(address, path).await.1.to_vec()).unwrap()
}

#[tokio::test]
async fn every_path_over_http1() {
    let backend = DemoBackend::start(FREE_PORT).await.unwrap();
    let at = backend.address;
    assert!(text(at, "/").await.contains("host: demo.example"));
    assert_eq!(text(at, "/healthz").await, "ok\n");
    assert_eq!(text(at, "/slow?ms=1").await, "Backend a waited 1 ms\n");
    assert_eq!(
        get(at, "/status/503").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(get(at, "/status/101").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(get(at, "/nothing").await.0, StatusCode::NOT_FOUND);
    let echoed = send(at, Method::PUT, "/echo", Body::from("hello")).await;
    assert_eq!(echoed.headers()["x-backend"], "a");
    assert_eq!(
        echoed.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
    let head: serde_json::Value = serde_json::from_str(&text(at, "/headers?x=1").await).unwrap();
    assert_eq!(
        (&head["method"], &head["uri"]),
        (
            &serde_json::json!("GET"),
            &serde_json::json!("/headers?x=1")
        )
    );
    assert_eq!(
        head["headers"][0],
        serde_json::json!(["host", "demo.example"])
    );
    assert_eq!((backend.requests(), backend.probes()), (7, 1));
    backend.stop().await;
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test]
async fn bodies_of_any_size() {
    let backend = DemoBackend::start(FREE_PORT).await.unwrap();
    let sized = send(
        backend.address,
        Method::GET,
        "/bytes?n=200001",
        Body::empty(),
    )
    .await;
    assert_eq!(sized.headers()["content-length"], "200001");
    assert_eq!(
        sized.into_body().collect().await.unwrap().to_bytes().len(),
        200_001
    );
    let chunked = send(
        backend.address,
        Method::GET,
        "/bytes?n=200001&chunked=1",
        Body::empty(),
    )
    .await;
    assert!(!chunked.headers().contains_key("content-length"));
    assert_eq!(
        chunked
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .len(),
        200_001
    );
    let upload = send(
        backend.address,
        Method::POST,
        "/upload",
        Body::from(vec![0; 5 << 20]),
    )
    .await;
    assert_eq!(
        upload.into_body().collect().await.unwrap().to_bytes(),
        "5242880\n"
    );
}

#[tokio::test]
async fn http2_on_the_same_port() {
    let backend = DemoBackend::start(FREE_PORT).await.unwrap();
    let io = TokioIo::new(TcpStream::connect(backend.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .uri("http://demo.example/")
        .body(Body::empty())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.ends_with(b"by HTTP/2.0\n"), "{body:?}");
}

#[tokio::test]
async fn dead_cuts_connections_and_comes_back() {
    let backend = DemoBackend::start(FREE_PORT).await.unwrap();
    let url = format!("ws://{}/ws", backend.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
    let mut idle = TcpStream::connect(backend.address).await.unwrap();

    backend.set_mode(Mode::Dead).await.unwrap();
    let refused = TcpStream::connect(backend.address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert!(
        !matches!(socket.next().await, Some(Ok(_))),
        "the WebSocket is cut"
    );
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);

    backend.set_mode(Mode::Healthy).await.unwrap();
    assert_eq!(text(backend.address, "/healthz").await, "ok\n");
}

#[tokio::test]
async fn failing_and_hanging() {
    let backend = DemoBackend::start(FREE_PORT).await.unwrap();
    let at = backend.address;
    backend.set_mode(Mode::Failing).await.unwrap();
    assert_eq!(get(at, "/").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(at, "/healthz").await.0, StatusCode::OK);
    backend.set_mode(Mode::FailingAll).await.unwrap();
    assert_eq!(
        get(at, "/healthz").await.0,
        StatusCode::INTERNAL_SERVER_ERROR
    );

    backend.set_mode(Mode::Hanging).await.unwrap();
    let before = backend.requests();
    let mut waiting = tokio::spawn(async move { get(at, "/").await.0 });
    while backend.requests() == before {
        tokio::task::yield_now().await;
    }
    assert!(
        tokio::time::timeout(Duration::from_millis(20), &mut waiting)
            .await
            .is_err()
    );
    backend.set_mode(Mode::Healthy).await.unwrap();
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn the_switch() {
    let a = Arc::new(DemoBackend::start(FREE_PORT).await.unwrap());
    let b = Arc::new(DemoBackend::start_named("b", FREE_PORT).await.unwrap());
    let control = Control::start(FREE_PORT, vec![Arc::clone(&a), Arc::clone(&b)])
        .await
        .unwrap();
    let post = async |path: &str| {
        send(control.address, Method::POST, path, Body::empty())
            .await
            .status()
    };
    assert_eq!(post("/backends/b/slow").await, StatusCode::OK);
    assert_eq!((a.mode(), b.mode()), (Mode::Healthy, Mode::Slow));
    assert_eq!(post("/backends/c/slow").await, StatusCode::NOT_FOUND);
    assert_eq!(post("/backends/a/sleepy").await, StatusCode::BAD_REQUEST);
    let listed: serde_json::Value =
        serde_json::from_str(&text(control.address, "/").await).unwrap();
    assert_eq!(
        (&listed[1]["name"], &listed[1]["mode"]),
        (&serde_json::json!("b"), &serde_json::json!("slow"))
    );
    control.stop().await;
    assert!(TcpStream::connect(a.address).await.is_err());
}

#[test]
fn names() {
    assert_eq!([0, 3, 25, 26].map(name_of), ["a", "d", "z", "b27"]);
}
