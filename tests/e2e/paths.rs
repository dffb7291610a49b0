//! Paths that can be spelled in many ways: whatever the spelling, what a route protects is protected, and every part of
//! Tidegate and the backend see the same path.

mod origins;

use std::net::SocketAddr;

use http::Method;

use self::origins::{flask, is_admin, lenient, readings};
use crate::client::{self, Http2, get, raw, request};
use crate::harness::{Tidegate, run, write};
use crate::strict::Strict;

/// `/admin` wants a token, but for `/admin/open`; everything else is open.
fn protected(backend: SocketAddr, listener: &str) -> String {
    format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0"{listener} }}]
routes:
  - match: {{ path_prefix: /admin }}
    filters: [{{ jwt: {{ secret: 0123456789abcdef0123456789abcdef }} }}]
    pool: web
  - match: {{ path_prefix: /admin/open }}
    pool: web
  - match: {{ path_prefix: / }}
    pool: web
pools: {{ web: {{ slow_start: 0s, backends: ["{backend}"] }} }}
"#
    )
}

/// Spellings that some server takes for `/admin` or a place below it, one a line.
const SPELLINGS: &str = include_str!("paths/spellings.txt");

/// The answers to one target over every way that leads in, each with what it came by.
async fn every_way(tidegate: &Tidegate, http2: &Http2, target: &str) -> Vec<(String, String)> {
    let address = tidegate.address("public");
    let mut answers = Vec::new();
    let heads = [
        ("GET", target.to_owned(), "HTTP/1.1\r\n"),
        ("GET", target.to_owned(), "HTTP/1.0\r\n"),
        (
            "POST",
            target.to_owned(),
            "HTTP/1.1\r\ncontent-length: 0\r\n",
        ),
        (
            "GET",
            format!("http://test.example{target}"),
            "HTTP/1.1\r\n",
        ),
        (
            "POST",
            format!("http://test.example{target}"),
            "HTTP/1.1\r\ncontent-length: 0\r\n",
        ),
    ];
    for (method, target, rest) in heads {
        let head =
            format!("{method} {target} {rest}host: test.example\r\nconnection: close\r\n\r\n");
        let line = format!("{method} {target} {}", &rest[..8]);
        answers.push((line, raw(address, head.as_bytes()).await));
    }
    // What is no target for HTTP/2's client library is sent over HTTP/1 alone.
    if target
        .parse::<http::uri::PathAndQuery>()
        .is_ok_and(|parsed| parsed.as_str() == target)
    {
        for method in [Method::GET, Method::POST] {
            let line = format!("{method} {target} HTTP/2");
            let reply = http2.clone().send(request(method, target)).await.unwrap();
            answers.push((line, format!("HTTP/2 {} {}", reply.status, reply.text())));
        }
    }
    answers
}

#[tokio::test]
async fn no_spelling_leads_past_the_filters_of_a_path() {
    assert!(SPELLINGS.lines().count() >= 60);
    let origin = lenient().await;
    for listener in ["", ", paths: strict", ", paths: normalize"] {
        let tidegate = Tidegate::start(&protected(origin.address, listener)).await;
        let http2 = Http2::connect(tidegate.address("public")).await;
        for target in SPELLINGS.lines() {
            assert!(
                readings(target).iter().any(|read| is_admin(read)),
                "{target} is harmless"
            );
            for (line, answer) in every_way(&tidegate, &http2, target).await {
                let refused = answer.contains(" 401 ") || answer.contains(" 400 ");
                assert!(
                    refused || answer.ends_with("other"),
                    "{listener} {line}: {answer}"
                );
                assert!(!answer.contains(" 500 "), "{listener} {line}: {answer}");
            }
        }
        // They are not refused because everything is.
        for target in [
            "/",
            "/x",
            "/administration",
            "/ADMIN",
            "/admin.",
            "/admin/open/x",
            "//x//y",
        ] {
            for (line, answer) in every_way(&tidegate, &http2, target).await {
                assert!(
                    answer.contains(" 200 ") && answer.ends_with("other"),
                    "{line}: {answer}"
                );
            }
        }
    }
}

#[tokio::test]
async fn no_spelling_leads_past_them_to_flask() {
    let Some((_process, address)) = flask().await else {
        eprintln!(
            "SKIPPED: python3 with Flask is not installed; no_spelling_leads_past_them_to_flask saw nothing"
        );
        return;
    };
    // It decodes: what this test is about can happen.
    let direct = raw(address, b"GET /admin%2Fx HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert!(direct.ends_with("admin"), "{direct}");
    for listener in ["", ", paths: normalize"] {
        let tidegate = Tidegate::start(&protected(address, listener)).await;
        let http2 = Http2::connect(tidegate.address("public")).await;
        for target in SPELLINGS.lines() {
            for (line, answer) in every_way(&tidegate, &http2, target).await {
                assert!(!answer.ends_with("admin"), "{listener} {line}: {answer}");
            }
        }
        for (_, answer) in every_way(&tidegate, &http2, "/x//y").await {
            // Werkzeug redirects to the path with merged slashes.
            assert!(
                answer.contains(" 200 ") || answer.contains(" 308 "),
                "{answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_refused_path_is_logged_and_counted() {
    let tidegate = Tidegate::start(&protected("127.0.0.1:1".parse().unwrap(), "")).await;
    let mut http2 = Http2::connect(tidegate.address("public")).await;
    for (target, reason) in [
        ("/a%2Fb", "ambiguous_path"),
        ("/a;b", "ambiguous_path"),
        ("/a%252Fb", "ambiguous_path"),
        ("/a%C0%AFb", "ambiguous_path"),
        ("/x/..%2fb", "ambiguous_path"),
        ("/../b", "bad_path"),
        ("/a%00", "bad_path"),
        ("/a%0a", "bad_path"),
        ("/a%", "bad_path"),
    ] {
        for (n, status) in [
            get(tidegate.address("public"), target).await.status,
            http2.get(target).await.status,
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(status, 400, "{target}");
            let line = tidegate
                .access
                .wait_nth(target, n, |l| l["path"] == target)
                .await;
            assert_eq!(
                (&line["reason"], &line["flags"]),
                (&reason.into(), &"DPE".into()),
                "{line}"
            );
        }
    }
    let counted = "tidegate_requests_refused_total{listener=\"public\",reason=";
    tidegate
        .wait_metric(&format!("{counted}\"ambiguous_path\""), 10.0)
        .await;
    tidegate
        .wait_metric(&format!("{counted}\"bad_path\""), 8.0)
        .await;
}

/// What the backend is asked for, over each way in.
async fn targets(tidegate: &Tidegate, backend: &Strict, target: &str) -> Vec<String> {
    let http2 = Http2::connect(tidegate.address("public")).await;
    every_way(tidegate, &http2, target).await;
    let (seen, wrong) = backend.take();
    assert!(wrong.is_empty(), "{wrong:?}");
    let lines = seen.iter().map(|seen| seen.line.split(' ').nth(1).unwrap());
    // Whether absolute form becomes origin form is another test's question.
    let mut targets: Vec<_> = lines
        .map(|target| {
            target
                .strip_prefix("http://test.example")
                .unwrap_or(target)
                .to_owned()
        })
        .collect();
    targets.dedup();
    targets
}

#[tokio::test]
async fn what_is_forwarded_is_what_was_matched() {
    let backend = Strict::start().await;
    let config = |paths: &str| protected(backend.address, &format!(", paths: {paths}"));
    let tidegates = [
        Tidegate::start(&config("strict")).await,
        Tidegate::start(&config("normalize")).await,
        Tidegate::start(&config("as_is")).await,
    ];
    for (target, forwarded) in [
        ("/a/b?c=%2F;//..", [Some("/a/b?c=%2F;//.."); 3]),
        (
            "/a//b%7e?x",
            [Some("/a//b%7e?x"), Some("/a/b~?x"), Some("/a//b%7e?x")],
        ),
        ("//a//b", [Some("/a/b"), Some("/a/b"), Some("//a//b")]),
        ("/x/../a", [Some("/a"), Some("/a"), Some("/x/../a")]),
        (
            "/x/%2e%2e/a?b",
            [Some("/a?b"), Some("/a?b"), Some("/x/%2e%2e/a?b")],
        ),
        (
            "/@scope%2Fname",
            [None, Some("/@scope/name"), Some("/@scope%2Fname")],
        ),
        ("/a\\b", [None, Some("/a/b"), Some("/a\\b")]),
        ("/a;v=1/b?;", [None, Some("/a/b?;"), Some("/a;v=1/b?;")]),
        ("/a%252Fb", [None, None, Some("/a%252Fb")]),
        ("/x/..%2Fa", [None, None, None]),
        ("/../a", [None, None, None]),
        // What the route names goes as it was matched: no backend sees `/admin` with something else behind it.
        (
            "/admin//open//x",
            [
                Some("/admin/open//x"),
                Some("/admin/open/x"),
                Some("/admin//open//x"),
            ],
        ),
        (
            "/admin/%6Fpen/x",
            [
                Some("/admin/open/x"),
                Some("/admin/open/x"),
                Some("/admin/%6Fpen/x"),
            ],
        ),
    ] {
        for (tidegate, want) in tidegates.iter().zip(forwarded) {
            let want: Vec<_> = want.into_iter().map(str::to_owned).collect();
            assert_eq!(targets(tidegate, &backend, target).await, want, "{target}");
        }
    }
    // The log has what the client sent.
    let line = tidegates[0]
        .access
        .wait("raw", |l| l["path"] == "/x/../a")
        .await;
    assert_eq!(line["status"], 200);
}

#[tokio::test]
async fn filters_see_the_path_that_routes_see() {
    let backend = Strict::start().await;
    let asked = Strict::start().await;
    let config = protected(backend.address, "").replace(
        "  - match: { path_prefix: / }\n    pool: web\n",
        &format!(
            "  - match: {{ path_prefix: / }}\n    pool: web\n    filters:\n      - redirect: {{ from: \"^/old/(.*)$\", to: \"/new/$1\" }}\n      - ext_auth: {{ url: \"http://{}/\" }}\n      - rewrite: {{ pattern: \"^/rw/\", replacement: \"/tenant-a/\" }}\n",
            asked.address
        ),
    );
    let tidegate = Tidegate::start(&config).await;
    for (target, uri, forwarded) in [
        ("/rw/x", "/rw/x", "/tenant-a/x"),
        ("//rw/x", "/rw/x", "/tenant-a/x"),
        ("/%72w/x?q", "/%72w/x?q", "/tenant-a/x?q"),
        ("/rw/../rw/x", "/rw/x", "/tenant-a/x"),
        ("/rw/a//%7e", "/rw/a//%7e", "/tenant-a/a//%7e"),
        ("/x/../y", "/y", "/y"),
    ] {
        assert_eq!(
            targets(&tidegate, &backend, target).await,
            [forwarded],
            "{target}"
        );
        let (questions, _) = asked.take();
        assert!(!questions.is_empty());
        for question in questions {
            let said = question
                .fields
                .iter()
                .find(|(name, _)| name == "x-forwarded-uri");
            assert_eq!(said.map(|(_, uri)| uri.as_str()), Some(uri), "{target}");
        }
    }
    for (target, location) in [
        ("/old/x", "http://test.example/new/x"),
        ("//old/x//y", "http://test.example/new/x/y"),
        ("/%6fld/x", "http://test.example/new/x"),
        ("/a/../old/x?q", "http://test.example/new/x?q"),
    ] {
        let reply = get(tidegate.address("public"), target).await;
        assert_eq!(
            (reply.status, reply.header("location")),
            (308, location),
            "{target}"
        );
    }
}

#[tokio::test]
async fn a_route_s_rewrite_and_redirect_leave_what_they_do_not_name() {
    let backend = Strict::start().await;
    let config = format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0", health_path: /up }}]
routes:
  - {{ match: {{ path_prefix: /strip }}, rewrite: {{ strip_prefix: true }}, pool: web }}
  - {{ match: {{ path_prefix: /put }}, rewrite: {{ replace_prefix: /other }}, pool: web }}
  - match: {{ path_regex: "/re/.*" }}
    rewrite: {{ regex: {{ pattern: "^/re/(.*)$", replacement: "/to/$1" }} }}
    pool: web
  - {{ match: {{ path_prefix: /go }}, redirect: {{ status: 307, host: new.example }} }}
pools: {{ web: {{ slow_start: 0s, backends: ["{}"] }} }}
"#,
        backend.address
    );
    let tidegate = Tidegate::start(&config).await;
    for (target, forwarded) in [
        ("/strip/a?b//..", "/a?b//.."),
        ("/strip//a//b", "/a//b"),
        ("/strip/http://e/x", "/http://e/x"),
        ("/strip/%7e/caf%c3%a9", "/%7e/caf%c3%a9"),
        ("/strip", "/"),
        ("/%73trip//a%7e", "/a%7e"),
        ("/put//a//b", "/other//a//b"),
        ("/put/./a", "/other/a"),
        ("/re/a//%7e", "/to/a//%7e"),
    ] {
        assert_eq!(
            targets(&tidegate, &backend, target).await,
            [forwarded],
            "{target}"
        );
    }
    let address = tidegate.address("public");
    for (target, location) in [
        ("/go/a?b=c", "http://new.example/go/a?b=c"),
        ("//go//evil.example", "http://new.example/go/evil.example"),
        ("/x/../go/%7e", "http://new.example/go/~"),
        ("/go/a//%7e", "http://new.example/go/a//%7e"),
    ] {
        let reply = get(address, target).await;
        assert_eq!(
            (reply.status, reply.header("location")),
            (307, location),
            "{target}"
        );
    }
    assert_eq!(get(address, "/go\\evil.example").await.status, 400);
    for target in ["/up", "//up", "/%75p", "/x/../up", "/up?x"] {
        assert_eq!(get(address, target).await.status, 200, "{target}");
    }
    assert_eq!(get(address, "/up/").await.status, 404);
    let absolute =
        b"GET http://test.example//up HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n\r\n";
    let answer = client::raw(address, absolute).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn check_says_what_regexes_cost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidegate.yaml");
    let check = async |patterns: Vec<String>| {
        let mut text = String::from(
            "version: 1\nlisteners: [{ name: public, listen: \"127.0.0.1:0\" }]\nroutes:\n",
        );
        for (n, pattern) in patterns.iter().enumerate() {
            let route = format!(
                "  - {{ match: {{ path_regex: '{pattern}' }}, respond: {{ body: r{n} }} }}\n"
            );
            text.push_str(&route);
        }
        write(&path, &text);
        let output = run(&["check", "-c", path.to_str().unwrap()]).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let own = (0..300)
        .map(|n| format!("/[a-z]+/item-{n}/[0-9]+"))
        .collect();
    assert_eq!(check(own).await, "");
    let shared = (0..300)
        .map(|n| format!("/api/[a-z]{{{}}}", n + 1))
        .collect();
    let said = check(shared).await;
    assert!(
        said.contains(
            "warning: requests with \"/api/\" in their path are tried against 300 path_regex"
        ),
        "{said}"
    );
    let none = (0..300).map(|n| format!("/[a-z]{{{}}}", n + 1)).collect();
    let said = check(none).await;
    assert!(
        said.contains("warning: all requests of a host are tried against 300 path_regex"),
        "{said}"
    );
}
