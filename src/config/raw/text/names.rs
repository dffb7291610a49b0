//! Names in DNS, alone and with a port behind them.

/// Letters, digits, `-` and `_` (names of services, and of containers) in labels of at most 63 (RFC 1035, section 2.3.4);
/// the last one has a letter, or it would be a broken IP address. In lower case.
pub(super) fn dns_name(text: &str) -> Result<String, String> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label_ok = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(ok)
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit());
    if name.len() > 253 || numeric || !name.split('.').all(label_ok) {
        return Err(
            "is not a DNS name; write one such as \"app.internal\" (xn-- form for other scripts)"
                .into(),
        );
    }
    Ok(text.to_ascii_lowercase())
}

/// `NAME:PORT`; `None` for everything else, and for port 0, at which nobody can be.
pub(super) fn with_port(text: &str) -> Option<(String, u16)> {
    let (name, text) = text.split_once(':')?;
    let port = port(text).filter(|port| *port > 0)?;
    Some((dns_name(name).ok()?, port))
}

/// Digits alone: the parser of numbers takes a sign too.
pub(super) fn port(text: &str) -> Option<u16> {
    match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse().ok(),
        false => None,
    }
}
