//! The same strict reading for heads of HTTP/2: what is refused over HTTP/1 is refused here, so that one set of rules stands
//! before routes, filters and backends.
//!
//! h2 and Pingora have read such a head before and refuse much by themselves: malformed pseudo-headers, fields of the
//! connection (RFC 9113 8.2.2), names in capitals, bodies that differ from their length. What they let pass is looked at
//! here. They cut a fragment off the path before anyone sees it.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use pingora_http::RequestHeader;

use super::fields::{Fields, looks_like_framing};
use super::line::{check_method, check_target, is_plain_form};
use super::names::Name;
use super::{HeadLimits, Refusal, host};

/// What one field costs beside its name and value, over HTTP/1.
const AROUND_FIELD: usize = ": \r\n".len();

/// What of a clean head must be looked at once more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// As in [`HeadFacts`](super::HeadFacts).
    pub odd_names: bool,
    /// As in [`HeadFacts`](super::HeadFacts).
    pub unusual: bool,
}

/// Reads the head of one stream.
pub fn check(request: &RequestHeader, limits: &HeadLimits) -> Result<Seen, Refusal> {
    let method = request.method.as_str().as_bytes();
    if method == b"CONNECT" {
        return Err(Refusal::Connect);
    }
    check_method(method)?;
    let target = request.raw_path();
    check_target(target, limits.max_uri_bytes)?;
    if !is_plain_form(method, target) {
        return Err(Refusal::TargetBad);
    }
    check_scheme(request)?;
    check_authority(request)?;
    check_fields(&request.headers, method.len() + target.len(), limits)
}

/// There is no other scheme that is served. Without `:authority`, h2 does not hand it on.
fn check_scheme(request: &RequestHeader) -> Result<(), Refusal> {
    let is_http =
        |scheme: &str| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    match request.uri.scheme_str() {
        Some(scheme) if !is_http(scheme) => Err(Refusal::SchemeBad),
        _ => Ok(()),
    }
}

/// `:authority` is what Host is over HTTP/1, and a Host beside it must be the same (RFC 9113 8.3.1).
fn check_authority(request: &RequestHeader) -> Result<(), Refusal> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let (field, second) = (hosts.next(), hosts.next());
    let authority = request.uri.authority().map(|a| a.as_str().as_bytes());
    if second.is_some() {
        return Err(Refusal::HostDuplicate);
    }
    let field = field.map(|host| host.as_bytes());
    if field.is_some() && authority.is_some() && field != authority {
        return Err(Refusal::AuthorityBad);
    }
    let named = authority.or(field).ok_or(Refusal::HostMissing)?;
    host::parse(named).map(drop).ok_or(Refusal::HostBad)
}

/// Cookies come in as many fields as the client likes and count as one.
fn check_fields(headers: &HeaderMap, line: usize, limits: &HeadLimits) -> Result<Seen, Refusal> {
    let (mut count, mut cookies, mut bytes) = (0, 0, line);
    let (mut fields, mut odd_names) = (Fields::default(), false);
    for (name, value) in headers {
        let text = name.as_str().as_bytes();
        let (split, rest) = Name::split(text);
        if !rest.is_empty() || looks_like_framing(&split) {
            return Err(Refusal::NameBad);
        }
        odd_names |= split.is_odd;
        // RFC 9113 8.2.1.
        let value = value.as_bytes();
        if value.trim_ascii().len() != value.len() {
            return Err(Refusal::ValueBad);
        }
        match name {
            name if name == COOKIE => cookies += 1,
            name if name == CONTENT_LENGTH => {
                count += 1;
                fields.content_length(value)?;
            }
            _ => count += 1,
        }
        bytes += text.len() + value.len() + AROUND_FIELD;
    }
    if count + usize::from(cookies > 0) > limits.max_headers {
        return Err(Refusal::TooManyHeaders);
    }
    if bytes > limits.max_header_bytes {
        return Err(Refusal::HeaderTooLarge);
    }
    Ok(Seen {
        odd_names,
        unusual: odd_names || cookies > 1,
    })
}

#[cfg(test)]
mod tests;
