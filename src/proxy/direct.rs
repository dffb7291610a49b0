//! Our own way of a request to backends of HTTP/1.1: head and body out, response back, on one task.
//!
//! Pingora's proxy joins two halves by channels. Here the same phases are called in the same order over a session that can be
//! polled ([`client`]), our connector and an [`Exchange`] with the backend, which [`relay`] looks after together.

mod client;
mod relay;
mod tunnel;
mod upload;

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Version, header};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::{Proxy, attempt, hop_by_hop};
use crate::config::model::UpstreamProtocol;
use crate::context::Context;
use crate::upstream::{Connector, Exchange};
use relay::Relay;
use upload::Upload;

/// Fields that a request gets on its way, for which there is room at once.
const ADDED: usize = 8;

/// Carries requests to backends that speak HTTP/1.1.
pub struct Direct {
    connector: Connector,
    attempts: usize,
}

/// Whether a request can go this way: a pool's, of HTTP/1.1, asked for in a way that our sessions hold.
pub fn suits(session: &mut Session, ctx: &Context) -> bool {
    let Some(pool) = &ctx.pool else {
        return false;
    };
    let polled = matches!(
        session.as_mut(),
        ServerSession::Custom(_) | ServerSession::H2(_)
    );
    pool.config.upstream.protocol == UpstreamProtocol::Http1
        && polled
        && is_plain(session.req_header())
}

/// No authority in the target but HTTP/2's own, and no user in that: Pingora settles the rest.
fn is_plain(request: &RequestHeader) -> bool {
    let host = request.headers.get(header::HOST);
    let authority = request.uri.authority();
    let user = host.is_some_and(|host| host.as_bytes().contains(&b'@'))
        || authority.is_some_and(|authority| authority.as_str().contains('@'));
    match request.version {
        Version::HTTP_2 => authority.is_some() && !user,
        _ => {
            let path = request.raw_path();
            (path.starts_with(b"/") || path == b"*") && request.raw_path_is_utf8() && !user
        }
    }
}

/// On Pingora's way a request for another protocol goes on without the wish: it leads to backends of HTTP/2, which know none.
pub fn forget_upgrade(session: &mut Session, ctx: &mut Context) {
    if std::mem::take(&mut ctx.upgrade) {
        session.req_header_mut().remove_header(&header::UPGRADE);
    }
}

impl Direct {
    pub fn new(conf: &Arc<ServerConf>) -> Direct {
        Direct {
            connector: Connector::new(conf),
            attempts: conf.max_retries,
        }
    }

    /// Tries backends until one answers or none is left to try. `Ok(true)`: the client has the whole response.
    pub async fn run(
        &self,
        proxy: &Proxy,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<bool> {
        let kept = ctx.pool.as_ref().map_or(0, |p| p.config.retry.buffer);
        let mut upload = Upload::new(session.as_mut().is_body_empty(), kept);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.attempt(proxy, session, &mut upload, ctx).await {
                Ok(()) => return Ok(true),
                Err(error) if error.retry() && tries < self.attempts => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(
        &self,
        proxy: &Proxy,
        session: &mut Session,
        upload: &mut Upload,
        ctx: &mut Context,
    ) -> Result<()> {
        let begun = attempt::begin(session, ctx).await?;
        let mut request = match head(proxy, session, ctx).await {
            Ok(request) => request,
            Err(error) => return Err(attempt::failed(session, ctx, error, false, false)),
        };
        let target = &begun.target;
        let mut found = self
            .connector
            .get(target, &begun.limits, Instant::now())
            .await;
        loop {
            let (stream, reused) = match found {
                Ok(connected) => connected,
                Err(error) => {
                    let error = attempt::failed(session, ctx, error.into_up(), true, false);
                    return Err(error.into_up());
                }
            };
            attempt::connected(reused, ctx);
            upload.rewind();
            let backend = Exchange::new(stream);
            let mut relay = Relay::new(proxy, session, backend, begun.limits, upload, ctx);
            let relayed = relay.run(&mut request).await;
            let (backend, sent, slow) = relay.end();
            ctx.sent += sent;
            match relayed {
                Ok(()) => {
                    if let Some(stream) = backend.into_idle() {
                        target.idle().put(stream, target.idle_until(Instant::now()));
                    }
                    return Ok(());
                }
                Err(error) if reused && is_stale(session, &backend, upload, &error) => {
                    let fresh = self.connector.fresh(target, &begun.limits).await;
                    found = fresh.map(|stream| (stream, false));
                }
                Err(error) => {
                    ctx.failure = ctx.failure.or(slow);
                    return Err(attempt::failed(session, ctx, error, false, reused));
                }
            }
        }
    }
}

/// Whether a connection that was idle was closed as it was taken, so that the request goes over a new one at once: nothing of
/// a response has come, and the request may be sent again, because it may be done twice or because the backend has seen
/// nothing of it (RFC 9112 9.3.1). That is nobody's fault: no evidence against the backend, and no retry.
fn is_stale(session: &Session, backend: &Exchange, upload: &Upload, error: &Error) -> bool {
    let mut retry = error.retry;
    retry.decide_reuse(true);
    let broke = *error.esource() == pingora_core::ErrorSource::Upstream && retry.retry();
    let repeatable = backend.is_untouched() || session.req_header().method.is_idempotent();
    broke && repeatable && !backend.is_answered() && upload.is_whole()
}

/// The head for the backend.
async fn head(proxy: &Proxy, session: &mut Session, ctx: &mut Context) -> Result<RequestHeader> {
    let mut request = session.req_header().as_owned_parts();
    request.headers.reserve(ADDED);
    if request.version == Version::HTTP_2 {
        // RFC 9113 8.3.1: it counts, whatever a Host field beside it says.
        let authority = request
            .uri
            .authority()
            .map(|a| HeaderValue::from_str(a.as_str()));
        let authority = authority.transpose().map_err(|_| no_host())?;
        request
            .headers
            .insert(header::HOST, authority.ok_or_else(no_host)?);
    }
    if request.version == Version::HTTP_10 {
        // It knows no interim responses: nobody waits for one (RFC 9110 10.1.1).
        request.headers.remove(header::EXPECT);
    }
    request.version = Version::HTTP_11;
    hop_by_hop::strip(&mut request.headers, ctx.upgrade)?;
    proxy.to_backend(session, &mut request, ctx).await?;
    if let (false, Some(host)) = (
        request.headers.contains_key(header::HOST),
        session.req_header().headers.get(header::HOST),
    ) {
        // A filter took it out; HTTP/1.1 can't do without (RFC 9112 3.2).
        request.headers.insert(header::HOST, host.clone());
    }
    Ok(RequestHeader::from(request))
}

fn no_host() -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "the authority is no host").into_down()
}

/// The client's framing of a response that came Pingora's way; see `relay::frame`.
pub fn frame(session: &Session, response: &mut ResponseHeader) -> Result<()> {
    let bodiless =
        response.status.is_informational() || relay::is_bodiless(session, response.status);
    relay::frame(bodiless, response)
}
