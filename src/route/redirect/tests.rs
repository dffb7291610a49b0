use http::StatusCode;
use proptest::prelude::*;

use super::{BadHost, Requested, location};
use crate::config::model::Redirect;

const SAME: Redirect = Redirect {
    status: StatusCode::PERMANENT_REDIRECT,
    scheme: None,
    host: None,
    port: None,
    path: None,
};

const ASKED: Requested<'static> = Requested {
    scheme: "http",
    host: "a.example",
    port: 80,
    path: "/x//y",
    query: Some("q=1"),
};

fn url(redirect: &Redirect, requested: &Requested<'_>) -> String {
    location(redirect, requested)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn keeps_what_is_not_replaced() {
    assert_eq!(url(&SAME, &ASKED), "http://a.example/x//y?q=1");
    assert_eq!(
        url(
            &SAME,
            &Requested {
                port: 8080,
                query: None,
                ..ASKED
            }
        ),
        "http://a.example:8080/x//y"
    );
}

#[test]
fn a_scheme_brings_its_port() {
    let https = Redirect {
        scheme: Some("https".to_owned()),
        ..SAME
    };
    assert_eq!(
        url(
            &https,
            &Requested {
                port: 8080,
                ..ASKED
            }
        ),
        "https://a.example/x//y?q=1"
    );
    let port = Redirect {
        port: Some(8443),
        ..https
    };
    assert_eq!(url(&port, &ASKED), "https://a.example:8443/x//y?q=1");
    assert_eq!(
        url(
            &Redirect {
                port: Some(443),
                ..port
            },
            &ASKED
        ),
        "https://a.example/x//y?q=1"
    );
}

#[test]
fn a_path_replaces_the_query_too() {
    let path = Redirect {
        path: Some("/new?from=old".to_owned()),
        host: Some("b.example".to_owned()),
        ..SAME
    };
    assert_eq!(url(&path, &ASKED), "http://b.example/new?from=old");
}

#[test]
fn addresses_of_version_six_stand_in_brackets() {
    for host in ["::1", "[::1]"] {
        assert_eq!(
            url(
                &SAME,
                &Requested {
                    host,
                    port: 81,
                    ..ASKED
                }
            ),
            "http://[::1]:81/x//y?q=1"
        );
    }
}

#[test]
fn a_host_cannot_bring_anything_else() {
    for host in [
        "",
        "a\r\nX: y",
        "a/b",
        "user@a",
        "a:80",
        "a b",
        "[::1",
        "[::1]x",
        "a?b",
        "a#b",
    ] {
        assert_eq!(
            location(&SAME, &Requested { host, ..ASKED }),
            Err(BadHost),
            "{host:?}"
        );
    }
}

#[test]
fn a_path_cannot_pass_for_a_host() {
    for (path, want) in [
        ("//evil.example", "http://a.example/evil.example?q=1"),
        ("///evil.example//x", "http://a.example/evil.example//x?q=1"),
        ("/\\evil.example", "http://a.example/%5Cevil.example?q=1"),
    ] {
        assert_eq!(url(&SAME, &Requested { path, ..ASKED }), want);
    }
}

#[test]
fn line_ends_are_encoded() {
    let split = Requested {
        path: "/a\r\nSet-Cookie: x",
        query: Some("\n#é"),
        ..ASKED
    };
    assert_eq!(
        url(&SAME, &split),
        "http://a.example/a%0D%0ASet-Cookie:%20x?%0A%23%C3%A9"
    );
}

proptest! {
    #[test]
    fn anything_gives_a_clean_value_or_an_error(host: String, path: String, query: String) {
        let asked = Requested { host: &host, path: &path, query: Some(&query), ..ASKED };
        if let Ok(value) = location(&SAME, &asked) {
            prop_assert!(value.as_bytes().iter().all(u8::is_ascii_graphic));
        }
    }
}
