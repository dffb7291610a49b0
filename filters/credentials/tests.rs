use http::HeaderValue;
use http::header::AUTHORIZATION;

use super::*;

fn headers(name: &HeaderName, lines: &[&[u8]]) -> HeaderMap {
    let field = |line: &&[u8]| (name.clone(), HeaderValue::from_bytes(line).unwrap());
    lines.iter().map(field).collect()
}

/// `None` for nothing, `Some("!")` for what is unusable.
fn text(shown: &Shown<'_>) -> Option<String> {
    match shown {
        Shown::Nothing => None,
        Shown::One(secret) => Some(String::from_utf8_lossy(secret).into_owned()),
        Shown::Unusable => Some("!".into()),
    }
}

#[test]
fn a_header_shows_what_stands_behind_its_scheme() {
    for (lines, shown) in [
        (&[][..], None),
        (&[&b"Bearer a.b.c"[..]][..], Some("a.b.c")),
        (&[b"bEaReR a.b.c"], Some("a.b.c")),
        (&[b"Bearer   a.b.c"], Some("a.b.c")),
        (&[b"Basic YW5uOng="], None),
        (&[b"Bearerx a.b.c"], None),
        (&[b"Bearer-token a.b.c"], None),
        (&[b"Digest realm=\"Bearer x\""], None),
        // There, but not to be read in one way only.
        (&[b"Bearer"], Some("!")),
        (&[b"Bearer "], Some("!")),
        (&[b"Bearer\ta.b.c"], Some("!")),
        (&[b"Bearer \ta.b.c"], Some("!")),
        (&[b"Bearer\xa0a.b.c"], Some("!")),
        (&[b"Bearer a.b.c\xff"], Some("!")),
        (&[b"Bearer \xffa.b.c"], Some("!")),
        (&[b"Bearer a.b.c d"], Some("!")),
        (&[b"Bearer a.b.c, Bearer d"], Some("!")),
        (&[b"Bearer,a.b.c"], Some("!")),
        (&[b"Bearer=a.b.c"], Some("!")),
        (&[b"Bearer:a.b.c"], Some("!")),
        (&[b"\"Bearer\" a.b.c"], Some("!")),
        (&[b" Bearer a.b.c"], Some("!")),
        (&[b"\xffBearer a.b.c"], Some("!")),
        (&[b""], Some("!")),
        (&[b"Basic YW5uOng=, Bearer a.b.c"], Some("!")),
        (&[b"Basic YW5uOng=,bearer a.b.c"], Some("!")),
        (&[b"Basic YW5uOng= Bearer\ta.b.c"], Some("!")),
        (&[b"Bearer a.b.c", b"Bearer a.b.c"], Some("!")),
        (&[b"Basic YW5uOng=", b"Bearer a.b.c"], Some("!")),
        (&[b"Basic YW5uOng=", b"Basic YW5uOng="], Some("!")),
    ] {
        let headers = headers(&AUTHORIZATION, lines);
        let seen = in_header(&headers, &AUTHORIZATION, "Bearer ");
        let lines: Vec<_> = lines.iter().map(|l| l.escape_ascii().to_string()).collect();
        assert_eq!(text(&seen).as_deref(), shown, "{lines:?}");
    }
}

#[test]
fn other_prefixes_and_none() {
    for (prefix, value, shown) in [
        ("", "any thing", Some("any thing")),
        ("", "", Some("")),
        ("Token token=", "Token token=abc", Some("abc")),
        ("Token token=", "token TOKEN=abc", Some("abc")),
        ("Token token=", "Token key=abc", Some("!")),
        ("Token token=", "Token", Some("!")),
        ("Token token=", "Basic abc", None),
        ("=", "=abc", Some("abc")),
        ("=", "abc", None),
    ] {
        let headers = headers(&AUTHORIZATION, &[value.as_bytes()]);
        let seen = in_header(&headers, &AUTHORIZATION, prefix);
        assert_eq!(text(&seen).as_deref(), shown, "{prefix:?} {value:?}");
    }
}

#[test]
fn a_cookie_counts_once() {
    for (lines, shown) in [
        (&[][..], None),
        (&["a=b"][..], None),
        (&["t=x"], Some("x")),
        (&["a=b; t=x; c=d"], Some("x")),
        (&["a=b", "t=x"], Some("x")),
        (&["t = x"], Some("x")),
        (&["T=x; xt=y; tt=z; a=t"], None),
        (&["note=t-shirt, tx=1"], None),
        (&["note=a t, here"], None),
        (&["t="], Some("")),
        (&["t"], Some("")),
        (&["t=x=y"], Some("x=y")),
        // Some servers see two, or one where RFC 6265 sees none.
        (&["t=x; t=y"], Some("!")),
        (&["t=x; t=x"], Some("!")),
        (&["t=x", "t=y"], Some("!")),
        (&["t=x; t"], Some("!")),
        (&["a=b, t=x"], Some("!")),
        (&["a=b t=x"], Some("!")),
        (&["a=b,t=x"], Some("!")),
        (&["a=b, t = x"], Some("!")),
        (&["a=b\tt=x"], Some("!")),
        (&["t=x; a=b, t=y"], Some("!")),
    ] {
        let bytes: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        let headers = headers(&COOKIE, &bytes);
        assert_eq!(
            text(&in_cookie(&headers, "t")).as_deref(),
            shown,
            "{lines:?}"
        );
    }
    let odd = headers(&COOKIE, &[b"a=\xff; t=x\xff"]);
    assert_ne!(in_cookie(&odd, "t"), Shown::Nothing);
    assert_eq!(in_cookie(&odd, "t").text(), None);
}

#[test]
fn a_query_parameter_counts_once() {
    for (query, shown) in [
        ("", None),
        ("a=b", None),
        ("token=x", Some("x")),
        ("a=b&token=x&c=d", Some("x")),
        ("to%6ben=%78", Some("x")),
        ("token=", Some("")),
        ("token", Some("")),
        ("tokens=x&xtoken=y&a=token", None),
        ("token=x;y", Some("x;y")),
        ("token=x&token=x", Some("!")),
        ("token=x&%74oken=y", Some("!")),
        ("token=x&token", Some("!")),
        ("a=b;token=x", Some("!")),
        ("token=x&a=b;to%6Ben=y", Some("!")),
    ] {
        assert_eq!(
            text(&in_query(Some(query), "token")).as_deref(),
            shown,
            "{query}"
        );
    }
    assert_eq!(in_query(None, "token"), Shown::Nothing);
}

#[test]
fn places_must_agree() {
    let one = |text: &'static str| Shown::One(text.as_bytes().into());
    assert_eq!(Shown::Nothing.and(Shown::Nothing), Shown::Nothing);
    assert_eq!(Shown::Nothing.and(one("a")), one("a"));
    assert_eq!(one("a").and(Shown::Nothing), one("a"));
    assert_eq!(one("a").and(one("a")), one("a"));
    assert_eq!(one("a").and(one("b")), Shown::Unusable);
    assert_eq!(one("a").and(Shown::Unusable), Shown::Unusable);
    assert_eq!(Shown::Unusable.and(Shown::Nothing), Shown::Unusable);
}
