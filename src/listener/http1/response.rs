//! A response as it is written to an HTTP/1 client: the head's bytes, the body's framing, and whether another request may
//! follow (RFC 9112). No input and no output.

use bytes::{BufMut, BytesMut};
use http::{Method, StatusCode, Version, header};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_http::{RequestHeader, ResponseHeader};

/// Most heads, and many a body behind them.
const ROOM: usize = 2048;
/// What is gathered at most before it is sent, in bytes: one TLS record.
const GATHERED: usize = 16 * 1024;

/// What is to come of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// No final head was written.
    Unknown,
    /// So many bytes.
    Length(u64),
    Chunked,
    /// Everything up to the end of the connection.
    Close,
    Over,
}

/// One response on its way out.
#[derive(Debug)]
pub struct Response {
    head_only: bool,
    old: bool,
    keeps: bool,
    written: Option<Box<ResponseHeader>>,
    held: BytesMut,
    body: Body,
    sent: usize,
}

impl Response {
    /// The answer to a request. `keeps`: the client wants to send another.
    pub fn to(request: &RequestHeader, keeps: bool) -> Response {
        Response {
            head_only: request.method == Method::HEAD,
            old: request.version == Version::HTTP_10,
            keeps,
            written: None,
            held: BytesMut::new(),
            body: Body::Unknown,
            sent: 0,
        }
    }

    /// The final head, once it was written.
    pub fn written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    /// Bytes of the body so far.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Whether nothing is left to write.
    pub fn is_over(&self) -> bool {
        self.body == Body::Over
    }

    /// Whether the connection may carry another request.
    pub fn keeps(&self) -> bool {
        self.keeps && self.is_over()
    }

    /// Writes a head: interim ones first, then one final one. `closes`: the connection ends with this response.
    pub fn head(&mut self, head: Box<ResponseHeader>, closes: bool) {
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let interim = head.status.is_informational() && !switches;
        // HTTP/1.0 knows no interim responses (RFC 9110 15.2).
        if self.written.is_some() || (interim && self.old) {
            return;
        }
        self.held.reserve(ROOM);
        self.status_line(&head);
        if !interim {
            self.body = self.framing(&head);
            self.keeps &= !closes && self.body != Body::Close;
        }
        self.fields(&head);
        if !interim {
            self.own_fields(&head);
            self.written = Some(head);
        }
        self.held.put_slice(b"\r\n");
    }

    fn status_line(&mut self, head: &ResponseHeader) {
        self.held.put_slice(b"HTTP/1.1 ");
        self.held.put_slice(head.status.as_str().as_bytes());
        self.held.put_u8(b' ');
        let reason = head.get_reason_phrase().unwrap_or_default();
        self.held.put_slice(reason.as_bytes());
        self.held.put_slice(b"\r\n");
    }

    /// What concerns one connection only is not passed on, nor are chunks to a client that does not know them, or a length
    /// beside chunks (RFC 9112 6.1 to 6.3).
    fn fields(&mut self, head: &ResponseHeader) {
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in &head.headers {
            let ours = [
                header::CONNECTION,
                header::TRANSFER_ENCODING,
                header::HeaderName::from_static("keep-alive"),
            ];
            let second_length = self.body == Body::Chunked && name == header::CONTENT_LENGTH;
            if switches || !second_length && !ours.contains(name) {
                self.field(name.as_str(), value.as_bytes());
            }
        }
    }

    fn own_fields(&mut self, head: &ResponseHeader) {
        if !head.headers.contains_key(header::DATE) {
            self.field("date", get_cached_date().as_bytes());
        }
        if self.body == Body::Chunked {
            self.field("transfer-encoding", b"chunked");
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let connection: &[u8] = if self.keeps { b"keep-alive" } else { b"close" };
        self.field("connection", connection);
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        self.held.put_slice(name.as_bytes());
        self.held.put_slice(b": ");
        self.held.put_slice(value);
        self.held.put_slice(b"\r\n");
    }

    /// RFC 9112 6.3.
    fn framing(&self, head: &ResponseHeader) -> Body {
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Body::Close;
        }
        if self.head_only || bodiless.contains(&head.status) {
            return Body::Over;
        }
        let length = head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        match length {
            _ if head.headers.contains_key(header::TRANSFER_ENCODING) && !self.old => Body::Chunked,
            Some(0) => Body::Over,
            Some(length) => Body::Length(length),
            None => Body::Close,
        }
    }

    /// The part of `data` that belongs to the body; what stands in front of it is held.
    pub fn begin_piece<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        match self.body {
            Body::Chunked if !data.is_empty() => {
                let size = format!("{:x}\r\n", data.len());
                self.held.put_slice(size.as_bytes());
                data
            }
            Body::Length(left) => {
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                &data[..data.len().min(most)]
            }
            Body::Close => data,
            _ => &[],
        }
    }

    /// Behind a piece that was held or sent.
    pub fn end_piece(&mut self, length: usize) {
        self.sent += length;
        match self.body {
            Body::Chunked if length > 0 => self.held.put_slice(b"\r\n"),
            Body::Length(left) if left == length as u64 => self.body = Body::Over,
            Body::Length(left) => self.body = Body::Length(left - length as u64),
            _ => {}
        }
    }

    /// Whether so much more is worth gathering.
    pub fn has_room(&self, more: usize) -> bool {
        self.held.len() + more <= GATHERED
    }

    /// Adds bytes to what is held.
    pub fn hold(&mut self, data: &[u8]) {
        self.held.put_slice(data);
    }

    /// Whether something is held.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// What is held; it is the caller's to send.
    pub fn take_held(&mut self) -> BytesMut {
        std::mem::take(&mut self.held)
    }

    /// No more of the body comes. One that is too short can only be cut off, so that the client sees it.
    pub fn end(&mut self) {
        match self.body {
            Body::Chunked => {
                self.held.put_slice(b"0\r\n\r\n");
                self.body = Body::Over;
            }
            Body::Close => self.body = Body::Over,
            Body::Length(_) | Body::Unknown | Body::Over => {}
        }
    }
}

#[cfg(test)]
mod tests;
