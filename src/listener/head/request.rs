//! A head that was found clean, as the rest of Tidegate reads it: one map over the bytes that came.

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Uri, Version};
use pingora_http::RequestHeader;

use super::{HeadFacts, Version as Served};

/// Fields that are added on the way to a backend, for which there is room at once.
const ADDED: usize = 8;

/// The request of a whole head in origin form or asterisk form. One that this can't hold comes back, for Pingora to read.
pub fn request(head: BytesMut, facts: &HeadFacts) -> Result<RequestHeader, BytesMut> {
    let head = head.freeze();
    read(&head, facts).ok_or_else(|| BytesMut::from(head))
}

fn read(head: &Bytes, facts: &HeadFacts) -> Option<RequestHeader> {
    // An empty line may stand in front.
    let start = if head.starts_with(b"\r\n") { 2 } else { 0 };
    let end = start + memchr::memchr(b'\r', &head[start..])?;
    let mut parts = request_line(head, start, end)?;
    parts.version = match facts.version {
        Served::Http10 => Version::HTTP_10,
        Served::Http11 => Version::HTTP_11,
    };
    let headers = &mut parts.headers;
    headers.try_reserve(facts.headers + ADDED).ok()?;
    let mut line = end + 2;
    for _ in 0..facts.headers {
        let end = line + memchr::memchr(b'\n', &head[line..])?;
        let colon = line + memchr::memchr(b':', &head[line..end])?;
        let name = HeaderName::from_bytes(&head[line..colon]).ok()?;
        headers
            .try_append(name, value(head, colon + 1, end)?)
            .ok()?;
        line = end + 1;
    }
    Some(RequestHeader::from(parts))
}

fn request_line(head: &Bytes, start: usize, end: usize) -> Option<Parts> {
    let line = &head[start..end];
    let method = memchr::memchr(b' ', line)?;
    let version = memchr::memrchr(b' ', line)?;
    let target = start + method + 1..start + version;
    // The absolute form was rewritten; see `in_origin_form`.
    if !matches!(head.get(target.start), Some(b'/' | b'*')) {
        return None;
    }
    let mut parts = http::Request::new(()).into_parts().0;
    parts.method = Method::from_bytes(&line[..method]).ok()?;
    parts.uri = Uri::from_maybe_shared(head.slice(target)).ok()?;
    Some(parts)
}

/// What stands between the colon and the end of the line, without the spaces around it.
fn value(head: &Bytes, from: usize, to: usize) -> Option<HeaderValue> {
    let trimmed = head[from..to].trim_ascii();
    let from = trimmed.as_ptr() as usize - head.as_ptr() as usize;
    HeaderValue::from_maybe_shared(head.slice(from..from + trimmed.len())).ok()
}

#[cfg(test)]
mod tests {
    use super::super::{HeadLimits, HeadScanner, Progress};
    use super::*;

    fn read(head: &str) -> Result<RequestHeader, BytesMut> {
        let limits = HeadLimits {
            max_header_bytes: 1 << 16,
            max_headers: 100,
            max_uri_bytes: 1 << 12,
        };
        match HeadScanner::new(limits).feed(head.as_bytes()) {
            Progress::Complete(mut facts) => {
                let head = super::super::in_origin_form(BytesMut::from(head), &mut facts);
                request(head, &facts)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_of_a_clean_head_is_there_once() {
        let head =
            "GET /a%20b?c=d HTTP/1.1\r\nHost:x \r\nX-A:  1\t\r\nx-a: \r\nX-A: \u{e4}:2\r\n\r\n";
        let request = read(head).unwrap();
        assert_eq!(request.method, Method::GET);
        assert_eq!(request.version, Version::HTTP_11);
        assert_eq!(request.raw_path(), b"/a%20b?c=d");
        let fields: Vec<_> = request.headers.iter().collect();
        assert_eq!(fields.len(), 4);
        assert_eq!(request.headers["host"], "x");
        let values: Vec<_> = request.headers.get_all("x-a").iter().collect();
        assert_eq!(
            values,
            [&b"1"[..], b"", "\u{e4}:2".as_bytes()],
            "in the order in which they came"
        );
    }

    #[test]
    fn an_empty_line_in_front_is_skipped_and_the_version_kept() {
        let request = read("\r\nPURGE / HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(request.method.as_str(), "PURGE");
        assert_eq!(request.version, Version::HTTP_10);
    }

    #[test]
    fn targets_are_in_origin_form_and_an_absolute_one_names_the_host() {
        for (line, target) in [
            ("GET http://x/a?b HTTP/1.1\r\nHost: x", "/a?b"),
            ("GET http://x HTTP/1.1\r\nHost: x", "/"),
            ("GET http://x?b HTTP/1.1\r\nHost: x", "/?b"),
            ("GET http://x/a HTTP/1.0", "/a"),
            (
                "POST https://x/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0",
                "/a",
            ),
            ("OPTIONS * HTTP/1.1\r\nHost: x", "*"),
            ("OPTIONS http://x HTTP/1.1\r\nHost: x", "*"),
        ] {
            let request = read(&format!("{line}\r\n\r\n")).unwrap();
            assert_eq!(request.raw_path(), target.as_bytes(), "{line}");
            assert_eq!(request.headers["host"], "x", "{line}");
        }
    }
}
