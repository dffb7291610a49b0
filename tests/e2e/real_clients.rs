//! Origins and clients that people use, where they show what ours might not: Flask and Go behind Tidegate, Java's and Go's clients in
//! front. A test whose tool is not installed says so in a line that begins with `SKIPPED:`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use http::{HeaderValue, Method, header};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::backend::{Raw, read_head};
use crate::client::{Http2, get, raw, request, send};
use crate::harness::{PATIENCE, Tidegate};
use crate::pki::{Leaf, folder};
use crate::setup::{demo, one_pool};

const KEY: &str = "a key of sixteen or more";

/// How long clients of the tests wait, in seconds: less than ours for them.
const CLIENT_PATIENCE: &str = "20";

/// Where the programs are.
fn folder_of_programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/real_clients")
}

/// Says what is not tested, past the capture of test output, so that `scripts/test` counts it.
fn skipped(tool: &str) {
    let test = std::thread::current();
    let test = test.name().unwrap_or_default();
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {test}: {tool} is not installed"
    );
}

async fn works(program: &str, args: &[&str]) -> bool {
    let ran = Command::new(program).args(args).output().await;
    ran.is_ok_and(|output| output.status.success())
}

/// A Python that has Flask, the system's first.
async fn python() -> Option<&'static str> {
    for python in ["/usr/bin/python3", "python3"] {
        if works(python, &["-c", "import flask"]).await {
            return Some(python);
        }
    }
    skipped("Flask (python3-flask)");
    None
}

/// An origin in a process of its own, which ends when this is dropped.
struct Origin {
    address: SocketAddr,
    _process: Child,
}

impl Origin {
    /// Starts it; its first line says its port.
    async fn start(mut command: Command) -> Origin {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let port: u16 = port.unwrap().unwrap().unwrap().parse().unwrap();
        Origin {
            address: ([127, 0, 0, 1], port).into(),
            _process: process,
        }
    }

    /// Flask, by this WSGI server.
    async fn flask(server: &str) -> Option<Origin> {
        let mut command = Command::new(python().await?);
        command
            .arg(folder_of_programs().join("origin.py"))
            .arg(server);
        Some(Origin::start(command).await)
    }
}

/// The Go program, built into `dir`.
async fn go(dir: &Path) -> Option<PathBuf> {
    if !works("go", &["version"]).await {
        skipped("Go (golang-go)");
        return None;
    }
    let program = dir.join("both");
    let mut command = Command::new("go");
    command.arg("build").arg("-o").arg(&program);
    command.arg(folder_of_programs().join("both.go"));
    let built = command.env("GO111MODULE", "off").output().await.unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    Some(program)
}

/// What a client program prints.
async fn lines_of(mut command: Command) -> Vec<String> {
    let ended = command.kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let text = String::from_utf8(ended.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Browsers send each cookie in a field of its own over HTTP/2, and WSGI servers join fields by commas (RFC 9113 8.2.3).
#[tokio::test]
async fn a_session_of_flask_survives_the_cookie_fields_of_http2() {
    let Some(flask) = Origin::flask("werkzeug").await else {
        return;
    };
    let tidegate = Tidegate::start(&one_pool(&[flask.address], "")).await;
    let public = tidegate.address("public");
    let login = get(public, "/login").await;
    assert_eq!(login.text(), "welcome");
    let session = login.header("set-cookie").split(';').next().unwrap();
    let mut http2 = Http2::connect(public).await;
    for method in [Method::GET, Method::POST] {
        for crumbs in [
            &[session, "theme=dark"][..],
            &["theme=dark", session],
            &["a=1", session, "theme=dark", "b=2"],
        ] {
            let mut request = request(method.clone(), "/who");
            for crumb in crumbs {
                let crumb = HeaderValue::from_str(crumb).unwrap();
                request.headers_mut().append(header::COOKIE, crumb);
            }
            let reply = http2.send(request).await.unwrap();
            assert_eq!(reply.text(), "ann dark", "{method} {crumbs:?}");
        }
    }
}

/// Ways to write `/admin/x` that some origin, or something in front of one, takes for it.
const AROUND: &[&str] = &[
    "/admin%2Fx",
    "/admin%2fx",
    "/%61dmin/x",
    "/%2Fadmin/x",
    "//admin/x",
    "/./admin/x",
    "/%2e/admin/x",
    "/open/../admin/x",
    "/open/%2e%2e/admin/x",
    "/open%2f..%2fadmin/x",
    "/admin;a=1/x",
    "/.;/admin/x",
    "/open/..;/admin/x",
    "/;/admin/x",
    "/admin%5Cx",
    "/admin\\x",
    "/open\\..\\admin\\x",
    "/admin%252Fx",
    "/admin%00/x",
    "http://a/admin%2Fx",
];

/// What is under `/admin` needs a key, everything else does not.
fn protected(origin: SocketAddr) -> String {
    format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes:
  - match: {{ path_prefix: /admin }}
    pool: web
    filters: [api_key: {{ keys: [{{ name: ann, key: "{KEY}" }}] }}]
  - {{ match: {{ path_prefix: / }}, pool: web }}
pools: {{ web: {{ backends: ["{origin}"] }} }}
"#
    )
}

/// Nobody without a key gets to the handler, whatever is written in place of its path.
async fn nobody_gets_around(origin: SocketAddr) {
    let tidegate = Tidegate::start(&protected(origin)).await;
    let public = tidegate.address("public");
    let mut with_key = request(Method::GET, "/admin/x");
    let key = HeaderValue::from_static(KEY);
    with_key.headers_mut().insert("x-api-key", key);
    assert_eq!(send(public, with_key).await.text(), "admin handler");
    assert_eq!(get(public, "/admin/x").await.status, 401);
    assert_eq!(get(public, "/open").await.text(), "open");
    for path in AROUND {
        for head in ["GET", "POST"] {
            let head = format!(
                "{head} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let answer = raw(public, head.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 "), "{path}: {answer}");
            assert!(!answer.contains("admin handler"), "{head}");
        }
    }
    let mut http2 = Http2::connect(public).await;
    for path in AROUND.iter().filter(|path| path.starts_with('/')) {
        if path.parse::<http::Uri>().is_err() {
            continue;
        }
        // A stream that is reset is an answer, too.
        if let Ok(reply) = http2.send(request(Method::GET, path)).await {
            assert_ne!(reply.text(), "admin handler", "{path} over HTTP/2");
        }
    }
}

#[tokio::test]
async fn nobody_gets_around_protection_by_path_to_flask() {
    if let Some(flask) = Origin::flask("werkzeug").await {
        nobody_gets_around(flask.address).await;
    }
}

#[tokio::test]
async fn nobody_gets_around_protection_by_path_to_go() {
    let dir = tempfile::tempdir().unwrap();
    if let Some(program) = go(dir.path()).await {
        let mut command = Command::new(program);
        command.arg("origin");
        let origin = Origin::start(command).await;
        nobody_gets_around(origin.address).await;
    }
}

/// WSGI reads `_` in a name as `-`, so that a client could say what only filters say.
#[tokio::test]
async fn flask_sees_who_a_filter_says_it_is_and_no_twin() {
    let Some(flask) = Origin::flask("wsgiref").await else {
        return;
    };
    let config = one_pool(&[flask.address], "").replace(
        "pool: web }",
        "pool: web, filters: [headers: { request: { set: { x-auth-user: ann } } }] }",
    );
    let tidegate = Tidegate::start(&config).await;
    let public = tidegate.address("public");
    let mut http2 = Http2::connect(public).await;
    for fields in [
        &[("X-Auth-User", "admin")][..],
        &[("X_Auth_User", "admin")],
        &[("x-auth_user", "admin"), ("x_auth-user", "admin")],
    ] {
        for method in [Method::GET, Method::POST] {
            let mut head = format!("{method} /auth HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n");
            let mut over_http2 = request(method.clone(), "/auth");
            for (name, value) in fields {
                head.push_str(&format!("{name}: {value}\r\n"));
                let name: http::HeaderName = name.parse().unwrap();
                let value = HeaderValue::from_static(value);
                over_http2.headers_mut().append(name, value);
            }
            for connection in ["close", "close, x-auth-user", "close, X_Auth_User"] {
                let whole = format!("{head}Connection: {connection}\r\n\r\n");
                let answer = raw(public, whole.as_bytes()).await;
                let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
                assert!(
                    body == "ann" || body.contains("\r\nann\r\n"),
                    "{whole}{answer}"
                );
            }
            let reply = http2.send(over_http2).await.unwrap();
            assert_eq!(reply.text(), "ann", "{method} {fields:?} over HTTP/2");
        }
    }
}

/// Listeners `public` in clear text and `secure`, in front of a demo backend and of one that never answers.
async fn in_front_of(demo: SocketAddr, silent: SocketAddr) -> Tidegate {
    let (dir, ca) = folder();
    let leaf = Leaf {
        names: &["a.example"],
        ..Leaf::default()
    };
    ca.issue(dir.path(), "a", &leaf);
    let config = format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - {{ name: public, listen: "127.0.0.1:0" }}
  - {{ name: secure, listen: "127.0.0.1:0", tls: {{ certificates: [{{ cert: a.crt, key: a.key }}] }} }}
routes:
  - {{ match: {{ path: /silent }}, pool: silent }}
  - {{ match: {{ path_prefix: / }}, pool: web }}
pools:
  web: {{ backends: ["{demo}"] }}
  silent: {{ backends: ["{silent}"], timeouts: {{ first_byte: 1s }} }}
"#
    );
    Tidegate::start_in(dir, &config).await
}

/// Reads a head, and then nothing and says nothing.
async fn silent() -> Raw {
    Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        std::future::pending::<()>().await;
    })
    .await
}

/// Java asks to upgrade each request in clear text to HTTP/2; that is not done, and changes nothing else: neither the response nor
/// how long a backend may be silent. Uploads that wait for 100 Continue get it over both versions.
#[tokio::test]
async fn javas_client_gets_its_responses() {
    if !works("java", &["--version"]).await {
        skipped("Java 11 or later (openjdk-17-jdk-headless)");
        return;
    }
    let (demo, silent) = (demo().await, silent().await);
    let tidegate = in_front_of(demo.address, silent.address).await;
    let mut command = Command::new("java");
    // Starts quicker: the program runs once.
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
    command.arg(folder_of_programs().join("Client.java"));
    command.arg(tidegate.address("public").to_string());
    command.arg(tidegate.address("secure").to_string());
    command.arg(CLIENT_PATIENCE);
    let came = lines_of(command).await;
    let expected = [
        "clear-get 200 HTTP_1_1 ok",
        "clear-upload 200 HTTP_1_1 200000",
        "clear-expect 200 HTTP_1_1 200000",
        "clear-http1 200 HTTP_1_1 200000",
        "tls-get 200 HTTP_2 ok",
        "tls-upload 200 HTTP_2 200000",
        "tls-expect 200 HTTP_2 200000",
        "clear-silent 504 HTTP_1_1 504 Gateway Timeout",
        "clear-silent-upload 504 HTTP_1_1 504 Gateway Timeout",
    ];
    assert_eq!(came, expected);
}

#[tokio::test]
async fn gos_client_gets_its_100_continue() {
    let dir = tempfile::tempdir().unwrap();
    let Some(program) = go(dir.path()).await else {
        return;
    };
    let (demo, silent) = (demo().await, silent().await);
    let tidegate = in_front_of(demo.address, silent.address).await;
    let mut command = Command::new(program);
    command
        .arg("client")
        .arg(tidegate.address("secure").to_string());
    command.arg(CLIENT_PATIENCE);
    let came = lines_of(command).await;
    let expected = ["expect 200 HTTP/1.1 200000", "expect 200 HTTP/2.0 200000"];
    assert_eq!(came, expected);
}
