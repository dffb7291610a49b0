//! One attempt after the other: pick a backend, connect, judge what came, decide whether to try another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::evidence::{self, Standing};
use super::framing;
use super::stickiness::{self, Missing};

use crate::background::probe::DRAIN_HEADER;
use crate::config::model::Timeouts;
use crate::context::{Attempt, Context, Ended};
use crate::listener::{Connection, Refusal, deadline};
use crate::observe::metrics::{DenyReason, RetryReason, ShedReason, SlowPhase};
use crate::outcome::{self, Failure, Outcome};
use crate::pool::{self, Pick, Picked, Refused, backoff};
use crate::snapshot::PoolHandle;
use crate::upstream::{Limits, Target};

/// A reused connection that breaks later than this after it was taken was not stale: its backend broke it.
const STALE: Duration = Duration::from_millis(100);
/// So many such connections one request may meet on Pingora's way, which takes another idle one each time.
const MOST_STALE: u8 = 3;

/// Tells the backend (and a Tidegate behind this one) that this is a retry.
const RETRY_HEADER: &str = "x-retry-attempt";
/// Further attempts that a request has at least while connections are refused.
const REFUSED_RETRIES: usize = 3;

/// Where an attempt goes, and how long it may take.
pub struct Begun {
    pub target: Arc<Target>,
    pub limits: Limits,
}

impl Begun {
    /// A peer of its own, for Pingora's proxy.
    pub fn peer(&self) -> Box<HttpPeer> {
        let mut peer = Box::new(self.target.peer().clone());
        self.limits.set(&mut peer);
        peer
    }
}

/// Picks a backend and says how to connect to it.
pub async fn begin(session: &mut Session, ctx: &mut Context) -> Result<Begun> {
    let Some(pool) = ctx.pool.clone() else {
        return fail(ctx, outcome::INTERNAL);
    };
    let timeouts = timeouts(&pool, ctx);
    ctx.body_over |= has_no_body(session, ctx);
    if !ctx.ended.is_empty() {
        wait_before_retry(&pool, ctx).await;
    }
    let mut picked = match place(&pool, session, ctx).await {
        Ok(picked) => picked,
        Err(failure) => return fail(ctx, failure),
    };
    let now = Instant::now();
    let left = timeouts.total.saturating_sub(now - ctx.started);
    if left.is_zero() {
        return fail(ctx, outcome::TOTAL_TIMEOUT);
    }
    let Some(target) = pool.target(&picked.backend) else {
        return fail(ctx, outcome::INTERNAL);
    };
    if !ctx.body_over {
        picked.in_flight.hold();
    }
    ctx.attempt = Some(Attempt {
        picked,
        started: now,
        connected: None,
        whole: Some(now).filter(|_| ctx.body_over),
        answered: false,
    });
    let limits = Limits::new(&timeouts, left);
    Ok(Begun { target, limits })
}

/// A request that is whole with its head. One for an upgrade has no body unless it says so: what comes after it belongs to
/// the other protocol.
fn has_no_body(session: &mut Session, ctx: &Context) -> bool {
    let headers = &session.req_header().headers;
    let names_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.contains_key(header::CONTENT_LENGTH);
    (ctx.upgrade && !names_body) || session.as_mut().is_body_empty()
}

fn fail<T>(ctx: &mut Context, failure: Failure) -> Result<T> {
    ctx.failure = Some(failure);
    Err(Error::new_in(ErrorType::HTTPStatus(failure.status)))
}

/// A place on a backend, at once or after waiting for one in the pool's queue.
async fn place(pool: &PoolHandle, session: &Session, ctx: &mut Context) -> Result<Picked, Failure> {
    let tried = ctx.tried();
    let head = session.req_header();
    let mut request = Pick {
        hash: ctx.hash,
        exclude: &tried,
        // A trial is not for a request whose client may keep it waiting.
        idempotent: head.method.is_idempotent() && ctx.body_over,
        queued: false,
    };
    match stickiness::pick(pool, &head.headers, ctx, &request, Instant::now()) {
        Ok(picked) => Ok(picked),
        Err(Missing::Refused(Refused::Overloaded { .. })) if pool.config.limits.queue > 0 => {
            request.queued = true;
            let began = Instant::now();
            let placed = queue(pool, &head.headers, ctx, &request, began).await;
            ctx.queued = Some(began.elapsed());
            pool.metrics.queue_wait.observe(began.elapsed());
            placed
        }
        Err(missing) => {
            pool.metrics.shed.inc(match missing {
                Missing::Refused(Refused::Overloaded { .. }) => ShedReason::MaxInFlight,
                _ => ShedReason::NoBackend,
            });
            Err(missing.into())
        }
    }
}

async fn queue(
    pool: &PoolHandle,
    headers: &HeaderMap,
    ctx: &mut Context,
    request: &Pick<'_>,
    began: Instant,
) -> Result<Picked, Failure> {
    let Some(waiter) = pool.pool.join_queue() else {
        pool.metrics.shed.inc(ShedReason::QueueFull);
        return Err(outcome::QUEUE_FULL);
    };
    let deadline = (began + pool.config.limits.queue_timeout).into();
    loop {
        if tokio::time::timeout_at(deadline, waiter.freed())
            .await
            .is_err()
        {
            pool.metrics.shed.inc(ShedReason::QueueTimeout);
            return Err(outcome::QUEUE_TIMEOUT);
        }
        match stickiness::pick(pool, headers, ctx, request, Instant::now()) {
            Err(Missing::Refused(Refused::Overloaded { .. })) => {}
            other => return other.map_err(Failure::from),
        }
    }
}

/// The route's timeouts where it has its own, else the pool's.
fn timeouts(pool: &PoolHandle, ctx: &Context) -> Timeouts {
    let mut timeouts = pool.config.timeouts.clone();
    if let Some(route) = &ctx.route {
        let own = &route.timeouts;
        timeouts.connect = own.connect.unwrap_or(timeouts.connect);
        timeouts.first_byte = own.first_byte.unwrap_or(timeouts.first_byte);
        timeouts.read = own.read.unwrap_or(timeouts.read);
        timeouts.write = own.write.unwrap_or(timeouts.write);
        timeouts.per_try = own.per_try.or(timeouts.per_try);
        timeouts.total = own.total.unwrap_or(timeouts.total);
    }
    timeouts
}

/// How long a connection that speaks another protocol may be silent on both sides.
pub fn tunnel_idle_timeout(ctx: &Context) -> Duration {
    let pool = ctx.pool.as_ref();
    let own = ctx.route.as_ref().and_then(|r| r.timeouts.tunnel_idle);
    own.or_else(|| pool.map(|pool| pool.config.timeouts.tunnel_idle))
        .unwrap_or_default()
}

/// A refused connection costs nobody anything: the next backend is tried at once.
async fn wait_before_retry(pool: &PoolHandle, ctx: &Context) {
    let refused = ctx
        .ended
        .last()
        .is_some_and(|e| matches!(e.outcome, Outcome::ConnectError { .. }));
    if !refused {
        let retry = u32::try_from(ctx.ended.len()).unwrap_or(u32::MAX);
        let until = backoff(&pool.config.retry, retry, Instant::now());
        tokio::time::sleep_until(until.into()).await;
    }
}

/// Notes how long connecting took.
pub fn connected(reused: bool, ctx: &mut Context) {
    let Some(attempt) = &mut ctx.attempt else {
        return;
    };
    let now = Instant::now();
    attempt.connected = Some(now);
    let took = match reused {
        true => Duration::ZERO,
        false => now - attempt.started,
    };
    ctx.connect = Some(took);
    if let (Some(pool), false) = (&ctx.pool, reused) {
        pool.metrics.connect.observe(took);
    }
}

/// A further attempt says so, so that a proxy behind this one does not multiply it.
pub fn announce(headers: &mut HeaderMap, ctx: &Context) {
    if !ctx.ended.is_empty() {
        headers.insert(RETRY_HEADER, HeaderValue::from(ctx.ended.len()));
    }
}

/// Counts and bounds the request body.
pub fn body(
    session: &Session,
    body: &mut Option<Bytes>,
    end_of_stream: bool,
    ctx: &mut Context,
) -> Result<()> {
    // pingora#935: an empty last piece becomes a second end of a chunked body.
    if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
        *body = None;
    }
    ctx.body_seen = session.body_bytes_read() as u64;
    if end_of_stream && !ctx.body_over {
        ctx.body_over = true;
        if let Some(attempt) = &mut ctx.attempt {
            let now = Instant::now();
            attempt.whole = Some(now);
            if !attempt.answered {
                attempt.picked.in_flight.resume(now);
            }
        }
    }
    let limit = ctx.route.as_ref().and_then(|route| route.max_body_bytes);
    if limit.is_some_and(|limit| ctx.body_seen > limit) {
        ctx.failure = Some(outcome::BODY_TOO_LARGE);
        let status = ErrorType::HTTPStatus(outcome::BODY_TOO_LARGE.status);
        return Err(Error::new_down(status));
    }
    Ok(())
}

/// A response head came: evidence for the pool, and maybe a reason to try another backend instead.
pub fn answered(session: &Session, response: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    framing::check(response, ctx.upgrade).map_err(framing::bad)?;
    let status = response.status.as_u16();
    if response.status.is_informational() && status != 101 {
        return Ok(());
    }
    let Some(pool) = ctx.pool.clone() else {
        return Ok(());
    };
    let drain = response
        .remove_header(DRAIN_HEADER)
        .is_some_and(|v| v == "1");
    let outcome = Outcome::Status(grpc_as_http(&response.headers).unwrap_or(status));
    note_first_byte(ctx);
    if pool.config.retry.on_status.contains(&response.status)
        && !gave_up_client(ctx)
        && may_retry(session, ctx, &pool)
    {
        record(ctx, outcome, drain);
        ctx.attempt = None;
        pool.metrics.retries.inc(RetryReason::Status);
        let mut error = Error::new_up(ErrorType::HTTPStatus(status));
        error.set_retry(true);
        return Err(error);
    }
    deadline::disarm();
    record(ctx, outcome, drain);
    Ok(())
}

/// The same again, to any backend, as if nothing had been sent: the backend is no worse for what it said.
pub fn repeat(ctx: &mut Context, status: StatusCode) -> Box<Error> {
    let status = status.as_u16();
    if let (Some(pool), Some(attempt)) = (&ctx.pool, ctx.attempt.take()) {
        let now = Instant::now();
        let fact = pool::Attempt {
            outcome: Outcome::Status(status),
            latency: Some(now - attempt.started),
            drain: false,
        };
        pool.pool.record(&attempt.picked.in_flight, &fact, now);
    }
    let mut error = Error::new_up(ErrorType::HTTPStatus(status));
    error.set_retry(true);
    error
}

/// A gRPC call that had begun to answer says only here how it went.
pub fn ended_with(trailers: &HeaderMap, ctx: &mut Context) {
    if let Some(status) = grpc_as_http(trailers) {
        record(ctx, Outcome::Status(status), false);
    }
}

/// A gRPC error arrives with status 200; those that mean a sick server count as one.
fn grpc_as_http(fields: &HeaderMap) -> Option<u16> {
    let status = fields.get("grpc-status")?;
    match status.to_str().ok()? {
        "4" => Some(504),
        "13" | "2" => Some(500),
        "14" => Some(503),
        _ => None,
    }
}

fn note_first_byte(ctx: &mut Context) {
    if let Some(attempt) = &mut ctx.attempt {
        let since = attempt.connected.unwrap_or(attempt.started);
        ctx.first_byte = Some(since.elapsed());
        attempt.picked.in_flight.answered();
    }
}

/// The attempt failed; the error comes back with the decision whether to try again.
pub fn failed(
    session: &Session,
    ctx: &mut Context,
    mut error: Box<Error>,
    connecting: bool,
    reused: bool,
) -> Box<Error> {
    let Some(pool) = ctx.pool.clone() else {
        return error;
    };
    // `answered` ended it already and has decided.
    if ctx.attempt.is_none() {
        return error;
    }
    let Judged {
        outcome,
        local,
        of_client,
    } = judge(ctx, &pool, &error, connecting);
    let last_resort = ctx
        .attempt
        .as_ref()
        .is_some_and(|a| !a.picked.backend.state().in_rotation());
    // A pooled connection that the backend closed as we took it says nothing about the backend's health.
    error.retry.decide_reuse(reused);
    let stale = reused && error.retry() && is_quick(ctx);
    let answered = ctx.attempt.as_ref().is_some_and(|a| a.answered);
    if stale && !of_client && !answered && ctx.stale < MOST_STALE && is_repeatable(session, ctx) {
        // Nobody's fault, and so no retry: it goes out again at once.
        ctx.stale += 1;
        ctx.attempt = None;
        error.set_retry(true);
        return error;
    }
    let again = !of_client
        && !local
        && !answered
        && (connecting || !gave_up_client(ctx))
        && if connecting {
            may_try_another(ctx, &pool, outcome)
        } else {
            may_retry(session, ctx, &pool)
        };
    record(ctx, if stale { Outcome::Aborted } else { outcome }, false);
    ctx.attempt = None;
    if again {
        pool.metrics.retries.inc(reason(outcome));
    }
    error.set_retry(again);
    if connecting && last_resort && !again && !local {
        // It was known to be down and tried only because all are: say that, not what one of them said.
        ctx.failure = Some(outcome::refused(Refused::AllDown));
    }
    error
}

/// What an attempt's failure amounts to.
struct Judged {
    outcome: Outcome,
    /// Connecting failed for want of something on this side.
    local: bool,
    /// The client went away or kept the backend waiting.
    of_client: bool,
}

/// Says what the failure amounts to, and notes for the client why there is no response.
fn judge(ctx: &mut Context, pool: &PoolHandle, error: &Error, connecting: bool) -> Judged {
    let mut outcome = outcome::of_attempt(error, connecting);
    let over = outcome == Outcome::Timeout && total_time_is_over(pool, ctx);
    let cut = over || ctx.connection.as_ref().is_some_and(|c| c.is_cut());
    if cut {
        outcome = Outcome::Timeout;
        ctx.failure = Some(outcome::TOTAL_TIMEOUT);
    }
    let local = connecting && outcome::is_local(error);
    if local {
        ctx.failure = Some(outcome::NO_SOCKET);
    }
    let stalled = client_stalled(ctx, error, cut);
    if stalled && let Some(connection) = &ctx.connection {
        connection.listener.metrics.slow_closed.inc(SlowPhase::Body);
        ctx.failure = Some(match cut {
            true => outcome::BODY_UNFINISHED,
            false => outcome::BODY_SLOW,
        });
    }
    Judged {
        outcome,
        local,
        of_client: stalled || *error.esource() == ErrorSource::Downstream,
    }
}

/// Whichever timer rang first: the request has had its total time.
fn total_time_is_over(pool: &PoolHandle, ctx: &Context) -> bool {
    ctx.started.elapsed() >= timeouts(pool, ctx).total
}

/// The attempt ends at once after it was connected.
fn is_quick(ctx: &Context) -> bool {
    let connected = ctx.attempt.as_ref().and_then(|a| a.connected);
    connected.is_some_and(|at| at.elapsed() < STALE)
}

/// The backend may have ended an unfinished request because it waited for the rest of it: no reason to let the next one wait
/// as well.
fn gave_up_client(ctx: &Context) -> bool {
    !ctx.body_over && !is_quick(ctx)
}

/// The time was over while the client had not sent its whole request: the backend may have been waiting for it.
fn client_stalled(ctx: &Context, error: &Error, cut: bool) -> bool {
    let silent = *error.esource() == ErrorSource::Upstream
        && matches!(error.etype(), ErrorType::ReadTimedout);
    let answered = ctx.attempt.as_ref().is_some_and(|a| a.answered);
    (silent || cut) && !ctx.body_over && !answered
}

/// Why the request has no response of a backend, or no whole one.
pub fn why_ended(error: &Error, connection: Option<&Connection>) -> Failure {
    if let Some(refusal) = refusal(error) {
        return outcome::bad_body(refusal.status(), refusal.reason());
    }
    match connection.and_then(Connection::ended_slow) {
        Some(SlowPhase::Body) => outcome::BODY_SLOW,
        Some(_) => outcome::RESPONSE_SLOW,
        None => outcome::of_slow_stream(error).unwrap_or_else(|| outcome::of_request(error)),
    }
}

/// What is wrong with the chunks of a request's body.
fn refusal(error: &Error) -> Option<Refusal> {
    let cause = error.root_cause().downcast_ref::<std::io::Error>()?;
    cause.get_ref()?.downcast_ref().copied()
}

fn reason(outcome: Outcome) -> RetryReason {
    match outcome {
        Outcome::ConnectError { .. } => RetryReason::Connect,
        Outcome::Timeout => RetryReason::Timeout,
        Outcome::Status(_) => RetryReason::Status,
        _ => RetryReason::Reset,
    }
}

/// Nothing was sent: any method may go to another backend. A refused connection cost neither time nor anybody's work, so
/// that several may be tried: where a whole group has just died, the next one is as dead.
fn may_try_another(ctx: &mut Context, pool: &PoolHandle, outcome: Outcome) -> bool {
    let least = match outcome {
        Outcome::ConnectError { refused: true } => REFUSED_RETRIES,
        _ => 1,
    };
    let most = match attempts(ctx, pool) {
        0 => 0,
        configured => configured.max(least),
    };
    ctx.ended.len() < most && take_permit(ctx, pool)
}

/// Something was sent: only what may be done twice, and only while the body can be sent again.
fn may_retry(session: &Session, ctx: &mut Context, pool: &PoolHandle) -> bool {
    is_repeatable(session, ctx) && ctx.ended.len() < attempts(ctx, pool) && take_permit(ctx, pool)
}

fn is_repeatable(session: &Session, ctx: &Context) -> bool {
    let request = session.req_header();
    request.method.is_idempotent()
        // What a proxy in front retries already is not multiplied here.
        && !request.headers.contains_key(RETRY_HEADER)
        && !session.as_ref().retry_buffer_truncated()
        && !ctx.body_lost
        && session.response_written().is_none()
}

fn attempts(ctx: &Context, pool: &PoolHandle) -> usize {
    let route = ctx.route.as_ref().and_then(|route| route.retry_attempts);
    route.unwrap_or(pool.config.retry.attempts) as usize
}

fn take_permit(ctx: &mut Context, pool: &PoolHandle) -> bool {
    if ctx.retry.is_none() {
        ctx.retry = pool.pool.retry(Instant::now());
    }
    let granted = ctx.retry.is_some();
    if !granted {
        pool.metrics.retries_denied.inc(DenyReason::Budget);
    }
    granted
}

/// How long the backend may be silent.
fn silence(ctx: &Context) -> Duration {
    ctx.pool.as_ref().map_or(Duration::ZERO, |pool| {
        let timeouts = timeouts(pool, ctx);
        Limits::new(&timeouts, timeouts.total).silence
    })
}

/// Tells the pool, the metrics and the log what became of the attempt. One that was answered and then broke off is
/// told twice: the head was one thing, the body is another.
fn record(ctx: &mut Context, outcome: Outcome, drain: bool) {
    let silence = match outcome {
        Outcome::Timeout => silence(ctx),
        _ => Duration::ZERO,
    };
    let (Some(pool), Some(attempt)) = (&ctx.pool, &mut ctx.attempt) else {
        return;
    };
    if attempt.answered && outcome == Outcome::Aborted {
        return;
    }
    let now = Instant::now();
    let took = now - attempt.started;
    let connection = ctx.connection.as_deref();
    let tunnel = connection.is_some_and(Connection::is_upgraded);
    let standing = Standing {
        whole_since: attempt.whole.filter(|_| !tunnel),
        answered: attempt.answered,
        lagged: connection.is_some_and(Connection::has_lagged),
    };
    let evidence = evidence::of(
        outcome,
        standing,
        |status| pool.pool.is_failure(status),
        silence,
        now,
    );
    let fact = pool::Attempt {
        outcome: evidence.outcome,
        latency: evidence.latency,
        drain,
    };
    pool.pool.record(&attempt.picked.in_flight, &fact, now);
    let outcome = evidence::shown(outcome, standing.whole_since.is_some());
    let backend = &attempt.picked.backend;
    if let Some(metrics) = pool.backend_metrics(backend) {
        metrics.requests.inc(outcome.into());
    }
    if !attempt.answered {
        pool.metrics.upstream.observe(took);
        ctx.ended.push(Ended {
            backend: backend.clone(),
            outcome,
            duration: took,
        });
    } else if let Some(ended) = ctx.ended.last_mut() {
        ended.outcome = outcome;
    }
    attempt.answered = true;
}
