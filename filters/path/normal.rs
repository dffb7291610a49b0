//! The normal form of a path.
//!
//! It has the percent-encodings of unreserved characters decoded and the others in upper case (RFC 3986 6.2.2), runs of
//! `/` merged, and `.` and `..` resolved (RFC 3986 5.2.4). `%2F` stays a byte of its segment, and letters keep their case.
//! Against the segment prefix `/api/orders`:
//!
//! | raw path | normal form | matches |
//! |---|---|---|
//! | `/api/orders`, `/api/orders/`, `/api/orders/1` | the same | yes |
//! | `/api/orders-old`, `/API/orders` | the same | no |
//! | `/api//orders` | `/api/orders` | yes |
//! | `/api/%6Frders` | `/api/orders` | yes |
//! | `/api/x/../orders/1`, `/api/x/%2e%2e/orders/1` | `/api/orders/1` | yes |
//! | `/api/orders%2F1`, where [`PathMode`](super::PathMode) lets it be | the same: one segment | no |
//! | `/../api/orders`, `/x/..%2Fapi`, `/x/..;/api`, `/a//../b`, `/a%00`, `/50%` | refused | 400 |

use std::borrow::Cow;

/// Why a path is refused; each is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Neither `*` nor something that begins with `/`.
    #[error("path does not begin with /")]
    NotAbsolute,
    /// A control byte, or `%00`.
    #[error("path holds a control byte")]
    Control,
    /// `%` without two hexadecimal digits.
    #[error("path holds a bad percent-encoding")]
    BadEscape,
    /// `..` leads above `/`.
    #[error("path leads above the root")]
    AboveRoot,
    /// `..` beside an empty segment, `%2F`, `%5C`, `\`, `;` or `%3B`: servers differ in what it resolves to.
    #[error("path can be resolved in two ways")]
    Ambiguous,
    /// `%2F`, `%5C` or `\`: some servers cut there.
    #[error("path holds a backslash or an encoded separator")]
    Separator,
    /// `;` or `%3B`: some servers drop what follows in the segment.
    #[error("path holds a parameter")]
    Parameter,
    /// `%25` before two hexadecimal digits: a server that decodes twice reads another path.
    #[error("path is encoded twice")]
    DoubleEscape,
    /// An escape of UTF-8 that is longer than it has to be (RFC 3629, section 3): lenient decoders take `%C0%AF` for `/`.
    #[error("path holds an overlong encoding")]
    Overlong,
}

impl PathError {
    /// Whether two servers may read the path in two ways; else no server should take it.
    #[must_use]
    pub fn is_ambiguity(self) -> bool {
        match self {
            Self::NotAbsolute | Self::Control | Self::BadEscape | Self::AboveRoot => false,
            Self::Ambiguous
            | Self::Separator
            | Self::Parameter
            | Self::DoubleEscape
            | Self::Overlong => true,
        }
    }
}

/// Whether a path is normal and can be read in one way only, as a single look at its bytes tells. `false` says nothing.
pub(super) fn is_plain(path: &str) -> bool {
    let mut before = 0;
    for &byte in path.as_bytes() {
        let dot_or_gap = before == b'/' && (byte == b'/' || byte == b'.');
        if dot_or_gap || byte == b'%' || byte == b'\\' || byte == b';' || byte.is_ascii_control() {
            return false;
        }
        before = byte;
    }
    path.starts_with('/')
}

/// The normal form of a path; borrowed when `raw` is normal already. `*` (RFC 9112 3.2.4) is its own normal form.
pub fn normalise(raw: &str) -> Result<Cow<'_, str>, PathError> {
    resolve(raw).map(|(normal, _)| normal)
}

/// The normal form, and whether there were `.` or `..` to resolve.
pub(super) fn resolve(raw: &str) -> Result<(Cow<'_, str>, bool), PathError> {
    if raw == "*" {
        return Ok((Cow::Borrowed(raw), false));
    }
    let segments = raw.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
    let mut normal = true;
    let (mut here, mut climbs, mut gap) = (false, false, false);
    let mut rest = Some(segments);
    while let Some(from) = rest {
        let (segment, next) = cut(from);
        let form = inspect(segment)?;
        here |= form == Form::Here;
        climbs |= form == Form::Parent;
        gap |= segment.is_empty() && next.is_some();
        normal &= form == Form::Normal && (!segment.is_empty() || next.is_none());
        rest = next;
    }
    if climbs && gap {
        return Err(PathError::Ambiguous);
    }
    let form = if normal {
        Cow::Borrowed(raw)
    } else {
        Cow::Owned(rebuild(segments)?)
    };
    Ok((form, here || climbs))
}

/// The first segment, and what follows its slash.
fn cut(path: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'/', path.as_bytes()) {
        Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
        None => (path, None),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Form {
    Normal,
    /// Escapes to decode or to turn to upper case.
    Escaped,
    Here,
    Parent,
}

fn inspect(segment: &str) -> Result<Form, PathError> {
    let bytes = segment.as_bytes();
    if bytes.iter().any(u8::is_ascii_control) {
        return Err(PathError::Control);
    }
    let mut form = Form::Normal;
    for at in memchr::memchr_iter(b'%', bytes) {
        let byte = escaped_byte(bytes, at).ok_or(PathError::BadEscape)?;
        if byte == 0 {
            return Err(PathError::Control);
        }
        let lower = bytes[at + 1..at + 3].iter().any(u8::is_ascii_lowercase);
        if lower || is_unreserved(byte) {
            form = Form::Escaped;
        }
    }
    let decoded = match form {
        Form::Escaped => Cow::Owned(decode(segment)),
        _ => Cow::Borrowed(segment),
    };
    match decoded.as_ref() {
        "." => Ok(Form::Here),
        ".." => Ok(Form::Parent),
        other if hides_parent(other) => Err(PathError::Ambiguous),
        _ => Ok(form),
    }
}

/// Whether a server that also cuts at `\`, `%2F`, `%5C`, `;` or `%3B` would see a `..` in this decoded segment.
fn hides_parent(segment: &str) -> bool {
    if !segment.contains("..") {
        return false;
    }
    let cut = ["%2F", "%5C", "%3B"]
        .iter()
        .fold(segment.to_owned(), |cut, escape| cut.replace(escape, "/"));
    cut.split(['/', '\\', ';']).any(|part| part == "..")
}

pub(super) fn escaped_byte(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
    u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()
}

pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Decodes unreserved characters and turns the other escapes to upper case. Escapes are known to be valid.
pub(super) fn decode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        match escaped_byte(rest.as_bytes(), at) {
            Some(byte) if is_unreserved(byte) => out.push(char::from(byte)),
            _ => out.push_str(&rest[at..at + 3].to_ascii_uppercase()),
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    out
}

fn rebuild(segments: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(segments.len() + 1);
    let mut rest = Some(segments);
    while let Some(here) = rest {
        let (segment, next) = cut(here);
        let decoded = decode(segment);
        match decoded.as_str() {
            "" | "." => {}
            ".." => {
                let parent = out.rfind('/').ok_or(PathError::AboveRoot)?;
                out.truncate(parent);
            }
            name => {
                out.push('/');
                out.push_str(name);
            }
        }
        // The last segment decides about the slash at the end: `/a/..`, `/a/.` and `/a/` all name a folder.
        if next.is_none() && matches!(decoded.as_str(), "" | "." | "..") {
            out.push('/');
        }
        rest = next;
    }
    Ok(out)
}
