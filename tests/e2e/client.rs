//! Clients: HTTP/1.1 and HTTP/2 in clear text and over TLS, and one that sends the bytes it is told.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A whole response.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

/// A request without a body.
pub fn request(method: Method, path: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "test.example")
        .body(Full::default())
        .unwrap()
}

/// GET on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Reply {
    send(address, request(Method::GET, path)).await
}

/// A request to the admin listener by its address, as operators send it.
pub fn admin_request(method: Method, address: SocketAddr, path: &str) -> Request<Full<Bytes>> {
    let mut request = request(method, path);
    let host = address.to_string().parse().unwrap();
    request.headers_mut().insert("host", host);
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert("content-type", json);
    request
}

/// GET from the admin listener, by its address.
pub async fn get_admin(address: SocketAddr, path: &str) -> Reply {
    send(address, admin_request(Method::GET, address, path)).await
}

/// One request on a connection of its own.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Reply {
    try_send(address, request).await.unwrap()
}

/// The same, when it may fail.
pub async fn try_send(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
    let mut connection = Http1::connect(address).await?;
    connection.send(request).await
}

/// A kept-alive HTTP/1.1 connection.
pub struct Http1(http1::SendRequest<Full<Bytes>>);

impl Http1 {
    pub async fn connect(
        address: SocketAddr,
    ) -> Result<Http1, Box<dyn std::error::Error + Send + Sync>> {
        Http1::over(TcpStream::connect(address).await?).await
    }

    pub async fn over<S>(stream: S) -> Result<Http1, Box<dyn std::error::Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Http1(sender))
    }

    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        self.0.ready().await?;
        whole(self.0.send_request(request).await?).await
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(request(Method::GET, path)).await.unwrap()
    }
}

/// An HTTP/2 connection; clones share it.
#[derive(Clone)]
pub struct Http2(http2::SendRequest<Full<Bytes>>);

impl Http2 {
    /// Prior knowledge, in clear text.
    pub async fn connect(address: SocketAddr) -> Http2 {
        Http2::over(TcpStream::connect(address).await.unwrap()).await
    }

    pub async fn over<S>(stream: S) -> Http2
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Http2(sender)
    }

    pub async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let path = request.uri().to_string();
        let host = request.headers_mut().remove("host").unwrap();
        *request.uri_mut() = format!("http://{}{path}", host.to_str()?).parse()?;
        self.0.ready().await?;
        whole(self.0.send_request(request).await?).await
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(request(Method::GET, path)).await.unwrap()
    }
}

async fn whole(
    response: http::Response<hyper::body::Incoming>,
) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = response.into_parts();
    let collected = body.collect().await?;
    Ok(Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body: collected.to_bytes(),
    })
}

/// Sends these bytes and reads to the end of the connection.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let done = tokio::time::timeout(crate::harness::PATIENCE, read).await;
    // A reset after the answer is an end, too.
    let _ = done.expect("the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A TLS connection that takes any certificate.
pub async fn tls(
    address: SocketAddr,
    name: &str,
    alpn: &[u8],
) -> tokio_boring::SslStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    tls_over(stream, name, alpn).await
}

/// The same, over a connection that is there.
pub async fn tls_over(
    stream: TcpStream,
    name: &str,
    alpn: &[u8],
) -> tokio_boring::SslStream<TcpStream> {
    use boring::ssl::{SslConnector, SslMethod, SslVerifyMode};
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_alpn_protos(alpn).unwrap();
    let config = connector.build().configure().unwrap();
    tokio_boring::connect(config, name, stream).await.unwrap()
}
