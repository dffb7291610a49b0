//! Whom connections trust: those to backends when certificates are replaced, and TLS clients that speak something else.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use boring::ssl::{
    SslAcceptor, SslConnector, SslFiletype, SslMethod, SslVerifyMode, SslVersion, select_next_proto,
};
use boring::x509::X509Ref;
use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Http1, Reply, request, send};
use crate::harness::{Tidegate, write};
use crate::pki::{Ca, Leaf, folder};
use crate::tls;

/// All of one serial number: that is what Pingora tells client certificates apart by.
fn named<'a>(names: &'a [&'a str]) -> Leaf<'a> {
    Leaf {
        names,
        serial: 7,
        ..Leaf::default()
    }
}

/// A TLS backend that keeps its connections. It answers with the number of the connection and the name in the certificate
/// that the client showed there: `0 bob.example`.
async fn keeping(dir: &Path, alpn: &'static [u8]) -> SocketAddr {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    let (cert, key) = (dir.join("a.crt"), dir.join("a.key"));
    acceptor
        .set_certificate_file(cert, SslFiletype::PEM)
        .unwrap();
    acceptor
        .set_private_key_file(key, SslFiletype::PEM)
        .unwrap();
    acceptor.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
    acceptor.set_alpn_select_callback(move |_, offered| {
        select_next_proto(alpn, offered).ok_or(boring::ssl::AlpnError::NOACK)
    });
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = tokio_boring::accept(&acceptor, stream).await else {
                    return;
                };
                let shown = stream.ssl().peer_certificate();
                let name = shown.map_or("nobody".into(), |shown| common_name(&shown));
                let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
                let answer = Bytes::from(format!("{number} {name}"));
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let response = Response::new(Full::new(answer.clone()));
                    async {
                        // What is left unread would end the connection.
                        request.into_body().collect().await?;
                        Ok::<_, hyper::Error>(response)
                    }
                });
                let h2 = stream.ssl().selected_alpn_protocol() == Some(b"h2");
                let io = TokioIo::new(stream);
                let _ = match h2 {
                    true => {
                        let server = http2::Builder::new(TokioExecutor::new());
                        server.serve_connection(io, service).await
                    }
                    false => http1::Builder::new().serve_connection(io, service).await,
                };
            });
        }
    });
    address
}

fn common_name(certificate: &X509Ref) -> String {
    let mut names = certificate
        .subject_name()
        .entries_by_nid(boring::nid::Nid::COMMONNAME);
    let name = names.next().unwrap();
    String::from_utf8_lossy(name.data().as_slice()).into_owned()
}

/// A pool of HTTP/1.1 under `/1`, and one of HTTP/2 under `/2`.
fn config(one: SocketAddr, two: SocketAddr) -> String {
    let tls = "server_name: a.example, ca: ca.pem, cert: own.crt, key: own.key";
    format!(
        r#"
version: 1
threads: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes:
  - {{ match: {{ path: /1 }}, pool: one }}
  - {{ match: {{ path: /2 }}, pool: two }}
pools:
  one: {{ backends: ["{one}"], upstream: {{ tls: {{ {tls} }} }} }}
  two: {{ backends: ["{two}"], upstream: {{ protocol: http2, tls: {{ {tls} }} }} }}
"#
    )
}

/// An instance in front of two backends of one CA, to which it shows a certificate of bob's.
async fn with_certificates() -> (Tidegate, Ca) {
    let (dir, ca) = folder();
    ca.issue(dir.path(), "a", &named(&["a.example"]));
    ca.issue(dir.path(), "own", &named(&["bob.example"]));
    let one = keeping(dir.path(), b"\x08http/1.1").await;
    let two = keeping(dir.path(), b"\x02h2").await;
    (Tidegate::start_in(dir, &config(one, two)).await, ca)
}

/// GET goes to a backend of HTTP/1.1 another way than POST does; each way keeps connections of its own.
const WAYS: [(Method, &str); 4] = [
    (Method::GET, "/1"),
    (Method::POST, "/1"),
    (Method::GET, "/2"),
    (Method::POST, "/2"),
];

async fn all_ways(tidegate: &Tidegate) -> Vec<Reply> {
    let mut replies = Vec::new();
    for (method, path) in WAYS {
        let mut request = request(method.clone(), path);
        if method == Method::POST {
            *request.body_mut() = Full::new(Bytes::from_static(b"hello"));
        }
        replies.push(send(tidegate.address("public"), request).await);
    }
    replies
}

fn texts(replies: &[Reply]) -> Vec<String> {
    replies.iter().map(Reply::text).collect()
}

/// Asks until every way has a connection that is kept, and says which. One is given back a moment after its response.
async fn kept(tidegate: &Tidegate) -> Vec<String> {
    let mut before = texts(&all_ways(tidegate).await);
    for _ in 0..20 {
        let again = texts(&all_ways(tidegate).await);
        if before == again {
            return again;
        }
        before = again;
    }
    panic!("no connections are kept");
}

#[tokio::test]
async fn connections_made_under_an_old_ca_are_not_used() {
    let (mut tidegate, _ca) = with_certificates().await;
    kept(&tidegate).await;
    let before = tidegate.reloads();
    // The same path: only the file's content says that this backend is not to be trusted any more.
    Ca::new(tidegate.dir.path());
    assert_eq!(tidegate.after_reload(before).await["result"], "taken");
    for (reply, way) in all_ways(&tidegate).await.iter().zip(WAYS) {
        assert!(reply.status >= 502, "{way:?}: {reply:?}");
    }
}

#[tokio::test]
async fn connections_that_showed_an_old_certificate_are_not_used() {
    let (mut tidegate, ca) = with_certificates().await;
    let before = kept(&tidegate).await;
    assert!(before.iter().all(|t| t.ends_with(" bob.example")));
    let mut reloads = tidegate.reloads();
    ca.issue(tidegate.dir.path(), "own", &named(&["anna.example"]));
    // Certificate and key are two files: between them the pair is none.
    while tidegate.after_reload(reloads).await["result"] != "taken" {
        reloads += 1;
    }
    let after = kept(&tidegate).await;
    assert!(
        after.iter().all(|t| t.ends_with(" anna.example")),
        "{before:?} {after:?}"
    );
}

#[tokio::test]
async fn a_reload_that_changes_no_certificate_closes_no_connection() {
    let (mut tidegate, _ca) = with_certificates().await;
    let before = kept(&tidegate).await;
    let config = std::fs::read_to_string(tidegate.config_path()).unwrap();
    let outcome = tidegate.reload(&format!("{config}\n# changed\n")).await;
    assert_eq!(outcome["result"], "taken");
    assert_eq!(kept(&tidegate).await, before);
    let ca_file = tidegate.dir.path().join("ca.pem");
    let ca = std::fs::read_to_string(&ca_file).unwrap();
    write(&ca_file, &ca);
    assert_eq!(kept(&tidegate).await, before);
}

/// What is agreed on with a client that offers these protocols; `Err` with what it is told.
async fn agreed(
    address: SocketAddr,
    alpn: &[u8],
    version: SslVersion,
) -> Result<tokio_boring::SslStream<TcpStream>, String> {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_max_proto_version(Some(version)).unwrap();
    if !alpn.is_empty() {
        connector.set_alpn_protos(alpn).unwrap();
    }
    let config = connector.build().configure().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let connected = tokio_boring::connect(config, "a.example", stream).await;
    connected.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_client_that_speaks_none_of_our_protocols_is_told_so() {
    let (dir, ca) = folder();
    ca.issue(dir.path(), "a", &named(&["a.example"]));
    let certificates = "      certificates: [{ cert: a.crt, key: a.key }]\n";
    let tidegate = Tidegate::start_in(dir, &tls::config(certificates)).await;
    let address = tidegate.address("public");
    let mut refused = 0.0;
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let cases: [(&[u8], Option<&[u8]>); 9] = [
            (b"\x02h2", Some(b"h2")),
            (b"\x08http/1.1\x02h2", Some(b"h2")),
            (b"\x08http/1.1", Some(b"http/1.1")),
            (b"\x08http/1.0", Some(b"http/1.0")),
            (b"\x06spdy/3\x08http/1.1", Some(b"http/1.1")),
            (b"\x06spdy/3", None),
            (b"\x08http/0.9", None),
            (b"\x04imap\x03ftp", None),
            (b"\x03h2c\x0aacme-tls/1\x02H2", None),
        ];
        for (offered, wanted) in cases {
            let offer = String::from_utf8_lossy(offered).into_owned();
            match (agreed(address, offered, version).await, wanted) {
                (Ok(stream), wanted) => {
                    assert_eq!(stream.ssl().selected_alpn_protocol(), wanted, "{offer:?}");
                }
                (Err(told), None) => {
                    assert!(
                        told.contains("NO_APPLICATION_PROTOCOL"),
                        "{offer:?}: {told}"
                    );
                    refused += 1.0;
                }
                (Err(told), Some(_)) => panic!("{offer:?}: {told}"),
            }
        }
        // Who offers nothing speaks HTTP/1.1.
        let stream = agreed(address, b"", version).await.unwrap();
        assert_eq!(stream.ssl().selected_alpn_protocol(), None);
        let mut client = Http1::over(stream).await.unwrap();
        let mut asked = request(Method::GET, "/");
        asked
            .headers_mut()
            .insert("host", http::HeaderValue::from_static("a.example"));
        assert_eq!(client.send(asked).await.unwrap().text(), "ok");
    }
    assert!(refused > 7.0, "{refused}");
    let failures = "tidegate_tls_handshake_failures_total{listener=\"public\",reason=";
    let series = format!("{failures}\"no_application_protocol\"");
    tidegate.wait_metric(&series, refused).await;
    assert_eq!(tidegate.metric(failures).await, refused, "no other failure");
}
