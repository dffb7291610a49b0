//! `X-Forwarded-For` as it comes from a trusted proxy: each line of the data is one field.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue};

use crate::forwarded::{Walk, X_FORWARDED_FOR, walk};

/// The walk ends at an address that stands in the fields, and nothing right of it is unreadable or another client: it never
/// comes to someone who is trusted more than the input says.
pub fn forwarded(data: &[u8]) {
    let Some(headers) = fields(data) else {
        return;
    };
    let is_trusted = |ip: &IpAddr| matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 10);
    let walked = walk(&headers, is_trusted);
    assert_eq!(walked == Walk::Absent, headers.is_empty());
    if let Walk::Client(client) = walked {
        assert_eq!(client, client.to_canonical());
    }
    // One trusted hop more at the right changes nothing, one that nobody can read ends every walk.
    let mut more = headers.clone();
    more.append(X_FORWARDED_FOR, HeaderValue::from_static("10.9.9.9"));
    match (walked, walk(&more, is_trusted)) {
        (Walk::Absent, after) => assert_eq!(after, Walk::Client(Ipv4Addr::new(10, 9, 9, 9).into())),
        (Walk::Client(client), after) => {
            // The chain may be too long with it.
            assert!([Walk::Client(client), Walk::Unreadable].contains(&after));
        }
        // Where there were empty elements only, there is a hop now.
        (Walk::Unreadable, after) => {
            let only_empty = headers.values().all(|line| {
                let elements = line.as_bytes().split(|b| *b == b',');
                elements.into_iter().all(|e| e.trim_ascii().is_empty())
            });
            assert!(only_empty || after == Walk::Unreadable);
        }
    }
    more.append(X_FORWARDED_FOR, HeaderValue::from_static("unknown"));
    assert_eq!(walk(&more, is_trusted), Walk::Unreadable);
    // Who trusts nobody takes the right-most hop or none.
    if let Walk::Client(client) = walk(&headers, |_| false) {
        assert!(walked == Walk::Client(client) || is_trusted(&client));
    }
}

fn fields(data: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    if data.is_empty() {
        return Some(headers);
    }
    for line in data.split(|b| *b == b'\n') {
        headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line).ok()?);
    }
    Some(headers)
}
