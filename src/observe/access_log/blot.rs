//! Secrets in URLs, blotted out before they reach the log.

use std::borrow::Cow;

/// Puts `***` in place of the value of every query parameter with one of these names, however the name is escaped and in
/// any letter case. Parameters are taken to end at `&` or `;`: what a server may read as one is one here.
///
/// `names` are decoded. Without any, or where none of them occurs, nothing is copied.
#[must_use]
pub fn blot<'q>(query: &'q [u8], names: &[Box<str>]) -> Cow<'q, [u8]> {
    if names.is_empty() || query.is_empty() {
        return Cow::Borrowed(query);
    }
    let mut out = Vec::new();
    // Up to where the query is copied.
    let mut copied = 0;
    let mut start = 0;
    for parameter in query.split(|byte| b"&;".contains(byte)) {
        let end = start + parameter.len();
        if let Some(value) = secret(parameter, names) {
            out.extend_from_slice(&query[copied..start + value]);
            out.extend_from_slice(b"***");
            copied = end;
        }
        start = end + 1;
    }
    if copied == 0 {
        return Cow::Borrowed(query);
    }
    out.extend_from_slice(&query[copied..]);
    Cow::Owned(out)
}

/// The same for the query of a whole URL, such as that of `Referer`.
#[must_use]
pub fn blot_url<'u>(url: &'u [u8], names: &[Box<str>]) -> Cow<'u, [u8]> {
    let Some(mark) = url.iter().position(|byte| *byte == b'?') else {
        return Cow::Borrowed(url);
    };
    let (before, query) = url.split_at(mark + 1);
    match blot(query, names) {
        Cow::Borrowed(_) => Cow::Borrowed(url),
        Cow::Owned(query) => Cow::Owned([before, &query].concat()),
    }
}

/// Where the value of a secret begins; `None` for another parameter, or one without a value.
fn secret(parameter: &[u8], names: &[Box<str>]) -> Option<usize> {
    let equals = parameter.iter().position(|byte| *byte == b'=')?;
    let name = &parameter[..equals];
    let named = names.iter().any(|secret| is(name, secret.as_bytes()));
    (named && equals + 1 < parameter.len()).then_some(equals + 1)
}

/// Compares a name that may be escaped with one that is not.
fn is(mut escaped: &[u8], name: &[u8]) -> bool {
    for byte in name {
        let (decoded, rest) = match escaped {
            [b'%', high, low, rest @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, rest),
                _ => (b'%', &escaped[1..]),
            },
            [b'+', rest @ ..] => (b' ', rest),
            [byte, rest @ ..] => (*byte, rest),
            [] => return false,
        };
        if !decoded.eq_ignore_ascii_case(byte) {
            return false;
        }
        escaped = rest;
    }
    escaped.is_empty()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blotted(query: &str) -> String {
        let names = ["token".into(), "api key".into()];
        String::from_utf8(blot(query.as_bytes(), &names).into_owned()).unwrap()
    }

    #[test]
    fn every_spelling_of_a_secret_s_name_is_blotted() {
        for (query, seen) in [
            ("token=abc", "token=***"),
            ("a=b&token=abc&c=d", "a=b&token=***&c=d"),
            ("token=abc&x=y&token=def", "token=***&x=y&token=***"),
            ("%74oken=abc", "%74oken=***"),
            ("%74%6f%6B%65%6e=abc", "%74%6f%6B%65%6e=***"),
            ("TOKEN=abc&tOk%45n=def", "TOKEN=***&tOk%45n=***"),
            ("api+key=a&api%20key=b", "api+key=***&api%20key=***"),
            ("a=b;token=abc;c=d", "a=b;token=***;c=d"),
            ("token=a=b=c", "token=***"),
            ("token=%61&token=", "token=***&token="),
            ("token=\u{e9}", "token=***"),
            ("&&token=a&", "&&token=***&"),
        ] {
            assert_eq!(blotted(query), seen);
        }
        let bytes = blot(b"token=\xff\xfe&a=\xff", &["token".into()]);
        assert_eq!(&*bytes, b"token=***&a=\xff");
    }

    #[test]
    fn nothing_else_is_touched_or_copied() {
        for query in [
            "",
            "token",
            "tokens=a",
            "atoken=a",
            "a=token",
            "tok%en=a",
            "%2574oken=a",
            "a=b",
        ] {
            assert_eq!(blotted(query), query);
            assert!(matches!(
                blot(query.as_bytes(), &["token".into()]),
                Cow::Borrowed(_)
            ));
        }
        assert!(matches!(blot(b"token=a", &[]), Cow::Borrowed(_)));
    }

    #[test]
    fn a_url_is_blotted_behind_its_question_mark() {
        let names = ["token".into()];
        for (url, seen) in [
            ("https://a/b?token=x", "https://a/b?token=***"),
            ("https://a/token=x", "https://a/token=x"),
            ("/?a=b&token=x?y", "/?a=b&token=***"),
            ("", ""),
        ] {
            assert_eq!(&*blot_url(url.as_bytes(), &names), seen.as_bytes());
        }
    }
}
