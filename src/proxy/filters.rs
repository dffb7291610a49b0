//! Where a request meets its route's filters. A route without filters has no exchange, and every call here is one
//! look at that.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, Uri};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use tidegate_filters::filter::{Facts, PoolChoice, RequestHead, Response, TlsFacts};
use tidegate_filters::{Exchange, Hooks};

use super::{paths, routing};
use crate::context::Context;
use crate::hash;
use crate::outcome;
use crate::route::PathError;
use crate::snapshot::Route;

/// The request head goes down the chain; what filters change reaches the backend.
pub async fn request(session: &mut Session, ctx: &mut Context) -> Option<Response> {
    let route = ctx.route.clone()?;
    if route.chain.is_empty() {
        return None;
    }
    let head = session.req_header().as_owned_parts();
    let mut exchange = Box::new(Exchange::new(head, facts(ctx, &route)));
    let answered = route.chain.request(&mut exchange).await;
    let held = hold_path(&session.req_header().uri, &mut exchange.request.uri, ctx);
    if answered.is_none() && held.is_ok() {
        let replaced = replace_head(session.req_header_mut(), &exchange.request);
        ctx.asked = ctx.asked.take().or(replaced);
    }
    ctx.exchange = Some(exchange);
    match (answered, held) {
        (None, Err(error)) => {
            ctx.failure = Some(paths::refuse(ctx, error));
            Some(reply(ctx, Response::plain(StatusCode::BAD_REQUEST)).await)
        }
        (answered, _) => answered,
    }
}

/// A path that a filter wrote into the head is read as a client's.
fn hold_path(before: &Uri, after: &mut Uri, ctx: &Context) -> Result<(), PathError> {
    match before.path() == after.path() {
        true => Ok(()),
        false => paths::hold(after, ctx.paths()),
    }
}

fn facts(ctx: &Context, route: &Route) -> Facts {
    let connection = ctx.connection.as_deref();
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let tls = connection.and_then(|c| c.tls.as_ref()).map(|tls| TlsFacts {
        version: tls.version.into(),
        cipher: tls.cipher.into(),
        sni: tls.server_name.clone(),
        alpn: tls.alpn.map(str::to_owned),
        resumed: tls.resumed,
        early_data: ctx.early_data,
        client_certificate: tls.client.as_ref().map(|shown| shown.sha256.clone()),
    });
    Facts {
        client: ctx.origin.and_then(|origin| origin.client),
        peer: connection.and_then(|c| c.peer).unwrap_or(unknown),
        scheme: connection.map_or("http", |c| c.scheme()),
        tls: tls.map(Arc::new),
        listener: connection.map_or("", |c| &c.config.name).into(),
        paths: ctx.paths(),
        route: route.name.clone(),
        started: ctx.started,
        time: ctx.started_at,
    }
}

/// Writes back what a filter changed, and returns what stood there. Pingora keeps the spelling of names beside the map and
/// the target's bytes beside the URI: a head that no filter has changed stays as it came.
fn replace_head(to: &mut RequestHeader, from: &RequestHead) -> Option<Box<RequestHeader>> {
    if to.method == from.method && to.uri == from.uri && to.headers == from.headers {
        return None;
    }
    let mut replaced = RequestHeader::from(from.clone());
    replaced.set_version(to.version);
    Some(Box::new(std::mem::replace(to, replaced)))
}

/// The chain may choose another pool, or what the pool's policy hashes.
pub async fn pool(session: &Session, ctx: &mut Context) -> Option<Response> {
    let route = ctx.route.clone()?;
    if !route.chain.has(Hooks::POOL) {
        return None;
    }
    let exchange = ctx.exchange.as_mut()?;
    let before = ctx.pool.clone()?;
    let mut choice = PoolChoice {
        pool: before.config.name.as_str().into(),
        hash_key: None,
    };
    let answered = route.chain.pool(exchange, &mut choice).await;
    if *choice.pool != *before.config.name {
        let snapshot = ctx.snapshot.clone()?;
        match snapshot.pools.get(&*choice.pool) {
            Some(pool) => routing::change_pool(session, ctx, pool),
            None => log::warn!("a filter chose pool {:?}, which there is not", choice.pool),
        }
    }
    if let Some(key) = &choice.hash_key {
        ctx.hash = Some(hash::hash(&key[..key.len().min(256)]));
    }
    answered
}

/// A piece of the request body.
pub async fn request_body(chunk: &mut Option<Bytes>, end: bool, ctx: &mut Context) -> Result<()> {
    let (Some(route), Some(exchange)) = (&ctx.route, &mut ctx.exchange) else {
        return Ok(());
    };
    match route.chain.request_body(exchange, chunk, end).await {
        None => Ok(()),
        Some(response) => {
            let status = response.status().as_u16();
            ctx.failure = Some(outcome::by_filter(status));
            ctx.answer = Some(response);
            Err(Error::new_down(ErrorType::HTTPStatus(status)))
        }
    }
}

/// The head that goes to the backend.
pub async fn upstream_request(request: &mut RequestHead, ctx: &mut Context) -> Result<()> {
    let attempt = u32::try_from(ctx.ended.len()).unwrap_or(u32::MAX);
    let (Some(route), Some(exchange)) = (&ctx.route, &mut ctx.exchange) else {
        return Ok(());
    };
    exchange.set_attempt(attempt);
    if !route.chain.has(Hooks::UPSTREAM_REQUEST) {
        return Ok(());
    }
    let before = request.uri.clone();
    match route.chain.upstream_request(exchange, request).await {
        None => hold_path(&before, &mut request.uri, ctx).map_err(|error| {
            let failure = paths::refuse(ctx, error);
            ctx.failure = Some(failure);
            Error::new_in(ErrorType::HTTPStatus(failure.status))
        }),
        Some(_) => {
            ctx.failure = Some(outcome::INTERNAL);
            let status = outcome::INTERNAL.status;
            Err(Error::new_in(ErrorType::HTTPStatus(status)))
        }
    }
}

/// The response head on its way up.
pub async fn response(
    session: &mut Session,
    response: &mut ResponseHeader,
    ctx: &mut Context,
) -> Result<()> {
    let (Some(route), Some(exchange)) = (&ctx.route, &mut ctx.exchange) else {
        return Ok(());
    };
    if !route.chain.has(Hooks::RESPONSE) {
        return Ok(());
    }
    let mut head = response.as_owned_parts();
    if let Some(replacement) = route.chain.response(exchange, &mut head).await {
        let status = replacement.status().as_u16();
        ctx.failure = Some(outcome::by_filter(status));
        super::answer::whole(session, ctx, replacement).await?;
        return Err(Error::new_in(ErrorType::HTTPStatus(status)));
    }
    let changed = head.headers != response.headers || head.status != response.status;
    if changed {
        let version = response.version;
        *response = ResponseHeader::from(head);
        response.set_version(version);
    }
    Ok(())
}

/// A piece of the response body.
pub fn response_body(chunk: &mut Option<Bytes>, end: bool, ctx: &mut Context) -> Result<()> {
    let (Some(route), Some(exchange)) = (&ctx.route, &mut ctx.exchange) else {
        return Ok(());
    };
    route
        .chain
        .response_body(exchange, chunk, end)
        .map_err(|broken| {
            log::error!("{broken}");
            Error::explain(
                ErrorType::InternalError,
                "a filter panicked in a response body",
            )
        })
}

/// A response of Tidegate's own goes up through all filters, like a backend's.
pub async fn reply(ctx: &mut Context, response: Response) -> Response {
    let (Some(route), Some(exchange)) = (&ctx.route, &mut ctx.exchange) else {
        return response;
    };
    route.chain.reply(exchange, response).await
}
