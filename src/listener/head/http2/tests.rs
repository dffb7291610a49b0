use http::{HeaderName, HeaderValue, Method, Uri, Version};

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    max_header_bytes: 512,
    max_headers: 4,
    max_uri_bytes: 64,
};

/// As h2 hands it over.
fn request(method: &str, uri: Uri, fields: &[(&str, &[u8])]) -> RequestHeader {
    let mut parts = http::Request::new(()).into_parts().0;
    parts.method = Method::from_bytes(method.as_bytes()).unwrap();
    parts.uri = uri;
    parts.version = Version::HTTP_2;
    for (name, value) in fields {
        let name = HeaderName::from_lowercase(name.as_bytes()).unwrap();
        parts
            .headers
            .append(name, HeaderValue::from_bytes(value).unwrap());
    }
    parts.into()
}

fn uri(scheme: &str, authority: &str, path: &str) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme.parse().unwrap());
    parts.authority = Some(authority.parse().unwrap());
    parts.path_and_query = Some(path.parse().unwrap());
    Uri::from_parts(parts).unwrap()
}

fn told(request: &RequestHeader) -> &'static str {
    check(request, &LIMITS).map_or_else(Refusal::reason, |_| "ok")
}

#[test]
fn targets_are_read_as_over_http1() {
    for (method, path, wanted) in [
        ("GET", "/", "ok"),
        ("GET", "/a?b=/%41", "ok"),
        ("GET", "/a|b\"{c}?d|e`{f}", "ok"),
        ("OPTIONS", "*", "ok"),
        ("GET", "*", "target_bad"),
        ("options", "*", "target_bad"),
        ("GET", "?x", "target_bad"),
        ("OPTIONS", "?x", "target_bad"),
        ("GET", "/\u{e9}", "target_bad"),
        ("GET", "/?\u{e9}", "target_bad"),
        ("X23456789012345678901234567890123", "/", "method_bad"),
        ("CONNECT", "/", "connect"),
        ("GET", &format!("/{}", "x".repeat(63)), "ok"),
        ("GET", &format!("/{}", "x".repeat(64)), "uri_too_long"),
    ] {
        let request = request(method, uri("https", "a", path), &[]);
        assert_eq!(told(&request), wanted, "{method} {path}");
    }
}

#[test]
fn authority_and_scheme_are_what_is_served() {
    for (scheme, authority, wanted) in [
        ("http", "a", "ok"),
        ("HTTPS", "a.b:443", "ok"),
        ("http", "[::1]:8", "ok"),
        ("ftp", "a", "scheme_bad"),
        ("http", "a,b", "host_bad"),
        ("http", ":80", "host_bad"),
        ("http", "a:99999", "host_bad"),
        ("http", "a:x", "host_bad"),
        ("http", "u@a", "host_bad"),
        ("http", "a;b", "host_bad"),
        ("http", "[::1", "unparsed"),
    ] {
        let Ok(named) = authority.parse::<http::uri::Authority>() else {
            assert_eq!(wanted, "unparsed");
            continue;
        };
        let request = request("GET", uri(scheme, named.as_str(), "/"), &[]);
        assert_eq!(told(&request), wanted, "{scheme} {authority}");
    }
    // Scheme::from_str takes none that is empty, but what h2 calls does.
    for (fields, wanted) in [
        (&[("host", &b"a"[..])][..], "ok"),
        (&[("host", b"b")], "authority_bad"),
        (&[("host", b"A")], "authority_bad"),
        (&[("host", b"a"), ("host", b"a")], "host_duplicate"),
    ] {
        assert_eq!(
            told(&request("GET", uri("http", "a", "/"), fields)),
            wanted,
            "{fields:?}"
        );
    }
    for (fields, wanted) in [
        (&[][..], "host_missing"),
        (&[("host", &b"a"[..])], "ok"),
        (&[("host", b"a,b")], "host_bad"),
        (&[("host", b"")], "host_bad"),
    ] {
        let request = request("GET", Uri::from_static("/"), fields);
        assert_eq!(told(&request), wanted, "{fields:?}");
    }
}

#[test]
fn fields_are_read_as_over_http1() {
    for (fields, wanted) in [
        (&[("x", &b"\xff\ty"[..])][..], "ok"),
        (&[("x", b"")], "ok"),
        (&[("x", b" y")], "value_bad"),
        (&[("x", b"y\t")], "value_bad"),
        (&[("x\"a", b"y")], "name_bad"),
        (&[("content_length", b"5")], "name_bad"),
        (&[("content.length", b"5")], "name_bad"),
        (&[("transfer_encoding", b"chunked")], "name_bad"),
        (&[("content-length", b"5")], "ok"),
        (&[("content-length", b"9223372036854775807")], "ok"),
        (&[("content-length", b"9223372036854775808")], "cl_bad"),
        (&[("content-length", b"+5")], "cl_bad"),
        (&[("content-length", b"5, 5")], "cl_bad"),
        (
            &[("content-length", b"5"), ("content-length", b"5")],
            "cl_repeated",
        ),
        (
            &[("content-length", b"5"), ("content-length", b"6")],
            "cl_differ",
        ),
        (&[("x", b"1"), ("x", b"2"), ("x", b"3"), ("x", b"4")], "ok"),
        (
            &[
                ("x", b"1"),
                ("x", b"2"),
                ("x", b"3"),
                ("x", b"4"),
                ("y", b"5"),
            ],
            "too_many_headers",
        ),
        (&[("x", &[b'y'; 503])], "ok"),
        (&[("x", &[b'y'; 504])], "header_too_large"),
    ] {
        let request = request("PUT", uri("http", "a", "/"), fields);
        assert_eq!(told(&request), wanted, "{fields:?}");
    }
}

#[test]
fn crumbs_of_cookies_count_as_one_field() {
    let crumbs = vec![("cookie", &b"a=b"[..]); 20];
    let three = [("x", &b"1"[..]), ("y", b"2"), ("z", b"3")];
    let fields = [&crumbs[..], &three].concat();
    let seen = check(&request("GET", uri("http", "a", "/"), &fields), &LIMITS);
    assert_eq!(
        seen,
        Ok(Seen {
            odd_names: false,
            unusual: true
        })
    );
    let fields = [&fields[..], &[("w", b"4")]].concat();
    let request = request("GET", uri("http", "a", "/"), &fields);
    assert_eq!(told(&request), "too_many_headers");
}

#[test]
fn odd_names_are_told() {
    for (name, odd) in [
        ("x-a", false),
        ("x_a", true),
        ("x.a", true),
        ("x~", true),
        ("x1", false),
    ] {
        let request = request("GET", uri("http", "a", "/"), &[(name, b"1")]);
        let wanted = Seen {
            odd_names: odd,
            unusual: odd,
        };
        assert_eq!(check(&request, &LIMITS), Ok(wanted), "{name}");
    }
}
