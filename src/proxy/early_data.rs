//! Requests that came before the TLS handshake was done, and so may be a recording of another's (RFC 8470).
//!
//! One that the route lets through goes on with `Early-Data: 1`; every other waits until the client has proved to be there.

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header::HeaderName};
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::context::Context;
use crate::listener::Connection;
use crate::outcome::{self, Failure};

pub const EARLY_DATA: HeaderName = HeaderName::from_static("early-data");

/// Lets a request go on at once, or when the handshake is done. Nothing of it has reached a filter or a backend.
pub async fn admit(session: &mut Session, ctx: &mut Context) -> Result<(), Failure> {
    let Some(connection) = ctx.connection.clone() else {
        return Ok(());
    };
    if !connection.early_data().is_unfinished() {
        return Ok(());
    }
    if may_be_repeated(session, ctx) {
        ctx.early_data = true;
        return Ok(());
    }
    handshake_done(session, &connection).await
}

fn may_be_repeated(session: &mut Session, ctx: &Context) -> bool {
    let allowed = ctx.route.as_ref().is_some_and(|route| route.early_data);
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&session.req_header().method);
    allowed && safe && session.as_mut().is_body_empty()
}

async fn handshake_done(session: &mut Session, connection: &Connection) -> Result<(), Failure> {
    let finished = connection.early_data().finished();
    let done = async {
        if session.req_header().version == Version::HTTP_2 {
            // The connection's own task reads on.
            finished.await;
            return true;
        }
        tokio::select! {
            biased;
            () = finished => true,
            // Somebody must read for the handshake to go on; the stream keeps what it reads of the next request.
            _ = session.as_mut().read_body_or_idle(true) => false,
        }
    };
    let limit = connection.config.limits.tls_handshake_timeout;
    match pingora_timeout::timeout(limit, done).await {
        Ok(true) => Ok(()),
        _ => Err(outcome::TOO_EARLY),
    }
}

/// Tells the backend, and no longer what a client says of itself.
pub fn tell_backend(headers: &mut HeaderMap, ctx: &mut Context) {
    if !ctx.origin.is_some_and(|origin| origin.trusted) {
        headers.remove(&EARLY_DATA);
    }
    let unfinished = |c: &Connection| c.early_data().is_unfinished();
    ctx.sent_early = ctx.early_data && ctx.connection.as_deref().is_some_and(unfinished);
    if ctx.sent_early {
        headers.insert(EARLY_DATA, HeaderValue::from_static("1"));
    }
}

/// Whether the backend wants this request only when it is sure that it is no recording (RFC 8470, section 5.2): then
/// waits until it is. `false`: the response goes on to the client.
pub async fn was_too_early(
    session: &mut Session,
    response: &ResponseHeader,
    ctx: &mut Context,
) -> bool {
    let Some(connection) = ctx.connection.clone() else {
        return false;
    };
    response.status == StatusCode::TOO_EARLY
        && std::mem::take(&mut ctx.sent_early)
        && handshake_done(session, &connection).await.is_ok()
}
