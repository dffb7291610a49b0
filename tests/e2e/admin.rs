//! The admin listener and web pages: what a browser sends on behalf of a stranger's page is refused, what operators,
//! scrapers and orchestrators send is not.

use http::{Method, Request};
use http_body_util::Full;

use crate::client::{Http2, Reply, get, get_admin, raw, send};
use crate::harness::Tidegate;
use crate::setup::{demo, one_pool};

const ADMIN: &str = "admin: { listen: \"127.0.0.1:0\" }";

async fn started() -> Tidegate {
    let backend = demo().await;
    let named = "admin: { listen: \"127.0.0.1:0\", hosts: [ops.example, \"*.svc\"] }";
    let config = one_pool_named(backend.address).replace(ADMIN, named);
    Tidegate::start(&config).await
}

fn one_pool_named(backend: std::net::SocketAddr) -> String {
    one_pool(&[backend], "").replace(
        &format!("\"{backend}\""),
        &format!("{{ id: b, address: \"{backend}\" }}"),
    )
}

async fn ask(tidegate: &Tidegate, method: &str, path: &str, fields: &[(&str, String)]) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, value);
    }
    send(
        tidegate.address("admin"),
        request.body(Full::default()).unwrap(),
    )
    .await
}

/// `DRAINED` is a request that drains the backend, and then the backend is as it was.
async fn drains(tidegate: &Tidegate, method: &str, fields: &[(&str, String)]) -> Reply {
    let reply = ask(tidegate, method, "/pools/web/backends/b/drain", fields).await;
    let state = tidegate.backend("web", "b").await["state"].clone();
    let drained = state == "draining" || state == "drained";
    assert_eq!(
        drained,
        reply.status == 200,
        "{fields:?}: {state} {reply:?}"
    );
    let address = tidegate.address("admin");
    let own = [
        ("host", address.to_string()),
        ("content-type", "application/json".to_owned()),
    ];
    let undone = ask(tidegate, "POST", "/pools/web/backends/b/undrain", &own).await;
    assert_eq!(undone.status, 200);
    reply
}

#[allow(clippy::too_many_lines, reason = "most of it is the table")]
#[tokio::test]
async fn pages_of_strangers_read_nothing_and_change_nothing() {
    let tidegate = started().await;
    let own = tidegate.address("admin").to_string();
    let json = ("content-type", "application/json".to_owned());
    let field = |name: &'static str, value: &str| (name, value.to_owned());
    let host = |value: &str| ("host", value.to_owned());
    let cases = [
        // Operators: curl, a script, the browser's address line, a page of the listener itself.
        (vec![host(&own), json.clone()], 200),
        (vec![host("localhost:9901"), json.clone()], 200),
        (vec![host("[::1]:9901"), json.clone()], 200),
        (vec![host("OPS.example."), json.clone()], 200),
        (vec![host("tidegate.monitoring.svc:80"), json.clone()], 200),
        (
            vec![
                host(&own),
                json.clone(),
                field("origin", &format!("http://{own}")),
                field("sec-fetch-site", "same-origin"),
            ],
            200,
        ),
        (
            vec![host(&own), json.clone(), field("sec-fetch-site", "none")],
            200,
        ),
        // Pages that let their own name point here.
        (vec![host("evil.example"), json.clone()], 403),
        (
            vec![
                host("evil.example"),
                json.clone(),
                field("origin", "http://evil.example"),
                field("sec-fetch-site", "same-origin"),
            ],
            403,
        ),
        (vec![host("svc"), json.clone()], 403),
        // Pages of other origins.
        (
            vec![
                host(&own),
                json.clone(),
                field("origin", "http://evil.example"),
            ],
            403,
        ),
        (vec![host(&own), json.clone(), field("origin", "null")], 403),
        (
            vec![
                host(&own),
                json.clone(),
                field("sec-fetch-site", "cross-site"),
            ],
            403,
        ),
        (
            vec![
                host(&own),
                json.clone(),
                field("sec-fetch-site", "same-site"),
            ],
            403,
        ),
    ];
    for (fields, status) in &cases {
        let reply = drains(&tidegate, "POST", fields).await;
        assert_eq!(reply.status, *status, "{fields:?}: {reply:?}");
        for path in ["/status", "/metrics", "/"] {
            let reply = ask(&tidegate, "GET", path, fields).await;
            assert_eq!(reply.status, *status, "{path} {fields:?}");
            let secret = reply.text().contains("tidegate_") || reply.text().contains("backends\"");
            assert!(*status == 200 || !secret, "{path} {fields:?}");
        }
        for path in ["/healthz", "/livez", "/readyz"] {
            let reply = ask(&tidegate, "GET", path, fields).await;
            assert_eq!(reply.status, 200, "{path} {fields:?}");
        }
        let reply = ask(&tidegate, "OPTIONS", "/status", fields).await;
        assert!([403, 405].contains(&reply.status));
        let allows = "access-control-allow-origin";
        assert!(!reply.headers.contains_key(allows), "{reply:?}");
    }
}

#[tokio::test]
async fn what_a_form_can_send_changes_nothing() {
    let tidegate = started().await;
    let own = ("host", tidegate.address("admin").to_string());
    for (kind, status) in [
        ("application/json", 200),
        ("APPLICATION/json; charset=utf-8", 200),
        ("text/plain", 403),
        ("text/plain; a=application/json", 403),
        ("application/x-www-form-urlencoded", 403),
        ("multipart/form-data; boundary=x", 403),
    ] {
        let fields = [own.clone(), ("content-type", kind.to_owned())];
        let reply = drains(&tidegate, "POST", &fields).await;
        assert_eq!(reply.status, status, "{kind}: {reply:?}");
        if status == 403 {
            assert!(reply.text().contains("application/json"), "{reply:?}");
        }
    }
    let reply = drains(&tidegate, "POST", std::slice::from_ref(&own)).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    let json = ("content-type", "application/json".to_owned());
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "DRAIN"] {
        let over = ("x-http-method-override", "POST".to_owned());
        let reply = drains(&tidegate, method, &[own.clone(), json.clone(), over]).await;
        assert_eq!(
            (reply.status, reply.header("allow")),
            (405, "POST"),
            "{method}"
        );
    }
    let reply = ask(&tidegate, "POST", "/status", &[own, json]).await;
    assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn other_ways_to_name_a_host() {
    let tidegate = started().await;
    let admin = tidegate.address("admin");
    let first_line = |answer: String| answer.lines().next().unwrap_or_default().to_owned();
    for (request, status) in [
        // Without Host, as only HTTP/1.0 allows: no browser sends that.
        ("GET /status HTTP/1.0\r\n\r\n", "200"),
        ("GET /status HTTP/1.0\r\nHost: evil.example\r\n\r\n", "403"),
        ("GET /status HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        (
            "GET /status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "GET http://evil.example/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            "403",
        ),
        (
            "GET http://localhost/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            "200",
        ),
    ] {
        let line = first_line(raw(admin, request.as_bytes()).await);
        assert!(line.contains(status), "{request:?}: {line}");
    }
    let mut client = Http2::connect(admin).await;
    // The host of its requests is `test.example`.
    assert_eq!(client.get("/status").await.status, 403);
    assert_eq!(client.get("/readyz").await.status, 200);
    let mut known = crate::client::request(Method::GET, "/status");
    let host = http::HeaderValue::from_static("localhost:9901");
    known.headers_mut().insert("host", host);
    assert_eq!(client.send(known).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_refusal_says_what_to_set_and_a_reload_sets_it() {
    let backend = demo().await;
    let config = one_pool_named(backend.address);
    let mut tidegate = Tidegate::start(&config).await;
    let admin = tidegate.address("admin");
    let refused = get(admin, "/metrics").await;
    assert_eq!(refused.status, 403);
    let told = refused.text();
    assert!(
        told.contains("test.example") && told.contains("admin.hosts"),
        "{told}"
    );
    assert_eq!(get_admin(admin, "/metrics").await.status, 200);
    let known = config.replace(
        ADMIN,
        "admin: { listen: \"127.0.0.1:0\", hosts: [test.example] }",
    );
    assert_eq!(tidegate.reload(&known).await["result"], "taken");
    assert_eq!(get(tidegate.address("admin"), "/metrics").await.status, 200);
}

#[tokio::test]
async fn on_a_unix_socket_any_host_is_known_as_no_browser_gets_there() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let backend = demo().await;
    let config = one_pool_named(backend.address);
    let unix = format!("admin: {{ listen: \"unix:{}\" }}", socket.display());
    let tidegate = Tidegate::start_in(dir, &config.replace(ADMIN, &unix)).await;
    let ask = async |fields: &str, method: &str, path: &str| {
        let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n{fields}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let drain = "/pools/web/backends/b/drain";
    assert_eq!(ask("", "GET", "/status").await, "200");
    assert_eq!(
        ask("Content-Type: text/plain\r\n", "POST", drain).await,
        "403"
    );
    assert_eq!(
        ask("Sec-Fetch-Site: cross-site\r\n", "GET", "/status").await,
        "403"
    );
    assert_eq!(
        ask("Content-Type: application/json\r\n", "POST", drain).await,
        "200"
    );
    drop(tidegate);
}
