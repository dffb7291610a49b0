//! Heads and whole responses, in the types of the `http` crate.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

/// Method, target, version and headers of a request.
pub type RequestHead = http::request::Parts;
/// Status, version and headers of a response.
pub type ResponseHead = http::response::Parts;

/// A whole response, made by a filter. `Content-Length` follows from the body; a response to HEAD keeps it and loses
/// the body.
#[derive(Debug)]
pub struct Response {
    /// Status and headers.
    pub head: ResponseHead,
    /// All of the body.
    pub body: Bytes,
}

impl Response {
    /// An empty response.
    #[must_use]
    pub fn new(status: StatusCode) -> Response {
        let mut head = http::Response::new(()).into_parts().0;
        head.status = status;
        Response {
            head,
            body: Bytes::new(),
        }
    }

    /// Says no more than the status does: `403 Forbidden`, as plain text.
    #[must_use]
    pub fn plain(status: StatusCode) -> Response {
        let reason = status.canonical_reason().unwrap_or("Error");
        Response::new(status).text(format!("{} {reason}\n", status.as_str()))
    }

    /// Sets one header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Response {
        self.head.headers.insert(name, value);
        self
    }

    /// A body of plain text.
    #[must_use]
    pub fn text(self, text: impl Into<Bytes>) -> Response {
        self.body(HeaderValue::from_static("text/plain; charset=utf-8"), text)
    }

    /// A body of the given type.
    #[must_use]
    pub fn body(mut self, content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
        self.body = body.into();
        self.header(CONTENT_TYPE, content_type)
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// `Content-Length` as the body has it; none where RFC 9110 section 8.6 forbids one.
    pub(crate) fn set_length(&mut self) {
        let status = self.head.status;
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            self.head.headers.remove(CONTENT_LENGTH);
        } else {
            let length = HeaderValue::from(self.body.len() as u64);
            self.head.headers.insert(CONTENT_LENGTH, length);
        }
    }
}

impl From<Response> for super::Verdict {
    fn from(response: Response) -> super::Verdict {
        super::Verdict::Respond(Box::new(response))
    }
}
