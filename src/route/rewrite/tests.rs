use proptest::prelude::*;
use regex::Regex;

use super::rewritten;
use crate::config::model::Rewrite;
use crate::route::path::{Path, PathError, PathMode};

fn rewrite(rewrite: &Rewrite, path: &str, prefix: &str) -> Result<String, PathError> {
    rewritten(
        rewrite,
        &Path::parse(path, PathMode::AsIs).unwrap(),
        prefix,
        None,
    )
}

fn regex(pattern: &str, replacement: &str) -> Rewrite {
    Rewrite::Regex {
        pattern: Regex::new(pattern).unwrap(),
        replacement: replacement.to_owned(),
    }
}

#[test]
fn strips_the_prefix() {
    for (path, want) in [
        ("/api/orders/1", "/1"),
        ("/api/orders", "/"),
        ("/api/orders/", "/"),
        ("/api//orders/a%2Fb", "/a%2Fb"),
    ] {
        assert_eq!(
            rewrite(&Rewrite::StripPrefix, path, "/api/orders").as_deref(),
            Ok(want),
            "{path}"
        );
    }
    assert_eq!(
        rewrite(&Rewrite::StripPrefix, "/a/b", "").as_deref(),
        Ok("/a/b")
    );
}

#[test]
fn replaces_the_prefix() {
    for (start, path, want) in [
        ("/v2", "/api/1", "/v2/1"),
        ("/v2/", "/api/1", "/v2/1"),
        ("/v2", "/api", "/v2"),
        ("/", "/api/1", "/1"),
        ("v2", "/api/1", "/v2/1"),
    ] {
        let replace = Rewrite::ReplacePrefix(start.to_owned());
        assert_eq!(
            rewrite(&replace, path, "/api").as_deref(),
            Ok(want),
            "{start} {path}"
        );
    }
}

#[test]
fn a_regex_works_on_the_path_alone() {
    let swap = regex("^/(?<a>[^/]+)/([^/]+)$", "/$2/${a}");
    let path = Path::parse("/x/y", PathMode::Strict).unwrap();
    assert_eq!(
        rewritten(&swap, &path, "", Some("x=/x/y")).as_deref(),
        Ok("/y/x?x=/x/y")
    );
    assert_eq!(
        rewrite(&regex("^/a", "b?c#d e\r\n"), "/a/x", "").as_deref(),
        Ok("/b%3Fc%23d%20e%0D%0A/x")
    );
    assert_eq!(
        rewrite(&regex("^/a", "//evil.example"), "/a", "").as_deref(),
        Ok("/evil.example")
    );
}

#[test]
fn what_is_not_named_stays_as_it_came() {
    let strip = Rewrite::StripPrefix;
    let replace = Rewrite::ReplacePrefix("/v2".to_owned());
    let pattern = regex("^/strip/(.*)$", "/v3/$1");
    for (path, stripped, replaced, matched) in [
        ("/strip/a//b", "/a//b", "/v2/a//b", "/v3/a//b"),
        ("/strip//a//b", "/a//b", "/v2//a//b", "/v3/a//b"),
        (
            "/strip/http://e/x",
            "/http://e/x",
            "/v2/http://e/x",
            "/v3/http://e/x",
        ),
        ("/strip/%7e", "/%7e", "/v2/%7e", "/v3/%7e"),
        (
            "/s%74rip/caf%c3%a9\"",
            "/caf%c3%a9\"",
            "/v2/caf%c3%a9\"",
            "/v3/caf%c3%a9\"",
        ),
        ("//strip//a", "/a", "/v2/a", "/v3/a"),
        ("/strip/./a%7e", "/a~", "/v2/a~", "/v3/a~"),
        ("/strip//", "/", "/v2//", "/v3/"),
    ] {
        let by = |how| rewritten(how, &strict(path), "/strip", None);
        assert_eq!(by(&strip).as_deref(), Ok(stripped), "{path}");
        assert_eq!(by(&replace).as_deref(), Ok(replaced), "{path}");
        assert_eq!(by(&pattern).as_deref(), Ok(matched), "{path}");
    }
    let other = regex("^/other", "");
    assert_eq!(
        rewritten(&other, &strict("/%61//b"), "", None).as_deref(),
        Ok("/%61//b")
    );
    let query = Some("//a/../b;c%2F`");
    assert_eq!(
        rewritten(&strip, &strict("/strip/x"), "/strip", query).as_deref(),
        Ok("/x?//a/../b;c%2F`")
    );
    assert_eq!(
        rewritten(&strip, &strict("*"), "", None).as_deref(),
        Ok("*")
    );
}

fn strict(path: &str) -> Path<'_> {
    Path::parse(path, PathMode::Strict).unwrap()
}

#[test]
fn a_result_that_could_be_read_in_two_ways_is_refused() {
    for (how, path) in [
        (regex("/-/", ""), "/a%25/-/2Fb"),
        (regex("^/a", "/a%2Fb"), "/a"),
        (regex("^/a", "/b;c"), "/a"),
    ] {
        let refused = rewritten(&how, &strict(path), "", None);
        assert!(refused.is_err_and(PathError::is_ambiguity), "{path}");
        assert!(rewrite(&how, path, "").is_ok(), "{path} as_is");
    }
}

#[test]
fn what_is_left_cannot_climb() {
    assert_eq!(
        rewrite(&Rewrite::StripPrefix, "/api../secret", "/api"),
        Err(PathError::AboveRoot)
    );
    assert_eq!(
        rewrite(&regex("^/x(.*)y$", "/a/$1/b"), "/x..y", "").as_deref(),
        Ok("/b")
    );
}

proptest! {
    #[test]
    fn every_result_is_a_request_target(
        path in "/[a-z./%é ]{0,16}", cut in 0usize..8, start in "\\PC{0,8}", query in "[a-z=&%/?;.]{0,8}", which in 0..3,
    ) {
        let Ok(path) = Path::parse(&path, PathMode::Strict) else { return Ok(()) };
        let prefix = path.normal().get(..cut).unwrap_or_default();
        let how = match which {
            0 => Rewrite::StripPrefix,
            1 => Rewrite::ReplacePrefix(start),
            _ => regex("[a-m]+", &start),
        };
        if let Ok(target) = rewritten(&how, &path, prefix, Some(&query)) {
            prop_assert!(target.starts_with('/') && !target.starts_with("//"));
            prop_assert!(target.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(target.parse::<http::uri::PathAndQuery>().is_ok(), "{}", target);
        }
    }
}
