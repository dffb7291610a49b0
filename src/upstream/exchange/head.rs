//! The one reading of a response head (RFC 9112).

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use smallvec::SmallVec;

use super::garbage;

/// As many fields and bytes as Pingora takes.
const MAX_FIELDS: usize = 256;
const MAX_BYTES: usize = 1024 * 1024;

/// Fields that are added on the way to the client, for which there is room at once.
const ADDED: usize = 4;

/// A field's name, and where its value stands.
type Field = (HeaderName, Range<usize>);

/// Takes a whole head out of `read`; `None` while it is not whole.
pub fn take(read: &mut BytesMut) -> Result<Option<Box<ResponseHeader>>> {
    if read.is_empty() {
        return Ok(None);
    }
    let mut space = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let length = match parser.parse_response_with_uninit_headers(&mut parsed, read, &mut space) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if read.len() <= MAX_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(garbage("a head of more than 1 MiB")),
        Err(error) => return Err(because(error)),
    };
    let mut response = start(&parsed)?;
    let reason = parsed.reason.map(str::to_owned);
    let fields = fields(parsed.headers, read)?;
    let head = read.split_to(length).freeze();
    let headers = &mut response.headers;
    headers.reserve(fields.len() + ADDED);
    for (name, at) in fields {
        let added = headers.try_append(name, value(head.slice(at))?);
        added.map_err(|_| garbage("too many fields"))?;
    }
    // Chunks count (RFC 9112 6.3).
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    let mut response = ResponseHeader::from(response);
    response.set_reason_phrase(reason.as_deref())?;
    Ok(Some(Box::new(response)))
}

fn start(parsed: &httparse::Response<'_, '_>) -> Result<http::response::Parts> {
    let mut parts = http::Response::new(()).into_parts().0;
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    parts.status = status.ok_or_else(|| garbage("a status that is none"))?;
    parts.version = match parsed.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    Ok(parts)
}

fn fields(parsed: &[httparse::Header<'_>], read: &[u8]) -> Result<SmallVec<[Field; 24]>> {
    let base = read.as_ptr() as usize;
    parsed
        .iter()
        .map(|field| {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let name = name.map_err(|_| garbage("a field name that is none"))?;
            let from = field.value.as_ptr() as usize - base;
            Ok((name, from..from + field.value.len()))
        })
        .collect()
}

/// A value on several lines becomes one (RFC 9112 5.2).
fn value(bytes: Bytes) -> Result<HeaderValue> {
    let value = match memchr::memchr2(b'\r', b'\n', &bytes) {
        None => HeaderValue::from_maybe_shared(bytes),
        Some(_) => {
            let lines = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
            HeaderValue::from_bytes(&lines.collect::<Vec<_>>().join(&b' '))
        }
    };
    value.map_err(|_| garbage("a line end or another control byte within a field"))
}

/// Whether the backend will read another request (RFC 9112 9.3).
pub fn keeps_connection(response: &ResponseHeader) -> bool {
    let mut keeps = response.version == Version::HTTP_11;
    for line in response.headers.get_all(header::CONNECTION) {
        for token in line.as_bytes().split(|b| *b == b',') {
            let token = token.trim_ascii();
            if token.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keeps |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keeps
}

fn because(error: httparse::Error) -> Box<pingora_core::Error> {
    garbage(match error {
        httparse::Error::HeaderName => "a field name that is none",
        httparse::Error::HeaderValue => "a line end or another control byte within a field",
        httparse::Error::TooManyHeaders => "too many fields",
        httparse::Error::Status => "a status that is none",
        httparse::Error::Version => "a version that is neither 1.0 nor 1.1",
        _ => "no HTTP/1.1",
    })
}
