//! The request's body on its way up: what of it may be sent again, and how its end is told to the backend.

use bytes::Bytes;
use http::{HeaderValue, Method, Version, header};
use pingora_core::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use crate::upstream::Framing;

/// The body of one request, over all attempts at it.
#[derive(Debug)]
pub struct Upload {
    /// What was read of the client, from the first byte on; nothing of it once it is more than may be kept.
    kept: Vec<Bytes>,
    bytes: usize,
    most: usize,
    /// Read, and not kept.
    lost: bool,
    /// The next of `kept` that this attempt sends.
    at: usize,
    /// All of it was read.
    read: bool,
    /// This attempt has handed on all of it.
    over: bool,
}

impl Upload {
    /// Keeps at most so many bytes for further attempts.
    pub fn new(empty: bool, most: usize) -> Upload {
        Upload {
            kept: Vec::new(),
            bytes: 0,
            most,
            lost: false,
            at: 0,
            read: empty,
            over: empty,
        }
    }

    /// Begins again, for a further attempt.
    pub fn rewind(&mut self) {
        self.at = 0;
        self.over = self.read && self.kept.is_empty();
    }

    /// Whether this attempt has handed on all of it.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether all of it can be sent again.
    pub fn is_whole(&self) -> bool {
        !self.lost
    }

    /// What an attempt before this one has read of the client.
    pub fn again(&mut self) -> Option<(Bytes, bool)> {
        let piece = self.kept.get(self.at)?.clone();
        self.at += 1;
        self.over = self.read && self.at == self.kept.len();
        Some((piece, self.over))
    }

    /// The client has sent a piece, or has come to the end.
    pub fn keep(&mut self, piece: Option<&Bytes>, end: bool) {
        (self.read, self.over) = (end, end);
        let Some(piece) = piece else {
            return;
        };
        self.bytes += piece.len();
        if self.lost || self.bytes > self.most {
            self.lost = true;
            self.kept = Vec::new();
            return;
        }
        self.kept.push(piece.clone());
        self.at = self.kept.len();
    }
}

/// How the backend is told where a body ends: as the client told us, unless filters have spoken otherwise. Over HTTP/2 a body
/// may come without a length; over HTTP/1.1 it then goes in chunks.
pub fn framing(request: &mut RequestHeader) -> Result<Framing> {
    let length = request.headers.get(header::CONTENT_LENGTH);
    if let Some(length) = length.and_then(|length| length.to_str().ok()?.parse().ok()) {
        return Ok(Framing::Length(length));
    }
    let chunked = HeaderValue::from_static("chunked");
    request.insert_header(header::TRANSFER_ENCODING, chunked)?;
    Ok(Framing::Chunked)
}

/// The length of a body that the client did not send. Where it would be expected, "none" is said, too: some servers wait for
/// the body of a POST where nothing says that there is none (RFC 9110 8.6).
pub fn tell_length(request: &mut RequestHeader, given: Option<&Bytes>) -> Result<()> {
    let usual = [Method::POST, Method::PUT, Method::PATCH].contains(&request.method);
    let told = request.headers.contains_key(header::CONTENT_LENGTH);
    match given.map_or(0, Bytes::len) {
        0 if !usual && !told => Ok(()),
        length => request.insert_header(header::CONTENT_LENGTH, length),
    }
}

/// Whether the client waits for a 100 before it sends its body. HTTP/1.0 has none (RFC 9110 10.1.1).
pub fn expects_continue(session: &Session) -> bool {
    let request = session.req_header();
    let expect = request.headers.get(header::EXPECT);
    request.version != Version::HTTP_10
        && expect.is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn what_is_kept_is_sent_again_and_then_the_client_is_asked() {
        let mut upload = Upload::new(false, 6);
        upload.keep(Some(&piece("abc")), false);
        assert!(upload.again().is_none());
        upload.rewind();
        assert_eq!(upload.again(), Some((piece("abc"), false)));
        assert!(upload.again().is_none());
        upload.keep(Some(&piece("def")), true);
        assert!(upload.is_over() && upload.is_whole());
        upload.rewind();
        assert!(!upload.is_over());
        assert_eq!(upload.again(), Some((piece("abc"), false)));
        assert_eq!(upload.again(), Some((piece("def"), true)));
        assert!(upload.is_over());
    }

    #[test]
    fn what_is_more_than_may_be_kept_is_not_sent_again() {
        let mut upload = Upload::new(false, 2);
        assert!(upload.is_whole());
        upload.keep(Some(&piece("abc")), false);
        assert!(!upload.is_whole());
        assert!(upload.kept.is_empty());
    }

    #[test]
    fn an_end_without_a_piece_is_an_end_again() {
        let mut upload = Upload::new(false, 9);
        upload.keep(Some(&piece("abc")), false);
        upload.keep(None, true);
        upload.rewind();
        assert_eq!(upload.again(), Some((piece("abc"), true)));
    }

    fn with(method: Method, length: Option<&str>) -> RequestHeader {
        let mut request = RequestHeader::build(method, b"/", None).unwrap();
        if let Some(length) = length {
            request.insert_header("content-length", length).unwrap();
        }
        request
    }

    #[test]
    fn a_length_stays_a_length_and_what_has_none_goes_in_chunks() {
        let mut request = with(Method::POST, Some("5"));
        assert_eq!(framing(&mut request).unwrap(), Framing::Length(5));
        assert!(!request.headers.contains_key("transfer-encoding"));
        let mut request = with(Method::POST, None);
        assert_eq!(framing(&mut request).unwrap(), Framing::Chunked);
        assert_eq!(request.headers["transfer-encoding"], "chunked");
    }

    #[test]
    fn where_a_body_would_be_expected_its_absence_is_told() {
        for (method, came, given, expected) in [
            (Method::POST, None, None, Some("0")),
            (Method::PUT, Some("0"), None, Some("0")),
            (Method::GET, None, None, None),
            (Method::GET, Some("0"), None, Some("0")),
            (Method::DELETE, None, None, None),
            (Method::GET, None, Some("abc"), Some("3")),
        ] {
            let mut request = with(method, came);
            let given = given.map(piece);
            tell_length(&mut request, given.as_ref()).unwrap();
            let told = request.headers.get("content-length");
            assert_eq!(told.map(|v| v.to_str().unwrap()), expected);
        }
    }
}
