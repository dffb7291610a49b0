//! Every built-in filter through the real process: what the client gets, what the backend saw, what is logged and counted.

mod access;
mod compressing;
mod connections;
mod grpc;
mod own;
mod responses;
mod rewriting;
mod secrets;
mod tokens;
mod traffic;

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;

use crate::client::{Reply, send};
use crate::harness::{Tidegate, run, write};
use crate::setup::one_pool;

/// The configuration of `one_pool` with these filters, in flow style, on its one route.
fn config(backends: &[SocketAddr], filters: &str) -> String {
    let route = format!("pool: web, filters: [{filters}] }}]");
    one_pool(backends, "").replace("pool: web }]", &route)
}

/// A running instance with these filters in front of one backend.
async fn behind(backend: SocketAddr, filters: &str) -> Tidegate {
    Tidegate::start(&config(&[backend], filters)).await
}

fn asking(path: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().uri(path).header("host", "test.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

/// GET on a connection of its own.
async fn ask(tidegate: &Tidegate, path: &str, headers: &[(&str, &str)]) -> Reply {
    send(tidegate.address("public"), asking(path, headers)).await
}

/// POST on a connection of its own.
async fn post(
    tidegate: &Tidegate,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    let mut request = asking(path, headers);
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = Full::new(body.into());
    send(tidegate.address("public"), request).await
}

/// What the demo backend's `/headers` says it got, if it was this header; several are joined by `|`.
fn saw(reply: &Reply, name: &str) -> Option<String> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let told: Value = serde_json::from_slice(&reply.body).unwrap();
    let pairs = told["headers"].as_array().unwrap().iter();
    let values: Vec<_> = pairs
        .filter(|pair| pair[0] == name)
        .map(|pair| pair[1].as_str().unwrap().to_owned())
        .collect();
    (!values.is_empty()).then(|| values.join("|"))
}

/// The access log's line about a path.
async fn logged(tidegate: &Tidegate, path: &str) -> Value {
    tidegate.access.wait(path, |l| l["path"] == path).await
}

/// What `check` says of the configuration with these filters; it must refuse it.
async fn refused(filters: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidegate.yaml");
    write(&path, &config(&["127.0.0.1:1".parse().unwrap()], filters));
    let output = run(&["check", "-c", path.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(1), "{filters} is accepted");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn a_wrong_filter_is_named_with_line_and_column() {
    // All on line 5, where the route stands; the column is where the last of the three begins.
    for (filters, says, at) in [
        (
            "{ compres: {} }",
            "compres: unknown filter; did you mean \"compress\"?",
            "compres:",
        ),
        (
            "{ cors: { orgins: [] } }",
            "cors.orgins: unknown key; did you mean \"origins\"?",
            "orgins:",
        ),
        (
            "{ rate_limit: { requests: 0, per: 1s } }",
            "rate_limit.requests: write 1 to 1000000000",
            "0, per",
        ),
        (
            "{ jwt: {} }",
            "jwt: write exactly one of secret, public_key_file, jwks_file and jwks_url",
            "jwt",
        ),
        (
            "{ jwt: { jwks_url: \"ftp://x/\" } }",
            "jwt.jwks_url: write a URL",
            "\"ftp:",
        ),
        (
            "{ jwt: { secret: 0123456789abcdef0123456789abcdef, algorithms: [HS256, ES512] } }",
            "jwt.algorithms[1]: ES512 is not supported",
            "ES512",
        ),
        (
            "{ basic_auth: { users: { ann: secret } } }",
            "basic_auth.users.ann: write an Argon2 or bcrypt hash",
            "secret",
        ),
        (
            "{ canary: { pool: gone, cookie: { name: c } } }",
            "canary.pool: unknown pool \"gone\"; known are web",
            "gone",
        ),
        (
            "{ fault: {} }",
            "fault: write delay, abort or both",
            "fault",
        ),
        (
            "{ ip_access: { deny: [10.0.0.0/33] } }",
            "ip_access.deny[0]: ",
            "10.0.0.0/33",
        ),
    ] {
        let said = refused(filters).await;
        let text = config(&["127.0.0.1:1".parse().unwrap()], filters);
        let line = text.lines().nth(4).unwrap();
        let column = line.find(at).unwrap() + 1;
        let expected = format!("tidegate.yaml:5:{column}: error: routes[0].filters[0].{says}");
        assert!(said.contains(&expected), "{expected:?} is not in {said}");
    }
}

#[tokio::test]
async fn filters_are_listed_with_their_config() {
    let output = run(&["filters"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    for entry in tidegate_filters::table().iter() {
        let schema = entry.schema();
        let keys = schema.get("properties").and_then(|p| p.as_object());
        let mut lines = text.lines();
        let line = lines.find(|l| l.split(' ').next() == Some(entry.name));
        let line = line.unwrap_or_else(|| panic!("{} is not in\n{text}", entry.name));
        assert!(line.ends_with(&entry.about()), "{line}");
        let below: Vec<_> = lines.take_while(|l| l.starts_with(' ')).collect();
        for key in keys.into_iter().flatten().map(|(key, _)| key) {
            let start = format!("    {key}: ");
            let told = below.iter().any(|l| l.starts_with(&start));
            assert!(told, "{}.{key} is not in\n{text}", entry.name);
        }
    }
}

/// The examples at the head of the filters' files, with what they refer to put in place.
#[tokio::test]
async fn every_filter_s_example_is_a_config_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        write(&dir.path().join(name), text);
        dir.path().join(name).display().to_string()
    };
    let key = file("partner_key", "0123456789abcdef");
    let hash = "$2y$04$W3.FCRZYNePpMBkBDzeJhOJY6hY5WYuLlvF4vPcpRd97pOhsrCWSu";
    let users = file("htpasswd", &format!("ann:{hash}\n"));
    for entry in tidegate_filters::table().iter() {
        let source = format!("{}/filters/{}.rs", env!("CARGO_MANIFEST_DIR"), entry.name);
        let source = std::fs::read_to_string(source).unwrap();
        let doc = source.lines().map_while(|line| line.strip_prefix("//!"));
        let example: String = doc
            .skip_while(|line| *line != " ```yaml")
            .skip(1)
            .take_while(|line| *line != " ```")
            .map(|line| format!("     {line}\n"))
            .collect();
        assert!(!example.is_empty(), "{} has no example", entry.name);
        let example = example
            .replace("/run/secrets/partner_key", &key)
            .replace("conf/htpasswd", &users)
            .replace("$argon2id$v=19$m=19456,t=2,p=1$...", hash);
        let text = config(&["127.0.0.1:1".parse().unwrap()], "").replace(
            "routes: [{ match: { path_prefix: / }, pool: web, filters: [] }]",
            &format!(
                "routes:\n  - match: {{ path_prefix: / }}\n    pool: web\n    filters:\n{example}"
            ),
        );
        let text = format!("{text}\n  web_canary: {{ backends: [\"127.0.0.1:1\"] }}\n");
        let path = file("tidegate.yaml", &text);
        let output = run(&["check", "-c", &path]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}{text}", entry.name);
    }
}
