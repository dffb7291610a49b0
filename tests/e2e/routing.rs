//! Which request goes where.

use http::{Method, Request};
use http_body_util::Full;

use crate::client::{self, get, request, send};
use crate::harness::Tidegate;

/// Routes that answer with their own name, so that no backend is needed.
const TABLE: &str = r#"
version: 1
admin: { listen: "127.0.0.1:0" }
listeners:
  - { name: public, listen: "127.0.0.1:0" }
routes:
  - match: { path_prefix: /api/orders }
    respond: { status: 200, body: orders }
  - match: { path: /api/orders/exact }
    respond: { status: 200, body: exact }
  - match: { path_regex: "/v[0-9]+/.*" }
    respond: { status: 200, body: regex }
  - match: { host: "*.example.org", path_prefix: / }
    respond: { status: 200, body: wildcard }
  - match: { host: www.example.org, path_prefix: / }
    respond: { status: 200, body: www }
  - match: { path_prefix: /api/orders, method: DELETE }
    respond: { status: 200, body: delete }
  - match: { path_prefix: /, headers: { x-canary: "1" } }
    respond: { status: 200, body: canary }
  - match: { path_prefix: /, query: { beta: "yes" } }
    respond: { status: 200, body: beta }
  - match: { path_prefix: /, cookies: { group: b } }
    respond: { status: 200, body: cookie }
  - match: { path_prefix: /moved }
    redirect: { status: 308, scheme: https, path: /new }
  - match: { path_prefix: / }
    respond: { status: 200, body: rest }
"#;

#[tokio::test]
async fn the_path_table() {
    let tidegate = Tidegate::start(TABLE).await;
    let address = tidegate.address("public");
    let table = [
        ("/api/orders", 200, "orders"),
        ("/api/orders/", 200, "orders"),
        ("/api/orders/1?x", 200, "orders"),
        ("/api/orders-old", 200, "rest"),
        ("/API/orders", 200, "rest"),
        ("/api//orders", 200, "orders"),
        ("/api/x/../orders/1", 200, "orders"),
        ("/api/%6Frders", 200, "orders"),
        ("/api/orders/exact", 200, "exact"),
        ("/v2/x", 200, "regex"),
        ("/", 200, "rest"),
    ];
    for (path, status, body) in table {
        let reply = get(address, path).await;
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (status, body),
            "{path}"
        );
    }
    let escape = client::raw(
        address,
        b"GET /../etc/passwd HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(escape.starts_with("HTTP/1.1 400"), "{escape}");
}

#[tokio::test]
async fn host_method_header_query_and_cookie() {
    let tidegate = Tidegate::start(TABLE).await;
    let address = tidegate.address("public");
    let ask = |build: fn(http::request::Builder) -> http::request::Builder| async move {
        let builder = Request::builder().uri("/x").header("host", "other");
        send(address, build(builder).body(Full::default()).unwrap())
            .await
            .text()
    };
    assert_eq!(ask(|b| b.header("x-canary", "1")).await, "canary");
    assert_eq!(ask(|b| b.header("x-canary", "2")).await, "rest");
    assert_eq!(ask(|b| b.uri("/x?a=1&beta=yes")).await, "beta");
    assert_eq!(ask(|b| b.header("cookie", "z=1; group=b")).await, "cookie");
    assert_eq!(
        ask(|b| b.uri("/api/orders").method("DELETE")).await,
        "delete"
    );
    for (host, expected) in [
        ("www.example.org", "www"),
        ("WWW.Example.org:8080", "www"),
        ("a.b.example.org", "wildcard"),
        ("example.org", "rest"),
    ] {
        let mut request = request(Method::GET, "/x");
        request.headers_mut().insert("host", host.parse().unwrap());
        assert_eq!(send(address, request).await.text(), expected, "{host}");
    }
}

#[tokio::test]
async fn redirect_and_no_route() {
    let tidegate = Tidegate::start(
        r#"
version: 1
admin: { listen: "127.0.0.1:0" }
listeners: [{ name: public, listen: "127.0.0.1:0" }]
routes:
  - match: { path_prefix: /moved }
    redirect: { status: 308, scheme: https, host: new.example }
"#,
    )
    .await;
    let reply = get(tidegate.address("public"), "/moved/a?b=c").await;
    assert_eq!(reply.status, 308);
    assert_eq!(reply.header("location"), "https://new.example/moved/a?b=c");
    let reply = get(tidegate.address("public"), "/elsewhere").await;
    assert_eq!(reply.status, 404);
    let line = tidegate
        .access
        .wait("no route", |l| l["path"] == "/elsewhere")
        .await;
    assert_eq!(line["flags"], "NR");
}

#[tokio::test]
async fn a_split_is_stable_per_client_and_monotone() {
    let config = |weight: u32| {
        format!(
            r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes:
  - match: {{ path_prefix: / }}
    split: [{{ pool: stable, weight: {} }}, {{ pool: canary, weight: {weight} }}]
    split_by: {{ header: x-user }}
pools:
  stable: {{ backends: ["127.0.0.1:1"] }}
  canary: {{ backends: ["127.0.0.1:2"] }}
"#,
            100 - weight
        )
    };
    let mut tidegate = Tidegate::start(&config(10)).await;
    let before = canary_users(&tidegate).await;
    assert!((5..=35).contains(&before.len()), "{before:?}");
    assert_eq!(canary_users(&tidegate).await, before);
    tidegate.reload(&config(50)).await;
    let after = canary_users(&tidegate).await;
    assert!(after.len() > before.len());
    assert!(before.iter().all(|user| after.contains(user)));
}

/// Which of 200 users go to the canary; there are no backends, the log tells the pool.
async fn canary_users(tidegate: &Tidegate) -> Vec<String> {
    let address = tidegate.address("public");
    let seen = tidegate.access.all().len();
    let mut connection = client::Http1::connect(address).await.unwrap();
    for user in 0..200 {
        let mut request = request(Method::GET, &format!("/u{user}"));
        let id = format!("user-{user}").parse().unwrap();
        request.headers_mut().insert("x-user", id);
        if connection.send(request.clone()).await.is_err() {
            connection = client::Http1::connect(address).await.unwrap();
            connection.send(request).await.unwrap();
        }
    }
    crate::harness::eventually("200 log lines", || async {
        tidegate.access.all().len() >= seen + 200
    })
    .await;
    let lines = tidegate.access.all();
    let canary = lines[seen..].iter().filter(|l| l["pool"] == "canary");
    let mut users: Vec<String> = canary
        .map(|l| l["path"].as_str().unwrap().to_owned())
        .collect();
    users.sort();
    users.dedup();
    users
}
