//! Tidegate's own answers to gRPC clients.
//!
//! A gRPC client reads how its call went from `grpc-status`; of an HTTP error it can make a guess at best, and most show it
//! as a broken connection. So what Tidegate itself answers with 300 or above, filters' refusals included, goes to such a
//! client over HTTP/2 as a response of trailers only: `200`, no body, the status in `grpc-status`, the reason in `grpc-message`.
//! Other fields, such as `retry-after` and `www-authenticate`, stay. The log, metrics and filters see the HTTP status.
//!
//! gRPC-Web is not gRPC: browsers read the HTTP status.

use std::fmt::Write;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use tidegate_filters::filter::Response;

use crate::outcome::Failure;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A longer text of a filter is no message.
const MAX_MESSAGE: usize = 512;

/// Fields that told of the body.
static OF_THE_BODY: [HeaderName; 9] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
    header::ACCEPT_RANGES,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::ETAG,
    header::LAST_MODIFIED,
];

/// Status codes of gRPC (grpc/doc/statuscodes.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Unknown = 2,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// Whether this is a call of gRPC: `application/grpc`, alone or with the coding of its messages, `+proto`.
pub fn is_call(request: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let kind = request.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.as_bytes().split_at_checked(TYPE.len()));
    kind.is_some_and(|(kind, rest)| {
        let ends = rest.first().is_none_or(|byte| b"+; \t".contains(byte));
        kind.eq_ignore_ascii_case(TYPE) && ends
    })
}

/// The same answer in the words of gRPC; `None` where it is none of a failure, or in these words already.
pub fn answer(response: &Response, failure: Option<Failure>) -> Option<Response> {
    let status = response.status();
    let told = response.headers().contains_key(STATUS);
    if status.is_informational() || status.is_success() || told {
        return None;
    }
    // Of this answer, not of one that a filter has put in its place.
    let failure = failure.filter(|f| f.status == status.as_u16() && f.reason != "filter");
    let mut answer = Response::new(StatusCode::OK);
    answer.head.version = Version::HTTP_11;
    answer.head.headers = response.headers().clone();
    let headers = &mut answer.head.headers;
    for name in &OF_THE_BODY {
        headers.remove(name);
    }
    let kind = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(STATUS, HeaderValue::from(code(status, failure) as u16));
    if let Ok(message) = HeaderValue::try_from(encoded(&message(response, failure))) {
        headers.insert(MESSAGE, message);
    }
    Some(answer)
}

/// As http-grpc-status-mapping.md of gRPC has it, but where more is known than the status says: a body that is too large
/// will be too large again, and a call that was cut by a deadline may have been carried out, so that it must not look like
/// one that may be sent again. 421 and 425 are answers to the connection, not to the call.
fn code(status: StatusCode, failure: Option<Failure>) -> Code {
    let deadline = failure.is_some_and(|failure| failure.flag == "UT");
    match status.as_u16() {
        504 if deadline => Code::DeadlineExceeded,
        408 => Code::DeadlineExceeded,
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        413 => Code::ResourceExhausted,
        421 | 425 | 429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// What a filter says in a few words, else the status; and why, where it is Tidegate's own failure.
fn message(response: &Response, failure: Option<Failure>) -> String {
    let status = response.status();
    let said = plain_text(response)
        .map(str::trim)
        .filter(|t| !t.is_empty());
    let mut message = match said {
        Some(said) => said.to_owned(),
        None => status.to_string(),
    };
    if let Some(failure) = failure {
        message.push_str(": ");
        message.push_str(failure.reason);
    }
    message
}

fn plain_text(response: &Response) -> Option<&str> {
    let headers = response.headers();
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let plain = kind.starts_with("text/plain") && !headers.contains_key(header::CONTENT_ENCODING);
    let short = plain && response.body.len() <= MAX_MESSAGE;
    std::str::from_utf8(&response.body).ok().filter(|_| short)
}

/// Percent-encoded, as the protocol has it for `grpc-message`: all but visible ASCII, the space, and `%` itself.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a String does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome;

    fn with_type(kind: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())])
    }

    #[test]
    fn calls_are_told_from_other_requests() {
        for (kind, call) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC+json", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_call(&with_type(kind)), call, "{kind}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    fn told(response: &Response, failure: Option<Failure>) -> Option<(String, String)> {
        let answer = answer(response, failure)?;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.body.is_empty());
        let field = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(field("content-type"), "application/grpc");
        Some((field("grpc-status"), field("grpc-message")))
    }

    #[test]
    fn every_status_has_its_code() {
        for (status, code) in [
            (302, "2"),
            (400, "13"),
            (401, "16"),
            (403, "7"),
            (404, "12"),
            (408, "4"),
            (409, "2"),
            (413, "8"),
            (421, "14"),
            (425, "14"),
            (429, "14"),
            (431, "2"),
            (500, "2"),
            (502, "14"),
            (503, "14"),
            (504, "14"),
            (508, "2"),
        ] {
            let response = Response::plain(StatusCode::from_u16(status).unwrap());
            let (seen, message) = told(&response, None).unwrap();
            assert_eq!(seen, code, "{status}");
            assert!(message.starts_with(&status.to_string()), "{message}");
        }
        for status in [200, 204] {
            let response = Response::new(StatusCode::from_u16(status).unwrap());
            assert!(answer(&response, None).is_none(), "{status}");
        }
        let own = Response::new(StatusCode::FORBIDDEN).header(STATUS, HeaderValue::from(9));
        assert!(answer(&own, None).is_none(), "a filter speaks gRPC itself");
    }

    #[test]
    fn a_deadline_is_told_from_a_backend_that_is_not_there() {
        let response = Response::plain(StatusCode::GATEWAY_TIMEOUT);
        let (code, message) = told(&response, Some(outcome::TOTAL_TIMEOUT)).unwrap();
        assert_eq!(code, "4");
        assert_eq!(message, "504 Gateway Timeout: total_timeout");
        // The failure was answered otherwise by a filter.
        let response = Response::plain(StatusCode::SERVICE_UNAVAILABLE);
        let (code, message) = told(&response, Some(outcome::TOTAL_TIMEOUT)).unwrap();
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("14", "503 Service Unavailable")
        );
    }

    #[test]
    fn messages_are_percent_encoded_and_fields_of_the_body_go() {
        let response = Response::new(StatusCode::SERVICE_UNAVAILABLE)
            .text("100 % geschlo\u{df}en\nbis morgen\n")
            .header(header::RETRY_AFTER, HeaderValue::from(5))
            .header(header::ETAG, HeaderValue::from_static("\"x\""));
        let (_, message) = told(&response, None).unwrap();
        assert_eq!(message, "100 %25 geschlo%C3%9Fen%0Abis morgen");
        let answer = answer(&response, None).unwrap();
        assert_eq!(answer.headers()[header::RETRY_AFTER], "5");
        assert!(!answer.headers().contains_key(header::ETAG));
        let html = Response::new(StatusCode::FORBIDDEN)
            .body(HeaderValue::from_static("text/html"), "<p>no</p>");
        assert_eq!(told(&html, None).unwrap().1, "403 Forbidden");
        let long = Response::new(StatusCode::FORBIDDEN).text("x".repeat(MAX_MESSAGE + 1));
        assert_eq!(told(&long, None).unwrap().1, "403 Forbidden");
    }
}
