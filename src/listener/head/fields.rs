//! Field lines (RFC 9112 5) and what they say about framing (RFC 9112 6).

use super::line::{RequestLine, is_token_byte};
use super::{Framing, HeadFacts, Refusal, Version, host};

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
    upgrade: bool,
    expect_continue: bool,
}

impl Fields {
    /// Takes one field line without its CRLF that begins at `start` of the buffer.
    pub(super) fn add(&mut self, line: &[u8], start: usize, max: usize) -> Result<(), Refusal> {
        self.count += 1;
        if self.count > max {
            return Err(Refusal::TooManyHeaders);
        }
        let (name, rest) = split(line)?;
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
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            self.close |= is("close");
            self.keep_alive |= is("keep-alive");
            self.connection_upgrade |= is("upgrade");
            // A hop that obeys would drop the field, and the next would read another body or another host.
            if is("host") || is("content-length") || is("transfer-encoding") {
                return Err(Refusal::ConnectionNamesFraming);
            }
        }
        Ok(())
    }

    /// Stricter than RFC 9112 6.3, which lets equal values pass.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
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
            headers: self.count,
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

/// Name, and what follows the colon.
fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if matches!(line, [b' ' | b'\t', ..]) {
        return Err(Refusal::ObsFold);
    }
    let bad = |byte: u8| match byte {
        0 => Refusal::Nul,
        b'\r' => Refusal::BareCr,
        _ => Refusal::NameBad,
    };
    let end = line
        .iter()
        .position(|&byte| !is_token_byte(byte))
        .ok_or(Refusal::NameBad)?;
    let (name, rest) = line.split_at(end);
    match rest {
        [b':', value @ ..] if !name.is_empty() && !looks_like_framing(name) => Ok((name, value)),
        [b' ' | b'\t', ..] if rest.trim_ascii_start().starts_with(b":") => {
            Err(Refusal::SpaceBeforeColon)
        }
        [byte, ..] => Err(bad(*byte)),
        [] => Err(Refusal::NameBad),
    }
}

/// CGI and its heirs read `_` as `-`.
fn looks_like_framing(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"content_length") || name.eq_ignore_ascii_case(b"transfer_encoding")
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
    digits.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
