use super::loopback::Loopback;
use super::*;

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn answers_over_the_size_and_hosts_that_are_gone_are_errors() {
    let client = Outbound::new(Duration::from_secs(2), 10).unwrap();
    let small = Loopback::answering("404 Not Found", "", "0123456789");
    let answer = client.ask(get(&small.url("/"))).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().len()), (404, 10));
    let large = Loopback::answering("200 OK", "", "0123456789a");
    let error = client.ask(get(&large.url("/"))).await.unwrap_err();
    assert!(matches!(error, OutboundError::Body(_)), "{error}");
    let error = client.ask(get("http://127.0.0.1:1/")).await.unwrap_err();
    assert!(matches!(error, OutboundError::Connect(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let client = Outbound::new(Duration::from_millis(20), 10).unwrap();
    let error = client
        .ask(get(&Loopback::silent().url("/")))
        .await
        .unwrap_err();
    assert!(matches!(error, OutboundError::Timeout), "{error}");
}

#[test]
fn urls_are_checked() {
    assert!(url("http://auth:9000/check", "url").is_ok());
    for bad in [
        "",
        "auth:9000",
        "/check",
        "ftp://auth/",
        "http://",
        "http://a b/",
    ] {
        assert_eq!(url(bad, "url").unwrap_err().path, "url", "{bad}");
    }
    assert_eq!(url("https://auth/", "url").is_ok(), cfg!(feature = "tls"));
}

/// With a certificate that nobody vouches for, nothing is sent.
#[cfg(feature = "tls")]
#[tokio::test]
async fn an_unknown_certificate_is_refused() {
    use boring::{asn1::Asn1Time, hash::MessageDigest, pkey::PKey, rsa::Rsa, ssl, x509};
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut cert = x509::X509::builder().unwrap();
    cert.set_pubkey(&key).unwrap();
    cert.set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    cert.set_not_after(&Asn1Time::days_from_now(1).unwrap())
        .unwrap();
    cert.sign(&key, MessageDigest::sha256()).unwrap();
    let mut tls = ssl::SslAcceptor::mozilla_intermediate(ssl::SslMethod::tls()).unwrap();
    tls.set_private_key(&key).unwrap();
    tls.set_certificate(&cert.build()).unwrap();
    let tls = tls.build();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || tls.accept(listener.accept().unwrap().0).is_err());
    let client = Outbound::new(Duration::from_secs(5), 10).unwrap();
    let error = client
        .ask(get(&format!("https://127.0.0.1:{port}/")))
        .await
        .unwrap_err();
    assert!(matches!(error, OutboundError::Connect(_)), "{error}");
    assert!(server.join().unwrap());
}
