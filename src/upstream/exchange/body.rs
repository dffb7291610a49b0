//! Where a response's body ends (RFC 9112 6.3).

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use super::garbage;
use crate::listener::chunked::ChunkScanner;

/// What is to come of a body.
#[derive(Debug)]
pub enum Body {
    /// No final head has come.
    Unknown,
    /// So many bytes.
    Length(u64),
    Chunked(Box<ChunkScanner>),
    /// Everything up to the end of the connection.
    Close,
    Over,
}

impl Body {
    /// By a head whose framing has been checked. `head_only`: it answers a HEAD.
    pub fn of(response: &ResponseHeader, head_only: bool) -> Result<Body> {
        let headers = &response.headers;
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        if head_only || bodiless.contains(&response.status) {
            return Ok(Body::Over);
        }
        if headers.contains_key(header::TRANSFER_ENCODING) {
            return Ok(Body::Chunked(Box::default()));
        }
        match headers.get(header::CONTENT_LENGTH) {
            Some(length) => {
                let length = length.to_str().ok().and_then(|text| text.parse().ok());
                length
                    .map(Body::length)
                    .ok_or_else(|| garbage("a length that is no number"))
            }
            None => Ok(Body::Close),
        }
    }

    fn length(left: u64) -> Body {
        match left {
            0 => Body::Over,
            _ => Body::Length(left),
        }
    }

    /// Takes what there is of it in `read`; what follows the body stays.
    pub fn take(&mut self, read: &mut BytesMut) -> Result<Option<Bytes>> {
        if read.is_empty() {
            return Ok(None);
        }
        match self {
            Body::Length(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX);
                let piece = read.split_to(read.len().min(most)).freeze();
                *self = Body::length(*left - piece.len() as u64);
                Ok(Some(piece))
            }
            Body::Chunked(scanner) => {
                let mut data = BytesMut::with_capacity(read.len());
                let progress = scanner
                    .feed_to(read, |piece| data.extend_from_slice(piece))
                    .map_err(|refusal| garbage(refusal.reason()))?;
                let _ = read.split_to(progress.done_at.unwrap_or(read.len()));
                if progress.done_at.is_some() {
                    *self = Body::Over;
                }
                Ok(Some(data.freeze()).filter(|data| !data.is_empty()))
            }
            Body::Close => Ok(Some(read.split().freeze())),
            Body::Unknown | Body::Over => Ok(None),
        }
    }

    /// What to read next, at most `most` bytes.
    pub fn room(&self, most: usize) -> usize {
        match self {
            Body::Length(left) => usize::try_from(*left).map_or(most, |left| left.min(most)),
            _ => most,
        }
    }

    /// The connection has come to its end.
    pub fn end(&mut self) -> Result<()> {
        match std::mem::replace(self, Body::Over) {
            Body::Close | Body::Over => Ok(()),
            _ => Err(Error::explain(
                ErrorType::ConnectionClosed,
                "closed before the end of the body",
            )
            .into_up()),
        }
    }
}
