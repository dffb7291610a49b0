//! What a message says of the connection that it came by, and so goes no further (RFC 9110 7.6.1).
//!
//! Requests on Pingora's way pass its own rules, which these repeat; responses pass these on both ways.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use smallvec::SmallVec;

/// Fields that one Connection header may name. More is an attack on who reads them.
const MAX_NAMED: usize = 9;

/// Takes such fields out. A client that names a field on which others rely is refused. `upgrade`: the request asks for another
/// protocol in a way that is passed on, so that it says so on the connection to the backend.
pub fn strip(headers: &mut HeaderMap, upgrade: bool) -> Result<()> {
    let protocol = headers.get(header::UPGRADE).filter(|_| upgrade).cloned();
    let mut gone = named(headers)?;
    gone.extend(
        headers
            .keys()
            .filter(|name| is_of_connection(name))
            .cloned(),
    );
    for name in &gone {
        headers.remove(name);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    Ok(())
}

/// The same for a response: what the backend says of its connection to us. What it names in `Connection` goes, too, but for
/// fields that the client can't do without. A 101 keeps what says which protocol follows.
pub fn strip_response(response: &mut ResponseHeader) {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let lines = response.headers.get_all(header::CONNECTION).iter();
    let tokens = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    let named = tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok());
    let mut gone: SmallVec<[HeaderName; 8]> = named.filter(|name| !is_needed(name)).collect();
    gone.extend(
        OF_THE_BACKENDS
            .iter()
            .filter(|name| response.headers.contains_key(*name))
            .cloned(),
    );
    for name in &gone {
        response.remove_header(name);
    }
}

/// Fields of a response that concern the backend's connection. Trailers are not passed on, and so are not announced.
static OF_THE_BACKENDS: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::UPGRADE,
    header::TE,
    header::TRAILER,
];

/// What frames the response is settled elsewhere, and no backend can name it away.
fn is_needed(name: &HeaderName) -> bool {
    [header::TRANSFER_ENCODING, header::CONTENT_LENGTH].contains(name)
}

fn is_of_connection(name: &HeaderName) -> bool {
    static KNOWN: [HeaderName; 7] = [
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
    ];
    KNOWN.contains(name)
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "http2-settings"
        )
}

/// The fields that Connection names.
fn named(headers: &HeaderMap) -> Result<SmallVec<[HeaderName; 4]>> {
    let mut names = SmallVec::new();
    let lines = headers.get_all(header::CONNECTION).iter();
    let tokens = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    for token in tokens.map(<[u8]>::trim_ascii).filter(|t| !t.is_empty()) {
        if names.len() == MAX_NAMED {
            return refuse("Connection names too many fields");
        }
        match HeaderName::from_bytes(token) {
            Ok(name) if token.iter().all(is_token) => names.push(name),
            _ => return refuse("Connection names what can be no field"),
        }
    }
    match names.iter().any(is_protected) {
        true => refuse("Connection names a field that must stay"),
        false => Ok(names),
    }
}

/// Without these a backend would see another request.
fn is_protected(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto"
    )
}

/// RFC 9110 5.6.2.
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

fn refuse<T>(why: &'static str) -> Result<T> {
    Err(Error::explain(ErrorType::InvalidHTTPHeader, why).into_down())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(fields: &[(&'static str, &str)]) -> Option<Vec<String>> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        strip(&mut headers, false).ok()?;
        Some(headers.keys().map(|name| name.to_string()).collect())
    }

    #[test]
    fn what_is_of_the_connection_goes() {
        let fields = [
            ("Host", "a"),
            ("Connection", "close, X-Mine"),
            ("Connection", "te"),
            ("X-Mine", "1"),
            ("TE", "trailers"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic eA=="),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABk"),
            ("Transfer-Encoding", "chunked"),
            ("Trailer", "x"),
            ("Cookie", "a=b"),
        ];
        assert_eq!(stripped(&fields).unwrap(), ["host", "cookie"]);
    }

    #[test]
    fn what_others_rely_on_stays_or_the_request_is_refused() {
        for named in [
            "host",
            "X-Forwarded-For",
            "x-forwarded-host",
            "X-Forwarded-Proto",
            ":authority",
            "\"x-mine\"",
            "x mine",
        ] {
            assert_eq!(stripped(&[("Connection", named)]), None, "{named}");
        }
        assert_eq!(stripped(&[("Connection", "a,b,c,d,e,f,g,h,i,j")]), None);
        assert!(stripped(&[("Connection", "a,b,,c,d,e,f,g,h,i")]).is_some());
    }

    fn passed_on(status: u16, fields: &[(&'static str, &str)]) -> Vec<String> {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        strip_response(&mut response);
        let names = response.headers.keys();
        names.map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_response_tells_nothing_of_the_backends_connection() {
        let fields = [
            ("Connection", "close, X-Mine, Content-Length"),
            ("Connection", "x-other,, \"x\""),
            ("X-Mine", "1"),
            ("X-Other", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "close"),
            ("Upgrade", "h2c"),
            ("TE", "trailers"),
            ("Trailer", "x"),
            ("Proxy-Authenticate", "Basic"),
            ("Content-Length", "5"),
        ];
        for status in [103, 200, 204, 407, 426, 500] {
            assert_eq!(
                passed_on(status, &fields),
                ["proxy-authenticate", "content-length"],
                "{status}"
            );
        }
        let switching = [("Connection", "upgrade"), ("Upgrade", "x")];
        assert_eq!(passed_on(101, &switching), ["connection", "upgrade"]);
    }
}
