//! Targets in absolute form, as clients send them to proxies (RFC 9112 3.2.2). Origin servers get the origin form, and what
//! reads the head here knows no other.

use bytes::BytesMut;

use super::{HeadFacts, host};

/// The head with its target in origin form, and with a Host where it had none (HTTP/1.0). One that has its target in another
/// form comes back as it is.
pub fn in_origin_form(head: BytesMut, facts: &mut HeadFacts) -> BytesMut {
    if !facts.absolute {
        return head;
    }
    let Some(parts) = Parts::of(&head) else {
        return head;
    };
    let mut rewritten = BytesMut::with_capacity(head.len() + parts.authority.len() + 16);
    let mut put = |bytes: &[u8]| rewritten.extend_from_slice(bytes);
    put(parts.method);
    put(b" ");
    match parts.rest_of_target {
        [] if parts.method == b"OPTIONS" => put(b"*"),
        rest => {
            if !rest.starts_with(b"/") {
                put(b"/");
            }
            put(rest);
        }
    }
    put(parts.version);
    if !names_host(parts.fields) {
        put(b"Host: ");
        put(parts.authority);
        put(b"\r\n");
        facts.headers += 1;
    }
    put(parts.fields);
    facts.absolute = false;
    facts.len = rewritten.len();
    rewritten
}

/// A head that was found clean, cut up.
struct Parts<'a> {
    method: &'a [u8],
    authority: &'a [u8],
    /// From the path on; may be empty.
    rest_of_target: &'a [u8],
    /// From the space in front of it to the end of its line.
    version: &'a [u8],
    /// All field lines and the empty one.
    fields: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(head: &'a [u8]) -> Option<Self> {
        // An empty line may stand in front.
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        let (line, fields) = head.split_at_checked(memchr::memchr(b'\n', head)? + 1)?;
        let (method, line) = line.split_at_checked(memchr::memchr(b' ', line)?)?;
        let (target, version) = line.split_at_checked(memchr::memrchr(b' ', line)?)?;
        let scheme = memchr::memmem::find(target, b"://")? + 3;
        let target = target.get(scheme..)?;
        let end = target.iter().position(|byte| b"/?".contains(byte));
        let (authority, rest_of_target) = target.split_at(end.unwrap_or(target.len()));
        host::parse(authority)?;
        Some(Self {
            method,
            authority,
            rest_of_target,
            version,
            fields,
        })
    }
}

fn names_host(fields: &[u8]) -> bool {
    let mut lines = fields.split(|&byte| byte == b'\n');
    lines.any(|line| line.len() > 4 && line[4] == b':' && line[..4].eq_ignore_ascii_case(b"host"))
}

#[cfg(test)]
mod tests {
    use super::super::{HeadLimits, HeadScanner, Progress};
    use super::*;

    #[test]
    fn origin_servers_get_the_origin_form() {
        for (head, wanted) in [
            (
                "GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n",
            ),
            (
                "\r\nGET HTTP://A?x HTTP/1.1\r\nX: y\r\nhOST: a:80\r\n\r\n",
                "GET /?x HTTP/1.1\r\nX: y\r\nhOST: a:80\r\n\r\n",
            ),
            (
                "GET https://[::1]:8 HTTP/1.1\r\nHost: [::1]:8\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: [::1]:8\r\n\r\n",
            ),
            (
                "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
                "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            ),
            (
                "OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
                "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
            ),
            (
                "POST http://a:8/http://b/ HTTP/1.0\r\nX-Host: b\r\n\r\n",
                "POST /http://b/ HTTP/1.0\r\nHost: a:8\r\nX-Host: b\r\n\r\n",
            ),
            (
                "GET /http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            ),
        ] {
            let limits = HeadLimits {
                max_header_bytes: 1 << 16,
                max_headers: 100,
                max_uri_bytes: 1 << 12,
            };
            let Progress::Complete(mut facts) = HeadScanner::new(limits).feed(head.as_bytes())
            else {
                panic!("{head:?}");
            };
            let rewritten = in_origin_form(BytesMut::from(head), &mut facts);
            assert_eq!(String::from_utf8_lossy(&rewritten), wanted);
            let again = HeadScanner::new(limits).feed(&rewritten);
            let leading =
                rewritten.len() - rewritten.strip_prefix(b"\r\n").unwrap_or(&rewritten).len();
            assert_eq!(leading, 0);
            assert_eq!(again, Progress::Complete(facts), "{head:?}");
        }
    }
}
