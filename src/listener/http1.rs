//! HTTP/1 connections: one request after the other, each head read here, under one deadline and one strict reading.
//!
//! Between two requests a connection owns its stream and nothing else: no parsed head, no buffer.

pub(crate) mod response;
mod session;
mod upgrade;

use std::io;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{IO, Stream};
use pingora_core::server::ShutdownWatch;
use tokio::io::ReadBuf;

use super::guard::Guard;
use super::head::{self, Framing, HeadFacts, HeadLimits, HeadScanner, Progress, Refusal};
use super::seats::Waits;
use super::unread::{LAG, Rest, RestLook};
use super::{deadline, http2, linger, refuse};
use crate::observe::metrics::{RejectReason, SlowPhase};
use session::{Back, Facts, Session, Then};

/// Most heads fit in one read of this size.
const READ: usize = 4096;

/// The start of an HTTP/2 connection in clear text (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection brings next.
enum Next {
    Request {
        head: BytesMut,
        rest: BytesMut,
        facts: HeadFacts,
    },
    Http2(BytesMut),
    Refused(Refusal),
    /// The client, the idle timeout or a shutdown ended it.
    Closed,
}

/// Serves one connection to its end.
pub async fn serve<S, A>(mut guard: Box<Guard<S>>, app: &Arc<A>, shutdown: &ShutdownWatch)
where
    S: IO + 'static,
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut first = true;
    let back = Back::default();
    loop {
        match next(&mut guard, first, shutdown).await {
            Next::Closed => return guard.part().await,
            Next::Refused(refusal) => {
                return Box::pin(refuse::answer(&mut guard, refusal)).await;
            }
            Next::Http2(seen) => {
                guard.connection().finish_head();
                guard.begin_http2(seen);
                return http2::serve(guard, app, shutdown).await;
            }
            Next::Request { facts, .. }
                if facts.odd_names && guard.connection().refuses_odd_names() =>
            {
                let refusal = Refusal::NameUnderscore;
                return Box::pin(refuse::answer(&mut guard, refusal)).await;
            }
            Next::Request {
                head,
                mut rest,
                mut facts,
            } => {
                if facts.unusual {
                    guard.connection().mark_unusual();
                }
                if must_wait(&guard, &head, facts.framing) {
                    let finished = Box::pin(finish_handshake(&mut guard, &mut rest));
                    if finished.await.is_err() {
                        return;
                    }
                }
                guard.connection().finish_head();
                guard.begin_request(rest, facts.framing, facts.expect_continue);
                let head = head::in_origin_form(head, &mut facts);
                let lent = Lent { guard, head, facts };
                match serve_request(lent, &back, app, shutdown).await {
                    Some(reusable) => guard = reusable,
                    None => return,
                }
            }
        }
        first = false;
    }
}

/// What one request is served with.
struct Lent<S> {
    guard: Box<Guard<S>>,
    head: BytesMut,
    facts: HeadFacts,
}

/// One request through the proxy; the guard comes back when the connection may carry another.
async fn serve_request<S, A>(
    lent: Lent<S>,
    back: &Back<S>,
    app: &Arc<A>,
    shutdown: &ShutdownWatch,
) -> Option<Box<Guard<S>>>
where
    S: IO + 'static,
    A: HttpServerApp + Send + Sync + 'static,
{
    let connection = lent.guard.connection().clone();
    connection.count_request();
    let request = app.process_new_http(session_of(lent, back), shutdown);
    let reused = deadline::bound(request, Duration::ZERO, || {
        connection.cut();
        true
    });
    if let Some(reused) = reused.await {
        return reused.consume().0.into_any().downcast().ok();
    }
    let back = back.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (guard, then) = back?;
    match then {
        Then::Next => Some(guard),
        _ => Box::pin(settle(guard, then)).await,
    }
}

/// Comes to an end with a client that may still be sending; the guard comes back if another request may follow.
async fn settle<S: IO>(mut guard: Box<Guard<S>>, then: Then) -> Option<Box<Guard<S>>> {
    match then {
        Then::Next => return Some(guard),
        Then::Part => guard.part().await,
        Then::PassOverBody if linger::pass_over_body(&mut guard).await => return Some(guard),
        Then::PassOverBody | Then::Linger => linger::end(&mut guard).await,
    }
    None
}

/// A session of ours, but where the head is one that only Pingora's can hold.
fn session_of<S: IO + 'static>(lent: Lent<S>, back: &Back<S>) -> ServerSession {
    let Lent { guard, head, facts } = lent;
    match head::request(head, &facts) {
        Ok(request) => {
            let facts = Facts {
                keeps: facts.keep_alive,
                body: !matches!(facts.framing, Framing::None | Framing::Length(0)),
                upgrade: facts.upgrade && upgrade::can_be_passed_on(&request, facts.framing),
            };
            let session = Session::new(guard, back.clone(), request, facts);
            ServerSession::new_custom(Box::new(session))
        }
        Err(head) => pingora_session(guard, head),
    }
}

fn pingora_session<S: IO + 'static>(guard: Box<Guard<S>>, head: BytesMut) -> ServerSession {
    let stream: Stream = guard;
    let mut session = ServerSession::new_http1(stream);
    // Pingora parses the head from here and asks the stream only for the body.
    session.set_pipelined_prefix(head);
    session
}

/// Waits for the next request and reads its head.
async fn next<S: IO>(guard: &mut Guard<S>, first: bool, shutdown: &ShutdownWatch) -> Next {
    let limits = &guard.connection().config.limits;
    let (header_timeout, idle_timeout) = (limits.header_timeout, limits.idle_timeout);
    let head_limits = HeadLimits {
        max_header_bytes: limits.max_header_bytes,
        max_headers: limits.max_headers,
        max_uri_bytes: limits.max_uri_bytes,
    };
    let mut bytes = guard.take_ahead();
    if bytes.is_empty() && !first {
        guard.connection().waits(Waits::Idle);
        match wait_for_first(guard, idle_timeout, shutdown).await {
            Some(seen) => bytes = seen,
            None => return Next::Closed,
        }
    }
    let mut scanner = HeadScanner::new(head_limits);
    if let Some(next) = examine(&mut scanner, &mut bytes) {
        return next;
    }
    // What waiting for a head needs would be kept for as long as the connection lives.
    let reading = read_head(guard, bytes, scanner, header_timeout, shutdown);
    Box::pin(reading).await
}

/// The first bytes of a further request; `None` when the connection ends instead.
async fn wait_for_first<S: IO>(
    guard: &mut Guard<S>,
    idle_timeout: Duration,
    shutdown: &ShutdownWatch,
) -> Option<BytesMut> {
    let mut bytes = BytesMut::new();
    let mut shutdown = shutdown.clone();
    let first = LAG.min(idle_timeout);
    let read = tokio::select! {
        biased;
        read = deadline::within(first, read_some(guard, &mut bytes)) => read,
        // To stop, or to make room: either way an idle connection ends.
        _ = shutdown.changed() => return None,
    };
    let read = match read {
        Ok(read) => read.ok(),
        Err(_) => {
            let waiting = wait_on(guard, &mut bytes, idle_timeout.saturating_sub(first));
            tokio::select! {
                biased;
                read = waiting => read,
                _ = shutdown.changed() => return None,
            }
        }
    };
    read.filter(|n| *n > 0).map(|_| bytes)
}

/// Waits for the rest of the idle time, during which the client must take what it was sent before. `None`: it didn't, or the
/// time is over.
async fn wait_on<S: IO>(
    guard: &mut Guard<S>,
    bytes: &mut BytesMut,
    left: Duration,
) -> Option<usize> {
    let connection = guard.connection().clone();
    let limits = &connection.config.limits.response;
    let mut now = Instant::now();
    let (ends, mut rest) = (now + left, Rest::new(now));
    loop {
        let until = match rest.look(limits, || guard.sent(), now) {
            RestLook::Taken => ends,
            RestLook::At(at) => at.min(ends),
            RestLook::Slow => {
                connection.slow(SlowPhase::Response);
                return None;
            }
        };
        let wait = until.saturating_duration_since(now);
        if let Ok(read) = deadline::within(wait, read_some(guard, bytes)).await {
            return read.ok();
        }
        now = Instant::now();
        if now >= ends {
            connection.listener.metrics.slow_closed.inc(SlowPhase::Idle);
            return None;
        }
    }
}

/// Reads until the head is whole. Bytes that trickle in don't move the deadline.
async fn read_head<S: IO>(
    guard: &mut Guard<S>,
    mut bytes: BytesMut,
    mut scanner: HeadScanner,
    header_timeout: Duration,
    shutdown: &ShutdownWatch,
) -> Next {
    let began = !bytes.is_empty();
    if began && !guard.connection().begin_head() {
        let metrics = &guard.connection().listener.metrics;
        metrics.rejected.inc(RejectReason::MaxUnfinishedPerAddress);
        return Next::Closed;
    }
    let mut shutdown = shutdown.clone();
    let whole = async {
        loop {
            match read_some(guard, &mut bytes).await {
                Ok(n) if n > 0 => {}
                _ => return Next::Closed,
            }
            if let Some(next) = examine(&mut scanner, &mut bytes) {
                return next;
            }
        }
    };
    let read = tokio::select! {
        biased;
        read = deadline::within(header_timeout, whole) => read,
        // Nothing of a request has come: nothing is lost.
        _ = shutdown.wait_for(|stopping| *stopping), if !began => return Next::Closed,
    };
    read.unwrap_or_else(|_| {
        guard
            .connection()
            .listener
            .metrics
            .slow_closed
            .inc(SlowPhase::Header);
        Next::Refused(Refusal::HeaderTimeout)
    })
}

/// What the bytes so far amount to; `None` asks for more.
fn examine(scanner: &mut HeadScanner, bytes: &mut BytesMut) -> Option<Next> {
    if bytes.is_empty() {
        return None;
    }
    let compared = bytes.len().min(HTTP2_PREFACE.len());
    if bytes[..compared] == HTTP2_PREFACE[..compared] {
        let whole = compared == HTTP2_PREFACE.len();
        return whole.then(|| Next::Http2(std::mem::take(bytes)));
    }
    match scanner.feed(bytes) {
        Progress::NeedMore => None,
        Progress::Refuse(refusal) => Some(Next::Refused(refusal)),
        Progress::Complete(facts) => {
            let mut head = std::mem::take(bytes);
            let rest = head.split_off(facts.len);
            Some(Next::Request { head, rest, facts })
        }
    }
}

/// Early data that no route may take: other methods, and whatever has a body (RFC 8470, section 3).
fn must_wait<S: IO>(guard: &Guard<S>, head: &[u8], framing: Framing) -> bool {
    let safe = [&b"GET "[..], b"HEAD ", b"OPTIONS "];
    let in_early_data = guard.connection().early_data().is_unfinished();
    in_early_data
        && (framing != Framing::None || !safe.iter().any(|method| head.starts_with(method)))
}

/// Reads on, into `rest`, until the TLS handshake is done: at most the 14 KiB that early data may have.
async fn finish_handshake<S: IO>(guard: &mut Guard<S>, rest: &mut BytesMut) -> io::Result<()> {
    let connection = guard.connection().clone();
    let done = async {
        loop {
            tokio::select! {
                biased;
                read = read_some(guard, rest) => if read? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                },
                // The last of it brings nothing to read.
                () = connection.early_data().finished() => return Ok(()),
            }
        }
    };
    let limit = connection.config.limits.tls_handshake_timeout;
    deadline::within(limit, done).await.unwrap_or_else(|_| {
        let metrics = &connection.listener.metrics;
        metrics.slow_closed.inc(SlowPhase::Tls);
        Err(io::ErrorKind::TimedOut.into())
    })
}

/// Reads once. The buffer is on the stack of the poll, so that waiting costs none.
async fn read_some<S: IO>(guard: &mut Guard<S>, into: &mut BytesMut) -> io::Result<usize> {
    std::future::poll_fn(|cx| {
        let mut bytes = [std::mem::MaybeUninit::uninit(); READ];
        let mut buf = ReadBuf::uninit(&mut bytes);
        match guard.poll_read_raw(cx, &mut buf) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Ready(Ok(())) => {
                into.extend_from_slice(buf.filled());
                Poll::Ready(Ok(buf.filled().len()))
            }
        }
    })
    .await
}
