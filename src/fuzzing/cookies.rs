//! Cookies that come one by one, as HTTP/2 sends them: each line of the data is one field.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::listener::head::joined_cookies;

/// Joined, they are the same pairs in the same order, and there is nothing more to join.
pub fn cookies(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|b| *b == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else {
            return;
        };
        headers.append(COOKIE, value);
    }
    let joined = joined_cookies(&headers);
    let crumbs = headers.get_all(COOKIE).iter().count();
    assert_eq!(joined.is_some(), crumbs > 1);
    let Some(joined) = joined else {
        return;
    };
    let before = headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| pairs(line.as_bytes()));
    assert!(before.eq(pairs(joined.as_bytes())));
    headers.insert(COOKIE, joined);
    assert_eq!(joined_cookies(&headers), None);
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pairs = line.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    pairs.filter(|pair| !pair.is_empty())
}
