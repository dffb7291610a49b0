//! HTTP/2 connections: Pingora drives h2, we set its bounds, read each head as strictly as one of HTTP/1, and hand the stream
//! to the proxy.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::protocols::{IO, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_http::RequestHeader;

use super::connection::Connection;
use super::guard::Guard;
use super::head::{self, HeadLimits, Refusal};
use super::{deadline, refuse};
use crate::config::model::ListenerLimits;
use crate::observe::metrics::SlowPhase;

/// Receive windows, in bytes: h2's default of 64 KiB holds uploads to 64 KiB a round trip.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// `:method`, `:scheme`, `:authority` and `:path`.
const PSEUDO_FIELDS: usize = 4;
/// What h2 holds of one response at most, in bytes, while its client takes none of it. By default it is 400 KiB.
const SEND_BUFFER: usize = 64 * 1024;

/// How long past its deadline a stream is let be: a backend that is silent is answered for with a clean 504 by then.
const GRACE: Duration = Duration::from_millis(250);

/// The proxy, with the HTTP/2 options of one connection's listener.
struct Http2<A> {
    app: Arc<A>,
    connection: Arc<Connection>,
    server: HttpServerOptions,
    streams: u32,
    /// What h2 takes of a head, by its own way of counting.
    header_list: u32,
    head_limits: HeadLimits,
    refuses_odd_names: bool,
}

/// Serves one HTTP/2 connection to its end. On shutdown the client gets a GOAWAY and its streams finish.
pub async fn serve<S, A>(guard: Box<Guard<S>>, app: &Arc<A>, shutdown: &ShutdownWatch)
where
    S: IO + 'static,
    A: HttpServerApp + Send + Sync + 'static,
{
    let connection = guard.connection().clone();
    let http2 = Arc::new(Http2::new(app.clone(), &connection));
    let stream: Stream = guard;
    http2.process_new(stream, shutdown).await;
    if !connection.has_parted() && !*shutdown.borrow() {
        let metrics = &connection.listener.metrics;
        metrics.slow_closed.inc(SlowPhase::Idle);
    }
}

impl<A> Http2<A> {
    fn new(app: Arc<A>, connection: &Arc<Connection>) -> Http2<A> {
        let limits = &connection.config.limits;
        let mut server = HttpServerOptions::default();
        server.h2c = true;
        server.h2_idle_timeout = Some(limits.idle_timeout);
        Http2 {
            app,
            connection: connection.clone(),
            server,
            streams: limits.max_concurrent_streams,
            header_list: header_list(limits),
            head_limits: HeadLimits {
                max_header_bytes: limits.max_header_bytes,
                max_headers: limits.max_headers,
                max_uri_bytes: limits.max_uri_bytes,
            },
            refuses_odd_names: connection.refuses_odd_names(),
        }
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

/// Room for every head within our own limits, which are by far clearer to the client: h2 adds 32 bytes for each field (RFC 9113
/// 6.5.2), and answers what is over this without a word.
fn header_list(limits: &ListenerLimits) -> u32 {
    let fields = limits.max_headers.saturating_add(PSEUDO_FIELDS);
    let list = limits.max_header_bytes.saturating_add(fields * 32);
    u32::try_from(list).unwrap_or(u32::MAX)
}

#[async_trait]
impl<A> HttpServerApp for Http2<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if let Err(refusal) = self.check(session.req_header()) {
            refuse::answer_stream(&self.connection, session, refusal).await;
            return None;
        }
        let request = self.app.process_new_http(session, shutdown);
        let request = deadline::bound(request, GRACE, || {
            log::warn!("a stream was reset: its total time was over before its response head");
            false
        });
        self.connection.scope(request).await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.server)
    }

    fn h2_options(&self) -> Option<H2Options> {
        // Pingora's bounds apply only where no own options are given: start from them.
        let mut options = default_h2_options();
        options
            .max_concurrent_streams(self.streams)
            .max_header_list_size(self.header_list)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER);
        Some(options)
    }
}
