//! The short way of a request without a body: one head out, one response back, on one task.
//!
//! Pingora's proxy joins two halves by channels, so that a body can go up while a response comes down. Most requests have
//! no body: for them this calls the same phases in the same order over Pingora's session with the client, its connector and
//! an [`Exchange`] with the backend.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora_core::protocols::http::HttpTask;
use pingora_core::server::configuration::ServerConf;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use tidegate_filters::Hooks;

use super::{Proxy, attempt, filters, hop_by_hop};
use crate::config::model::UpstreamProtocol;
use crate::context::Context;
use crate::upstream::{Connector, Exchange};

/// Fields that a request gets on its way, for which there is room at once.
const ADDED: usize = 8;

/// What is gathered of a body before the client gets the first of it, in bytes, if it is there at once.
const GATHERED: usize = 48 * 1024;

/// Carries requests to backends that speak HTTP/1.1.
pub struct Direct {
    connector: Connector,
    attempts: usize,
}

/// Whether a request can go this way: a pool's, of HTTP/1.1, without body or upgrade, asked for in the plain form.
pub fn suits(session: &mut Session, ctx: &Context) -> bool {
    let (Some(pool), Some(route)) = (&ctx.pool, &ctx.route) else {
        return false;
    };
    pool.config.upstream.protocol == UpstreamProtocol::Http1
        && !ctx.upgrade
        // A filter may give a body to a request that had none.
        && !route.chain.has(Hooks::REQUEST_BODY)
        && is_plain(session.req_header())
        && session.as_mut().is_body_empty()
}

/// No authority in the target but HTTP/2's own, and no user in that: Pingora settles the rest.
fn is_plain(request: &RequestHeader) -> bool {
    let host = request.headers.get(header::HOST);
    let authority = request.uri.authority();
    let user = host.is_some_and(|host| host.as_bytes().contains(&b'@'))
        || authority.is_some_and(|authority| authority.as_str().contains('@'));
    match request.version {
        Version::HTTP_2 => authority.is_some() && !user,
        _ => request.raw_path().starts_with(b"/") && request.raw_path_is_utf8() && !user,
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
        let mut tries = 0;
        loop {
            tries += 1;
            match self.attempt(proxy, session, ctx).await {
                Ok(()) => return Ok(true),
                Err(error) if error.retry() && tries < self.attempts => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, proxy: &Proxy, session: &mut Session, ctx: &mut Context) -> Result<()> {
        let begun = attempt::begin(session, ctx).await?;
        let request = match head(proxy, session, ctx).await {
            Ok(request) => request,
            Err(error) => return Err(attempt::failed(session, ctx, error, false, false)),
        };
        let target = &begun.target;
        let found = self.connector.get(target, &begun.limits, Instant::now());
        let (stream, reused) = match found.await {
            Ok(connected) => connected,
            Err(error) => {
                let error = attempt::failed(session, ctx, error.into_up(), true, false);
                return Err(error.into_up());
            }
        };
        attempt::connected(reused, ctx);
        let mut backend = Exchange::new(stream, begun.limits);
        if let Err(error) = relay(proxy, session, &mut backend, &request, ctx).await {
            return Err(attempt::failed(session, ctx, error, false, reused));
        }
        if let Some(stream) = backend.into_idle() {
            target.idle().put(stream, target.idle_until(Instant::now()));
        }
        Ok(())
    }
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
    request.version = Version::HTTP_11;
    hop_by_hop::strip(&mut request.headers)?;
    attempt::body(session, &mut None, true, ctx)?;
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

/// One request and its response.
async fn relay(
    proxy: &Proxy,
    session: &mut Session,
    backend: &mut Exchange,
    request: &RequestHeader,
    ctx: &mut Context,
) -> Result<()> {
    backend.send(request).await?;
    let mut over = false;
    while !over {
        let mut response = unless_gone(session, backend.response()).await?;
        over = backend.is_over();
        proxy.response_head(session, &mut response, ctx).await?;
        proxy.to_client(session, &mut response, ctx).await?;
        frame(session, &mut response)?;
        let last = !response.status.is_informational();
        let mut tasks = Vec::with_capacity(2);
        tasks.push(HttpTask::Header(response, over));
        let mut fault = None;
        if last {
            fault = gather(backend, &mut tasks, ctx)?;
            over = backend.is_over();
        }
        session.as_mut().response_duplex_vec(tasks).await?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        if last {
            break;
        }
    }
    while !over {
        let read = unless_gone(session, backend.body()).await;
        over = backend.is_over();
        let task = piece(read, over, ctx)?;
        session.as_mut().response_duplex_vec(vec![task]).await?;
    }
    Ok(())
}

/// Most often the body, or much of it, came with the head: it goes on with it. A fault behind the first piece comes back:
/// what was good before it is the client's.
fn gather(
    backend: &mut Exchange,
    tasks: &mut Vec<HttpTask>,
    ctx: &mut Context,
) -> Result<Option<Box<Error>>> {
    let mut gathered = 0;
    while !backend.is_over() && gathered < GATHERED {
        let Some(read) = backend.body().now_or_never() else {
            break;
        };
        let first = gathered == 0;
        gathered += match &read {
            Ok(data) => data.as_ref().map_or(0, Bytes::len),
            Err(_) => 0,
        };
        match piece(read, backend.is_over(), ctx) {
            Ok(task) => tasks.push(task),
            Err(error) if first => return Err(error),
            Err(error) => return Ok(Some(error)),
        }
    }
    Ok(None)
}

/// A piece of the body, as filters leave it.
fn piece(read: Result<Option<Bytes>>, over: bool, ctx: &mut Context) -> Result<HttpTask> {
    let mut data = read?;
    filters::response_body(&mut data, over, ctx)?;
    Ok(HttpTask::Body(data, over))
}

/// A body without a length goes on in chunks, so that the client's connection can be kept and a body that breaks off does
/// not look whole. Decided when filters have spoken: one that changes the body takes its length away.
pub fn frame(session: &Session, response: &mut ResponseHeader) -> Result<()> {
    let bodiless = session.req_header().method == Method::HEAD
        || response.status.is_informational()
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status);
    let headers = &response.headers;
    let framed = headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING);
    if bodiless || framed {
        return Ok(());
    }
    response.set_version(Version::HTTP_11);
    response.insert_header(header::TRANSFER_ENCODING, "chunked")
}

/// Waits for the backend for as long as the client is there.
async fn unless_gone<T>(
    session: &mut Session,
    reading: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut reading = pin!(reading);
    let at_once = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
    if let Poll::Ready(read) = at_once {
        return read;
    }
    let mut leaving = pin!(session.as_mut().read_body_or_idle(true));
    let mut woken = false;
    poll_fn(|cx| {
        // The first time, it was just asked.
        if std::mem::replace(&mut woken, true)
            && let Poll::Ready(read) = reading.as_mut().poll(cx)
        {
            return Poll::Ready(read);
        }
        leaving.as_mut().poll(cx).map(|left| match left {
            Err(error) => Err(error.into_down()),
            Ok(_) => Err(Error::new_down(ErrorType::ConnectionClosed)),
        })
    })
    .await
}
