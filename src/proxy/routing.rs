//! From a request to its route: who asks, which route, which pool.

use std::borrow::Cow;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, StatusCode, Uri, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tidegate_filters::filter::Response;

use super::{answer, clean, filters, paths, stickiness};
use crate::background::admin;
use crate::config::model::{Address, HashKey, Policy};
use crate::context::Context;
use crate::forwarded::{self, Origin};
use crate::instance::Instance;
use crate::listener::{Connection, Streaming, deadline};
use crate::outcome::{self, Failure};
use crate::route::redirect::{self, Requested};
use crate::route::{self, CertificateNames, Head, Path, host_name};
use crate::snapshot::{Action, PoolHandle, Route};

/// Takes the snapshot that this request will use to its end, cleans the request and finds out who asks.
pub fn identify(instance: &Instance, session: &mut Session, ctx: &mut Context) {
    let snapshot = instance.snapshot.load_full();
    if let Some(connection) = Connection::current() {
        clean::request(
            session.req_header_mut(),
            &connection,
            &snapshot.owned_fields,
        );
        let headers = &session.req_header().headers;
        let origin = Origin::find(&connection, headers, &snapshot.config.trusted_proxies);
        ctx.request_id = forwarded::request_id(headers, origin);
        ctx.origin = Some(origin);
        ctx.connection = Some(connection);
    }
    ctx.upgrade = session.is_upgrade_req();
    ctx.snapshot = Some(snapshot);
}

/// The listener's health path, and the end of the way for a connection that may ask for nothing else.
pub fn health(instance: &Instance, session: &Session, ctx: &mut Context) -> Option<Response> {
    let connection = ctx.connection.as_ref()?;
    let path = connection.config.health_path.as_deref();
    if path.is_some_and(|path| paths::is(session.req_header(), path, ctx.paths())) {
        let readiness = admin::readiness(instance);
        // The names of what is missing are for operators: clients get the first word.
        let body = readiness.body();
        let end = body.iter().position(|byte| !byte.is_ascii_alphabetic());
        let mut text = body[..end.unwrap_or(body.len())].to_vec();
        text.push(b'\n');
        return Some(Response::new(readiness.status()).text(text));
    }
    if connection.health_only {
        ctx.failure = Some(outcome::HEALTH_PATH_ONLY);
        return Some(Response::plain(StatusCode::BAD_REQUEST));
    }
    None
}

/// Finds the route; sets the pool where no client key is needed to choose it, and the path that is forwarded.
pub fn find(instance: &Instance, session: &mut Session, ctx: &mut Context) -> Result<(), Failure> {
    let snapshot = ctx.snapshot.clone().ok_or(outcome::INTERNAL)?;
    let request = session.req_header();
    check_host(request, ctx)?;
    let raw = paths::raw(request)?;
    let path = Path::parse(&raw, ctx.paths()).map_err(|error| paths::refuse(ctx, error))?;
    let head = head(request, &path, ctx);
    let found = snapshot.routes.find(&head).ok_or(outcome::NO_ROUTE)?;
    let route: Arc<Route> = found.value.clone();
    let pool = choose(&route, &head);
    let hash = pool.and_then(|pool| hash_for(pool, &head));
    let rewritten = match &route.rewrite {
        Some(rewrite) => {
            let query = request.uri.query();
            let path = route::rewrite::rewritten(rewrite, &path, found.prefix, query);
            Some(path.map_err(|error| paths::refuse(ctx, error))?)
        }
        None => None,
    };
    let forwarded = path.forwarded(found.named(path.normal()));
    let forwarded = (*forwarded != *raw).then(|| forwarded.into_owned());
    if let Some(pool) = pool {
        arm_deadline(&route, pool, ctx);
        ctx.streaming = streaming(&route, pool, ctx);
    }
    ctx.pool = pool.cloned();
    ctx.hash = hash;
    ctx.rewritten = rewritten;
    if let Some(path) = &forwarded {
        paths::forward(session, path, ctx)?;
    }
    let sheddable = route.sheddable;
    ctx.route = Some(route);
    if sheddable && instance.overload.sheds() {
        instance.overload.metrics.shed.inc();
        return Err(outcome::SHED);
    }
    check_length(session, ctx)
}

/// A client that asks on a connection to one name for another must be sure of that name by the same certificate; it is told
/// to connect anew where it can't be. Clients that send no name, or come through what ends TLS elsewhere, are not asked; nor
/// are trusted proxies where the listener allows that: a CDN may ask for many hosts on a connection to one name.
fn check_host(request: &RequestHeader, ctx: &Context) -> Result<(), Failure> {
    let Some(connection) = &ctx.connection else {
        return Ok(());
    };
    let Some(tls) = &connection.tls else {
        return Ok(());
    };
    let allowed = connection.config.tls.as_ref();
    if allowed.is_some_and(|tls| tls.misdirected_from_proxies)
        && ctx.origin.is_some_and(|origin| origin.trusted)
    {
        return Ok(());
    }
    let (Some(name), Some(identity)) = (&tls.server_name, &tls.identity) else {
        return Ok(());
    };
    let host = host_name(authority(request));
    match host.eq_ignore_ascii_case(name) || identity.covers(host) {
        true => Ok(()),
        false => Err(outcome::MISDIRECTED),
    }
}

fn arm_deadline(route: &Route, pool: &PoolHandle, ctx: &Context) {
    let total = route.timeouts.total.unwrap_or(pool.config.timeouts.total);
    deadline::arm(ctx.started + total);
}

/// Lifts the deadlines of the request body where route or pool say so. Nothing that the client sends can.
fn streaming(route: &Route, pool: &PoolHandle, ctx: &Context) -> Option<Streaming> {
    let streams = route.streaming.unwrap_or(pool.config.upstream.streaming);
    let connection = ctx.connection.as_ref()?;
    streams.then(|| connection.begin_streaming())
}

/// Another pool than the route's: its time and its hash key count from here on.
pub fn change_pool(session: &Session, ctx: &mut Context, pool: &Arc<PoolHandle>) {
    if let Some(route) = &ctx.route {
        arm_deadline(route, pool, ctx);
        ctx.streaming = streaming(route, pool, ctx);
    }
    let request = session.req_header();
    // The path was good when the route was found; a filter may have put another in its place.
    let raw = paths::raw(request).unwrap_or(Cow::Borrowed("/"));
    let path = Path::parse(&raw, ctx.paths()).ok();
    ctx.hash = path.and_then(|path| hash_for(pool, &head(request, &path, ctx)));
    ctx.pool = Some(pool.clone());
}

fn head<'a>(request: &'a RequestHeader, path: &'a Path<'a>, ctx: &'a Context) -> Head<'a> {
    Head {
        listener: ctx.connection.as_ref().map_or("", |c| &c.config.name),
        host: host_name(authority(request)),
        path,
        query: request.uri.query(),
        method: &request.method,
        headers: &request.headers,
        client: ctx.origin.and_then(|origin| origin.client),
        certificate: ctx.connection.as_deref().and_then(certificate),
    }
}

fn certificate(connection: &Connection) -> Option<CertificateNames<'_>> {
    let shown = connection.tls.as_ref()?.client.as_ref()?;
    Some(CertificateNames {
        common_name: shown.common_name.as_deref(),
        dns: &shown.dns,
        uri: &shown.uri,
        sha256: &shown.sha256,
    })
}

/// The host and port that the request is for, as it names them.
pub fn authority(request: &RequestHeader) -> &str {
    let host = request.headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    host.or_else(|| request.uri.authority().map(|a| a.as_str()))
        .unwrap_or_default()
}

fn choose<'a>(route: &'a Route, head: &Head<'_>) -> Option<&'a Arc<PoolHandle>> {
    match &route.action {
        Action::Pool(pool) => Some(pool),
        Action::Split(split) => stickiness::choose_pool(split, head.headers)
            .or_else(|| split.choose(route::request_key(&split.key, head))),
        Action::Redirect(_) | Action::Respond(_) => None,
    }
}

fn hash_for(pool: &PoolHandle, head: &Head<'_>) -> Option<u64> {
    match &pool.config.policy {
        Policy::IpHash => Some(route::request_key(&HashKey::ClientIp, head)),
        Policy::ConsistentHash { key, .. } => Some(route::request_key(key, head)),
        _ => None,
    }
}

/// A body that says it is too large is refused before a byte of it is read.
fn check_length(session: &Session, ctx: &Context) -> Result<(), Failure> {
    let limit = ctx.route.as_ref().and_then(|route| route.max_body_bytes);
    let length = session.req_header().headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
    match (limit, length) {
        (Some(limit), Some(length)) if length > limit => Err(outcome::BODY_TOO_LARGE),
        _ => Ok(()),
    }
}

/// Answers what needs no backend; `false` for what goes on to a pool.
pub async fn act(session: &mut Session, ctx: &mut Context) -> Result<bool> {
    let Some(route) = ctx.route.clone() else {
        return answer::failure(session, ctx, outcome::INTERNAL).await;
    };
    let response = match &route.action {
        Action::Pool(_) | Action::Split(_) => {
            return match filters::pool(session, ctx).await {
                Some(response) => answer::whole(session, ctx, response).await,
                None => Ok(false),
            };
        }
        Action::Respond(respond) => {
            Response::new(respond.status).body(respond.content_type.clone(), respond.body.clone())
        }
        Action::Redirect(redirect) => match location(redirect, session, ctx) {
            Ok(location) => Response::new(redirect.status).header(header::LOCATION, location),
            Err(failure) => return answer::failure(session, ctx, failure).await,
        },
    };
    let response = filters::reply(ctx, response).await;
    answer::whole(session, ctx, response).await
}

fn location(
    redirect: &crate::config::model::Redirect,
    session: &Session,
    ctx: &Context,
) -> Result<http::HeaderValue, Failure> {
    let request = session.req_header();
    let authority = authority(request);
    let connection = ctx.connection.as_ref().ok_or(outcome::INTERNAL)?;
    let named_port = authority
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    let requested = Requested {
        scheme: connection.scheme(),
        host: host_name(authority),
        port: named_port.unwrap_or(match connection.scheme() {
            "https" => 443,
            _ => 80,
        }),
        path: request.uri.path(),
        query: request.uri.query(),
    };
    redirect::location(redirect, &requested).map_err(|_| outcome::BAD_HOST)
}

/// HTTP/1.0 may come without Host; what is sent on is HTTP/1.1, which may not (RFC 9112 3.2).
pub fn name_host(session: &Session, request: &mut Parts, ctx: &Context) -> Result<()> {
    let http2 = session.req_header().version == http::Version::HTTP_2;
    if http2 || request.headers.contains_key(header::HOST) {
        return Ok(());
    }
    let host = match (request.uri.authority(), &ctx.attempt) {
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(attempt)) => match attempt.picked.backend.address() {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        },
        (None, None) => return Ok(()),
    };
    let host = HeaderValue::from_str(&host)
        .map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "the authority is no host"))?;
    request.headers.insert(header::HOST, host);
    Ok(())
}

/// A target in absolute form is meant for proxies: an origin is asked in its own (RFC 9112 3.2.1). HTTP/2 has no other.
pub fn to_origin_form(request: &mut Parts) {
    let absolute = request.uri.scheme().is_some() && request.version <= http::Version::HTTP_11;
    if absolute && let Some(target) = request.uri.path_and_query() {
        let slash = if target.as_str().starts_with('?') {
            "/"
        } else {
            ""
        };
        if let Ok(origin_form) = format!("{slash}{}", target.as_str()).parse::<Uri>() {
            request.uri = origin_form;
        }
    }
}

/// Path and headers as the route wants them for the backend.
pub fn rewrite(request: &mut Parts, ctx: &Context) -> Result<()> {
    if let Some(rewritten) = &ctx.rewritten {
        request.uri = rewritten.parse().map_err(|_| {
            Error::explain(ErrorType::InternalError, "the rewritten path is no URI")
        })?;
    }
    let headers = &mut request.headers;
    if let Some(host) = ctx
        .pool
        .as_ref()
        .and_then(|p| p.config.upstream.host.as_ref())
    {
        headers.insert(header::HOST, host.clone());
    }
    let Some(route) = &ctx.route else {
        return Ok(());
    };
    let edits = &route.request_headers;
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name.clone(), value.clone());
    }
    for (name, value) in &edits.add {
        headers.append(name.clone(), value.clone());
    }
    Ok(())
}
