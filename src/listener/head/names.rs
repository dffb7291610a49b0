//! Field names that differ and are the same to some: CGI (RFC 3875 4.1.18) and its heirs (WSGI, Rack, PHP, FastCGI) write `-`
//! as `_`, and some of them every byte that is neither letter nor digit. `X_Real_IP` and `X-Real-IP` are twins.

/// Bytes of a field name.
const TOKEN: u8 = 1;
const ODD: u8 = 2;

/// One look-up for each byte of each name.
const NAME: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let at = byte as usize;
        if super::is_token_byte(byte) {
            table[at] = if byte.is_ascii_alphanumeric() || byte == b'-' {
                TOKEN
            } else {
                TOKEN | ODD
            };
        }
        byte += 1;
    }
    table
};

/// The token at the start of a field line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub bytes: &'a [u8],
    /// It has a byte that is neither letter nor digit nor `-`.
    pub is_odd: bool,
}

impl<'a> Name<'a> {
    /// The name, and what follows it.
    pub fn split(line: &'a [u8]) -> (Self, &'a [u8]) {
        let mut seen = 0;
        let end = line.iter().position(|&byte| {
            let class = NAME[byte as usize];
            seen |= class;
            class == 0
        });
        let (bytes, rest) = line.split_at(end.unwrap_or(line.len()));
        let is_odd = seen & ODD != 0;
        (Self { bytes, is_odd }, rest)
    }
}

/// Whether a name has a byte that is neither letter nor digit nor `-`.
pub fn is_odd_name(name: &[u8]) -> bool {
    Name::split(name).0.is_odd
}

/// What a byte of a name is to the one that reads most names as one: small letters, digits, and `-` for all else.
pub fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_lowercase()
    } else {
        b'-'
    }
}

/// Whether there is a reader to whom the two names are one.
pub(super) fn are_twins(one: &[u8], other: &[u8]) -> bool {
    let folded = |name: &[u8]| name.iter().copied().map(folded).collect::<Vec<u8>>();
    one.len() == other.len() && folded(one) == folded(other)
}
