//! `Via` (RFC 9110, section 7.6.3): by whom a message was received, and over which version of HTTP. Off by default, since it
//! tells strangers about the way; circles end without it ([`super::hops`]).

use http::{HeaderMap, HeaderValue, Version, header};
use pingora_core::Result;
use pingora_http::ResponseHeader;

use crate::context::Context;

/// Adds a member for a request that came over `version`, behind those of proxies in front.
pub fn add(headers: &mut HeaderMap, version: Version, ctx: &Context) {
    if let Some(received) = member(version, ctx) {
        headers.append(header::VIA, received.clone());
    }
}

/// The same for a backend's response. Answers of our own get none: they were received from nobody.
pub fn add_to_response(
    response: &mut ResponseHeader,
    version: Version,
    ctx: &Context,
) -> Result<()> {
    match member(version, ctx) {
        Some(received) => response
            .append_header(header::VIA, received.clone())
            .map(drop),
        None => Ok(()),
    }
}

fn member(version: Version, ctx: &Context) -> Option<&HeaderValue> {
    let via = ctx.snapshot.as_ref()?.config.via.as_ref()?;
    Some(match version {
        Version::HTTP_2 => &via.http2,
        Version::HTTP_10 => &via.http10,
        _ => &via.http11,
    })
}
