//! HTTP/2 connections: Pingora drives h2, we set its bounds and hand every stream to the proxy.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::protocols::{IO, Stream};
use pingora_core::server::ShutdownWatch;

use super::connection::Connection;
use super::deadline;
use super::guard::Guard;
use crate::observe::metrics::SlowPhase;

/// Receive windows, in bytes: h2's default of 64 KiB holds uploads to 64 KiB a round trip.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

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
    header_bytes: u32,
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
            header_bytes: u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX),
        }
    }
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
            .max_header_list_size(self.header_bytes)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER);
        Some(options)
    }
}
