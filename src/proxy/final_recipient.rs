//! Requests that may end here although a route leads on: TRACE, and TRACE and OPTIONS whose `Max-Forwards` is used up.
//!
//! TRACE sends a request back as it arrived, with what proxies and filters have added to it, and nobody needs it: it is
//! refused unless the listener says `trace: pass`. `Max-Forwards` (RFC 9110, section 7.6.2) counts for TRACE and OPTIONS: at 0
//! the request is answered here, else it goes on with one less. What is no number is refused, since a request must not be
//! forwarded whose bound is unknown. Other methods keep the field as it came, as the RFC allows.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tidegate_filters::filter::Response;

use super::routing;
use crate::config::model::Trace;
use crate::context::Context;
use crate::outcome::{self, Failure};

/// What is said to be allowed: the methods of RFC 9110 and 5789 that go on to any route.
const ALLOWED: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Fields that TRACE must not send back (RFC 9110, section 9.3.8), beside those whose names speak of secrets.
const SECRET: [HeaderName; 3] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
];

/// Words in the names of fields that hold secrets.
const SECRET_WORDS: [&str; 5] = ["auth", "cookie", "key", "secret", "token"];

/// The answer where the request ends here. Otherwise it goes on, with one forward less.
pub fn answer(session: &mut Session, ctx: &mut Context) -> Result<Option<Response>, Failure> {
    let trace = match session.req_header().method {
        Method::TRACE => true,
        Method::OPTIONS => false,
        _ => return Ok(None),
    };
    if trace && !passes_trace(ctx) {
        ctx.failure = Some(outcome::TRACE_REFUSED);
        let refused = Response::plain(StatusCode::METHOD_NOT_ALLOWED);
        return Ok(Some(refused.header(header::ALLOW, ALLOWED)));
    }
    // RFC 9110, section 9.3.8.
    if trace && !session.as_mut().is_body_empty() {
        return Err(outcome::TRACE_WITH_BODY);
    }
    let request = session.req_header();
    match forwards(&request.headers).map_err(|Unreadable| outcome::BAD_MAX_FORWARDS)? {
        None => Ok(None),
        Some(0) if trace => Ok(Some(echo(request))),
        Some(0) => Ok(Some(
            Response::new(StatusCode::OK).header(header::ALLOW, ALLOWED),
        )),
        Some(left) => {
            let left = HeaderValue::from(left - 1);
            let set = session
                .req_header_mut()
                .insert_header(header::MAX_FORWARDS, left);
            set.map_or(Err(outcome::INTERNAL), |()| Ok(None))
        }
    }
}

fn passes_trace(ctx: &Context) -> bool {
    let connection = ctx.connection.as_ref();
    connection.is_some_and(|connection| connection.config.trace == Trace::Pass)
}

struct Unreadable;

/// `Max-Forwards`: digits in one line. A number that is larger than can be held is as good as the largest.
fn forwards(headers: &HeaderMap) -> Result<Option<u32>, Unreadable> {
    let mut lines = headers.get_all(header::MAX_FORWARDS).iter();
    let (Some(line), more) = (lines.next(), lines.next()) else {
        return Ok(None);
    };
    let digits = line.to_str().map_err(|_| Unreadable)?;
    let sound = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match sound && more.is_none() {
        true => Ok(Some(digits.parse().unwrap_or(u32::MAX))),
        false => Err(Unreadable),
    }
}

/// The request as a message of its own, without what may be secret.
fn echo(request: &RequestHeader) -> Response {
    let target = request.raw_path();
    let mut message = Vec::with_capacity(512);
    message.extend_from_slice(b"TRACE ");
    message.extend_from_slice(target);
    message.extend_from_slice(b" HTTP/1.1\r\n");
    if !request.headers.contains_key(header::HOST) {
        field(&mut message, "host", routing::authority(request).as_bytes());
    }
    for (name, value) in &request.headers {
        if !is_secret(name) {
            field(&mut message, name.as_str(), value.as_bytes());
        }
    }
    message.extend_from_slice(b"\r\n");
    let kind = HeaderValue::from_static("message/http");
    Response::new(StatusCode::OK).body(kind, Bytes::from(message))
}

fn field(message: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        message.extend_from_slice(part);
    }
}

fn is_secret(name: &HeaderName) -> bool {
    SECRET.contains(name) || SECRET_WORDS.iter().any(|word| name.as_str().contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_forwards() {
        for (lines, wanted) in [
            (&[][..], Some(None)),
            (&["0"], Some(Some(0))),
            (&["010"], Some(Some(10))),
            (&["99999999999999999999"], Some(Some(u32::MAX))),
            (&[""], None),
            (&["-1"], None),
            (&["+1"], None),
            (&["1, 1"], None),
            (&["1", "1"], None),
            (&["0x1"], None),
            (&["ten"], None),
            (&["\u{e4}"], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
                headers.append(header::MAX_FORWARDS, value);
            }
            assert_eq!(forwards(&headers).ok(), wanted, "{lines:?}");
        }
    }

    #[test]
    fn secrets_are_not_sent_back() {
        for (name, secret) in [
            ("authorization", true),
            ("proxy-authorization", true),
            ("cookie", true),
            ("x-api-key", true),
            ("x-csrf-token", true),
            ("x-auth-user", true),
            ("client-secret", true),
            ("via", false),
            ("max-forwards", false),
            ("user-agent", false),
        ] {
            assert_eq!(is_secret(&HeaderName::from_static(name)), secret, "{name}");
        }
    }
}
