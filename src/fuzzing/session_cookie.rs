//! The session cookie among a request's cookies, and the header that sets it.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::config::model::{SameSite, StickyCookie};
use crate::sticky::{SetCookie, Stripped, find, strip};

const NAME: &str = "__Host-tidegate";

/// Cookie lines, one for each line of the input, and the last line as what is sealed. Our cookie is found, and taken out of, the same
/// cookies however they are spread over lines; nothing else is lost; and the value that we set comes back as it was.
pub fn session_cookie(data: &[u8]) {
    let mut lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').take(32).collect();
    let sealed = lines.pop().unwrap_or_default();
    let headers = cookies(&lines);
    let valid: Vec<&[u8]> = headers.values().map(HeaderValue::as_bytes).collect();
    let joined = cookies(&[&valid.join(&b"; "[..])]);
    assert_eq!(find(&headers, NAME), find(&joined, NAME));
    stripped(&headers, &joined);
    set(sealed, &headers);
}

fn cookies(lines: &[&[u8]]) -> HeaderMap {
    let values = lines
        .iter()
        .filter_map(|line| HeaderValue::from_bytes(line).ok());
    values.map(|value| (COOKIE, value)).collect()
}

/// Every cookie of every line, in its order: `(name, pair)`.
fn pairs(headers: &HeaderMap) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs = Vec::new();
    for line in headers.get_all(COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            // Without `=` it is a value that has no name (RFC 6265bis, section 5.4).
            let name = if name.len() == pair.len() {
                &b""[..]
            } else {
                name
            };
            if !pair.is_empty() {
                pairs.push((name.to_vec(), pair.to_vec()));
            }
        }
    }
    pairs
}

fn after(headers: &HeaderMap) -> HeaderMap {
    match strip(headers, NAME) {
        Stripped::Unchanged => headers.clone(),
        Stripped::Removed => HeaderMap::new(),
        Stripped::Replaced(value) => HeaderMap::from_iter([(COOKIE, value)]),
    }
}

fn stripped(headers: &HeaderMap, joined: &HeaderMap) {
    let mut others = pairs(headers);
    others.retain(|(name, _)| name != NAME.as_bytes());
    assert_eq!(pairs(&after(headers)), others);
    assert_eq!(pairs(&after(joined)), others);
}

fn set(sealed: &[u8], others: &HeaderMap) {
    // What is sealed is base64url: see `seal`.
    let is_value = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    if sealed.is_empty() || !sealed.iter().all(is_value) {
        return;
    }
    for (same_site, tls) in [
        (SameSite::Lax, false),
        (SameSite::Strict, true),
        (SameSite::None, false),
    ] {
        let cookie = StickyCookie {
            partitioned: false,
            name: NAME.to_owned(),
            path: "/".to_owned(),
            domain: None,
            same_site,
            always_secure: false,
        };
        let value = SetCookie::new(&cookie).value(sealed, u32::MAX, tls);
        assert!(value.is_some());
        let Some(value) = value else { return };
        let mut parts = value
            .as_bytes()
            .split(|byte| *byte == b';')
            .map(<[u8]>::trim_ascii);
        let pair = parts.next().unwrap_or_default();
        let attributes: Vec<&[u8]> = parts.collect();
        assert!(
            attributes.contains(&&b"HttpOnly"[..])
                && attributes.contains(&&b"Max-Age=4294967295"[..])
        );
        let secure = attributes.contains(&&b"Secure"[..]);
        assert_eq!(secure, tls || same_site == SameSite::None);
        // As a browser sends it, in front of what else it has.
        let mut back = cookies(&[pair]);
        for other in others.values() {
            back.append(COOKIE, other.clone());
        }
        assert_eq!(find(&back, NAME), Some(sealed));
        let alone = cookies(&[pair]);
        assert_eq!(find(&alone, NAME), Some(sealed));
        assert_eq!(strip(&alone, NAME), Stripped::Removed);
    }
}
