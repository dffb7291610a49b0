//! HTTP/2 connections: h2 speaks the protocol within bounds of ours; each head is read as strictly as one of HTTP/1, and each
//! stream is handed to the proxy on a task of its own.

mod interims;
mod sending;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{IO, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_http::RequestHeader;
use tokio::sync::Notify;

pub use interims::Interims;

use super::connection::Connection;
use super::guard::Guard;
use super::head::{self, HeadLimits, Refusal};
use super::{deadline, refuse};
use crate::config::model::ListenerLimits;
use crate::observe::metrics::SlowPhase;
use session::Session;

/// Receive windows, in bytes: h2's default of 64 KiB holds uploads to 64 KiB a round trip.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// `:method`, `:scheme`, `:authority` and `:path`.
const PSEUDO_FIELDS: usize = 4;
/// What h2 holds of one response at most, in bytes, while its client takes none of it. By default it is 400 KiB.
const SEND_BUFFER: usize = 64 * 1024;

/// How long past its deadline a stream is let be: a backend that is silent is answered for with a clean 504 by then.
const GRACE: Duration = Duration::from_millis(250);

/// What the streams of one connection are served with.
struct Http2<A> {
    app: Arc<A>,
    connection: Arc<Connection>,
    shutdown: ShutdownWatch,
    head_limits: HeadLimits,
    refuses_odd_names: bool,
    open: Open,
}

/// Streams that are being served.
#[derive(Default)]
struct Open {
    streams: AtomicUsize,
    none: Notify,
}

impl Open {
    fn begin(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self) {
        if self.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.none.notify_one();
        }
    }

    /// Waits until no stream has been open for so long.
    async fn idle(&self, timeout: Duration) {
        while self.streams.load(Ordering::Relaxed) != 0 {
            self.none.notified().await;
        }
        pingora_timeout::sleep(timeout).await;
    }
}

/// Ends a stream however its task ends.
struct Under<A>(Arc<Http2<A>>);

impl<A> Drop for Under<A> {
    fn drop(&mut self) {
        self.0.open.end();
    }
}

/// Serves one HTTP/2 connection to its end. On shutdown the client gets a GOAWAY and its streams finish.
pub async fn serve<S, A>(guard: Box<Guard<S>>, app: &Arc<A>, shutdown: &ShutdownWatch)
where
    S: IO + 'static,
    A: HttpServerApp + Send + Sync + 'static,
{
    let connection = guard.connection().clone();
    // One copy of h2's code for all kinds of streams.
    let stream: Stream = guard;
    match options(&connection.config.limits).handshake(stream).await {
        Ok(streams) => {
            let http2 = Arc::new(Http2::new(app.clone(), &connection, shutdown));
            http2.accept(streams).await;
        }
        Err(error) => log::debug!("listener {}: HTTP/2: {error}", connection.config.name),
    }
    if !connection.has_parted() && !*shutdown.borrow() {
        let metrics = &connection.listener.metrics;
        metrics.slow_closed.inc(SlowPhase::Idle);
    }
}

fn options(limits: &ListenerLimits) -> h2::server::Builder {
    let mut options = h2::server::Builder::new();
    options
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(header_list(limits))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    options
}

/// Room for every head within our own limits, which are by far clearer to the client: h2 adds 32 bytes for each field (RFC 9113
/// 6.5.2), and answers what is over this without a word.
fn header_list(limits: &ListenerLimits) -> u32 {
    let fields = limits.max_headers.saturating_add(PSEUDO_FIELDS);
    let list = limits.max_header_bytes.saturating_add(fields * 32);
    u32::try_from(list).unwrap_or(u32::MAX)
}

impl<A> Http2<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    fn new(app: Arc<A>, connection: &Arc<Connection>, shutdown: &ShutdownWatch) -> Http2<A> {
        let limits = &connection.config.limits;
        Http2 {
            app,
            connection: connection.clone(),
            shutdown: shutdown.clone(),
            head_limits: HeadLimits {
                max_header_bytes: limits.max_header_bytes,
                max_headers: limits.max_headers,
                max_uri_bytes: limits.max_uri_bytes,
            },
            refuses_odd_names: connection.refuses_odd_names(),
            open: Open::default(),
        }
    }

    /// Takes streams until the connection ends, which accepting drives. One that is idle for too long is closed without waiting
    /// for a client that may be gone.
    async fn accept(self: Arc<Self>, mut streams: h2::server::Connection<Stream, Bytes>) {
        let timeout = self.connection.config.limits.idle_timeout;
        let mut shutdown = self.shutdown.clone();
        let mut stopping = false;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = shutdown.changed(), if !stopping => {
                    streams.graceful_shutdown();
                    stopping = true;
                    continue;
                }
                accepted = streams.accept() => accepted,
                () = self.open.idle(timeout), if !stopping => return,
            };
            // Most clients just leave: an error is no news.
            let Some(Ok((request, respond))) = accepted else {
                return;
            };
            self.open.begin();
            let stream = Under(self.clone());
            tokio::spawn(async move { stream.0.stream(request, respond).await });
        }
    }

    /// Serves one stream.
    async fn stream(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let session = Session::new(self.connection.clone(), request, respond);
        let session = ServerSession::new_custom(Box::new(session));
        if let Err(refusal) = self.check(session.req_header()) {
            let answered = refuse::answer_stream(&self.connection, session, refusal);
            return Box::pin(answered).await;
        }
        let request = self.app.process_new_http(session, &self.shutdown);
        let request = deadline::bound(request, GRACE, || {
            log::warn!("a stream was reset: its total time was over before its response head");
            false
        });
        self.connection.scope(request).await;
    }

    /// The same strict reading as over HTTP/1.
    fn check(&self, request: &RequestHeader) -> Result<(), Refusal> {
        let seen = head::check_http2(request, &self.head_limits)?;
        if seen.odd_names && self.refuses_odd_names {
            return Err(Refusal::NameUnderscore);
        }
        if seen.unusual {
            self.connection.mark_unusual();
        }
        Ok(())
    }
}
