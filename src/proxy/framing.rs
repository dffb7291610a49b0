//! The one reading of a backend's response head: what a client could read in another way is not passed on (RFC 9112 6).
//!
//! Pingora frames the response anew, so that bad chunks never reach a client; it does pass on fields as they came.
//! A Content-Length beside Transfer-Encoding is gone before this: chunks count, as RFC 9112 6.3 says.

use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

/// Takes out what must not stand there; `Err` is why the response can't be used. `upgrade`: the client asked for one.
pub fn check(response: &mut ResponseHeader, upgrade: bool) -> Result<(), &'static str> {
    let coding = check_coding(response);
    if response.version == Version::HTTP_10 {
        // The version is ours (RFC 9110 2.5); a body without length goes on in chunks, which HTTP/1.0 does not have.
        response.set_version(Version::HTTP_11);
    }
    let status = response.status;
    if status == StatusCode::SWITCHING_PROTOCOLS && !upgrade {
        return Err("101 without a request for it");
    }
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        // There is no body (RFC 9110 6.4.1), and so nothing to say of its end.
        response.remove_header(&TRANSFER_ENCODING);
        response.remove_header(&CONTENT_LENGTH);
        return Ok(());
    }
    coding?;
    check_length(response)
}

/// Fields as Pingora hands them over: unchecked, and folded lines with their line ends in them (RFC 9110 5.5).
pub fn check_bytes(response: &ResponseHeader) -> Result<()> {
    match response.headers.values().any(has_control) {
        true => Err(bad("a line end or another control byte within a field")),
        false => Ok(()),
    }
}

/// The error for a head that can't be used.
pub fn bad(why: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, why).into_up()
}

fn check_coding(response: &ResponseHeader) -> Result<(), &'static str> {
    let mut codings = response.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if response.version == Version::HTTP_10 {
        return Err("Transfer-Encoding in HTTP/1.0");
    }
    match coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none() {
        true => Ok(()),
        false => Err("a transfer coding other than chunked"),
    }
}

fn check_length(response: &ResponseHeader) -> Result<(), &'static str> {
    let mut lengths = response.headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(());
    };
    let digits = length.as_bytes();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    match is_number && lengths.next().is_none() {
        true => Ok(()),
        false => Err("several lengths, or one that is no number"),
    }
}

fn has_control(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes().iter();
    bytes.copied().any(|b| b.is_ascii_control() && b != b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(status: u16, fields: &[(&str, &str)], upgrade: bool) -> Option<ResponseHeader> {
        let mut response = ResponseHeader::build(status, None).unwrap();
        response.set_version(Version::HTTP_11);
        for (name, value) in fields {
            response.append_header((*name).to_owned(), *value).unwrap();
        }
        check(&mut response, upgrade).is_ok().then_some(response)
    }

    #[test]
    fn framing_that_is_clear_passes() {
        for fields in [
            &[][..],
            &[("content-length", "5")],
            &[("transfer-encoding", "Chunked")],
            &[("x", "a\tb")],
        ] {
            assert!(checked(200, fields, false).is_some(), "{fields:?}");
        }
        assert!(checked(101, &[("upgrade", "websocket")], true).is_some());
    }

    #[test]
    fn framing_that_is_not_does_not() {
        for fields in [
            &[("content-length", "5"), ("content-length", "5")][..],
            &[("content-length", "5, 5")],
            &[("content-length", "+5")],
            &[("content-length", "")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked, identity")],
            &[("transfer-encoding", "identity")],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
        ] {
            assert!(checked(200, fields, false).is_none(), "{fields:?}");
        }
        assert!(checked(101, &[], false).is_none());
    }

    #[test]
    fn responses_without_a_body_lose_its_framing() {
        for status in [100, 103, 204] {
            let fields = [("content-length", "5"), ("transfer-encoding", "chunked")];
            let response = checked(status, &fields, false).unwrap();
            assert!(response.headers.is_empty(), "{status}");
        }
    }
}
