//! Response heads: from the bytes of a backend to the bytes for a client.

use bytes::{BufMut, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Version};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::listener::http1::response::Response;
use crate::proxy::framing;
use crate::upstream::exchange::body::Body;
use crate::upstream::exchange::head;

/// So many fields can be read back with those that are added.
const READ_BACK: usize = 250;

/// What was made of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    /// The head is not whole.
    More,
    /// It can't be used.
    Refused,
    /// A head, and how many bytes it has.
    Head(Head, usize),
}

/// Everything that a head says, in a form that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    version: Version,
    status: StatusCode,
    reason: String,
    fields: HeaderMap,
}

/// How the end of a body is found.
#[derive(Debug, PartialEq, Eq)]
enum End {
    None,
    Length(u64),
    Chunked,
    Close,
}

/// Reads a response head. However its bytes are cut, the reading is the same; a head that is passed on says in one way where its body
/// ends, which is where we end it, too; and what is written to the client reads as what came from the backend.
pub fn response_head(data: &[u8]) {
    let mut read = BytesMut::from(data);
    let taken = head::take(&mut read);
    let whole = reading(&taken, data.len() - read.len());
    assert_eq!(whole, byte_by_byte(data));
    let Ok(Some(response)) = taken else {
        return;
    };
    for head_only in [false, true] {
        passed_on(&response, head_only);
    }
}

fn byte_by_byte(data: &[u8]) -> Reading {
    let mut read = BytesMut::new();
    for (at, byte) in data.iter().enumerate() {
        read.put_u8(*byte);
        let found = reading(&head::take(&mut read), at + 1);
        if found != Reading::More {
            assert!(read.is_empty() || found == Reading::Refused);
            return found;
        }
    }
    Reading::More
}

fn reading(taken: &pingora_core::Result<Option<Box<ResponseHeader>>>, length: usize) -> Reading {
    match taken {
        Ok(Some(response)) => Reading::Head(facts(response), length),
        Ok(None) => Reading::More,
        Err(_) => Reading::Refused,
    }
}

fn facts(response: &ResponseHeader) -> Head {
    Head {
        version: response.version,
        status: response.status,
        reason: response.get_reason_phrase().unwrap_or_default().to_owned(),
        fields: response.headers.clone(),
    }
}

/// The head through the same checks as on its way to a client. `head_only`: it answers a HEAD.
fn passed_on(response: &ResponseHeader, head_only: bool) {
    let mut response = response.clone();
    let body = Body::of(&response, head_only);
    let interim = response.status.is_informational();
    if (body.is_err() && !interim) || framing::check(&mut response, false).is_err() {
        return;
    }
    assert!(framing::check_bytes(&response).is_ok());
    assert_eq!(response.version, Version::HTTP_11);
    let said = end(&response, head_only);
    if let (Ok(body), false) = (body, interim) {
        assert_eq!(said, ours(&body));
    }
    if response.headers.len() > READ_BACK {
        return;
    }
    let written = write(&response, head_only);
    let Reading::Head(again, length) = byte_by_byte(&written) else {
        panic_on(&written)
    };
    assert_eq!(length, written.len());
    assert_eq!(for_client(&again), for_client(&facts(&response)));
    assert_ends_alike(&again, &said, interim);
}

/// The one place that says where the body ends (RFC 9112 6.3). Fails where there are two, or one that two could read in two ways.
fn end(response: &ResponseHeader, head_only: bool) -> End {
    let fields = &response.headers;
    let codings: Vec<_> = fields.get_all(TRANSFER_ENCODING).iter().collect();
    let lengths: Vec<_> = fields.get_all(CONTENT_LENGTH).iter().collect();
    assert!(codings.len() + lengths.len() <= 1);
    let coded = codings
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    assert!(coded);
    let status = response.status;
    if head_only || status.is_informational() || [204, 304].contains(&status.as_u16()) {
        return End::None;
    }
    match (codings.first(), lengths.first()) {
        (Some(_), _) => End::Chunked,
        (None, Some(length)) => {
            let digits = length.to_str().unwrap_or_default();
            assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.parse();
            assert!(length.is_ok(), "{digits}");
            length.map_or(End::Close, of_length)
        }
        (None, None) => End::Close,
    }
}

fn of_length(length: u64) -> End {
    match length {
        0 => End::None,
        _ => End::Length(length),
    }
}

fn ours(body: &Body) -> End {
    match body {
        Body::Length(length) => of_length(*length),
        Body::Chunked(_) => End::Chunked,
        Body::Close | Body::Unknown => End::Close,
        Body::Over => End::None,
    }
}

fn write(response: &ResponseHeader, head_only: bool) -> BytesMut {
    let method: &str = if head_only { "HEAD" } else { "GET" };
    let Ok(request) = RequestHeader::build(method, b"/", None) else {
        return BytesMut::new();
    };
    let mut out = Response::to(&request, true);
    out.head(Box::new(response.clone()), false);
    out.take_held()
}

fn panic_on(written: &[u8]) -> ! {
    unreachable!("what was written is no head: {}", written.escape_ascii())
}

/// Without what is the connection's own, or added.
fn for_client(head: &Head) -> Head {
    let mut head = head.clone();
    let keep_alive = HeaderName::from_static("keep-alive");
    for name in [CONNECTION, keep_alive, TRANSFER_ENCODING, DATE] {
        head.fields.remove(name);
    }
    head
}

/// The client finds the end of the body where we found it.
fn assert_ends_alike(written: &Head, said: &End, interim: bool) {
    let chunked = written.fields.contains_key(TRANSFER_ENCODING);
    assert_eq!(chunked, *said == End::Chunked);
    if !interim && *said == End::Close {
        assert!(!written.fields.contains_key(CONTENT_LENGTH));
        assert_eq!(
            written.fields.get(CONNECTION).map(|v| v.as_bytes()),
            Some(&b"close"[..])
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(bytes: &str) -> Reading {
        byte_by_byte(bytes.as_bytes())
    }

    #[test]
    fn readings_are_told_apart() {
        assert_eq!(reads("HTTP/1.1 200 OK\r\n"), Reading::More);
        assert_eq!(reads("HTTP/1.1 2x0 OK\r\n"), Reading::Refused);
        let head = reads("HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
        assert!(matches!(head, Reading::Head(head, 25) if head.fields["a"] == "b"));
    }

    #[test]
    #[should_panic(expected = "codings.len() + lengths.len() <= 1")]
    fn two_framings_would_be_seen() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.append_header("content-length", "1").unwrap();
        response
            .append_header("transfer-encoding", "chunked")
            .unwrap();
        end(&response, false);
    }
}
