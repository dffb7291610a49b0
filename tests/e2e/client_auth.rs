//! Certificates of clients, and ours towards backends.

use std::net::SocketAddr;
use std::path::Path;

use boring::ssl::{SslAcceptor, SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::Raw;
use crate::client::{Http1, Reply, get, request};
use crate::harness::Tidegate;
use crate::pki::{Ca, Leaf, folder, self_signed};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn config(backend: SocketAddr, auth: &str) -> String {
    format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - name: public
    listen: "127.0.0.1:0"
    tls:
      certificates: [{{ cert: a.crt, key: a.key }}]
      client_auth: {{ ca: ca.pem, {auth} }}
routes:
  - {{ match: {{ path_prefix: /who, client_certificate: {{ uri: {{ prefix: "spiffe://example/" }} }} }}, respond: {{ status: 200, body: spiffe }} }}
  - {{ match: {{ path_prefix: /who, client_certificate: {{ dns: anna.example }} }}, respond: {{ status: 200, body: dns }} }}
  - {{ match: {{ path_prefix: /who, client_certificate: {{}} }}, respond: {{ status: 200, body: somebody }} }}
  - {{ match: {{ path_prefix: /who }}, respond: {{ status: 200, body: nobody }} }}
  - {{ match: {{ path_prefix: / }}, pool: web }}
pools: {{ web: {{ backends: ["{backend}"] }} }}
"#
    )
}

fn issue(ca: &Ca, dir: &Path) {
    let leaf = |names, uri, days| Leaf {
        names,
        uri,
        days,
        ..Leaf::default()
    };
    ca.issue(dir, "a", &leaf(&["a.example"], None, 0));
    ca.issue(dir, "anna", &leaf(&["anna.example"], None, 0));
    ca.issue(
        dir,
        "bob",
        &leaf(&["bob.example"], Some("spiffe://example/bob"), 0),
    );
    ca.issue(dir, "carl", &leaf(&["carl.example"], None, 0));
    ca.issue(dir, "expired", &leaf(&["anna.example"], None, -5));
    self_signed(dir, "forged", &leaf(&["anna.example"], None, 0));
}

/// One request with this certificate, if the handshake comes to an end.
async fn ask(
    tidegate: &Tidegate,
    who: Option<&str>,
    path: &str,
    header: Option<&str>,
) -> Option<Reply> {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    if let Some(who) = who {
        let file = |kind: &str| tidegate.dir.path().join(format!("{who}.{kind}"));
        connector
            .set_certificate_file(file("crt"), SslFiletype::PEM)
            .unwrap();
        connector
            .set_private_key_file(file("key"), SslFiletype::PEM)
            .unwrap();
    }
    let stream = TcpStream::connect(tidegate.address("public"))
        .await
        .unwrap();
    let config = connector.build().configure().unwrap();
    let stream = tokio_boring::connect(config, "a.example", stream)
        .await
        .ok()?;
    let mut asked = request(Method::GET, path);
    asked
        .headers_mut()
        .insert("host", "a.example".parse().unwrap());
    for name in [
        "x-forwarded-client-cert",
        "client-cert",
        "client-cert-chain",
    ] {
        if let Some(forged) = header {
            asked.headers_mut().insert(name, forged.parse().unwrap());
        }
    }
    // With TLS 1.3, a client learns only here that its certificate was refused.
    Http1::over(stream).await.ok()?.send(asked).await.ok()
}

#[tokio::test]
async fn only_certificates_that_hold_are_let_in_where_they_are_required() {
    let backend = Raw::answering(OK).await;
    let (dir, ca) = folder();
    issue(&ca, dir.path());
    let tidegate = Tidegate::start_in(dir, &config(backend.address, "mode: required")).await;
    let status = async |who| ask(&tidegate, who, "/", None).await.map(|r| r.status);
    assert_eq!(status(Some("anna")).await, Some(200));
    for who in [None, Some("expired"), Some("forged")] {
        assert_eq!(status(who).await, None, "{who:?}");
    }
    assert_eq!(backend.seen().len(), 1);
    let failed = |reason: &str| {
        format!("tidegate_tls_handshake_failures_total{{listener=\"public\",reason=\"{reason}\"}}")
    };
    tidegate
        .wait_metric(&failed("no_client_certificate"), 1.0)
        .await;
    tidegate
        .wait_metric(&failed("bad_client_certificate"), 2.0)
        .await;
}

#[tokio::test]
async fn routes_know_who_asks() {
    let backend = Raw::answering(OK).await;
    let (dir, ca) = folder();
    issue(&ca, dir.path());
    let tidegate = Tidegate::start_in(dir, &config(backend.address, "mode: optional")).await;
    for (who, route) in [
        (Some("bob"), "spiffe"),
        (Some("anna"), "dns"),
        (Some("carl"), "somebody"),
        (None, "nobody"),
    ] {
        let reply = ask(&tidegate, who, "/who", None).await.unwrap();
        assert_eq!(reply.text(), route, "{who:?}");
    }
    // One that does not hold is no better than none where none is needed: it is refused.
    assert!(ask(&tidegate, Some("forged"), "/who", None).await.is_none());
}

#[tokio::test]
async fn backends_are_told_who_asks_and_clients_cannot_claim_it() {
    let backend = Raw::answering(OK).await;
    let (dir, ca) = folder();
    issue(&ca, dir.path());
    let auth = "mode: optional, forward_certificate: true";
    let tidegate = Tidegate::start_in(dir, &config(backend.address, auth)).await;
    let forged = Some("Hash=00;Subject=\"CN=admin\"");
    ask(&tidegate, None, "/one", forged).await.unwrap();
    ask(&tidegate, Some("bob"), "/two", forged).await.unwrap();
    let seen: Vec<String> = backend.seen();
    assert!(
        !seen[0].to_lowercase().contains("client-cert"),
        "{}",
        seen[0]
    );
    let lines: Vec<&str> = seen[1]
        .lines()
        .filter(|l| l.to_lowercase().contains("client-cert"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let said = lines.iter().find(|l| l.contains("Hash=")).unwrap();
    let wanted = ";Subject=\"CN=bob.example\";URI=\"spiffe://example/bob\";DNS=\"bob.example\"";
    assert!(said.ends_with(wanted) && !said.contains("admin"), "{said}");
    let whole = lines
        .iter()
        .find(|l| l.to_lowercase().starts_with("client-cert: :"))
        .unwrap();
    assert!(whole.ends_with(':') && whole.len() > 300, "{whole}");
}

/// A backend that answers only those who show a certificate of the CA in `dir`.
async fn demanding(dir: &Path) -> SocketAddr {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor
        .set_certificate_file(dir.join("a.crt"), SslFiletype::PEM)
        .unwrap();
    acceptor
        .set_private_key_file(dir.join("a.key"), SslFiletype::PEM)
        .unwrap();
    acceptor.set_ca_file(dir.join("ca.pem")).unwrap();
    acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
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
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(OK).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_backend_that_asks_is_shown_a_certificate() {
    let (dir, ca) = folder();
    issue(&ca, dir.path());
    let backend = demanding(dir.path()).await;
    let config = |tls: &str| {
        format!(
            r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes: [{{ match: {{}}, pool: web }}]
pools:
  web:
    backends: ["{backend}"]
    upstream: {{ tls: {{ server_name: a.example, ca: ca.pem{tls} }} }}
"#
        )
    };
    let mut tidegate = Tidegate::start_in(dir, &config(", cert: bob.crt, key: bob.key")).await;
    let address = tidegate.address("public");
    assert_eq!(get(address, "/").await.status, 200);
    assert_eq!(tidegate.reload(&config("")).await["result"], "taken");
    assert_eq!(get(address, "/").await.status, 502, "none is shown");
    let with = ", cert: bob.crt, key: bob.key";
    let other = config(with).replace("server_name: a.example", "server_name: b.example");
    assert_eq!(tidegate.reload(&other).await["result"], "taken");
    assert_eq!(
        get(address, "/").await.status,
        502,
        "not the backend's name"
    );
    let unchecked = other.replace(with, &format!("{with}, verify: false"));
    assert_eq!(tidegate.reload(&unchecked).await["result"], "taken");
    assert_eq!(get(address, "/").await.status, 200, "as told");
    let unknown = config(with).replace("ca: ca.pem, ", "");
    assert_eq!(tidegate.reload(&unknown).await["result"], "taken");
    assert_eq!(
        get(address, "/").await.status,
        502,
        "not a CA of the system"
    );
    let refused = tidegate
        .reload(&config(", cert: bob.crt, key: anna.key"))
        .await;
    assert_eq!(refused["result"], "refused");
    assert!(
        refused.to_string().contains("not the private key of"),
        "{refused}"
    );
}
