//! One JSON object, written straight into a byte buffer: what the access log and the event log need and no more.

/// An open object. Members go out in the order of the calls; `end` closes it.
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Object<'o> {
    pub fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Writes `"name":` and gives the buffer for the value. `name` must need no escaping.
    pub fn member(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// As `member`, for a name that comes from outside.
    pub fn escaped_member(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        string(name.as_bytes(), self.out);
        self.out.push(b':');
        self.out
    }

    pub fn string(&mut self, name: &str, value: &[u8]) {
        string(value, self.member(name));
    }

    /// An empty value is left out.
    pub fn string_if_any(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            self.string(name, value);
        }
    }

    /// `true`, or nothing.
    pub fn flag_if(&mut self, name: &str, holds: bool) {
        if holds {
            self.member(name).extend_from_slice(b"true");
        }
    }

    pub fn integer(&mut self, name: &str, value: u64) {
        integer(value, self.member(name));
    }

    pub fn end(self) {
        self.out.push(b'}');
    }
}

pub fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A JSON string. Bytes that are not UTF-8 become U+FFFD, control bytes are escaped.
pub fn string(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if is_plain(value) {
        out.extend_from_slice(value);
    } else {
        escape(value, out);
    }
    out.push(b'"');
}

/// Printable ASCII without `"` and `\`. No early exit: this way the compiler makes vector code of it.
fn is_plain(value: &[u8]) -> bool {
    value.iter().fold(true, |plain, &byte| {
        plain & (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\')
    })
}

#[cold]
fn escape(value: &[u8], out: &mut Vec<u8>) {
    for chunk in value.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            escape_byte(byte, out);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0..0x20 | 0x7f => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
        _ => out.push(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        string(value, &mut out);
        out
    }

    #[test]
    fn escapes() {
        assert_eq!(written(b"plain /path?x=1"), b"\"plain /path?x=1\"");
        assert_eq!(written(b"a\"b\\c\n\0\x7f"), br#""a\"b\\c\n\u0000\u007f""#);
        assert_eq!(written("grün".as_bytes()), "\"grün\"".as_bytes());
        assert_eq!(written(b"a\xff\xfeb"), "\"a\u{fffd}\u{fffd}b\"".as_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_read_back_as_their_lossy_text(value: Vec<u8>) {
            let line = written(&value);
            prop_assert!(line.iter().all(|byte| *byte >= 0x20));
            let read: String = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&value));
        }
    }
}
