//! The one strict reading of an HTTP/1 request head, before Pingora parses it. What two parsers could read in two
//! ways is refused, so that what is forwarded means the same to every backend (RFC 9112; RFC 9110 for fields).

mod absolute;
mod cookies;
mod fields;
mod host;
mod http2;
mod line;
mod names;
mod request;

pub(super) use absolute::in_origin_form;
pub use cookies::joined as joined_cookies;
pub use fields::ConnectionOption;
use fields::Fields;
pub(super) use http2::check as check_http2;
use line::RequestLine;
pub(super) use line::is_token_byte;
pub use names::{folded, is_odd_name};
pub use request::request;

pub use super::refusal::Refusal;

/// Longest method; the longest registered one has 17 bytes.
const MAX_METHOD: usize = 32;
/// Two spaces, `HTTP/1.1` and CRLF.
const AROUND_TARGET: usize = 12;

/// Caps of one head; all of them are checked before more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// From the request line to the empty line, in bytes.
    pub max_header_bytes: usize,
    /// Field lines.
    pub max_headers: usize,
    /// Request target, in bytes.
    pub max_uri_bytes: usize,
}

/// The version of a request that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Where the body of a request ends (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// Where a [`ChunkScanner`](super::chunked::ChunkScanner) says.
    Chunked,
}

/// What a whole head says about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadFacts {
    /// Bytes up to and with the empty line, an empty line in front included: the body begins here.
    pub len: usize,
    /// Of the request.
    pub version: Version,
    /// Of the body.
    pub framing: Framing,
    /// The client wants to send another request on this connection.
    pub keep_alive: bool,
    /// `Expect: 100-continue` in HTTP/1.1.
    pub expect_continue: bool,
    /// An upgrade is asked for: `Upgrade`, named in `Connection`, in HTTP/1.1.
    pub upgrade: bool,
    /// The target is in absolute form (RFC 9112 3.2.2): see `in_origin_form`.
    pub absolute: bool,
    /// Number of field lines.
    pub headers: usize,
    /// A field name has a byte that is neither letter nor digit nor `-`, such as `_`.
    pub odd_names: bool,
    /// Something in it must be cleaned before anyone else reads it: odd names, fields that Connection names, Cookie in
    /// several lines.
    pub unusual: bool,
}

/// How far the scanner came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The head is not whole yet; read on.
    NeedMore,
    /// The head is whole and clean.
    Complete(HeadFacts),
    /// Answer with its status and close. Final.
    Refuse(Refusal),
}

/// Reads one head line by line, as it comes in.
#[derive(Debug)]
pub struct HeadScanner {
    limits: HeadLimits,
    /// Where the line begins that is read next.
    line: usize,
    /// No LF stands between `line` and here.
    searched: usize,
    /// Where the head begins: 0, or 2 after an empty line.
    start: usize,
    request: Option<RequestLine>,
    fields: Fields,
}

impl HeadScanner {
    /// For one request; make a new one for the next.
    pub fn new(limits: HeadLimits) -> Self {
        let (line, searched, start) = (0, 0, 0);
        Self {
            limits,
            line,
            searched,
            start,
            request: None,
            fields: Fields::default(),
        }
    }

    /// Takes everything read so far, from the first byte of the request: the caller keeps the bytes, the scanner
    /// only where it stopped. Bytes are looked at once. After `Complete` or `Refuse` the scanner is spent.
    pub fn feed(&mut self, buffer: &[u8]) -> Progress {
        match self.scan(buffer) {
            Ok(Some(facts)) => Progress::Complete(facts),
            Ok(None) => Progress::NeedMore,
            Err(refusal) => Progress::Refuse(refusal),
        }
    }

    fn scan(&mut self, buffer: &[u8]) -> Result<Option<HeadFacts>, Refusal> {
        if self.request.is_none() {
            if self.line == 0 && !self.skip_empty_line(buffer)? {
                return Ok(None);
            }
            let end = buffer.len().min(self.bound().0);
            line::check_method(buffer.get(self.line..end).unwrap_or_default())?;
        }
        while let Some(line) = self.next_line(buffer)? {
            let Some(request) = self.request else {
                self.request = Some(RequestLine::parse(
                    line,
                    self.line_start(line),
                    self.limits.max_uri_bytes,
                )?);
                continue;
            };
            if line.is_empty() {
                return self.fields.facts(&request, buffer, self.line).map(Some);
            }
            let at = self.line_start(line);
            self.fields.add(line, at, self.limits.max_headers)?;
        }
        Ok(None)
    }

    /// A client may send one empty line too many after a body (RFC 9112 2.2). False when that is not known yet.
    fn skip_empty_line(&mut self, buffer: &[u8]) -> Result<bool, Refusal> {
        match buffer {
            [] | [b'\r'] => return Ok(false),
            [b'\r', b'\n', ..] => {
                (self.line, self.searched, self.start) = (2, 2, 2);
            }
            [b'\r', ..] => return Err(Refusal::BareCr),
            [b'\n', ..] => return Err(Refusal::BareLf),
            _ => {}
        }
        Ok(true)
    }

    /// The next whole line without its CRLF; moves behind it.
    fn next_line<'b>(&mut self, buffer: &'b [u8]) -> Result<Option<&'b [u8]>, Refusal> {
        let (end, too_long) = self.bound();
        let window = &buffer[..buffer.len().min(end)];
        let unseen = window.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', unseen) else {
            self.searched = window.len();
            return if window.len() == end {
                Err(too_long)
            } else {
                Ok(None)
            };
        };
        let lf = self.searched + found;
        let line = window.get(self.line..lf).unwrap_or_default();
        (self.line, self.searched) = (lf + 1, lf + 1);
        line.strip_suffix(b"\r").ok_or(Refusal::BareLf).map(Some)
    }

    /// How far the line may reach that is read now, and what to say when it does not end by then.
    fn bound(&self) -> (usize, Refusal) {
        let head = (
            self.start.saturating_add(self.limits.max_header_bytes),
            Refusal::HeaderTooLarge,
        );
        if self.request.is_some() {
            return head;
        }
        let longest = self
            .limits
            .max_uri_bytes
            .saturating_add(MAX_METHOD + AROUND_TARGET);
        let request_line = (self.start.saturating_add(longest), Refusal::UriTooLong);
        if request_line.0 < head.0 {
            request_line
        } else {
            head
        }
    }

    /// Where the line begins that `next_line` just gave.
    fn line_start(&self, line: &[u8]) -> usize {
        self.line - line.len() - 2
    }
}

#[cfg(test)]
mod tests;
