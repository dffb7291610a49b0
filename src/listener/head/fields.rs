//! Field lines (RFC 9112 5) and what they say about framing (RFC 9112 6).

use super::line::{RequestLine, is_token_byte};
use super::names::{self, Name};
use super::{Framing, HeadFacts, Refusal, Version, host};

/// A body longer than this is none: numbers from 2^63 on are negative to many a backend.
const MAX_LENGTH: u64 = i64::MAX as u64;
/// Options that all Connection fields may have together. More is an attack on who reads them.
const MAX_OPTIONS: usize = 9;

/// What was learnt from the field lines so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    count: usize,
    length: Option<u64>,
    chunked: bool,
    /// Where the value of Host stands in the buffer.
    host: Option<(usize, usize)>,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    /// Options of all Connection fields.
    options: usize,
    /// One of them names a field.
    nominates: bool,
    upgrade: bool,
    expect_continue: bool,
    cookies: usize,
    odd_names: bool,
}

impl Fields {
    /// Takes one field line without its CRLF that begins at `start` of the buffer.
    pub(super) fn add(&mut self, line: &[u8], start: usize, max: usize) -> Result<(), Refusal> {
        self.count += 1;
        if self.count > max {
            return Err(Refusal::TooManyHeaders);
        }
        let (name, rest) = split(line)?;
        self.odd_names |= name.is_odd;
        let name = name.bytes;
        check_value(rest)?;
        let value = rest.trim_ascii();
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let lead = rest.len() - rest.trim_ascii_start().len();
                self.host(value, start + name.len() + 1 + lead)
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expect_continue |= value.eq_ignore_ascii_case(b"100-continue");
                Ok(())
            }
            6 if name.eq_ignore_ascii_case(b"cookie") => {
                self.cookies += 1;
                Ok(())
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                Ok(())
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8], start: usize) -> Result<(), Refusal> {
        if self.host.is_some() {
            return Err(Refusal::HostDuplicate);
        }
        host::parse(value).ok_or(Refusal::HostBad)?;
        self.host = Some((start, start + value.len()));
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let options = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        for option in options.filter(|option| !option.is_empty()) {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            self.options += 1;
            if self.options > MAX_OPTIONS {
                return Err(Refusal::ConnectionBad);
            }
            match ConnectionOption::of(option) {
                ConnectionOption::OfConnection => {
                    self.close |= is("close");
                    self.keep_alive |= is("keep-alive");
                    self.connection_upgrade |= is("upgrade");
                }
                ConnectionOption::Field => self.nominates = true,
                ConnectionOption::Bad(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    /// Stricter than RFC 9112 6.3, which lets equal values pass.
    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let length = number(value).ok_or(Refusal::ClBad)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(before) if before == length => Err(Refusal::ClRepeated),
            Some(_) => Err(Refusal::ClDiffer),
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let mut codings = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        let first = is_chunked(codings.next().unwrap_or_default());
        let more = codings.next().is_some();
        if (first && more) || self.chunked {
            return Err(Refusal::TeNotFinal);
        }
        if !first {
            return Err(Refusal::TeUnknown);
        }
        self.chunked = true;
        Ok(())
    }

    /// Checks what only the whole head can tell; `len` is where it ends in the buffer.
    pub(super) fn facts(
        &self,
        request: &RequestLine,
        buffer: &[u8],
        len: usize,
    ) -> Result<HeadFacts, Refusal> {
        let modern = request.version == Version::Http11;
        self.check_host(request, buffer)?;
        if self.chunked && !modern {
            return Err(Refusal::TeHttp10);
        }
        let framing = match (self.length, self.chunked) {
            (Some(_), true) => return Err(Refusal::ClAndTe),
            (Some(length), false) => Framing::Length(length),
            (None, true) => Framing::Chunked,
            (None, false) => Framing::None,
        };
        Ok(HeadFacts {
            len,
            version: request.version,
            framing,
            keep_alive: !self.close && (modern || self.keep_alive),
            expect_continue: self.expect_continue && modern,
            upgrade: self.upgrade && self.connection_upgrade && modern,
            absolute: request.authority.is_some(),
            headers: self.count,
            odd_names: self.odd_names,
            unusual: self.odd_names || self.nominates || self.cookies > 1,
        })
    }

    /// RFC 9112 3.2.2 lets an absolute target win over Host; a backend may do otherwise, so they must agree.
    fn check_host(&self, request: &RequestLine, buffer: &[u8]) -> Result<(), Refusal> {
        let Some((start, end)) = self.host else {
            return if request.version == Version::Http11 {
                Err(Refusal::HostMissing)
            } else {
                Ok(())
            };
        };
        let Some(target) = request.authority else {
            return Ok(());
        };
        let bytes = |start, end| buffer.get(start..end).unwrap_or_default();
        if host::same(
            bytes(target.start, target.end),
            bytes(start, end),
            target.usual_port,
        ) {
            Ok(())
        } else {
            Err(Refusal::AbsoluteFormHostMismatch)
        }
    }
}

/// What one option of a Connection field means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionOption {
    /// Says something of the connection, and names no field that is taken out for it.
    OfConnection,
    /// Names a field that goes no further (RFC 9110 7.6.1).
    Field,
    /// The request is refused.
    Bad(Refusal),
}

impl ConnectionOption {
    /// An option as it stands between two commas.
    pub fn of(option: &[u8]) -> Self {
        let is = |name: &&str| option.eq_ignore_ascii_case(name.as_bytes());
        if ["close", "keep-alive", "upgrade", "te"].iter().any(is) {
            return Self::OfConnection;
        }
        // A hop that obeys would drop the field, and the next would read another body or another host.
        if ["host", "content-length", "transfer-encoding"]
            .iter()
            .any(is)
        {
            return Self::Bad(Refusal::ConnectionNamesFraming);
        }
        if PROTECTED.iter().any(is) {
            return Self::Bad(Refusal::ConnectionNamesProtected);
        }
        if option.iter().all(|&byte| is_token_byte(byte)) {
            Self::Field
        } else {
            Self::Bad(Refusal::ConnectionBad)
        }
    }
}

/// Without these a backend, or the next hop, would take the request for another's (RFC 8470 5.1 for the last one).
const PROTECTED: [&str; 5] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "early-data",
];

/// Name, and what follows the colon.
fn split(line: &[u8]) -> Result<(Name<'_>, &[u8]), Refusal> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(Refusal::ObsFold);
    }
    let bad = |byte: u8| match byte {
        0 => Refusal::Nul,
        b'\r' => Refusal::BareCr,
        _ => Refusal::NameBad,
    };
    let (name, rest) = Name::split(line);
    match rest {
        [b':', value @ ..] if !name.bytes.is_empty() && !looks_like_framing(&name) => {
            Ok((name, value))
        }
        [b' ' | b'\t', ..] if rest.trim_ascii_start().starts_with(b":") => {
            Err(Refusal::SpaceBeforeColon)
        }
        [byte, ..] => Err(bad(*byte)),
        [] => Err(Refusal::NameBad),
    }
}

/// A name that says where the body ends to CGI and its heirs only; see [`names`].
pub(super) fn looks_like_framing(name: &Name<'_>) -> bool {
    let is = |framing: &[u8]| names::are_twins(name.bytes, framing);
    name.is_odd && (is(b"content-length") || is(b"transfer-encoding"))
}

/// RFC 9110 5.5: visible bytes, space, tab and what lies above ASCII.
fn check_value(value: &[u8]) -> Result<(), Refusal> {
    // Without a way out, so that many bytes are looked at in one step.
    let is_bad = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 127;
    if !value.iter().fold(false, |bad, byte| bad | is_bad(byte)) {
        return Ok(());
    }
    match value
        .iter()
        .find(|&&byte| byte.is_ascii_control() && byte != b'\t')
    {
        None => Ok(()),
        Some(0) => Err(Refusal::Nul),
        Some(b'\r') => Err(Refusal::BareCr),
        Some(_) => Err(Refusal::ValueBad),
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.filter(|&number| number <= MAX_LENGTH)
}
