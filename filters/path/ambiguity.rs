//! What two servers may read in two ways: found and refused, or resolved in one way.

use super::normal::{PathError, escaped_byte};

/// Refuses what a server that decodes twice, takes `\` for `/` or drops parameters would read as another path. `decoded` has
/// its unreserved characters decoded, since an escape may hide in others: `%25%32%46` is `%252F`.
pub(super) fn refuse(decoded: &str) -> Result<(), PathError> {
    let bytes = decoded.as_bytes();
    for at in memchr::memchr3_iter(b'\\', b';', b'%', bytes) {
        match bytes[at] {
            b'\\' => return Err(PathError::Separator),
            b';' => return Err(PathError::Parameter),
            _ => refuse_escape(bytes, at)?,
        }
    }
    Ok(())
}

fn refuse_escape(bytes: &[u8], at: usize) -> Result<(), PathError> {
    let Some(byte) = escaped_byte(bytes, at) else {
        return Err(PathError::BadEscape);
    };
    let next = |range: std::ops::RangeInclusive<u8>| {
        bytes.get(at + 3) == Some(&b'%')
            && escaped_byte(bytes, at + 3).is_some_and(|next| range.contains(&next))
    };
    // `%25` is read in one way unless what follows makes it an escape itself.
    let escape_of_escape = || escaped_byte(bytes, at + 2).is_some();
    match byte {
        b'/' | b'\\' => Err(PathError::Separator),
        b';' => Err(PathError::Parameter),
        b'%' if escape_of_escape() => Err(PathError::DoubleEscape),
        _ if byte.is_ascii_control() => Err(PathError::Control),
        // RFC 3629, section 3: bytes that stand only in encodings longer than they have to be.
        0xC0 | 0xC1 => Err(PathError::Overlong),
        0xE0 if next(0x80..=0x9F) => Err(PathError::Overlong),
        0xF0 if next(0x80..=0x8F) => Err(PathError::Overlong),
        0xF8 if next(0x80..=0x87) => Err(PathError::Overlong),
        0xFC if next(0x80..=0x83) => Err(PathError::Overlong),
        _ => Ok(()),
    }
}

/// Every separator becomes `/`; then parameters go, from their `;` to the end of the segment.
pub(super) fn unify(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut parameter = false;
    let mut rest = path.chars();
    while let Some(character) = rest.next() {
        let escape = rest.as_str().get(..2).filter(|_| character == '%');
        let unified = match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte @ (b'/' | b'\\' | b';')) => {
                rest.nth(1);
                char::from(byte)
            }
            _ => character,
        };
        match unified {
            '/' | '\\' => {
                parameter = false;
                out.push('/');
            }
            ';' => parameter = true,
            other if !parameter => out.push(other),
            _ => {}
        }
    }
    out
}
