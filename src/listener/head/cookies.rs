//! Cookies in several fields: HTTP/2 lets clients split them, and whoever reads on may look at one field only.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};

/// All Cookie fields as one, in their order (RFC 9113 8.2.3); `None` where there is nothing to join.
pub fn joined(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (first, second) = (crumbs.next()?, crumbs.next()?);
    let mut all = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        if !all.is_empty() && !crumb.is_empty() {
            all.extend_from_slice(b"; ");
        }
        all.extend_from_slice(crumb.as_bytes());
    }
    HeaderValue::from_bytes(&all).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(crumbs: &[&[u8]]) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        for crumb in crumbs {
            headers.append(COOKIE, HeaderValue::from_bytes(crumb).unwrap());
        }
        joined(&headers).map(|value| value.as_bytes().to_vec())
    }

    #[test]
    fn crumbs_become_one_in_their_order() {
        for (crumbs, wanted) in [
            (&[][..], None),
            (&[&b"a=1"[..]], None),
            (&[b"a=1", b"b=2"], Some(&b"a=1; b=2"[..])),
            (&[b"a=1", b"b=2", b"a=3; c"], Some(b"a=1; b=2; a=3; c")),
            (&[b"", b"a=1", b"", b"b=2"], Some(b"a=1; b=2")),
            (&[b"", b""], Some(b"")),
            (&[b"a=\xff", b"b=2"], Some(b"a=\xff; b=2")),
        ] {
            assert_eq!(join(crumbs).as_deref(), wanted, "{crumbs:?}");
        }
    }
}
