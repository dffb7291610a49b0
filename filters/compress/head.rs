//! Heads of responses that are compressed on their way, and what others say of them (RFC 9110 and 9111).

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, HeaderName,
    HeaderValue, IF_NONE_MATCH, VARY,
};

use super::Encoding;

/// Digests of the bytes as they were before (RFC 9530, and the older forms).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// `no-transform` in any `Cache-Control` line of a request or a response (RFC 9111 sections 5.2.1.6 and 5.2.2.6).
pub(super) fn forbids_changes(headers: &HeaderMap) -> bool {
    members(headers, &CACHE_CONTROL).any(|directive| {
        let name = directive.split(|byte| *byte == b'=').next();
        is(name.unwrap_or_default(), b"no-transform")
    })
}

/// Whether any coding has been applied.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    members(headers, &CONTENT_ENCODING).any(|coding| !is(coding, b"identity"))
}

/// Names `accept-encoding` once; `*` says more than that.
pub(super) fn vary(headers: &mut HeaderMap) {
    let named = members(headers, &VARY).any(|field| field == b"*" || is(field, b"accept-encoding"));
    if !named {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// The head of a response whose body gets this coding (RFC 9110 sections 8.4, 8.8.1 and 14.3). How long it will be is not
/// known: the core frames it anew.
pub(super) fn encoded(headers: &mut HeaderMap, encoding: Encoding) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    recoded(headers);
}

/// What is true of the plain bytes only goes. Other bytes of the same meaning have a weak tag in place of a strong one,
/// which still matches the backend's own in `If-None-Match` (RFC 9110 section 13.1.2).
fn recoded(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    for name in &DIGESTS {
        headers.remove(name);
    }
    if let Some(weak) = headers.get(ETAG).and_then(weakened) {
        headers.insert(ETAG, weak);
    }
}

/// `None` for what is no strong tag.
fn weakened(tag: &HeaderValue) -> Option<HeaderValue> {
    let tag = tag.as_bytes();
    let strong = tag.starts_with(b"\"");
    let weak = strong.then(|| [b"W/", tag].concat())?;
    HeaderValue::from_bytes(&weak).ok()
}

/// A 304 has the fields that the 200 would have had (RFC 9110 section 15.4.5), for a client that would have got it
/// compressed. It seldom says what type the response is of. A client that asks by the strong tag, and not by the weak one,
/// has a response that was left as it is.
pub(super) fn not_modified(request: &HeaderMap, headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).map(HeaderValue::as_bytes) else {
        return;
    };
    let (mut strong, mut weak) = (false, false);
    for asked in members(request, &IF_NONE_MATCH) {
        strong |= asked == tag;
        weak |= asked.strip_prefix(b"W/") == Some(tag);
    }
    let type_is_known = headers.contains_key(http::header::CONTENT_TYPE);
    if type_is_known || weak || !strong {
        recoded(headers);
    }
}

/// The members of a list in all lines of a field, split at commas outside of quotes (RFC 9110 section 5.6.1).
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).into_iter();
    let members = lines.flat_map(|line| {
        let mut quoted = false;
        let at_comma = move |byte: &u8| {
            quoted ^= *byte == b'"';
            *byte == b',' && !quoted
        };
        line.as_bytes().split(at_comma)
    });
    members.map(<[u8]>::trim_ascii).filter(|m| !m.is_empty())
}

fn is(member: &[u8], name: &[u8]) -> bool {
    member.trim_ascii().eq_ignore_ascii_case(name)
}
