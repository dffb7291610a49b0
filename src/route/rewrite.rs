//! Makes the path that a backend sees when a route rewrites it.
//!
//! A rewritten path is made from the normal form, because that is what the prefix was matched against, and is
//! brought to normal form again: what a prefix or a regex leaves behind may begin with `..`.

use std::borrow::Cow;
use std::fmt::Write;

use super::path::{Path, PathError, normalise};
use crate::config::model::Rewrite;

/// The path and query to ask a backend for; begins with `/`. `prefix` is [`Match::prefix`](super::Match::prefix);
/// the query stays as it came. Fails when the new path leads above the root, which is answered with 400.
pub fn rewritten(
    rewrite: &Rewrite,
    path: &Path<'_>,
    prefix: &str,
    query: Option<&str>,
) -> Result<String, PathError> {
    let path = path.normal();
    let rest = path.strip_prefix(prefix).unwrap_or(path);
    let new = match rewrite {
        Rewrite::StripPrefix => Cow::Borrowed(rest),
        Rewrite::ReplacePrefix(start) => join(start, rest),
        Rewrite::Regex {
            pattern,
            replacement,
        } => pattern.replace(path, replacement.as_str()),
    };
    let mut out = String::with_capacity(new.len() + query.map_or(0, str::len) + 2);
    out.push('/');
    push_encoded(&mut out, new.trim_start_matches('/'), "?#");
    let mut out = match normalise(&out)? {
        Cow::Borrowed(_) => out,
        Cow::Owned(normal) => normal,
    };
    if let Some(query) = query {
        out.push('?');
        push_encoded(&mut out, query, "#");
    }
    Ok(out)
}

/// One slash between the two, whichever brings it; none when nothing follows.
fn join<'a>(start: &'a str, rest: &'a str) -> Cow<'a, str> {
    if rest.is_empty() {
        return Cow::Borrowed(start);
    }
    Cow::Owned(format!(
        "{}/{}",
        start.trim_end_matches('/'),
        rest.trim_start_matches('/')
    ))
}

/// Percent-encodes what may not stand in a request target or a header, and the characters in `also`; `%` stays.
pub(super) fn push_encoded(out: &mut String, text: &str, also: &str) {
    for character in text.chars() {
        let barred = "\"<>`".contains(character) || also.contains(character);
        if character.is_ascii_graphic() && !barred {
            out.push(character);
        } else {
            let mut buffer = [0; 4];
            for byte in character.encode_utf8(&mut buffer).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests;
