//! Secrets on their way: what is logged of them, who may guess them, and what `ext_auth` gives the client.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpSocket;

use super::*;
use crate::backend::Raw;
use crate::client::Http1;
use crate::setup::demo;

const KEY: &str = "0123456789abcdef";

/// Routes with secrets in queries, one without, and none for other paths.
fn with_secrets(backend: SocketAddr) -> String {
    let api_key = format!("api_key: {{ query: key, keys: [{{ name: a, key: {KEY} }}] }}");
    let jwt = "jwt: { secret: 0123456789abcdef0123456789abcdef, optional: true, from: [{ query: { name: token } }] }";
    let routes = format!(
        "routes:\n  - {{ match: {{ path_prefix: /keys }}, pool: web, filters: [{api_key}] }}\n  - {{ match: {{ path_prefix: /tokens }}, pool: web, filters: [{jwt}] }}\n  - {{ match: {{ path_prefix: /open }}, pool: web }}"
    );
    config(&[backend], "").replace(
        "routes: [{ match: { path_prefix: / }, pool: web, filters: [] }]",
        &routes,
    )
}

/// Path, query and referer as sent, query and referer as logged.
const LOGGED: [(&str, &str, &str, &str, &str); 8] = [
    ("/keys/1", "key=0123456789abcdef", "", "key=***", ""),
    (
        "/keys/2",
        "a=b&%6be%79=k&c=d",
        "",
        "a=b&%6be%79=***&c=d",
        "",
    ),
    (
        "/keys/3",
        "key=x&KEY=y&key=z",
        "",
        "key=***&KEY=***&key=***",
        "",
    ),
    ("/keys/4", "token=t", "", "token=t", ""),
    (
        "/tokens/1",
        "token=t;token=u",
        "",
        "token=***;token=***",
        "",
    ),
    (
        "/open/1",
        "key=x",
        "https://h/keys?key=s&a=b",
        "key=x",
        "https://h/keys?key=***&a=b",
    ),
    (
        "/open/2",
        "",
        "https://h/tokens?token=s",
        "",
        "https://h/tokens?token=***",
    ),
    // No route: any of them may have been meant.
    (
        "/nowhere",
        "key=s&token=t&a=b",
        "",
        "key=***&token=***&a=b",
        "",
    ),
];

#[tokio::test]
async fn secrets_in_queries_are_blotted_out_in_the_log_and_nowhere_else() {
    let backend =
        Raw::answering(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    let tidegate = Tidegate::start(&with_secrets(backend.address)).await;
    for (path, query, referer, logged_query, logged_referer) in LOGGED {
        let target = format!("{path}?{query}");
        ask(&tidegate, &target, &[("referer", referer)]).await;
        let line = logged(&tidegate, path).await;
        let field = |name: &str| line[name].as_str().unwrap_or("").to_owned();
        assert_eq!(field("query"), logged_query, "{target}");
        assert_eq!(field("referer"), logged_referer, "{target}");
    }
    let seen = backend.seen().concat();
    assert!(seen.contains(&format!("/keys/1?key={KEY} ")), "{seen}");
    assert!(seen.contains("https://h/keys?key=s&a=b"), "{seen}");
}

/// A connection from this address.
async fn from(address: IpAddr, to: SocketAddr) -> Http1 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    Http1::over(socket.connect(to).await.unwrap())
        .await
        .unwrap()
}

fn showing(credentials: &str) -> Request<Full<Bytes>> {
    let basic = format!("Basic {}", STANDARD.encode(credentials));
    asking("/headers", &[("authorization", &basic)])
}

#[tokio::test]
async fn guessers_lock_nobody_out() {
    let backend = demo().await;
    let hash = "$2y$04$W3.FCRZYNePpMBkBDzeJhOJY6hY5WYuLlvF4vPcpRd97pOhsrCWSu";
    let filter =
        format!("{{ basic_auth: {{ users: {{ ann: \"{hash}\" }}, max_hashing: 2, cache: 0s }} }}");
    let tidegate = behind(backend.address, &filter).await;
    let address = tidegate.address("public");
    let mut guessing = tokio::task::JoinSet::new();
    for guesser in 2..10 {
        for _ in 0..4 {
            guessing.spawn(async move {
                let mut connection = from(Ipv4Addr::new(127, 0, 0, guesser).into(), address).await;
                loop {
                    let reply = connection.send(showing("ann:guess")).await.unwrap();
                    assert!([401, 503].contains(&reply.status), "{}", reply.status);
                }
            });
        }
    }
    let refused = "tidegate_filter_duration_seconds_count{filter=\"basic_auth\",phase=\"request\"";
    tidegate.wait_metric(refused, 50.0).await;
    let mut ann = from(Ipv4Addr::LOCALHOST.into(), address).await;
    for _ in 0..10 {
        assert_eq!(ann.send(showing("ann:secret")).await.unwrap().status, 200);
    }
    guessing.abort_all();
    while let Some(ended) = guessing.join_next().await {
        assert!(ended.unwrap_err().is_cancelled(), "a guesser was surprised");
    }
}

#[tokio::test]
async fn ext_auth_gives_the_client_what_it_is_told_to() {
    let backend = Raw::answering(
        b"HTTP/1.1 200 OK\r\nconnection: close\r\nset-cookie: page=1\r\ncache-control: public\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let service = Raw::answering(
        b"HTTP/1.1 200 OK\r\nconnection: close\r\nset-cookie: sid=2; HttpOnly\r\nx-internal: no\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    for (more, cookies, cached) in [
        ("", &["page=1"][..], &["public"][..]),
        (
            ", client_headers: [set-cookie]",
            &["page=1", "sid=2; HttpOnly"],
            &["public", "private"],
        ),
    ] {
        let filter = format!(
            "{{ ext_auth: {{ url: \"http://{}/\"{more} }} }}",
            service.address
        );
        let tidegate = behind(backend.address, &filter).await;
        for reply in [
            ask(&tidegate, "/", &[]).await,
            post(&tidegate, "/", &[], "x").await,
        ] {
            let all = |name: &str| -> Vec<String> {
                let values = reply.headers.get_all(name).iter();
                values.map(|v| v.to_str().unwrap().to_owned()).collect()
            };
            assert_eq!(all("set-cookie"), cookies);
            assert_eq!(all("cache-control"), cached);
            assert_eq!(reply.header("x-internal"), "");
        }
    }
}

#[tokio::test]
async fn optional_tokens_that_can_not_be_read_are_refused() {
    let backend = demo().await;
    let filter = "{ jwt: { secret: 0123456789abcdef0123456789abcdef, optional: true } }";
    let tidegate = behind(backend.address, filter).await;
    for (field, status) in [
        (&b"Basic YW5uOng="[..], 200),
        (b"Bearer\tx.y.z", 401),
        (b"Bearer x.y.z\xff", 401),
        (b"bearer  x.y.z", 401),
        (b"Bearer", 401),
        (b"Basic YW5uOng=, Bearer x.y.z", 401),
        (b"Basic YW5uOng=\r\nAuthorization: Bearer x.y.z", 401),
    ] {
        let head = b"GET /headers HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: ";
        let asked = [&head[..], field, b"\r\n\r\n"].concat();
        let answer = crate::client::raw(tidegate.address("public"), &asked).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(
            answer.starts_with(&expected),
            "{}: {answer}",
            field.escape_ascii()
        );
    }
}
