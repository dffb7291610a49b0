//! What a request says of the connection that it came by, and so goes no further (RFC 9110 7.6.1).
//!
//! For requests that go the short way; the others pass Pingora's own rules, which these repeat.

use http::HeaderMap;
use http::header::{self, HeaderName};
use pingora_core::{Error, ErrorType, Result};
use smallvec::SmallVec;

/// Fields that one Connection header may name. More is an attack on who reads them.
const MAX_NAMED: usize = 9;

/// Takes such fields out. A client that names a field on which others rely is refused.
pub fn strip(headers: &mut HeaderMap) -> Result<()> {
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
    Ok(())
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
        strip(&mut headers).ok()?;
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
}
