//! The one reading of a request's path, which the route table, filters, hashes and the backend share.
//!
//! Servers differ in how they read a path: some decode `%2F` before they cut it into segments, some take `\` for `/`, some
//! drop `;parameters`, some decode twice. A rule such as "`/admin` needs a token" holds only when the balancer that applies
//! it and the backend behind it read the same. So each request has one normal form ([`normalise`]), which is what routes and
//! filters see, and what may be read in two ways is refused, resolved or passed on as [`PathMode`] says:
//!
//! | the path has | `strict` | `normalize` | `as_is` |
//! |---|---|---|---|
//! | `%2F`, `%5C`, `\` | refused | becomes `/` | passed on |
//! | `;parameters`, `%3B` | refused | removed up to the next `/` | passed on |
//! | `%25` and two hexadecimal digits: an escape of an escape | refused | refused | passed on |
//! | an overlong escape such as `%C0%AF`; an escaped control byte | refused | refused | passed on |
//! | `..` beside a separator, a parameter or an empty segment; `..` above `/` | refused | refused | refused |
//! | `%00`, a control byte, `%` without two digits | refused | refused | refused |
//! | `.` and `..` segments, in any spelling with `%2E` | resolved | resolved | passed on |
//! | `//` at its beginning | normal form | normal form | passed on |
//! | `//` elsewhere, `%7E` and other escapes that say nothing | passed on | normal form | passed on |
//!
//! What is passed on is matched in its normal form all the same. In `strict`, the part that a route's `path`, `path_prefix`
//! or `path_regex` names goes to the backend as it was matched, and only what follows it as it came: an open route
//! `/admin/public` inside of a protected `/admin` would else let `/admin//public` reach a backend that reads that as
//! something else of `/admin`.
//!
//! Not looked at, because servers on one system agree on them or because they are another's to know: letters in another
//! case (`/ADMIN`), a dot or a space at the end (`/admin.`, `/admin%20`: the same file on Windows), `%3F` and `%23` (part of
//! a name), characters that Unicode calls compatible with `/`.

mod ambiguity;
mod normal;

use std::borrow::Cow;
use std::ops::Range;

use regex::{Captures, Regex};
use regex_automata::util::interpolate;

pub use self::normal::{PathError, normalise};

/// What becomes of a path that two servers may read in two ways: `paths` of a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PathMode {
    /// It is refused.
    #[default]
    Strict,
    /// It is resolved in one way, and matched and forwarded like that; what can't be resolved is refused.
    Normalize,
    /// It is forwarded as it came.
    AsIs,
}

/// The path of a request, as sent and as matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'a> {
    raw: &'a str,
    normal: Cow<'a, str>,
    /// `raw`, if its segments are those of `normal` one by one, so that parts of it may be forwarded as they came.
    kept: Option<&'a str>,
    mode: PathMode,
}

impl<'a> Path<'a> {
    /// Takes the path without its query. An empty one (absolute form without path) is `/`.
    pub fn parse(raw: &'a str, mode: PathMode) -> Result<Self, PathError> {
        let raw = if raw.is_empty() { "/" } else { raw };
        if normal::is_plain(raw) {
            return Ok(Path {
                raw,
                normal: Cow::Borrowed(raw),
                kept: Some(raw),
                mode,
            });
        }
        // What is no path by itself is refused in each mode.
        let (normal, dots) = normal::resolve(raw)?;
        let (normal, kept) = match mode {
            PathMode::AsIs => (normal, (!dots).then_some(raw)),
            PathMode::Strict => {
                match &normal {
                    // Nothing was decoded: `raw` is what there is to look at.
                    Cow::Borrowed(_) => ambiguity::refuse(raw)?,
                    Cow::Owned(_) => ambiguity::refuse(&normal::decode(raw))?,
                }
                let kept = !dots && !raw.starts_with("//");
                (normal, kept.then_some(raw))
            }
            PathMode::Normalize => {
                let unified = ambiguity::unify(raw);
                ambiguity::refuse(&normal::decode(&unified))?;
                let (normal, _) = normal::resolve(&unified)?;
                (Cow::Owned(normal.into_owned()), None)
            }
        };
        Ok(Path {
            raw,
            normal,
            kept,
            mode,
        })
    }

    /// How it was read.
    #[must_use]
    pub fn mode(&self) -> PathMode {
        self.mode
    }

    /// As the client sent it.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// What routes and filters see.
    #[must_use]
    pub fn normal(&self) -> &str {
        &self.normal
    }

    /// The normal form alone.
    #[must_use]
    pub fn into_normal(self) -> Cow<'a, str> {
        self.normal
    }

    /// What the backend is asked for. `named` is what a route's condition named: the beginning of the normal form, or all
    /// of it.
    #[must_use]
    pub fn forwarded(&self, named: &str) -> Cow<'_, str> {
        match self.kept {
            _ if self.mode == PathMode::AsIs => Cow::Borrowed(self.raw),
            None => Cow::Borrowed(&self.normal),
            Some(kept) if kept == self.normal || named.is_empty() => Cow::Borrowed(kept),
            Some(_) => {
                let rest = self.sent(named.len()..self.normal.len());
                Cow::Owned(format!("{named}{rest}"))
            }
        }
    }

    /// A part of the normal form as the client sent it, where that may be forwarded, else as it is.
    #[must_use]
    pub fn sent(&self, range: Range<usize>) -> &str {
        let sent = self.kept.and_then(|kept| {
            let (start, end) = (place(kept, range.start)?, place(kept, range.end)?);
            kept.get(start..end)
        });
        sent.or_else(|| self.normal.get(range)).unwrap_or_default()
    }

    /// The path with the first match of `pattern` in its normal form replaced; `None` without one. What the pattern does not
    /// match and what its groups (`$1`, `${name}`) stand for stays as it was sent.
    #[must_use]
    pub fn replace(&self, pattern: &Regex, replacement: &str) -> Option<String> {
        let groups = pattern.captures(&self.normal)?;
        let whole = groups.get_match().range();
        let mut out = self.sent(0..whole.start).to_owned();
        self.expand(pattern, &groups, replacement, &mut out);
        out.push_str(self.sent(whole.end..self.normal.len()));
        Some(out)
    }

    /// Appends `template`, with the groups of a match on the normal form put in as they were sent.
    pub fn expand(&self, pattern: &Regex, groups: &Captures<'_>, template: &str, out: &mut String) {
        let name = |name: &str| pattern.capture_names().position(|n| n == Some(name));
        let group = |at: usize, out: &mut String| {
            if let Some(group) = groups.get(at) {
                out.push_str(self.sent(group.range()));
            }
        };
        interpolate::string(template, group, name, out);
    }
}

/// The path that a rewrite made, as a backend may be asked for it. It is held to the same reading as a client's, begins with
/// one `/`, and has no `.` and `..` segments: in each mode these are resolved.
pub fn written(path: &str, mode: PathMode) -> Result<String, PathError> {
    if path == "*" {
        return Ok(path.to_owned());
    }
    let absolute = format!("/{}", path.trim_start_matches('/'));
    let path = Path::parse(&absolute, mode)?;
    Ok(path.kept.unwrap_or(&path.normal).to_owned())
}

/// Percent-encodes what may not stand in a request target, and the characters in `also`; `%` stays.
pub fn push_encoded(out: &mut String, text: &str, also: &str) {
    for character in text.chars() {
        let barred = "<>`".contains(character) || also.contains(character);
        if character.is_ascii_graphic() && !barred {
            out.push(character);
        } else {
            let mut buffer = [0; 4];
            for byte in character.encode_utf8(&mut buffer).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
}

/// Where in a path as it was sent the byte at `offset` of its normal form begins; `None` within an escape.
fn place(sent: &str, offset: usize) -> Option<usize> {
    let bytes = sent.as_bytes();
    let (mut at, mut passed) = (0, 0);
    while passed < offset {
        let length = match *bytes.get(at)? {
            b'/' => {
                let slashes = bytes[at..].iter().take_while(|&&byte| byte == b'/');
                at += slashes.count();
                1
            }
            b'%' => {
                let byte = normal::escaped_byte(bytes, at)?;
                at += 3;
                if normal::is_unreserved(byte) { 1 } else { 3 }
            }
            _ => {
                at += 1;
                1
            }
        };
        passed += length;
    }
    (passed == offset).then_some(at)
}

#[cfg(test)]
mod tests;
