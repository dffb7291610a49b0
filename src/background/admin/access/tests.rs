use http::HeaderValue;

use super::*;

/// A name, the fields that are sent, and whether they pass.
struct Case(&'static str, &'static [(&'static str, &'static str)], bool);

fn ask(method: &str, target: &str, fields: &[(&'static str, &str)], unix: bool) -> bool {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(*name, value);
    }
    let hosts = [
        HostMatch::Exact("ops.example".into()),
        HostMatch::Wildcard(".svc.cluster.local".into()),
    ];
    let asked = Asked {
        method: &method.parse().unwrap(),
        target: &target.parse().unwrap(),
        headers: &headers,
        unix,
        hosts: &hosts,
    };
    asked.check().is_ok()
}

const JSON: (&str, &str) = ("content-type", "application/json");
const OWN: (&str, &str) = ("host", "127.0.0.1:9901");

#[test]
fn hosts() {
    for (host, known) in [
        ("127.0.0.1:9901", true),
        ("127.0.0.1", true),
        ("10.1.2.3:9901", true),
        ("127.0.0.1.:9901", true),
        ("[::1]:9901", true),
        ("[::1]", true),
        ("[fd00::1]:", true),
        ("localhost:9901", true),
        ("LocalHost.:9901", true),
        ("ops.example", true),
        ("OPS.Example.:9901", true),
        ("a.b.svc.cluster.local:9901", true),
        ("svc.cluster.local", false),
        (".svc.cluster.local", false),
        ("evil.example:9901", false),
        ("ops.example.evil.example", false),
        ("xops.example", false),
        ("localhost.evil.example", false),
        ("evil-localhost", false),
        ("127.0.0.1.evil.example", false),
        ("127.1:9901", false),
        ("0x7f000001", false),
        ("2130706433", false),
        ("0177.0.0.1", false),
        ("[::1", false),
        ("[evil.example]", false),
        ("[::1]evil.example", false),
        ("::1", false),
        ("localhost:evil", false),
        ("localhost:99999", false),
        ("user@localhost", false),
        ("localhost,evil.example", false),
        ("", false),
        (".", false),
        ("\u{e4}", false),
    ] {
        for path in ["/", "/status", "/metrics", "/nowhere"] {
            assert_eq!(
                ask("GET", path, &[("host", host)], false),
                known,
                "{host} {path}"
            );
        }
        let switch = "/pools/p/backends/b/drain";
        let write = [("host", host), JSON];
        assert_eq!(ask("POST", switch, &write, false), known, "{host}");
        for path in OPEN {
            assert!(ask("GET", path, &[("host", host)], false), "{host} {path}");
        }
        assert!(ask("GET", "/status", &[("host", host)], true), "{host}");
    }
}

#[test]
fn every_name_that_is_given_counts() {
    let two = [("host", "localhost"), ("host", "evil.example")];
    assert!(!ask("GET", "/status", &two, false));
    assert!(ask("GET", "/status", &[], false), "HTTP/1.0");
    let absolute = "http://evil.example/status";
    assert!(!ask("GET", absolute, &[("host", "localhost")], false));
    assert!(!ask("GET", absolute, &[], false), "HTTP/2");
    assert!(ask("GET", "http://127.0.0.1:9901/status", &[], false));
}

const ORIGINS: &[Case] = &[
    Case("none", &[OWN], true),
    Case("own", &[OWN, ("origin", "http://127.0.0.1:9901")], true),
    Case("TLS", &[OWN, ("origin", "https://127.0.0.1:9901")], true),
    Case(
        "default port",
        &[("host", "localhost"), ("origin", "http://localhost")],
        true,
    ),
    Case(
        "default port, named",
        &[("host", "localhost:80"), ("origin", "http://LOCALHOST")],
        true,
    ),
    Case(
        "IPv6",
        &[("host", "[::1]:9901"), ("origin", "http://[::1]:9901")],
        true,
    ),
    Case("foreign", &[OWN, ("origin", "http://evil.example")], false),
    Case("port", &[OWN, ("origin", "http://127.0.0.1:8080")], false),
    Case("no port", &[OWN, ("origin", "http://127.0.0.1")], false),
    Case("null", &[OWN, ("origin", "null")], false),
    Case("empty", &[OWN, ("origin", "")], false),
    Case("file", &[OWN, ("origin", "file://127.0.0.1:9901")], false),
    Case("bytes", &[OWN, ("origin", "\u{e4}")], false),
    Case(
        "twice",
        &[
            OWN,
            ("origin", "http://127.0.0.1:9901"),
            ("origin", "http://evil.example"),
        ],
        false,
    ),
    Case("without host", &[("origin", "http://localhost")], false),
    Case(
        "two known names are two origins",
        &[("host", "ops.example"), ("origin", "http://localhost")],
        false,
    ),
    Case("typed in", &[OWN, ("sec-fetch-site", "none")], true),
    Case("same", &[OWN, ("sec-fetch-site", "same-origin")], true),
    Case("cross", &[OWN, ("sec-fetch-site", "cross-site")], false),
    Case("sibling", &[OWN, ("sec-fetch-site", "same-site")], false),
    Case("unheard of", &[OWN, ("sec-fetch-site", "x")], false),
    Case(
        "both",
        &[
            OWN,
            ("sec-fetch-site", "none"),
            ("sec-fetch-site", "cross-site"),
        ],
        false,
    ),
];

#[test]
fn origins_and_sites() {
    for &Case(name, fields, passes) in ORIGINS {
        assert_eq!(ask("GET", "/status", fields, false), passes, "{name}");
        let write = [fields, &[JSON]].concat();
        assert_eq!(ask("POST", "/pools", &write, false), passes, "{name}");
        assert!(ask("HEAD", "/readyz", fields, false), "{name}");
    }
}

#[test]
fn what_changes_something_needs_what_no_form_can_send() {
    let own = ("host", "localhost");
    for (kind, passes) in [
        (Some("application/json"), true),
        (Some("Application/JSON; charset=utf-8"), true),
        (Some("text/plain"), false),
        (Some("application/x-www-form-urlencoded"), false),
        (
            Some("multipart/form-data; boundary=application/json"),
            false,
        ),
        (Some("text/plain; application/json"), false),
        (Some("application/jsonp"), false),
        (Some(""), false),
        (None, false),
    ] {
        let mut fields = vec![own];
        fields.extend(kind.map(|kind| ("content-type", kind)));
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            assert_eq!(ask(method, "/x", &fields, false), passes, "{kind:?}");
        }
        assert!(ask("GET", "/status", &fields, false), "{kind:?}");
    }
    let twice = [own, JSON, ("content-type", "text/plain")];
    assert!(!ask("POST", "/x", &twice, false));
    assert!(!ask("POST", "/healthz", &[own], false), "open to read only");
}
