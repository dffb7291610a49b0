//! Active health: each kind of probe, what it expects, and what a backend can say with its answer.

use std::net::SocketAddr;

use tidegate::demo_backends::Mode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::backend::{Raw, read_head};
use crate::client::get;
use crate::harness::{Tidegate, eventually};
use crate::listening::certificate;
use crate::setup::{demo, one_pool_of};

const QUICK: &str = "interval: 100ms, timeout: 100ms, fast_interval: 100ms";

async fn start(backend: SocketAddr, more: &str, check: &str) -> Tidegate {
    Tidegate::start(&config(backend, more, check)).await
}

fn config(backend: SocketAddr, more: &str, check: &str) -> String {
    let backend = format!("{{ id: one, address: \"{backend}\" }}");
    let pool = format!("    health_check: {{ {QUICK}, {check} }}\n{more}");
    one_pool_of(&backend, &pool)
}

async fn becomes(tidegate: &Tidegate, state: &str) {
    eventually(state, || async {
        tidegate.backend("web", "one").await["state"] == state
    })
    .await;
}

#[tokio::test]
async fn http_over_both_versions_and_tcp() {
    let backend = demo().await;
    for check in [
        "type: http, path: /healthz",
        "type: http2, path: /healthz",
        "type: tcp",
    ] {
        let tidegate = start(backend.address, "", check).await;
        becomes(&tidegate, "healthy").await;
        backend.set_mode(Mode::Dead).await.unwrap();
        becomes(&tidegate, "down").await;
        let told = tidegate.backend("web", "one").await;
        assert_eq!(told["reason"], "probe_refused", "{check}: {told}");
        backend.set_mode(Mode::Healthy).await.unwrap();
        becomes(&tidegate, "healthy").await;
    }
}

#[tokio::test]
async fn a_backend_that_hangs_is_found() {
    let backend = demo().await;
    let tidegate = start(backend.address, "", "path: /healthz").await;
    becomes(&tidegate, "healthy").await;
    backend.set_mode(Mode::Hanging).await.unwrap();
    becomes(&tidegate, "down").await;
    assert_eq!(
        tidegate.backend("web", "one").await["reason"],
        "probe_timeout"
    );
    tidegate
        .wait_metric(
            "tidegate_health_checks_total{pool=\"web\",result=\"timeout\"",
            3.0,
        )
        .await;
}

/// Answers every request with these bytes and remembers the last request.
async fn answering(response: &'static str) -> Raw {
    Raw::start(move |mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let _ = stream.write_all(response.as_bytes()).await;
    })
    .await
}

#[tokio::test]
async fn what_is_expected_of_the_answer() {
    let cases = [
        (
            "expected_status: [\"200-299\", \"401\"]",
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
            "healthy",
        ),
        (
            "expected_status: [\"200\"]",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "down",
        ),
        (
            "body_contains: UP",
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nstatus: UP",
            "healthy",
        ),
        (
            "body_contains: UP",
            "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nstatus: DOWN",
            "down",
        ),
        (
            "header: { name: x-ready, value: \"1\" }",
            "HTTP/1.1 200 OK\r\nx-ready: 1\r\ncontent-length: 0\r\n\r\n",
            "healthy",
        ),
        (
            "header: { name: x-ready, value: \"1\" }",
            "HTTP/1.1 200 OK\r\nx-ready: 0\r\ncontent-length: 0\r\n\r\n",
            "down",
        ),
        (
            "drain_on_404: true",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "draining",
        ),
        (
            "path: /x",
            "HTTP/1.1 200 OK\r\nx-tidegate-drain: 1\r\ncontent-length: 0\r\n\r\n",
            "draining",
        ),
    ];
    for (check, response, state) in cases {
        let backend = answering(response).await;
        let tidegate = start(backend.address, "", check).await;
        becomes(&tidegate, state).await;
    }
}

#[tokio::test]
async fn the_probe_says_what_it_is_told_to_and_how_the_backend_stands() {
    let backend = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let tidegate = start(backend.address, "", "path: /ready, host: check.example").await;
    becomes(&tidegate, "healthy").await;
    eventually("a second probe", || async { backend.seen().len() > 1 }).await;
    let seen = backend.seen()[1].to_lowercase();
    assert!(seen.starts_with("get /ready http/1.1\r\n"), "{seen}");
    assert!(seen.contains("host: check.example\r\n"), "{seen}");
    assert!(
        seen.contains("x-tidegate-check: state=healthy; inflight=0\r\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn probes_can_go_to_another_port() {
    let backend = demo().await;
    let health = answering("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
    let check = format!("port: {}", health.address.port());
    let tidegate = start(backend.address, "", &check).await;
    becomes(&tidegate, "down").await;
    assert_eq!(
        tidegate.backend("web", "one").await["reason"],
        "probe_mismatch"
    );
}

#[tokio::test]
async fn a_tls_handshake_is_a_probe() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "backend.example");
    let backend = tls_backend(dir.path()).await;
    let upstream = "    upstream: { tls: { server_name: backend.example, ca: cert.pem } }\n";
    let tidegate = Tidegate::start_in(dir, &config(backend, upstream, "type: tls")).await;
    becomes(&tidegate, "healthy").await;
    assert_eq!(
        get(tidegate.address("public"), "/").await.text(),
        "over TLS"
    );
}

#[tokio::test]
async fn a_backend_whose_certificate_has_another_name_is_not_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path(), "backend.example");
    let backend = tls_backend(dir.path()).await;
    let upstream = "    upstream: { tls: { server_name: other.example, ca: cert.pem } }\n";
    let tidegate = Tidegate::start_in(dir, &config(backend, upstream, "type: tls")).await;
    becomes(&tidegate, "down").await;
    let reply = get(tidegate.address("public"), "/").await;
    assert!(
        reply.status == 503 || reply.status == 502,
        "{}",
        reply.status
    );
}

/// One that answers anything over TLS.
async fn tls_backend(dir: &std::path::Path) -> SocketAddr {
    use boring::ssl::{SslAcceptor, SslFiletype, SslMethod};
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor
        .set_certificate_chain_file(dir.join("cert.pem"))
        .unwrap();
    acceptor
        .set_private_key_file(dir.join("key.pem"), SslFiletype::PEM)
        .unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = tokio_boring::accept(&acceptor, stream).await else {
                    return;
                };
                let mut buf = [0; 2048];
                if stream.read(&mut buf).await.is_ok_and(|n| n > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nover TLS";
                    let _ = stream.write_all(answer).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn the_grpc_health_protocol() {
    for (serving, state) in [(1, "healthy"), (2, "down")] {
        let backend = grpc_health(serving).await;
        let upstream = "    upstream: { protocol: http2 }\n";
        let tidegate = start(backend, upstream, "type: grpc, service: my.Service").await;
        becomes(&tidegate, state).await;
    }
}

/// Says of `my.Service` what it is told to (1 is SERVING), and nothing good of any other.
async fn grpc_health(serving: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let path = request.uri().path().to_owned();
                        let mut body = request.into_body();
                        let asked = body.data().await.unwrap().unwrap();
                        let right = path == "/grpc.health.v1.Health/Check"
                            && asked.ends_with(b"my.Service");
                        let head =
                            http::Response::builder().header("content-type", "application/grpc");
                        let mut out = respond
                            .send_response(head.body(()).unwrap(), false)
                            .unwrap();
                        let status = if right { serving } else { 3 };
                        out.send_data(vec![0, 0, 0, 0, 2, 8, status].into(), false)
                            .unwrap();
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("grpc-status", "0".parse().unwrap());
                        out.send_trailers(trailers).unwrap();
                    });
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn real_traffic_stands_in_for_probes() {
    let backend = demo().await;
    let slower =
        |check| config(backend.address, "", check).replace("interval: 100ms", "interval: 500ms");
    let quiet = Tidegate::start(&slower("path: /healthz, piggyback: false")).await;
    becomes(&quiet, "healthy").await;
    let busy = Tidegate::start(&slower("path: /healthz")).await;
    becomes(&busy, "healthy").await;
    let address = busy.address("public");
    let traffic = tokio::spawn(async move {
        loop {
            get(address, "/").await;
        }
    });
    let before = (probes(&quiet).await, probes(&busy).await);
    eventually("six probes of the one without piggyback", || async {
        probes(&quiet).await >= before.0 + 6.0
    })
    .await;
    traffic.abort();
    let (quiet, busy) = (
        probes(&quiet).await - before.0,
        probes(&busy).await - before.1,
    );
    assert!(busy < quiet / 2.0, "{busy} probes beside {quiet}");
}

async fn probes(tidegate: &Tidegate) -> f64 {
    let passed = "tidegate_health_checks_total{pool=\"web\",result=\"pass\"";
    tidegate.metric(passed).await
}

#[tokio::test]
async fn observing_counts_and_does_nothing() {
    let backends = [
        answering("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await,
        answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await,
    ];
    let tidegate = Tidegate::start(&format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools:
  web:
    policy: round_robin
    backends: ["{}", "{}"]
    retry: {{ attempts: 0 }}
    outlier_detection: {{ mode: observe }}
"#,
        backends[0].address, backends[1].address
    ))
    .await;
    let mut failed = 0;
    for _ in 0..20 {
        failed += usize::from(get(tidegate.address("public"), "/").await.status == 500);
    }
    assert_eq!(failed, 10);
    tidegate
        .wait_metric("tidegate_would_eject_total{pool=\"web\"", 1.0)
        .await;
    assert_eq!(
        tidegate
            .metric("tidegate_backend_ejections_total{pool=\"web\"")
            .await,
        0.0
    );
}
