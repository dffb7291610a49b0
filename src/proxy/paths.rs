//! The path of a request: read once as its listener says, put into the form in which it is forwarded, and refused where two
//! servers may read it in two ways. How it is read stands in `tidegate_filters::path`.

use std::borrow::Cow;

use http::Uri;
use http::uri::PathAndQuery;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use crate::context::Context;
use crate::listener::Refusal;
use crate::outcome::{self, Failure};
use crate::route::path::written;
use crate::route::{Path, PathError, PathMode};

/// The path of a target in any form (RFC 9112, section 3.2), without its query.
pub fn raw(request: &RequestHeader) -> Result<Cow<'_, str>, Failure> {
    let raw = request.raw_path();
    let raw = raw.split(|b| *b == b'?').next().unwrap_or_default();
    if raw.starts_with(b"/") || raw == b"*" {
        let text = std::str::from_utf8(raw).map_err(|_| outcome::BAD_PATH)?;
        return Ok(Cow::Borrowed(text));
    }
    // Absolute form (RFC 9112, section 3.2.2).
    Ok(Cow::Borrowed(request.uri.path()))
}

/// Whether the request asks for this path, which is in normal form, in any spelling.
pub fn is(request: &RequestHeader, path: &str, mode: PathMode) -> bool {
    raw(request).is_ok_and(|raw| {
        raw == path || Path::parse(&raw, mode).is_ok_and(|asked| asked.normal() == path)
    })
}

/// Counts a path that is refused, and says how it is answered.
pub fn refuse(ctx: &Context, error: PathError) -> Failure {
    let (failure, refusal) = match error.is_ambiguity() {
        true => (outcome::AMBIGUOUS_PATH, Refusal::AmbiguousPath),
        false => (outcome::BAD_PATH, Refusal::BadPath),
    };
    if let Some(connection) = &ctx.connection {
        connection.listener.metrics.refused.inc(refusal);
    }
    failure
}

/// From here on everything sees the path that is forwarded: filters, what they ask others, the backend. The log has what
/// the client sent.
pub fn forward(session: &mut Session, path: &str, ctx: &mut Context) -> Result<(), Failure> {
    let request = session.req_header();
    let uri = with_path(&request.uri, path).ok_or(outcome::BAD_PATH)?;
    ctx.asked = Some(Box::new(request.clone()));
    session.req_header_mut().set_uri(uri);
    Ok(())
}

/// Holds a path that a filter wrote to the reading that clients' paths are held to.
pub fn hold(uri: &mut Uri, mode: PathMode) -> Result<(), PathError> {
    let path = written(uri.path(), mode)?;
    if path != uri.path() {
        *uri = with_path(uri, &path).ok_or(PathError::BadEscape)?;
    }
    Ok(())
}

/// The same target with another path; the query stays.
fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let target = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.ok()?);
    Uri::from_parts(parts).ok()
}
