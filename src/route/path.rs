//! What the path of a request means to the route table, decided once.
//!
//! The raw path is forwarded; its normal form is matched. The normal form has the percent-encodings of unreserved
//! characters decoded and the others in upper case (RFC 3986 6.2.2), runs of `/` merged, and `.` and `..` resolved
//! (RFC 3986 5.2.4). `%2F` stays a byte of its segment, and letters keep their case. A path that a backend may
//! resolve to another place than this is refused. Against the segment prefix `/api/orders`:
//!
//! | raw path | normal form | matches |
//! |---|---|---|
//! | `/api/orders`, `/api/orders/`, `/api/orders/1` | the same | yes |
//! | `/api/orders-old`, `/API/orders` | the same | no |
//! | `/api//orders` | `/api/orders` | yes |
//! | `/api/%6Frders` | `/api/orders` | yes |
//! | `/api/orders%2F1` | the same: one segment | no |
//! | `/api/x/../orders/1`, `/api/x/%2e%2e/orders/1` | `/api/orders/1` | yes |
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
    /// `..` beside an empty segment, `%2F`, `%5C`, `\` or `;`: servers differ in what it resolves to.
    #[error("path can be resolved in two ways")]
    Ambiguous,
}

/// The path of a request, as sent and as matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path<'a> {
    raw: &'a str,
    normal: Cow<'a, str>,
}

impl<'a> Path<'a> {
    /// Takes the path without its query. An empty one (absolute form without path) is `/`.
    pub fn parse(raw: &'a str) -> Result<Self, PathError> {
        let raw = if raw.is_empty() { "/" } else { raw };
        Ok(Self {
            raw,
            normal: normalise(raw)?,
        })
    }

    /// As the client sent it: what is forwarded.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// What routes are matched against.
    pub fn normal(&self) -> &str {
        &self.normal
    }
}

/// The normal form of a path; borrowed when `raw` is normal already. `*` (RFC 9112 3.2.4) is its own normal form.
pub fn normalise(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if raw == "*" {
        return Ok(Cow::Borrowed(raw));
    }
    let segments = raw.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
    let mut normal = true;
    let mut climbs = false;
    let mut gap = false;
    let mut rest = Some(segments);
    while let Some(here) = rest {
        let (segment, next) = cut(here);
        let form = inspect(segment)?;
        climbs |= form == Form::Parent;
        gap |= segment.is_empty() && next.is_some();
        normal &= form == Form::Normal && (!segment.is_empty() || next.is_none());
        rest = next;
    }
    if climbs && gap {
        return Err(PathError::Ambiguous);
    }
    if normal {
        Ok(Cow::Borrowed(raw))
    } else {
        rebuild(segments).map(Cow::Owned)
    }
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
    let decoded = if form == Form::Escaped {
        Cow::Owned(decode(segment))
    } else {
        Cow::Borrowed(segment)
    };
    match decoded.as_ref() {
        "." => Ok(Form::Here),
        ".." => Ok(Form::Parent),
        other if hides_parent(other) => Err(PathError::Ambiguous),
        _ => Ok(form),
    }
}

/// Whether a server that also cuts at `\`, `%2F`, `%5C` or `;` would see a `..` in this decoded segment.
fn hides_parent(segment: &str) -> bool {
    if !segment.contains("..") {
        return false;
    }
    let cut = segment.replace("%2F", "/").replace("%5C", "/");
    cut.split(['/', '\\', ';']).any(|part| part == "..")
}

fn escaped_byte(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16));
    u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Decodes unreserved characters and turns the other escapes to upper case. Escapes are known to be valid.
fn decode(segment: &str) -> String {
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

#[cfg(test)]
mod tests;
