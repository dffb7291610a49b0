//! TLS with clients: which certificate, which version, and what becomes of hellos that are none.

use std::net::SocketAddr;
use std::path::Path;

use boring::ssl::{SslConnector, SslMethod, SslVerifyMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Http1, get, request, send};
use crate::harness::{PATIENCE, Tidegate, write};
use crate::pki::{Leaf, folder, s_client};

/// The listener `public` with these further lines under `tls`, in front of fixed answers.
pub fn config(tls: &str) -> String {
    format!(
        r#"
version: 1
threads: 2
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - {{ name: plain, listen: "127.0.0.2:0" }}
  - name: public
    listen: "127.0.0.1:0"
    tls:
{tls}
routes:
  - {{ match: {{ listener: plain }}, redirect: {{ scheme: https, status: 308 }} }}
  - {{ match: {{}}, respond: {{ status: 200, body: ok }}, filters: [security_headers: {{ hsts: 60d }}] }}
"#
    )
}

/// A directory with a CA and `a`, a certificate for `a.example`.
fn one() -> (tempfile::TempDir, crate::pki::Ca) {
    let (dir, ca) = folder();
    let leaf = Leaf {
        names: &["a.example"],
        ..Leaf::default()
    };
    ca.issue(dir.path(), "a", &leaf);
    (dir, ca)
}

const ONE: &str = "      certificates: [{ cert: a.crt, key: a.key }]\n";

/// The names in the certificate that a client gets which asks for `name` and takes these signatures.
async fn served(
    address: SocketAddr,
    name: Option<&str>,
    signatures: &str,
) -> Option<(String, &'static str)> {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_sigalgs_list(signatures).unwrap();
    let mut config = connector.build().configure().unwrap();
    config.set_use_server_name_indication(name.is_some());
    config.set_verify_hostname(false);
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = tokio_boring::connect(config, name.unwrap_or("none"), stream)
        .await
        .ok()?;
    let leaf = stream.ssl().peer_certificate().unwrap();
    let names = leaf.subject_alt_names().unwrap();
    let first = names[0].dnsname().unwrap().to_owned();
    let key = match leaf.public_key().unwrap().id() {
        boring::pkey::Id::RSA => "rsa",
        _ => "ecdsa",
    };
    Some((first, key))
}

const ANY: &str = "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256";
const ONLY_RSA: &str = "rsa_pss_rsae_sha256";

fn issue(ca: &crate::pki::Ca, dir: &Path) {
    let leaf = |names, rsa| Leaf {
        names,
        rsa,
        ..Leaf::default()
    };
    ca.issue(dir, "rsa", &leaf(&["a.example"], true));
    ca.issue(dir, "ec", &leaf(&["a.example"], false));
    ca.issue(dir, "wild", &leaf(&["*.b.example"], false));
}

const THREE: &str = "      certificates: [{ cert: rsa.crt, key: rsa.key }, { cert: ec.crt, key: ec.key }, { cert: wild.crt, key: wild.key }]\n";

#[tokio::test]
async fn names_and_signatures_choose_the_certificate() {
    let (dir, ca) = folder();
    issue(&ca, dir.path());
    let tidegate = Tidegate::start_in(dir, &config(THREE)).await;
    let address = tidegate.address("public");
    let a = |key| Some(("a.example".to_owned(), key));
    assert_eq!(served(address, Some("a.example"), ANY).await, a("ecdsa"));
    assert_eq!(served(address, Some("A.Example"), ONLY_RSA).await, a("rsa"));
    let wild = Some(("*.b.example".to_owned(), "ecdsa"));
    assert_eq!(served(address, Some("x.b.example"), ANY).await, wild);
    // It has no RSA certificate for this one.
    assert_eq!(served(address, Some("x.b.example"), ONLY_RSA).await, None);
    assert_eq!(
        served(address, Some("other.example"), ANY).await,
        a("ecdsa")
    );
    assert_eq!(served(address, None, ANY).await, a("ecdsa"));
    let handshakes = "tidegate_tls_handshakes_total{listener=\"public\",version=\"TLSv1.3\",resumed=\"false\",early_data=\"false\"";
    tidegate
        .wait_metric(&format!("{handshakes},key_type=\"rsa\""), 1.0)
        .await;
    tidegate
        .wait_metric(&format!("{handshakes},key_type=\"ecdsa\""), 4.0)
        .await;
    let failed =
        "tidegate_tls_handshake_failures_total{listener=\"public\",reason=\"nothing_shared\"}";
    tidegate.wait_metric(failed, 1.0).await;
}

#[tokio::test]
async fn an_unknown_name_can_be_refused() {
    let (dir, ca) = folder();
    issue(&ca, dir.path());
    let strict = format!("{THREE}      unknown_server_name: close\n");
    let tidegate = Tidegate::start_in(dir, &config(&strict)).await;
    let address = tidegate.address("public");
    assert_eq!(served(address, Some("other.example"), ANY).await, None);
    assert!(served(address, Some("x.b.example"), ANY).await.is_some());
    assert!(
        served(address, None, ANY).await.is_some(),
        "no name is not an unknown one"
    );
    let failed =
        "tidegate_tls_handshake_failures_total{listener=\"public\",reason=\"unknown_server_name\"}";
    tidegate.wait_metric(failed, 1.0).await;
}

#[tokio::test]
async fn versions_as_configured_and_no_renegotiation() {
    let (dir, _) = one();
    let mut tidegate = Tidegate::start_in(dir, &config(ONE)).await;
    let address = tidegate.address("public");
    let ca_file = tidegate.dir.path().join("ca.pem");
    let trust = ["-CAfile", ca_file.to_str().unwrap(), "-verify_return_error"];
    for version in ["-tls1_2", "-tls1_3"] {
        let said = s_client(address, &[&trust[..], &[version]].concat()).await;
        assert!(said.contains("HTTP/1.1 200 OK"), "{version}: {said}");
    }
    let said = s_client(address, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]).await;
    assert!(!said.contains("HTTP/1.1"), "{said}");
    renegotiation_is_refused(address).await;
    let only13 = config(&format!("{ONE}      min_version: \"1.3\"\n"));
    assert_eq!(tidegate.reload(&only13).await["result"], "taken");
    let said = s_client(address, &["-tls1_2"]).await;
    assert!(said.contains("alert protocol version"), "{said}");
    let said = s_client(address, &["-tls1_3"]).await;
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
    let failed = "tidegate_tls_handshake_failures_total{listener=\"public\",reason=\"version\"}";
    tidegate.wait_metric(failed, 2.0).await;
}

/// `R` on a line of its own asks for it.
async fn renegotiation_is_refused(address: SocketAddr) {
    use std::process::Stdio;
    let mut child = tokio::process::Command::new("openssl")
        .args([
            "s_client",
            "-tls1_2",
            "-legacy_renegotiation",
            "-connect",
            &address.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"R\n").await.unwrap();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("the connection stays open").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(!said.contains("verify return:1\nverify return:1"), "{said}");
    assert!(said.contains("error") || said.contains("alert"), "{said}");
}

#[tokio::test]
async fn the_hybrid_key_exchange_is_spoken() {
    let (dir, _) = one();
    let tidegate = Tidegate::start_in(dir, &config(ONE)).await;
    for groups in ["X25519MLKEM768", "X25519", "P-256"] {
        let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        connector.set_curves_list(groups).unwrap();
        let stream = TcpStream::connect(tidegate.address("public"))
            .await
            .unwrap();
        let config = connector.build().configure().unwrap();
        let stream = tokio_boring::connect(config, "a.example", stream)
            .await
            .unwrap();
        let mut client = Http1::over(stream).await.unwrap();
        let mut asked = request(http::Method::GET, "/");
        asked
            .headers_mut()
            .insert("host", "a.example".parse().unwrap());
        assert_eq!(client.send(asked).await.unwrap().status, 200, "{groups}");
    }
}

#[tokio::test]
async fn aes_128_is_chosen_unless_the_client_would_rather_have_chacha20() {
    let (dir, _) = one();
    let tidegate = Tidegate::start_in(dir, &config(ONE)).await;
    let [aes_128, aes_256, chacha] = [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ];
    for (offered, chosen) in [
        (vec![aes_256, chacha, aes_128], aes_128),
        (vec![chacha, aes_128, aes_256], chacha),
        (vec![aes_256], aes_256),
    ] {
        let list = offered.join(":");
        let said = s_client(tidegate.address("public"), &["-ciphersuites", &list]).await;
        assert!(
            said.contains(&format!("New, TLSv1.3, Cipher is {chosen}")),
            "{list}: {said}"
        );
    }
}

#[tokio::test]
async fn a_pair_that_is_half_written_is_refused_and_the_old_one_stays() {
    let (dir, ca) = one();
    let mut tidegate = Tidegate::start_in(dir, &config(ONE)).await;
    let address = tidegate.address("public");
    let path = tidegate.dir.path().to_owned();
    let (cert, key) = ca.made(&Leaf {
        names: &["new.example"],
        ..Leaf::default()
    });
    let before = tidegate.reloads();
    write(&path.join("a.crt"), &cert);
    let refused = tidegate.after_reload(before).await;
    assert_eq!(refused["result"], "refused");
    assert!(refused.to_string().contains("does not belong"), "{refused}");
    let old = Some(("a.example".to_owned(), "ecdsa"));
    assert_eq!(served(address, None, ANY).await, old);
    write(&path.join("a.key"), &key);
    assert_eq!(tidegate.after_reload(before + 1).await["result"], "taken");
    let new = Some(("new.example".to_owned(), "ecdsa"));
    assert_eq!(served(address, None, ANY).await, new);
}

#[tokio::test]
async fn an_end_that_is_near_is_told() {
    let (dir, ca) = folder();
    ca.issue(
        dir.path(),
        "a",
        &Leaf {
            names: &["a.example"],
            days: 5,
            ..Leaf::default()
        },
    );
    let tidegate = Tidegate::start_in(dir, &config(ONE)).await;
    let warned = tidegate
        .events
        .wait("warning", |l| l["type"] == "cert")
        .await;
    assert_eq!(warned["state"], "expires_soon");
    assert_eq!(
        (&warned["sni"], &warned["listener"]),
        (&"a.example".into(), &"public".into())
    );
    let ends = tidegate.metric("tidegate_tls_cert_not_after_seconds{listener=\"public\",sni=\"a.example\",key_type=\"ecdsa\"}");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let days = (ends.await - now.as_secs_f64()) / 86_400.0;
    assert!((4.9..5.1).contains(&days), "{days}");
}

#[tokio::test]
async fn an_ocsp_response_is_stapled() {
    let (dir, _) = one();
    // An OCSPResponse that says "try later" (RFC 6960, section 4.2.1): enough for a client to show that it came.
    std::fs::write(dir.path().join("a.ocsp"), [0x30, 0x03, 0x0a, 0x01, 0x03]).unwrap();
    let with = "      certificates: [{ cert: a.crt, key: a.key, ocsp: a.ocsp }]\n";
    let mut tidegate = Tidegate::start_in(dir, &config(with)).await;
    let address = tidegate.address("public");
    let said = s_client(address, &["-status"]).await;
    assert!(said.contains("OCSP Response Status: trylater"), "{said}");
    assert_eq!(tidegate.reload(&config(ONE)).await["result"], "taken");
    let said = s_client(address, &["-status"]).await;
    assert!(said.contains("no response sent"), "{said}");
}

#[tokio::test]
async fn clear_text_is_sent_to_https_and_https_says_so_itself() {
    let (dir, ca) = folder();
    ca.issue(
        dir.path(),
        "a",
        &Leaf {
            names: &["test.example"],
            ..Leaf::default()
        },
    );
    let tidegate = Tidegate::start_in(dir, &config(ONE)).await;
    let reply = get(tidegate.address("plain"), "/a?b=c").await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (308, "https://test.example/a?b=c")
    );
    assert_eq!(reply.header("strict-transport-security"), "");
    let stream =
        crate::client::tls(tidegate.address("public"), "test.example", b"\x08http/1.1").await;
    let reply = Http1::over(stream).await.unwrap().get("/").await;
    assert_eq!(reply.header("strict-transport-security"), "max-age=5184000");
}

#[tokio::test]
async fn a_host_that_the_certificate_does_not_cover_is_misdirected() {
    let (dir, ca) = folder();
    issue(&ca, dir.path());
    let tidegate = Tidegate::start_in(dir, &config(THREE)).await;
    let address = tidegate.address("public");
    for (name, host, status) in [
        ("x.b.example", "x.b.example", 200),
        ("x.b.example", "Y.B.Example:8443", 200),
        ("x.b.example", "a.example", 421),
        ("x.b.example", "x.y.b.example", 421),
        ("a.example", "y.b.example", 421),
        // Its user takes the default certificate as it is.
        ("other.example", "other.example", 200),
    ] {
        let mut asked = request(http::Method::GET, "/");
        asked.headers_mut().insert("host", host.parse().unwrap());
        let stream = crate::client::tls(address, name, b"\x08http/1.1").await;
        let reply = Http1::over(stream)
            .await
            .unwrap()
            .send(asked)
            .await
            .unwrap();
        assert_eq!(reply.status, status, "{name} asked for {host}");
    }
    // In clear text, any host will do.
    let reply = send(tidegate.address("plain"), request(http::Method::GET, "/")).await;
    assert_eq!(reply.status, 308);
}

#[tokio::test]
async fn a_trusted_proxy_may_ask_for_other_hosts_where_the_listener_allows_it() {
    for (proxies, option, status) in [
        ("127.0.0.0/8", "allow_trusted_proxies", 200),
        ("127.0.0.0/8", "refuse", 421),
        ("10.0.0.0/8", "allow_trusted_proxies", 421),
    ] {
        let (dir, ca) = folder();
        issue(&ca, dir.path());
        let text = config(&format!("{THREE}      misdirected_requests: {option}\n"));
        let text = text + &format!("trusted_proxies: [{proxies}]\n");
        let tidegate = Tidegate::start_in(dir, &text).await;
        let mut asked = request(http::Method::GET, "/");
        let host = "a.example".parse().unwrap();
        asked.headers_mut().insert("host", host);
        let address = tidegate.address("public");
        let stream = crate::client::tls(address, "x.b.example", b"\x08http/1.1").await;
        let reply = Http1::over(stream)
            .await
            .unwrap()
            .send(asked)
            .await
            .unwrap();
        assert_eq!(reply.status, status, "{option}, trusting {proxies}");
    }
}

#[tokio::test]
async fn what_is_no_hello_ends_and_is_counted() {
    let (dir, _) = one();
    let tidegate = Tidegate::start_in(dir, &config(ONE)).await;
    let address = tidegate.address("public");
    let mut garbage = vec![22, 3, 1, 0, 64, 1, 0, 0, 60];
    garbage.extend([0xff; 60]);
    for bytes in [
        &garbage[..],
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        &[0; 64],
        &[22, 3, 1, 0xff, 0xff],
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        let _ = ended.expect("the connection stays open");
    }
    // Half a hello, and the client is gone.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&garbage[..30]).await.unwrap();
    drop(stream);
    let failed = |reason: &str| {
        format!("tidegate_tls_handshake_failures_total{{listener=\"public\",reason=\"{reason}\"}}")
    };
    tidegate.wait_metric(&failed("not_tls"), 1.0).await;
    tidegate.wait_metric(&failed("malformed"), 1.0).await;
    tidegate.wait_metric(&failed("closed"), 1.0).await;
    let said = s_client(address, &[]).await;
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
}

#[tokio::test]
async fn full_handshakes_wait_in_a_bounded_queue() {
    let (dir, ca) = folder();
    ca.issue(
        dir.path(),
        "a",
        &Leaf {
            names: &["a.example"],
            rsa: true,
            ..Leaf::default()
        },
    );
    let bounded = format!("{ONE}    limits: {{ max_queued_handshakes: 1 }}\n");
    let tidegate = Tidegate::start_in(dir, &config(&bounded)).await;
    let address = tidegate.address("public");
    let many: Vec<_> = (0..100)
        .map(|_| tokio::spawn(served(address, Some("a.example"), ONLY_RSA)))
        .collect();
    let mut done = 0;
    for one in many {
        done += usize::from(one.await.unwrap().is_some());
    }
    assert!(done > 0, "some get through");
    let overloaded =
        "tidegate_tls_handshake_failures_total{listener=\"public\",reason=\"overloaded\"}";
    let refused = tidegate.metric(overloaded).await;
    assert!(refused >= 1.0, "{done} of 100 were done, none refused");
}

#[tokio::test]
async fn curl_is_served_and_checks_what_it_gets() {
    let (dir, ca) = folder();
    issue(&ca, dir.path());
    let tidegate = Tidegate::start_in(dir, &config(THREE)).await;
    let port = tidegate.address("public").port();
    let ca_file = tidegate.dir.path().join("ca.pem");
    for (host, version, said) in [
        ("a.example", "--http1.1", "1.1 200"),
        ("a.example", "--http2", "2 200"),
        ("x.b.example", "--tlsv1.3", "2 200"),
        // The default certificate, which is not its name.
        ("c.example", "--http2", "0 000"),
    ] {
        let output = tokio::process::Command::new("curl")
            .args([
                "-sS",
                "-o",
                "/dev/null",
                "-w",
                "%{http_version} %{http_code}",
            ])
            .args([version, "--cacert", ca_file.to_str().unwrap()])
            .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
            .arg(format!("https://{host}:{port}/"))
            .output()
            .await
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            said,
            "{host} {version}"
        );
    }
}
