use super::*;
use crate::outbound::loopback::Loopback;
use crate::testing::{Call, Route, refusal};
use serde_json::json;

fn route(url: &str) -> Route {
    Route::of::<ExtAuth>(json!({ "url": url, "take_headers": ["x-user"], "timeout": "2s" }))
}

#[tokio::test]
async fn the_service_is_told_what_it_needs_and_lets_pass() {
    let service = Loopback::answering("200 OK", "x-user: ann\r\nx-other: no\r\n", "");
    let call = Call::post("/orders?id=1", "body")
        .header("cookie", "sid=1")
        .header("x-secret", "no");
    let seen = route(&service.url("/check"))
        .send_async(call.header("x-user", "root"))
        .await;
    assert_eq!(seen.status(), 200);
    let users: Vec<_> = seen
        .backend()
        .head
        .headers
        .get_all("x-user")
        .iter()
        .collect();
    assert_eq!(users, ["ann"]);
    assert_eq!(seen.backend().header("x-other"), None);
    let asked = service.heard();
    assert!(asked.starts_with("GET /check HTTP/1.1\r\n"), "{asked}");
    for line in [
        "x-forwarded-method: POST",
        "x-forwarded-uri: /orders?id=1",
        "x-forwarded-host: example.com",
        "x-forwarded-for: 192.0.2.1",
        "x-forwarded-proto: http",
        "cookie: sid=1",
    ] {
        assert!(asked.contains(line), "{line} in {asked}");
    }
    assert!(!asked.contains("x-secret") && !asked.contains("body"));
}

#[tokio::test]
async fn its_refusal_goes_to_the_client() {
    let service = Loopback::answering("302 Found", "location: /login\r\nset-cookie: a=b\r\n", "go");
    let seen = route(&service.url("/")).send_async(Call::get("/")).await;
    assert_eq!((seen.status(), seen.text()), (302, "go"));
    assert_eq!(seen.header("location"), Some("/login"));
    assert_eq!(seen.header("set-cookie"), Some("a=b"));
    assert_eq!(seen.reason(), Some("ext_auth: answered 302"));
    assert!(!seen.reached_backend());
}

#[tokio::test]
async fn without_an_answer_closed_refuses_and_open_lets_pass() {
    let broken = Loopback::answering("500 Internal Server Error", "", "");
    let gone = "http://127.0.0.1:1/".to_string();
    let large = Loopback::answering("200 OK", "", &"x".repeat(MAX_ANSWER + 1));
    for url in [broken.url("/"), gone, large.url("/")] {
        let seen = route(&url)
            .send_async(Call::get("/").header("x-user", "root"))
            .await;
        assert_eq!(
            (seen.status(), seen.reason()),
            (503, Some("ext_auth: no answer"))
        );
        let open = json!({ "url": url, "on_failure": "open", "take_headers": ["x-user"] });
        let seen = Route::of::<ExtAuth>(open)
            .send_async(Call::get("/").header("x-user", "root"))
            .await;
        assert_eq!(
            seen.attribute("ext_auth.failed_open").as_deref(),
            Some("true")
        );
        assert_eq!(
            seen.backend().header("x-user"),
            None,
            "nobody vouches for it"
        );
    }
}

#[tokio::test]
async fn a_service_that_hangs_is_given_up() {
    let service = Loopback::silent();
    let config = json!({ "url": service.url("/"), "timeout": "20ms" });
    let seen = Route::of::<ExtAuth>(config)
        .send_async(Call::get("/"))
        .await;
    assert_eq!(seen.status(), 503);
}

#[tokio::test]
async fn the_client_gets_what_the_service_gives_it_where_that_is_asked_for() {
    let fields = "set-cookie: sid=2; HttpOnly\r\nset-cookie: b=c\r\nx-quota: 7\r\nx-other: no\r\n";
    for (names, cookies, quota, cached) in [
        (json!([]), vec!["a=b"], "9", vec!["public, max-age=60"]),
        (
            json!(["set-cookie", "x-quota", "x-missing"]),
            vec!["a=b", "sid=2; HttpOnly", "b=c"],
            "7",
            vec!["public, max-age=60", "private"],
        ),
    ] {
        let service = Loopback::answering("200 OK", fields, "");
        let config = json!({ "url": service.url("/"), "timeout": "2s", "client_headers": names });
        let page = Response::new(StatusCode::OK)
            .text("page")
            .header(SET_COOKIE, HeaderValue::from_static("a=b"))
            .header(
                CACHE_CONTROL,
                HeaderValue::from_static("public, max-age=60"),
            )
            .header(
                "x-missing".parse().unwrap(),
                HeaderValue::from_static("here"),
            )
            .header("x-quota".parse().unwrap(), HeaderValue::from_static("9"));
        let seen = Route::of::<ExtAuth>(config)
            .send_async(Call::get("/").answered(page))
            .await;
        let all = |name: HeaderName| -> Vec<String> {
            let lines = seen.response.headers.get_all(name);
            lines
                .iter()
                .map(|v| v.to_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(all(SET_COOKIE), cookies);
        assert_eq!(all(CACHE_CONTROL), cached);
        assert_eq!(seen.header("x-quota"), Some(quota));
        assert_eq!(seen.header("x-missing"), Some("here"));
        assert_eq!(seen.header("x-other"), None);
    }
}

#[tokio::test]
async fn a_refusal_keeps_its_fields_but_for_those_of_its_connection() {
    let fields = "connection: x-hop\r\nx-hop: 1\r\nwww-authenticate: Bearer\r\ncontent-type: text/html\r\nset-cookie: a=b\r\n";
    let service = Loopback::answering("401 Unauthorized", fields, "no");
    let seen = route(&service.url("/")).send_async(Call::get("/")).await;
    assert_eq!((seen.status(), seen.text()), (401, "no"));
    for (name, value) in [
        ("www-authenticate", Some("Bearer")),
        ("content-type", Some("text/html")),
        ("set-cookie", Some("a=b")),
        ("content-length", Some("2")),
        ("x-hop", None),
        ("connection", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn what_is_no_verdict_is_no_answer() {
    for status in ["304 Not Modified", "500 Internal Server Error", "503 x"] {
        let service = Loopback::answering(status, "", "");
        let seen = route(&service.url("/")).send_async(Call::get("/")).await;
        assert_eq!(seen.status(), 503, "{status}");
    }
}

#[tokio::test]
async fn two_authorization_lines_are_asked_about_by_nobody() {
    let service = Loopback::answering("200 OK", "", "");
    let call = Call::get("/").header("authorization", "Bearer a");
    let call = call.header("authorization", "Bearer b");
    let seen = route(&service.url("/")).send_async(call).await;
    assert_eq!((seen.status(), seen.reached_backend()), (400, false));
}

#[test]
fn bad_configs() {
    assert_eq!(refusal::<ExtAuth>(&json!({ "url": "/check" })).path, "url");
    assert_eq!(
        refusal::<ExtAuth>(&json!({ "url": "http://a/", "timeout": "0s" })).path,
        "timeout"
    );
    let fail = json!({ "url": "http://a/", "on_failure": "ajar" });
    assert_eq!(refusal::<ExtAuth>(&fail).path, "on_failure");
    for (key, name) in [
        ("send_headers", "Content-Length"),
        ("send_headers", "x-forwarded-for"),
        ("send_headers", "host"),
        ("take_headers", "transfer-encoding"),
        ("client_headers", "connection"),
    ] {
        let config = json!({ "url": "http://a/", key: ["x-fine", name] });
        assert_eq!(refusal::<ExtAuth>(&config).path, format!("{key}[1]"));
    }
}

#[tokio::test]
async fn a_client_that_nobody_knows_is_said_to_be_unknown() {
    let service = Loopback::answering("200 OK", "", "");
    let asking = route(&service.url("/"));
    asking.send_async(Call::get("/").unknown_client()).await;
    let asked = service.heard();
    assert!(asked.contains("x-forwarded-for: unknown\r\n"), "{asked}");
}
