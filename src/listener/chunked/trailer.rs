//! The trailer section of a chunked body (RFC 9112 7.1.2).

use super::Refusal;
use crate::listener::head::is_token_byte;

/// All trailer lines of a body with their line ends.
const MAX_TRAILER: u16 = 8 * 1024;

/// Fields that say how a message is framed, routed, read or whom it comes from (RFC 9110 6.5.1). A receiver that
/// merges trailers into the head would take them at their word. Sorted by nothing but kind; none is longer than
/// `NAME` bytes.
const FORBIDDEN: [&str; 38] = [
    "transfer-encoding",
    "transfer_encoding",
    "content-length",
    "content_length",
    "host",
    "trailer",
    "te",
    "connection",
    "keep-alive",
    "upgrade",
    "proxy-connection",
    "http2-settings",
    "content-type",
    "content-encoding",
    "content-range",
    "content-location",
    "content-disposition",
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "www-authenticate",
    "cache-control",
    "pragma",
    "vary",
    "expires",
    "age",
    "expect",
    "max-forwards",
    "range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-range",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];
const NAME: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    Name,
    Value,
    LineLf,
    EndLf,
}

#[derive(Debug)]
pub(super) struct Trailer {
    state: State,
    bytes: u16,
    /// The name in lower case, as far as it fits.
    name: [u8; NAME],
    length: usize,
}

impl Default for Trailer {
    fn default() -> Self {
        Self {
            state: State::LineStart,
            bytes: 0,
            name: [0; NAME],
            length: 0,
        }
    }
}

impl Trailer {
    /// Takes one byte; true when it was the last of the body.
    pub(super) fn step(&mut self, byte: u8) -> Result<bool, Refusal> {
        self.bytes += 1;
        if self.bytes > MAX_TRAILER {
            return Err(Refusal::TrailerTooLarge);
        }
        self.state = match (self.state, byte) {
            (State::EndLf, b'\n') => return Ok(true),
            (State::LineLf, b'\n') => State::LineStart,
            (State::EndLf | State::LineLf, _) => return Err(Refusal::BareCr),
            (_, b'\n') => return Err(Refusal::BareLf),
            (_, 0) => return Err(Refusal::Nul),
            (State::LineStart, b'\r') => State::EndLf,
            (State::LineStart, b' ' | b'\t') => return Err(Refusal::ObsFold),
            (State::LineStart, _) => {
                self.length = 0;
                self.name_byte(byte)?
            }
            (State::Name, b':') => self.end_of_name()?,
            (State::Name, b' ' | b'\t') => return Err(Refusal::SpaceBeforeColon),
            (State::Name, _) => self.name_byte(byte)?,
            (State::Value, b'\r') => State::LineLf,
            (State::Value, b'\t') => State::Value,
            (State::Value, _) if byte.is_ascii_control() => return Err(Refusal::ValueBad),
            (State::Value, _) => State::Value,
        };
        Ok(false)
    }

    fn name_byte(&mut self, byte: u8) -> Result<State, Refusal> {
        if !is_token_byte(byte) {
            return Err(Refusal::NameBad);
        }
        if let Some(slot) = self.name.get_mut(self.length) {
            *slot = byte.to_ascii_lowercase();
        }
        self.length += 1;
        Ok(State::Name)
    }

    fn end_of_name(&self) -> Result<State, Refusal> {
        let name = self.name.get(..self.length).unwrap_or_default();
        if FORBIDDEN
            .iter()
            .any(|forbidden| forbidden.as_bytes() == name)
        {
            return Err(Refusal::TrailerForbidden);
        }
        Ok(State::Value)
    }
}
