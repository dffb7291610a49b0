//! The end of a request: the last word to filters, metrics and the access log. Decides nothing.

use std::time::{Duration, SystemTime};

use http::{StatusCode, Version, header};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use smallvec::SmallVec;
use tidegate_filters::Hooks;
use tidegate_filters::filter::{Attribute, Finished};

use crate::context::Context;
use crate::instance::Instance;
use crate::observe::access_log::{self, AccessRecord, Note};
use crate::observe::metrics::{self, Label, Protocol};

/// Called once per request, whatever became of it.
pub fn request(instance: &Instance, session: &mut Session, ctx: &mut Context) {
    let ended = Ended::of(session, ctx);
    finish_filters(ctx, &ended);
    count(ctx, session, &ended);
    if let Some(log) = instance.access_log.load().as_ref() {
        let mut line = log.buffer();
        write(session, ctx, &ended, &mut line);
        log.write(line);
    }
    // The places are given back now, not when Pingora drops the context.
    ctx.attempt = None;
    ctx.retry = None;
    ctx.streaming = None;
}

/// What the end looks like.
struct Ended {
    status: Option<u16>,
    duration: Duration,
    bytes_in: u64,
    bytes_out: u64,
    flags: SmallVec<[&'static str; 1]>,
    reason: &'static str,
}

impl Ended {
    fn of(session: &Session, ctx: &Context) -> Ended {
        let sent = session.response_written().map(|head| head.status.as_u16());
        let failure = ctx.failure;
        Ended {
            // A client that left before it was told is logged as such.
            // One of gRPC was told by other words: the log has what became of the request.
            status: ctx.meant.or(sent).or(failure.map(|f| f.status)),
            duration: ctx.started.elapsed(),
            bytes_in: session.body_bytes_read() as u64,
            bytes_out: session.body_bytes_sent() as u64 + ctx.sent,
            flags: failure
                .iter()
                .map(|f| f.flag)
                .filter(|flag| !flag.is_empty())
                .collect(),
            reason: failure.map_or("", |f| f.reason),
        }
    }
}

fn finish_filters(ctx: &mut Context, ended: &Ended) {
    let (Some(route), Some(exchange)) = (&ctx.route, &mut ctx.exchange) else {
        return;
    };
    if !route.chain.has(Hooks::FINISHED) {
        return;
    }
    let finished = Finished {
        status: ended.status.and_then(|s| StatusCode::from_u16(s).ok()),
        duration: ended.duration,
        bytes_in: ended.bytes_in,
        bytes_out: ended.bytes_out,
        pool: ctx.pool.as_ref().map(|p| p.config.name.as_str().into()),
        backend: ctx.ended.last().map(|e| e.backend.id().into()),
    };
    route.chain.finished(exchange, &finished);
}

fn count(ctx: &Context, session: &Session, ended: &Ended) {
    let (Some(route), Some(connection)) = (&ctx.route, &ctx.connection) else {
        return;
    };
    let protocol = match session.req_header().version {
        _ if connection.is_upgraded() => Protocol::WebSocket,
        Version::HTTP_2 => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let finished = metrics::Finished {
        status: ended.status,
        protocol,
        duration: ended.duration,
        bytes_in: ended.bytes_in,
        bytes_out: ended.bytes_out,
    };
    if let Some(metrics) = route.metrics_for(ctx.pool.as_ref()) {
        metrics.record(&connection.listener.metrics, &finished);
    }
    if let (Some(pool), Some(decision)) = (&ctx.pool, &ctx.sticky) {
        pool.metrics.sticky.inc(decision.result);
    }
}

fn write(session: &Session, ctx: &Context, ended: &Ended, out: &mut Vec<u8>) {
    let request = ctx.asked.as_deref().unwrap_or(session.req_header());
    let (path, query) = path_and_query(request.raw_path());
    let headers = &request.headers;
    let bytes = |name: header::HeaderName| headers.get(name).map_or(&b""[..], |v| v.as_bytes());
    let trace = headers.get("traceparent").map(|t| t.as_bytes());
    let (trace_id, span_id) = trace.and_then(access_log::trace_ids).unwrap_or_default();
    let connection = ctx.connection.as_deref();
    let tls = connection.and_then(|c| c.tls.as_ref());
    let attempts: SmallVec<[access_log::Attempt; 2]> = ctx.ended.iter().map(attempt).collect();
    let notes = notes(ctx);
    let reason = ctx.exchange.as_ref().and_then(|e| e.reason());
    AccessRecord {
        unix_ms: milliseconds(ctx.started_at),
        request_id: ctx.request_id.as_bytes(),
        trace_id,
        span_id,
        client_ip: ctx.origin.and_then(|origin| origin.client),
        client_unknown: ctx.origin.is_some_and(|origin| origin.client.is_none()),
        client_port: connection.and_then(|c| c.client).map(|c| c.port()),
        peer_ip: connection.map(|c| c.peer_ip()),
        listener: connection.map_or("", |c| &c.config.name),
        protocol: protocol(request.version),
        tls_version: tls.map_or("", |t| t.version),
        tls_cipher: tls.map_or("", |t| t.cipher),
        tls_key: tls.map_or("", |t| Label::name(t.key_type)),
        tls_resumed: tls.is_some_and(|t| t.resumed),
        early_data: ctx.early_data,
        sni: tls
            .and_then(|t| t.server_name.as_deref())
            .unwrap_or("")
            .as_bytes(),
        method: request.method.as_str().as_bytes(),
        scheme: connection.map_or("", |c| c.scheme()),
        host: host(request),
        path,
        query: &access_log::blot(query, secrets(ctx)),
        status: ended.status,
        bytes_in: ended.bytes_in,
        bytes_out: ended.bytes_out,
        duration: ended.duration,
        t_queue: ctx.queued,
        t_connect: ctx.connect,
        t_first_byte: ctx.first_byte,
        t_total: Some(ended.duration),
        route: ctx.route.as_ref().map_or("", |r| &r.name),
        pool: ctx.pool.as_ref().map_or("", |p| &p.config.name),
        backend: ctx.ended.last().map_or("", |e| e.backend.id()),
        sticky: ctx.sticky.as_ref().map_or("", |d| d.result.as_str()),
        attempts: &attempts,
        flags: &ended.flags,
        reason: reason.unwrap_or(ended.reason),
        user_agent: bytes(header::USER_AGENT),
        referer: &access_log::blot_url(bytes(header::REFERER), secrets_anywhere(ctx)),
        attributes: &notes,
        ..AccessRecord::default()
    }
    .format(out);
}

/// Query parameters that are not for the log: those of the request's route, of all routes where it came to none.
fn secrets(ctx: &Context) -> &[Box<str>] {
    match &ctx.route {
        Some(route) => route.chain.secret_query_names(),
        None => secrets_anywhere(ctx),
    }
}

/// Those of all routes: a link may lead here from a page of another one.
fn secrets_anywhere(ctx: &Context) -> &[Box<str>] {
    let snapshot = ctx.snapshot.as_ref();
    snapshot.map_or(&[], |snapshot| &snapshot.secret_query_names)
}

fn path_and_query(target: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    let path = parts.next().unwrap_or_default();
    (path, parts.next().unwrap_or_default())
}

/// As the client named it.
pub fn host(request: &RequestHeader) -> &[u8] {
    match request.headers.get(header::HOST) {
        Some(host) => host.as_bytes(),
        None => request
            .uri
            .authority()
            .map_or(&b""[..], |a| a.as_str().as_bytes()),
    }
}

fn attempt(ended: &crate::context::Ended) -> access_log::Attempt<'_> {
    access_log::Attempt {
        backend: ended.backend.id(),
        outcome: ended.outcome.as_str(),
        duration: ended.duration,
    }
}

fn notes(ctx: &Context) -> Vec<(&str, Note<'_>)> {
    let Some(exchange) = &ctx.exchange else {
        return Vec::new();
    };
    let attributes = exchange.attributes.iter();
    attributes
        .map(|(name, value)| (name, note(value)))
        .collect()
}

fn note(attribute: &Attribute) -> Note<'_> {
    match attribute {
        Attribute::Text(text) => Note::Text(text),
        Attribute::Number(number) => Note::Number(*number),
        Attribute::Flag(flag) => Note::Flag(*flag),
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// Milliseconds since 1970.
pub fn milliseconds(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
