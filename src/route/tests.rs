use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use regex::Regex;

use super::{Head, Path, PathMode, RouteTable, host_name, request_key};
use crate::config::model::{HashKey, HostMatch, PathMatch, RouteMatch, ValueMatch};

struct Request {
    host: &'static str,
    path: String,
    query: Option<&'static str>,
    method: Method,
    headers: HeaderMap,
    client: Option<IpAddr>,
}

fn get(path: &str) -> Request {
    Request {
        host: "a.example.com",
        path: path.to_owned(),
        query: None,
        method: Method::GET,
        headers: HeaderMap::new(),
        client: Some([192, 0, 2, 1].into()),
    }
}

impl Request {
    fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    fn query(mut self, query: &'static str) -> Self {
        self.query = Some(query);
        self
    }

    fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        self
    }

    fn client(mut self, client: &str) -> Self {
        self.client = Some(client.parse().unwrap());
        self
    }

    fn unknown_client(mut self) -> Self {
        self.client = None;
        self
    }

    fn with<R>(&self, use_head: impl FnOnce(&Head<'_>) -> R) -> R {
        let path = Path::parse(&self.path, PathMode::AsIs).unwrap();
        use_head(&Head {
            listener: "public",
            host: host_name(self.host),
            path: &path,
            query: self.query,
            method: &self.method,
            headers: &self.headers,
            client: self.client,
            certificate: None,
        })
    }
}

fn table(routes: &[(&'static str, Vec<RouteMatch>)]) -> RouteTable<()> {
    RouteTable::build(
        routes
            .iter()
            .map(|(name, matches)| (*name, matches.as_slice(), ())),
    )
    .unwrap()
}

fn route(table: &RouteTable<()>, request: &Request) -> String {
    request.with(|head| {
        table
            .find(head)
            .map_or("none", |found| found.name)
            .to_owned()
    })
}

fn any() -> RouteMatch {
    RouteMatch::default()
}

fn host(name: &str) -> RouteMatch {
    let host = match name.strip_prefix('*') {
        Some(suffix) => HostMatch::Wildcard(suffix.to_owned()),
        None => HostMatch::Exact(name.to_owned()),
    };
    RouteMatch {
        host: Some(host),
        ..any()
    }
}

fn at(path: PathMatch) -> RouteMatch {
    RouteMatch {
        path: Some(path),
        ..any()
    }
}

fn exact(path: &str) -> RouteMatch {
    at(PathMatch::Exact(path.to_owned()))
}

fn prefix(path: &str) -> RouteMatch {
    at(PathMatch::Prefix(path.to_owned()))
}

fn raw_prefix(path: &str) -> RouteMatch {
    at(PathMatch::RawPrefix(path.to_owned()))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).unwrap()
}

fn with_header(name: &'static str, value: ValueMatch) -> RouteMatch {
    RouteMatch {
        headers: vec![(HeaderName::from_static(name), value)],
        ..any()
    }
}

fn is(text: &str) -> ValueMatch {
    ValueMatch::Exact(text.to_owned())
}

#[test]
fn the_table_of_paths() {
    let table = table(&[
        ("monolith", vec![prefix("/")]),
        ("orders", vec![prefix("/api/orders")]),
    ]);
    let cases = [
        ("/api/orders", "orders"),
        ("/api/orders/", "orders"),
        ("/api/orders/1", "orders"),
        ("/api/orders-old", "monolith"),
        ("/API/orders", "monolith"),
        ("/api//orders", "orders"),
        ("/api/orders%2F1", "monolith"),
        ("/api/x/../orders/1", "orders"),
        ("/api/%6frders", "orders"),
        ("/api", "monolith"),
        ("*", "monolith"),
    ];
    for (path, want) in cases {
        assert_eq!(route(&table, &get(path)), want, "{path}");
    }
}

#[test]
fn hosts_go_from_exact_over_the_longest_wildcard_to_none() {
    let table = table(&[
        ("none", vec![any()]),
        ("com", vec![host("*.com")]),
        ("example", vec![host("*.example.com")]),
        ("exact", vec![host("a.example.com")]),
    ]);
    let cases = [
        ("a.example.com", "exact"),
        ("A.Example.COM:8443", "exact"),
        ("a.example.com.", "exact"),
        ("b.example.com", "example"),
        ("x.b.example.com", "example"),
        ("example.com", "com"),
        ("badexample.com", "com"),
        ("com", "none"),
        (".com", "none"),
        ("", "none"),
        ("[::1]:80", "none"),
    ];
    for (name, want) in cases {
        assert_eq!(route(&table, &get("/").host(name)), want, "{name}");
    }
}

#[test]
fn a_host_that_refuses_falls_back_to_the_next() {
    let only = RouteMatch {
        path: Some(PathMatch::Exact("/x".to_owned())),
        ..host("a.example.com")
    };
    let table = table(&[("exact", vec![only]), ("wild", vec![host("*.example.com")])]);
    assert_eq!(route(&table, &get("/x")), "exact");
    assert_eq!(route(&table, &get("/y")), "wild");
}

#[test]
fn paths_go_from_exact_over_prefixes_and_regex_to_none() {
    let table = table(&[
        ("any", vec![any()]),
        ("regex", vec![at(PathMatch::Regex(regex("/[a-z]+/v[0-9]")))]),
        ("raw", vec![raw_prefix("/a")]),
        ("segment", vec![prefix("/a/")]),
        ("longer", vec![raw_prefix("/a/b")]),
        ("exact", vec![exact("/a/b/c")]),
    ]);
    let cases = [
        ("/a/b/c", "exact"),
        ("/a/b/c/", "longer"),
        ("/a/bx", "longer"),
        ("/a/x", "segment"),
        ("/a", "segment"),
        ("/ax", "raw"),
        ("/z/v1", "regex"),
        ("/z/v1/x", "any"),
    ];
    for (path, want) in cases {
        assert_eq!(route(&table, &get(path)), want, "{path}");
    }
}

#[test]
fn then_method_headers_query_cookies_networks_and_file_order() {
    let table = table(&[
        ("plain", vec![any()]),
        ("never", vec![any()]),
        (
            "network",
            vec![RouteMatch {
                client_networks: vec!["10.0.0.0/8".parse().unwrap()],
                ..any()
            }],
        ),
        (
            "cookie",
            vec![RouteMatch {
                cookies: vec![("beta".to_owned(), ValueMatch::Present)],
                ..any()
            }],
        ),
        (
            "query",
            vec![RouteMatch {
                query: vec![("q".to_owned(), is("a b"))],
                ..any()
            }],
        ),
        ("header", vec![with_header("x-beta", is("1"))]),
        (
            "method",
            vec![RouteMatch {
                methods: vec![Method::POST, Method::PUT],
                ..any()
            }],
        ),
    ]);
    let mut request = get("/");
    assert_eq!(route(&table, &request), "plain");
    request = request.client("::ffff:10.1.2.3");
    assert_eq!(route(&table, &request), "network");
    request = request.header("cookie", "a=b; beta=1");
    assert_eq!(route(&table, &request), "cookie");
    request = request.query("x=1&q=a+b");
    assert_eq!(route(&table, &request), "query");
    request = request.header("x-beta", "0").header("x-beta", "1");
    assert_eq!(route(&table, &request), "header");
    request = request.method(Method::PUT);
    assert_eq!(route(&table, &request), "method");
}

#[test]
fn values_match_by_presence_prefix_and_regex() {
    let table = table(&[
        (
            "regex",
            vec![with_header("x", ValueMatch::Regex(regex("v[0-9]+")))],
        ),
        (
            "prefix",
            vec![with_header("x", ValueMatch::Prefix("v".to_owned()))],
        ),
        ("present", vec![with_header("x", ValueMatch::Present)]),
    ]);
    assert_eq!(route(&table, &get("/").header("x", "v12")), "regex");
    assert_eq!(route(&table, &get("/").header("x", "v12x")), "prefix");
    assert_eq!(route(&table, &get("/").header("x", "")), "present");
    assert_eq!(route(&table, &get("/")), "none");
}

#[test]
fn listeners_and_alternatives_are_conditions() {
    let elsewhere = RouteMatch {
        listeners: vec!["internal".to_owned()],
        ..any()
    };
    let here = RouteMatch {
        listeners: vec!["public".to_owned()],
        ..exact("/b")
    };
    let table = table(&[
        ("one", vec![elsewhere]),
        ("two", vec![exact("/a"), here]),
        ("all", vec![]),
    ]);
    assert_eq!(route(&table, &get("/a")), "two");
    assert_eq!(route(&table, &get("/b")), "two");
    assert_eq!(route(&table, &get("/c")), "all");
}

#[test]
fn the_matched_prefix_is_told() {
    let table = table(&[
        ("p", vec![prefix("/api/")]),
        ("e", vec![exact("/x")]),
        ("any", vec![any()]),
    ]);
    for (path, want) in [("/api//orders", "/api"), ("/x", "/x"), ("/y", "")] {
        let found = get(path).with(|head| table.find(head).map(|found| found.prefix));
        assert_eq!(found, Some(want), "{path}");
    }
}

#[test]
fn a_path_no_request_can_have_is_refused() {
    let matches = [prefix("/a/../..")];
    let error = RouteTable::build([("bad", matches.as_slice(), ())]).unwrap_err();
    assert_eq!(error.to_string(), "route bad: path leads above the root");
}

#[test]
fn shadowed_routes_are_named() {
    let methods = |list: &[Method]| RouteMatch {
        methods: list.to_vec(),
        ..prefix("/a")
    };
    let table = table(&[
        ("a", vec![methods(&[Method::GET, Method::POST])]),
        ("same", vec![methods(&[Method::POST])]),
        ("half", vec![methods(&[Method::GET]), exact("/b")]),
        (
            "more",
            vec![RouteMatch {
                query: vec![("q".to_owned(), is("1"))],
                ..methods(&[Method::GET])
            }],
        ),
        ("all", vec![any()]),
        ("root", vec![prefix("/")]),
        ("elsewhere", vec![host("b.example.com")]),
        ("r1", vec![at(PathMatch::Regex(regex("/r")))]),
        ("r2", vec![at(PathMatch::Regex(regex("/s")))]),
        ("r3", vec![at(PathMatch::Regex(regex("/s")))]),
    ]);
    let named = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        table.shadowed(),
        [named("same", "a"), named("root", "all"), named("r3", "r2")]
    );
}

#[test]
fn keys_come_from_the_request_or_else_from_the_client() {
    let key = |key: HashKey, request: &Request| request.with(|head| request_key(&key, head));
    let cookie = || HashKey::Cookie("id".to_owned());
    let request = get("/")
        .header("cookie", "a=b")
        .header("cookie", "id=7")
        .query("id=7")
        .header("x", "7");
    let by_cookie = key(cookie(), &request);
    assert_eq!(by_cookie, key(HashKey::Query("id".to_owned()), &request));
    assert_eq!(
        by_cookie,
        key(HashKey::Header(HeaderName::from_static("x")), &request)
    );
    assert_ne!(by_cookie, key(HashKey::ClientIp, &request));
    assert_eq!(key(cookie(), &get("/")), key(HashKey::ClientIp, &get("/")));
    assert_eq!(
        key(HashKey::ClientIp, &get("/").client("::ffff:192.0.2.1")),
        key(HashKey::ClientIp, &get("/"))
    );
    let unknown = key(HashKey::ClientIp, &get("/").unknown_client());
    assert_eq!(unknown, key(cookie(), &get("/other").unknown_client()));
    assert_ne!(unknown, key(HashKey::ClientIp, &get("/")));
    assert_ne!(
        key(HashKey::Path, &get("/a")),
        key(HashKey::Path, &get("/b"))
    );
}

/// The plain reading of the path rules, for tables of one host.
fn by_hand(routes: &[PathMatch], path: &str) -> Option<usize> {
    let rank = |wanted: &PathMatch| match wanted {
        PathMatch::Exact(exact) => (exact == path).then_some((3, usize::MAX, 0)),
        PathMatch::Prefix(start) => {
            let rest = path.strip_prefix(start.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then_some((2, start.len(), 1))
        }
        PathMatch::RawPrefix(start) => {
            path.starts_with(start.as_str())
                .then_some((2, start.len(), 0))
        }
        PathMatch::Regex(regex) => regex.is_match(path).then_some((1, 0, 0)),
    };
    let ranked = routes
        .iter()
        .enumerate()
        .filter_map(|(at, wanted)| Some((rank(wanted)?, std::cmp::Reverse(at))));
    ranked.max().map(|(_, std::cmp::Reverse(at))| at)
}

fn any_path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        "(/[ab]{1,2}){1,3}".prop_map(PathMatch::Exact),
        "(/[ab]{1,2}){1,3}".prop_map(PathMatch::Prefix),
        "(/[ab]{1,2}){1,3}".prop_map(PathMatch::RawPrefix),
        "/[ab.]{1,4}".prop_map(|pattern| PathMatch::Regex(regex(&pattern))),
    ]
}

proptest! {
    #[test]
    fn the_table_agrees_with_the_plain_reading(
        paths in prop::collection::vec(any_path_match(), 1..12), path in "(/[ab]{1,3}){1,4}/?",
    ) {
        let matches: Vec<_> = paths.iter().map(|path| [at(path.clone())]).collect();
        let table = RouteTable::build(matches.iter().enumerate().map(|(n, m)| ("r", m.as_slice(), n))).unwrap();
        let found = get(&path).with(|head| table.find(head).map(|found| *found.value));
        prop_assert_eq!(found, by_hand(&paths, &path));
    }

    #[test]
    fn any_authority_has_a_name(authority in "\\PC*") {
        prop_assert!(authority.starts_with(host_name(&authority)));
    }
}

/// The patterns of a table, and which of them a path finds.
fn found(patterns: &[String], path: &str) -> Option<usize> {
    let matches: Vec<_> = patterns
        .iter()
        .map(|pattern| [at(PathMatch::Regex(regex(&format!("^(?:{pattern})$"))))])
        .collect();
    let routes = matches.iter().enumerate();
    let table = RouteTable::build(routes.map(|(n, wanted)| ("r", wanted.as_slice(), n))).unwrap();
    get(path).with(|head| table.find(head).map(|found| *found.value))
}

#[test]
fn the_first_regex_that_matches_is_found_whatever_texts_they_share() {
    let mut patterns: Vec<String> = (0..300)
        .map(|n| format!("/[a-z]+/item-{n}/[0-9]+"))
        .collect();
    patterns.push("/same/[a-z]+".to_owned());
    patterns.push("/same/a.*".to_owned());
    patterns.push("(?i)/CASE/x".to_owned());
    patterns.push("/[0-9]+".to_owned());
    patterns.push("/a.*".to_owned());
    for (path, want) in [
        ("/x/item-7/1", Some(7)),
        ("/x/item-29/1", Some(29)),
        ("/x/item-299/1", Some(299)),
        ("/same/a", Some(300)),
        ("/same/a1", Some(301)),
        ("/case/X", Some(302)),
        ("/42", Some(303)),
        ("/a/item-7/1", Some(7)),
        ("/a/item-7/x", Some(304)),
        ("/x/item-7/x", None),
        ("/item-1/item-2/item-1/item-2", None),
    ] {
        assert_eq!(found(&patterns, path), want, "{path}");
    }
}

#[test]
fn patterns_without_a_text_are_tried_however_many_they_are() {
    for count in [3, 300] {
        let patterns: Vec<String> = (1..=count).map(|n| format!("/[a-z]{{{n}}}")).collect();
        assert_eq!(found(&patterns, "/abc"), Some(2));
        assert_eq!(found(&patterns, "/ab1"), None);
    }
}

#[test]
fn crowds_are_told() {
    let crowds = |patterns: Vec<String>| {
        let matches: Vec<_> = patterns
            .iter()
            .map(|pattern| [at(PathMatch::Regex(regex(pattern)))])
            .collect();
        let routes = matches.iter().map(|wanted| ("r", wanted.as_slice(), ()));
        let table = RouteTable::build(routes).unwrap();
        let crowds = table.crowded_regexes().into_iter();
        crowds
            .map(|crowd| (crowd.patterns, crowd.text))
            .collect::<Vec<_>>()
    };
    let own = (0..300).map(|n| format!("^/api/[a-z]+/{n}x$"));
    assert!(crowds(own.collect()).is_empty());
    let shared = (0..300).map(|n| format!("^/api/[a-z]{{{n}}}$"));
    assert_eq!(crowds(shared.collect()), [(300, Some("/api/".to_owned()))]);
    let none = (0..300).map(|n| format!("^/[a-z]{{{n}}}$"));
    assert_eq!(crowds(none.collect()), [(300, None)]);
}
