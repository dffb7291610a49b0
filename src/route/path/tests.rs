use std::borrow::Cow;

use proptest::prelude::*;

use super::{Path, PathError, normalise};

fn normal(raw: &str) -> String {
    normalise(raw).unwrap().into_owned()
}

#[test]
fn table_of_normal_forms() {
    let table = [
        ("/", "/"),
        ("*", "*"),
        ("/api/orders", "/api/orders"),
        ("/api/orders/", "/api/orders/"),
        ("/API/orders", "/API/orders"),
        ("/api//orders", "/api/orders"),
        ("//api/orders", "/api/orders"),
        ("///", "/"),
        ("/api/orders//", "/api/orders/"),
        ("/api/%6Frders", "/api/orders"),
        ("/api/%6frders", "/api/orders"),
        ("/api/orders%2F1", "/api/orders%2F1"),
        ("/api/orders%2f1", "/api/orders%2F1"),
        ("/api/x/../orders/1", "/api/orders/1"),
        ("/api/x/%2e%2E/orders/1", "/api/orders/1"),
        ("/api/./orders", "/api/orders"),
        ("/api/%2e/orders", "/api/orders"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a/b/../../c", "/c"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/a..b/c..", "/a..b/c.."),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/100%25", "/100%25"),
        ("/%252e%252e/x", "/%252e%252e/x"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/a%0Ab", "/a%0Ab"),
    ];
    for (raw, want) in table {
        assert_eq!(normal(raw), want, "{raw}");
    }
}

#[test]
fn table_of_refusals() {
    let table = [
        ("", PathError::NotAbsolute),
        ("api", PathError::NotAbsolute),
        ("**", PathError::NotAbsolute),
        ("/..", PathError::AboveRoot),
        ("/../etc/passwd", PathError::AboveRoot),
        ("/a/../../b", PathError::AboveRoot),
        ("/%2e%2e/b", PathError::AboveRoot),
        ("/a\0", PathError::Control),
        ("/a%00b", PathError::Control),
        ("/a\r\nb", PathError::Control),
        ("/a\tb", PathError::Control),
        ("/a\x7f", PathError::Control),
        ("/50%", PathError::BadEscape),
        ("/%2", PathError::BadEscape),
        ("/%zz", PathError::BadEscape),
        ("/%+1", PathError::BadEscape),
        ("/%é", PathError::BadEscape),
        ("/a//../b", PathError::Ambiguous),
        ("/public/..%2Fadmin", PathError::Ambiguous),
        ("/public/%2e%2e%2fadmin", PathError::Ambiguous),
        ("/public/x%2F..", PathError::Ambiguous),
        ("/public/..%5cadmin", PathError::Ambiguous),
        ("/public/..\\admin", PathError::Ambiguous),
        ("/public/..;/admin", PathError::Ambiguous),
        ("/public/..;a=b/admin", PathError::Ambiguous),
    ];
    for (raw, want) in table {
        assert_eq!(normalise(raw), Err(want), "{raw:?}");
    }
}

#[test]
fn a_normal_path_is_borrowed() {
    for raw in [
        "/",
        "/api/orders/1",
        "/.well-known/x",
        "/caf%C3%A9",
        "/a;v=1",
        "/a..b",
    ] {
        assert!(matches!(normalise(raw).unwrap(), Cow::Borrowed(_)), "{raw}");
    }
}

#[test]
fn an_empty_path_is_the_root_and_raw_stays_raw() {
    assert_eq!(Path::parse("").unwrap().normal(), "/");
    let path = Path::parse("/a//b").unwrap();
    assert_eq!((path.raw(), path.normal()), ("/a//b", "/a/b"));
}

proptest! {
    #[test]
    fn normal_forms_are_fixed_points(raw in "/([a-zA-Z./;\\\\]|%2[eEfF]|%6[fF]|%5c|é){0,24}") {
        if let Ok(once) = normalise(&raw) {
            prop_assert!(once.starts_with('/'));
            prop_assert!(!once.contains("//"));
            prop_assert!(!once.split('/').any(|s| s == "." || s == ".."));
            let twice = normalise(&once);
            prop_assert_eq!(twice.as_deref(), Ok(once.as_ref()));
        }
    }

    #[test]
    fn any_text_is_answered(raw in "\\PC*") {
        let _ = normalise(&raw);
        let _ = normalise(&format!("/{raw}"));
    }
}
