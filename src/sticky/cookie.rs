//! The cookie in HTTP: found in a request, taken out before a backend sees it, set in a response.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::model::{SameSite, StickyCookie};

/// Headers that overrule `Cache-Control` in some caches (RFC 9213, section 3, and its older forms). A response that sets
/// the cookie must lose them: see [`cache_control`].
pub const TARGETED_CACHE_CONTROL: [HeaderName; 2] = [
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
];

/// The value of the first cookie with this name, over all Cookie lines (HTTP/2 may send one line for each cookie: RFC
/// 9113, section 8.2.3). Names are compared byte by byte (RFC 6265, section 5.4).
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let lines = headers.get_all(COOKIE).into_iter();
    lines
        .flat_map(|line| pairs(line.as_bytes()))
        .find_map(|pair| value_of(pair, name))
}

/// What is to become of a request's Cookie lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stripped {
    /// They stay as they are.
    Unchanged,
    /// None stays.
    Removed,
    /// This one line takes their place.
    Replaced(HeaderValue),
}

/// Takes every cookie of this name out. Allocates only if there is one; what remains is joined into one line.
pub fn strip(headers: &HeaderMap, name: &str) -> Stripped {
    if find(headers, name).is_none() {
        return Stripped::Unchanged;
    }
    let lines = headers.get_all(COOKIE);
    let mut rest = Vec::with_capacity(lines.iter().map(|line| line.len() + 2).sum());
    for pair in lines.iter().flat_map(|line| pairs(line.as_bytes())) {
        if value_of(pair, name).is_some() || pair.is_empty() {
            continue;
        }
        if !rest.is_empty() {
            rest.extend_from_slice(b"; ");
        }
        rest.extend_from_slice(pair);
    }
    match HeaderValue::from_maybe_shared(Bytes::from(rest)) {
        Ok(rest) if !rest.is_empty() => Stripped::Replaced(rest),
        _ => Stripped::Removed,
    }
}

/// Split as RFC 6265, section 4.2.1 joins them.
fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// A cookie's attributes, put together once.
#[derive(Debug)]
pub struct SetCookie {
    before_value: Box<str>,
    after_age: Box<str>,
    always_secure: bool,
}

impl SetCookie {
    /// The attributes of RFC 6265, section 4.1.2; SameSite is that of RFC 6265bis, Partitioned that of CHIPS
    /// (draft-cutler-httpbis-partitioned-cookies), which browsers take with Secure only.
    pub fn new(cookie: &StickyCookie) -> Self {
        let same_site = match cookie.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        };
        let domain = cookie
            .domain
            .as_ref()
            .map(|domain| format!("; Domain={domain}"))
            .unwrap_or_default();
        let partitioned = match cookie.partitioned {
            true => "; Partitioned",
            false => "",
        };
        Self {
            before_value: format!("{}=", cookie.name).into(),
            after_age: format!(
                "; Path={}{domain}; HttpOnly; SameSite={same_site}{partitioned}",
                cookie.path
            )
            .into(),
            always_secure: cookie.always_secure
                || cookie.partitioned
                || cookie.same_site == SameSite::None,
        }
    }

    /// The Set-Cookie value. `max_age` is in seconds. `None` when the settings hold what no header may.
    pub fn value(&self, sealed: &[u8], max_age: u32, tls: bool) -> Option<HeaderValue> {
        let mut age = [0; 10];
        let parts = [
            self.before_value.as_bytes(),
            sealed,
            b"; Max-Age=",
            decimal(max_age, &mut age),
            self.after_age.as_bytes(),
            if tls || self.always_secure {
                b"; Secure"
            } else {
                b""
            },
        ];
        let mut value = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| value.extend_from_slice(part));
        HeaderValue::from_maybe_shared(Bytes::from(value)).ok()
    }
}

fn decimal(mut number: u32, buffer: &mut [u8; 10]) -> &[u8] {
    let mut from = buffer.len();
    for digit in buffer.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        from -= 1;
        if number == 0 {
            break;
        }
    }
    buffer.get(from..).unwrap_or_default()
}

/// The rule for shared caches, for each response in which the cookie or header is set: one client's place must not be
/// handed to others, and RFC 9111, section 7.3 lets a cache store Set-Cookie. So such a response is `private`: browsers
/// may keep it as the backend said, shared caches may not. `public`, `s-maxage` and `proxy-revalidate` go, the rest
/// stays; `None` when the backend's own `private` or `no-store` says enough. As this happens once for each session and
/// not on each response, pages stay cacheable for everyone else.
pub fn cache_control(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(CACHE_CONTROL);
    let directives = || lines.iter().flat_map(|line| directives(line.as_bytes()));
    if directives().any(|one| is(one, b"private") || is(one, b"no-store")) {
        return None;
    }
    let mut value = b"private".to_vec();
    let shared_only = |one: &[u8]| {
        let name = one
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        is(name, b"public")
            || is(name, b"s-maxage")
            || is(name, b"proxy-revalidate")
            || is(name, b"private")
    };
    for kept in directives().filter(|one| !one.is_empty() && !shared_only(one)) {
        value.extend_from_slice(b", ");
        value.extend_from_slice(kept);
    }
    HeaderValue::from_maybe_shared(Bytes::from(value)).ok()
}

fn is(directive: &[u8], name: &[u8]) -> bool {
    directive.eq_ignore_ascii_case(name)
}

/// Split at commas outside of quotes (RFC 9111, section 5.2: `private="a, b"` is one).
fn directives(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let at_comma = move |byte: &u8| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    };
    line.split(at_comma).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests;
