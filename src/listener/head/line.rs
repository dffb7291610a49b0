//! The request line (RFC 9112 3).

use super::{MAX_METHOD, Refusal, Version, host};

/// What of the request line is needed once the fields are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestLine {
    pub(super) version: Version,
    /// The authority of an absolute target, with its usual port: where it stands in the buffer.
    pub(super) authority: Option<Authority>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Authority {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) usual_port: u16,
}

/// The longest target that is read, whatever the limits say: no URI of the `http` crate is longer.
const MAX_TARGET: usize = 65_534;

/// RFC 9110 5.6.2.
pub(in crate::listener) const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Every byte of every name is looked up here.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] |= (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// Bytes that may stand in a target, and where. Among visible ASCII, RFC 3986 leaves out `"<>\^`{|}`. Browsers send some of
/// these as they are (WHATWG URL, percent-encode sets), and such go on; the others only broken clients send, and nobody
/// knows what the next server makes of them. They are not mended: RFC 9112 3 warns of it. A fragment is never sent.
const IN_PATH: u8 = 1;
const IN_QUERY: u8 = 2;
const TARGET: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = match byte {
            b'#' | b'<' | b'>' => 0,
            b'`' => IN_QUERY,
            b'"' => IN_PATH,
            _ => IN_PATH | IN_QUERY,
        };
        byte += 1;
    }
    table
};

/// Checks as much of the method as is there, so that what is no HTTP at all is refused with its first bytes.
pub(super) fn check_method(start: &[u8]) -> Result<(), Refusal> {
    let method = start
        .iter()
        .take(MAX_METHOD + 1)
        .take_while(|&&byte| byte != b' ');
    let mut length = 0;
    for &byte in method {
        if !is_token_byte(byte) {
            return Err(if byte == 0 {
                Refusal::Nul
            } else {
                Refusal::MethodBad
            });
        }
        length += 1;
    }
    let ended = start.get(length) == Some(&b' ');
    if length > MAX_METHOD || (ended && length == 0) {
        return Err(Refusal::MethodBad);
    }
    Ok(())
}

impl RequestLine {
    /// Reads a line without its CRLF that begins at `start` of the buffer. Its method is checked already.
    pub(super) fn parse(line: &[u8], start: usize, max_uri: usize) -> Result<Self, Refusal> {
        check_bytes(line)?;
        let mut parts = line.splitn(3, |&byte| byte == b' ');
        let method = parts.next().unwrap_or_default();
        let target = parts.next().ok_or(Refusal::MethodBad)?;
        check_target(target, max_uri)?;
        let version = version(parts.next().ok_or(Refusal::VersionBad)?)?;
        if method == b"CONNECT" {
            return Err(Refusal::Connect);
        }
        let authority = target_authority(method, target, start + method.len() + 1)?;
        Ok(Self { version, authority })
    }
}

fn check_bytes(line: &[u8]) -> Result<(), Refusal> {
    match memchr::memchr2(0, b'\r', line).and_then(|at| line.get(at)) {
        Some(0) => Err(Refusal::Nul),
        Some(_) => Err(Refusal::BareCr),
        None => Ok(()),
    }
}

fn version(text: &[u8]) -> Result<Version, Refusal> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Refusal::VersionUnsupported)
        }
        _ => Err(Refusal::VersionBad),
    }
}

/// Whether the target is no longer than it may be and has only bytes that may stand in one, over every version of HTTP.
pub(super) fn check_target(target: &[u8], max: usize) -> Result<(), Refusal> {
    if target.len() > max.min(MAX_TARGET) {
        return Err(Refusal::UriTooLong);
    }
    let path = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(path);
    let all = |part: &[u8], place: u8| part.iter().all(|&byte| TARGET[byte as usize] & place != 0);
    if !target.is_empty() && all(path, IN_PATH) && all(query, IN_QUERY) {
        Ok(())
    } else {
        Err(Refusal::TargetBad)
    }
}

/// A path, or the asterisk of OPTIONS (RFC 9112 3.2.1 and 3.2.4).
pub(super) fn is_plain_form(method: &[u8], target: &[u8]) -> bool {
    target.starts_with(b"/") || (target == b"*" && method == b"OPTIONS")
}

/// Checks the form of the target (RFC 9112 3.2); `start` is where it stands in the buffer.
fn target_authority(
    method: &[u8],
    target: &[u8],
    start: usize,
) -> Result<Option<Authority>, Refusal> {
    if is_plain_form(method, target) {
        return Ok(None);
    }
    let (scheme, usual_port) = if has_prefix(target, b"http://") {
        (7, 80)
    } else if has_prefix(target, b"https://") {
        (8, 443)
    } else {
        return Err(Refusal::TargetBad);
    };
    let rest = target.get(scheme..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|byte| b"/?".contains(byte))
        .unwrap_or(rest.len());
    host::parse(rest.get(..length).unwrap_or_default()).ok_or(Refusal::TargetBad)?;
    let start = start + scheme;
    Ok(Some(Authority {
        start,
        end: start + length,
        usual_port,
    }))
}

fn has_prefix(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
