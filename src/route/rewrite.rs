//! Makes the path that a backend sees when a route rewrites it.
//!
//! The prefix or the regex is matched against the path's normal form. What it does not name stays as the client sent it:
//! under `strip_prefix`, `/strip/http://e//x%7e` becomes `/http://e//x%7e`. Only slashes that would stand at the beginning
//! are merged into one, since `//a` names a host to whoever reads the target as a URL: `/strip//a//b` becomes `/a//b`. The
//! result is held to the same reading as a client's path: what a prefix or a regex leaves behind may begin with `..`.

use std::borrow::Cow;

use tidegate_filters::path::{self, Path, PathError, push_encoded};

use crate::config::model::Rewrite;

/// The path and query to ask a backend for; begins with `/`. `prefix` is [`Match::prefix`](super::Match::prefix);
/// the query stays as it came. Fails when the new path leads above the root or may be read in two ways, which is answered
/// with 400. `*` stays: it is no path (RFC 9112 3.2.4).
pub fn rewritten(
    rewrite: &Rewrite,
    path: &Path<'_>,
    prefix: &str,
    query: Option<&str>,
) -> Result<String, PathError> {
    let mut out = match path.normal() {
        "*" => "*".to_owned(),
        normal => {
            let new = new_path(rewrite, path, normal, prefix);
            let mut encoded = String::with_capacity(new.len() + 2);
            push_encoded(&mut encoded, &new, "?#");
            path::written(&encoded, path.mode())?
        }
    };
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    Ok(out)
}

fn new_path<'a>(
    rewrite: &'a Rewrite,
    path: &'a Path<'_>,
    normal: &str,
    prefix: &str,
) -> Cow<'a, str> {
    let named = match normal.starts_with(prefix) {
        true => prefix.len(),
        false => 0,
    };
    let rest = path.sent(named..normal.len());
    match rewrite {
        Rewrite::StripPrefix => Cow::Borrowed(rest),
        Rewrite::ReplacePrefix(start) => join(start, rest),
        Rewrite::Regex {
            pattern,
            replacement,
        } => match path.replace(pattern, replacement) {
            Some(new) => Cow::Owned(new),
            None => path.forwarded(prefix),
        },
    }
}

/// One slash between the two, whichever brings it, and none when nothing follows; further slashes of `rest` stay.
fn join<'a>(start: &'a str, rest: &'a str) -> Cow<'a, str> {
    if rest.is_empty() {
        return Cow::Borrowed(start);
    }
    Cow::Owned(format!(
        "{}/{}",
        start.trim_end_matches('/'),
        rest.strip_prefix('/').unwrap_or(rest)
    ))
}

#[cfg(test)]
mod tests;
