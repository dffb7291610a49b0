use std::borrow::Cow;

use proptest::prelude::*;

use regex::Regex;

use super::{Path, PathError, PathMode, normalise, written};

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
    assert_eq!(Path::parse("", PathMode::Strict).unwrap().normal(), "/");
    let path = Path::parse("/a//b", PathMode::Strict).unwrap();
    assert_eq!((path.raw(), path.normal()), ("/a//b", "/a/b"));
}

/// What is forwarded where the route names `/admin`, else nothing of the path.
fn forwarded(raw: &str, mode: PathMode) -> Result<String, PathError> {
    let path = Path::parse(raw, mode)?;
    let normal = path.normal();
    let admin = normal == "/admin" || normal.starts_with("/admin/");
    Ok(path
        .forwarded(if admin { "/admin" } else { "" })
        .into_owned())
}

/// A path, what `strict` and `normalize` forward (`None`: they refuse), and whether `as_is` takes it.
type Row = (
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    bool,
);

/// The same in each mode.
const fn as_sent(raw: &'static str) -> Row {
    (raw, Some(raw), Some(raw), true)
}

const MODES: &[Row] = &[
    as_sent("/"),
    as_sent("*"),
    as_sent("/admin"),
    as_sent("/admin/"),
    as_sent("/ADMIN"),
    as_sent("/admin."),
    as_sent("/admin%20"),
    as_sent("/admin%3Fx"),
    as_sent("/admin%23x"),
    as_sent("/admin/a:b@c,d=e&f+g!h$i'j(k)l*m"),
    as_sent("/.well-known/x"),
    as_sent("/a..b/..."),
    as_sent("/caf%C3%A9"),
    as_sent("/caf%E9"),
    as_sent("/100%25"),
    as_sent("/100%25/x"),
    as_sent("/50%25%20off"),
    as_sent("/%25zz"),
    as_sent("/[a]|^{b}~"),
    // Kept as it came, but for what the route names.
    ("/a//b", Some("/a//b"), Some("/a/b"), true),
    ("/a/b//", Some("/a/b//"), Some("/a/b/"), true),
    ("/%7euser", Some("/%7euser"), Some("/~user"), true),
    ("/caf%c3%a9", Some("/caf%c3%a9"), Some("/caf%C3%A9"), true),
    (
        "/admin//a//b%7e",
        Some("/admin//a//b%7e"),
        Some("/admin/a/b~"),
        true,
    ),
    ("/%61dmin", Some("/admin"), Some("/admin"), true),
    (
        "/%61dmin//x%7E",
        Some("/admin//x%7E"),
        Some("/admin/x~"),
        true,
    ),
    ("/admin//", Some("/admin//"), Some("/admin/"), true),
    // In the form that was matched.
    ("//admin", Some("/admin"), Some("/admin"), true),
    ("///admin", Some("/admin"), Some("/admin"), true),
    ("//", Some("/"), Some("/"), true),
    ("//x//y", Some("/x/y"), Some("/x/y"), true),
    ("/./admin", Some("/admin"), Some("/admin"), true),
    ("/admin/.", Some("/admin/"), Some("/admin/"), true),
    ("/x/../admin", Some("/admin"), Some("/admin"), true),
    ("/admin/../x", Some("/x"), Some("/x"), true),
    ("/x/%2e%2e/admin", Some("/admin"), Some("/admin"), true),
    ("/x/.%2E/admin//y", None, None, false),
    ("/x/./y//z", Some("/x/y/z"), Some("/x/y/z"), true),
    // Separators.
    ("/admin%2Fx", None, Some("/admin/x"), true),
    ("/admin%2fx", None, Some("/admin/x"), true),
    ("/x%2F%61dmin", None, Some("/x/admin"), true),
    ("/admin%5Cx", None, Some("/admin/x"), true),
    ("/admin%5cx", None, Some("/admin/x"), true),
    ("/admin\\x", None, Some("/admin/x"), true),
    ("\\admin", None, None, false),
    ("/%2Fadmin", None, Some("/admin"), true),
    ("/%5Cadmin", None, Some("/admin"), true),
    ("/@scope%2Fname", None, Some("/@scope/name"), true),
    ("/x/.%2Fadmin", None, Some("/x/admin"), true),
    // Parameters.
    ("/admin;x=1", None, Some("/admin"), true),
    ("/admin;x=1/y", None, Some("/admin/y"), true),
    ("/;x/admin", None, Some("/admin"), true),
    ("/.;/admin", None, Some("/admin"), true),
    ("/admin;", None, Some("/admin"), true),
    ("/admin%3Bx", None, Some("/admin"), true),
    ("/admin%3bx/y", None, Some("/admin/y"), true),
    ("/admin;x%2Fy;z/w", None, Some("/admin/y/w"), true),
    ("/;x", None, Some("/"), true),
    // Escapes of escapes, deeper ones, and parts of them in escapes.
    ("/admin%252Fx", None, None, true),
    ("/admin%252fx", None, None, true),
    ("/admin%255Cx", None, None, true),
    ("/admin%253Bx", None, None, true),
    ("/%252e%252e/admin", None, None, true),
    ("/%2561dmin", None, None, true),
    ("/%25252Fadmin", None, None, true),
    ("/x%25%32%46admin", None, None, true),
    ("/x%25%32fadmin", None, None, true),
    ("/x%252%46admin", None, None, true),
    ("/caf%25C3%25A9", None, None, true),
    // Overlong.
    ("/x%C0%AFadmin", None, None, true),
    ("/x%c0%afadmin", None, None, true),
    ("/x%c1%9cadmin", None, None, true),
    ("/%c0%ae%c0%ae/admin", None, None, true),
    ("/x%e0%80%afadmin", None, None, true),
    ("/x%f0%80%80%afadmin", None, None, true),
    ("/x%f8%80%80%80%afadmin", None, None, true),
    ("/x%fc%80%80%80%80%afadmin", None, None, true),
    // Escaped control bytes.
    ("/admin%09", None, None, true),
    ("/admin%0a", None, None, true),
    ("/admin%0D%0Ax", None, None, true),
    ("/admin%7F", None, None, true),
    ("/admin%1f", None, None, true),
    // Refused in each mode.
    ("/admin%00", None, None, false),
    ("/admin\t", None, None, false),
    ("/admin\x7f", None, None, false),
    ("/admin%2", None, None, false),
    ("/admin%u002f", None, None, false),
    ("/..", None, None, false),
    ("/../admin", None, None, false),
    ("/%2e%2e/admin", None, None, false),
    ("/x/..%2fadmin", None, None, false),
    ("/x/..%5cadmin", None, None, false),
    ("/x/..\\admin", None, None, false),
    ("/x/..;/admin", None, None, false),
    ("/x/..%3b/admin", None, None, false),
    ("/x/%2e%2e%2fadmin", None, None, false),
    ("/x/a;..", None, None, false),
    ("/x//../admin", None, None, false),
    ("//x/../admin", None, None, false),
    // These are ambiguous only once separators are one: `a/` has an empty segment behind it.
    ("/a%2F/../admin", None, None, true),
    ("/a;/..;x/admin", None, None, false),
];

#[test]
fn table_of_modes() {
    for &(raw, strict, normalize, as_is) in MODES {
        let by = |mode| forwarded(raw, mode).ok();
        assert_eq!(by(PathMode::Strict).as_deref(), strict, "strict {raw}");
        assert_eq!(
            by(PathMode::Normalize).as_deref(),
            normalize,
            "normalize {raw}"
        );
        assert_eq!(
            by(PathMode::AsIs).as_deref(),
            as_is.then_some(raw),
            "as_is {raw}"
        );
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (raw, why) in [
        ("/a%2Fb", PathError::Separator),
        ("/a\\b", PathError::Separator),
        ("/a;b", PathError::Parameter),
        ("/a%3Bb", PathError::Parameter),
        ("/a%2541", PathError::DoubleEscape),
        ("/a%C0%AF", PathError::Overlong),
        ("/a%0A", PathError::Control),
    ] {
        assert_eq!(Path::parse(raw, PathMode::Strict), Err(why), "{raw}");
        assert_eq!(why.is_ambiguity(), why != PathError::Control, "{raw}");
    }
}

#[test]
fn parts_are_given_as_they_were_sent() {
    let path = Path::parse("/s//%61%2Db//%c3%a9/", PathMode::Strict).unwrap();
    assert_eq!(path.normal(), "/s/a-b/%C3%A9/");
    for (range, sent) in [
        (0..2, "/s"),
        (2..6, "//%61%2Db"),
        (3..6, "%61%2Db"),
        (4..5, "%2D"),
        (6..14, "//%c3%a9/"),
        // Cut within an escape: as it was matched.
        (8..14, "C3%A9/"),
    ] {
        assert_eq!(path.sent(range.clone()), sent, "{range:?}");
    }
}

#[test]
fn a_replacement_keeps_what_it_does_not_name() {
    let api = Regex::new("^/api/(?<rest>.*)$").unwrap();
    for (raw, want) in [
        ("/api/x//y%7e", Some("/v2/x//y%7e")),
        ("/%61pi//x%c3%a9", Some("/v2/x%c3%a9")),
        ("//api//x", Some("/v2/x")),
        ("/api/../api/./x", Some("/v2/x")),
        ("/apis/x", None),
    ] {
        let path = Path::parse(raw, PathMode::Strict).unwrap();
        assert_eq!(path.replace(&api, "/v2/${rest}").as_deref(), want, "{raw}");
        assert_eq!(path.replace(&api, "/v2/$1").as_deref(), want, "{raw}");
    }
    let middle = Regex::new("/b/").unwrap();
    let path = Path::parse("/a//%62//c%7e", PathMode::Strict).unwrap();
    assert_eq!(path.replace(&middle, "/$$/").as_deref(), Some("/a/$/c%7e"));
}

#[test]
fn what_a_rewrite_made_is_read_like_what_a_client_sent() {
    for (path, strict, as_is) in [
        ("/a", Some("/a"), Some("/a")),
        ("a", Some("/a"), Some("/a")),
        ("///a//b", Some("/a//b"), Some("/a//b")),
        ("/a/../b", Some("/b"), Some("/b")),
        ("/../b", None, None),
        ("/a/%2e%2e/b", Some("/b"), Some("/b")),
        ("/a%2Fb", None, Some("/a%2Fb")),
        ("/a;b", None, Some("/a;b")),
        ("/a%252Fb", None, Some("/a%252Fb")),
        ("*", Some("*"), Some("*")),
        ("", Some("/"), Some("/")),
    ] {
        assert_eq!(
            written(path, PathMode::Strict).ok().as_deref(),
            strict,
            "{path}"
        );
        assert_eq!(
            written(path, PathMode::AsIs).ok().as_deref(),
            as_is,
            "{path}"
        );
    }
    assert_eq!(
        written("/a;b%2Fc", PathMode::Normalize).as_deref(),
        Ok("/a/c")
    );
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
    fn plain_paths_are_those_that_no_step_changes(raw in "/([a-z./;%2F\\\\\t]){0,12}") {
        let plain = super::normal::is_plain(&raw);
        let path = Path::parse(&raw, PathMode::Normalize);
        let same = path.is_ok_and(|path| path.normal() == raw);
        prop_assert!(!plain || same, "{}", raw);
    }

    #[test]
    fn any_text_is_answered(raw in "\\PC*") {
        let _ = normalise(&raw);
        let _ = normalise(&format!("/{raw}"));
    }
}
