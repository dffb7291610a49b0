//! One listener at work: its accept loop, and the way of a connection up to the first byte of HTTP.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::tls::{ALPN, SslStream};
use pingora_core::protocols::{IO, Ssl, UniqueID};
use pingora_core::server::ShutdownWatch;
use pingora_http::RequestHeader;
use pingora_timeout::timeout;
use tokio::sync::watch;

use super::addresses::Addresses;
use super::admission::Admission;
use super::bind::{Accepted, Accepting, Bound};
use super::connection::Connection;
use super::gate::Gate;
use super::goodbye::Goodbye;
use super::guard::Guard;
use super::head::Refusal;
use super::open::{Open, OpenGuard};
use super::seats::{Seat, Seats};
use super::socket::Socket;
use super::tls::Tls;
use super::{http1, http2, proxy_header};
use crate::config::model::Listener;
use crate::observe::metrics::{
    CertificateExpiry, ConnectionState, HandshakeFailure, ListenerMetrics, RejectReason, SlowPhase,
    TlsVersion,
};

/// How long accepting pauses when the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// HTTP/1.0 is written the same way: which of the two it is may not be known when a request is refused.
const HTTP1: &str = "HTTP/1.1";
pub(super) const HTTP2: &str = "HTTP/2.0";

/// Told of requests that were refused before they were requests.
pub trait Refused: Send + Sync {
    /// `connection` sent something that was answered with `refusal` or cut off.
    fn refused(&self, connection: &Connection, refusal: Refusal, request: &RefusedRequest<'_>);
}

/// What is known of a request that was refused.
#[derive(Debug, Clone, Copy)]
pub struct RefusedRequest<'a> {
    /// As in the access log.
    pub protocol: &'static str,
    /// The head, where one was read.
    pub head: Option<&'a RequestHeader>,
    /// What was answered; `None` where there was a reset instead.
    pub status: Option<u16>,
}

/// What an accept loop and its connections share. Configuration and TLS are replaced under it on reload.
pub struct Shared {
    config: ArcSwap<Listener>,
    tls: ArcSwapOption<Tls>,
    /// `None` on a listener without filters.
    admission: ArcSwapOption<Admission>,
    /// Counters, resolved once.
    pub metrics: Arc<ListenerMetrics>,
    open: AtomicUsize,
    seats: Arc<Seats>,
    /// By client address.
    pub addresses: Arc<Addresses>,
    stopping: AtomicBool,
    stop: watch::Sender<bool>,
    pub(super) goodbye: Goodbye,
    refused: Arc<dyn Refused>,
    gate: Arc<Gate>,
}

impl Shared {
    /// A listener that does not accept yet.
    pub fn new(
        config: Listener,
        tls: Option<Tls>,
        metrics: Arc<ListenerMetrics>,
        refused: Arc<dyn Refused>,
        gate: Arc<Gate>,
    ) -> Arc<Shared> {
        show_certificates(&metrics, tls.as_ref());
        Arc::new(Shared {
            config: ArcSwap::from_pointee(config),
            tls: ArcSwapOption::from_pointee(tls),
            admission: ArcSwapOption::empty(),
            metrics,
            open: AtomicUsize::new(0),
            seats: Arc::default(),
            addresses: Arc::default(),
            stopping: AtomicBool::new(false),
            stop: watch::Sender::new(false),
            goodbye: Goodbye::default(),
            refused,
            gate,
        })
    }

    /// The configuration that new connections are served with.
    pub fn config(&self) -> Arc<Listener> {
        self.config.load_full()
    }

    /// New connections are served with this; the open ones keep what they have.
    pub fn reconfigure(&self, config: Listener, tls: Option<Tls>) {
        show_certificates(&self.metrics, tls.as_ref());
        self.config.store(Arc::new(config));
        self.tls.store(tls.map(Arc::new));
    }

    /// New connections are asked about here first; the open ones stay.
    pub fn ask_first(&self, admission: Option<Admission>) {
        self.admission.store(admission.map(Arc::new));
    }

    /// Whether new connections begin with a TLS handshake.
    pub fn has_tls(&self) -> bool {
        self.tls.load().is_some()
    }

    /// When its certificates end.
    pub fn certificates(&self) -> Vec<CertificateExpiry> {
        let tls = self.tls.load();
        tls.as_ref()
            .map_or_else(Vec::new, |tls| tls.certificates.expiries.clone())
    }

    /// Counts a refused request of HTTP/1 and passes it on.
    pub fn refuse(&self, connection: &Connection, refusal: Refusal) {
        let request = RefusedRequest {
            protocol: HTTP1,
            head: None,
            status: Some(refusal.status()),
        };
        self.refuse_request(connection, refusal, &request);
    }

    /// The same of any request.
    pub fn refuse_request(
        &self,
        connection: &Connection,
        refusal: Refusal,
        request: &RefusedRequest<'_>,
    ) {
        self.metrics.refused.inc(refusal);
        self.refused.refused(connection, refusal, request);
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Ends the accept loop; connections finish the requests that they carry and close.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.send_replace(true);
        self.goodbye.to_all();
    }

    /// Whether memory is so short that responses are given up whose clients don't take them.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.gate.is_short_of_memory()
    }

    /// Whether connections should say goodbye with their next response.
    pub fn says_goodbye(&self) -> bool {
        self.stopping.load(Ordering::Acquire) || self.gate.cuts_keep_alive()
    }
}

fn show_certificates(metrics: &ListenerMetrics, tls: Option<&Tls>) {
    let expiries = tls.map_or_else(Vec::new, |tls| tls.certificates.expiries.clone());
    metrics.set_certificates(expiries);
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.config.load().name)
    }
}

/// Accepts until the listener is stopped. The socket is closed when this returns.
pub async fn accept_loop<A>(bound: Bound, shared: Arc<Shared>, app: Arc<A>, open: Arc<Open>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut stop = shared.stop.subscribe();
    let accepting = match bound.accepting() {
        Ok(accepting) => accepting,
        Err(error) => return log::error!("listener {}: {error}", shared.config().name),
    };
    // Connections inherit the options of the socket that they are accepted from.
    let mut config = shared.config();
    accepting.tune(&config.limits);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = next(&accepting, &shared.gate) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                if !Arc::ptr_eq(&config, &shared.config.load()) {
                    config = shared.config();
                    accepting.tune(&config.limits);
                    accepted.tune(&config.limits);
                }
                let last = shared.gate.accepted(&accepted.kernel);
                admit(accepted, &shared, &app, &open);
                if last {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            Err(error) if is_of_client(&error) || shared.gate.lends() => {}
            Err(error) => {
                log::error!(
                    "listener {}: accept failed: {error}; pausing for {ACCEPT_PAUSE:?}",
                    shared.config.load().name
                );
                shared.metrics.rejected.inc(RejectReason::AcceptError);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn next(accepting: &Accepting, gate: &Gate) -> io::Result<Accepted> {
    gate.open().await;
    accepting.accept().await
}

/// The client went away between its handshake and our accept.
fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn admit<A>(accepted: Accepted, shared: &Arc<Shared>, app: &Arc<A>, open: &Arc<Open>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let config = shared.config();
    let (seats, open_now) = (&shared.seats, shared.open_connections());
    if let Err(reason) = seats.make_room(open_now, &config.limits, &shared.metrics) {
        shared.metrics.rejected.inc(reason);
        return;
    }
    let seat = seats.take();
    let seat_task = seat.task();
    shared.open.fetch_add(1, Ordering::Relaxed);
    shared.metrics.accepted.inc();
    shared
        .metrics
        .connections
        .cell(ConnectionState::Active)
        .inc();
    let served = Served {
        shared: shared.clone(),
        _open: open.enter(),
    };
    let app = app.clone();
    let shutdown = shared.goodbye.subscribe();
    let task = tokio::spawn(async move {
        // What opening needs would be kept for as long as the connection lives.
        let opened = Box::pin(open_up(accepted, config, seat, &served.shared));
        match opened.await {
            Some(Opened::Plain(guard)) => serve(guard, &app, &shutdown).await,
            Some(Opened::Tls(guard)) => serve(guard, &app, &shutdown).await,
            None => {}
        }
        drop(served);
    });
    seat_task.is(task.abort_handle());
}

/// Counts a connection for as long as it lives, however it ends.
struct Served {
    shared: Arc<Shared>,
    _open: OpenGuard,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        self.shared
            .metrics
            .connections
            .cell(ConnectionState::Active)
            .dec();
    }
}

/// A connection that may speak HTTP.
enum Opened {
    Plain(Box<Guard<Socket>>),
    Tls(Box<Guard<SslStream<Socket>>>),
}

/// A connection's way to HTTP: PROXY header, filters, TLS. `None` when it ends before.
async fn open_up(
    accepted: Accepted,
    config: Arc<Listener>,
    seat: Seat,
    shared: &Arc<Shared>,
) -> Option<Opened> {
    let (peer, local_port) = (accepted.peer, accepted.local_port);
    let mut socket = Socket::new(accepted.kernel, seat.closing());
    let mut connection = Connection::new(shared.clone(), config, peer, local_port, seat);
    if let Err(reason) = let_in(&mut socket, &mut connection).await {
        shared.metrics.rejected.inc(reason);
        return None;
    }
    let Some(tls) = shared.tls.load_full() else {
        let guard = Guard::new(socket, Arc::new(connection));
        return Some(Opened::Plain(Box::new(guard)));
    };
    let stream = handshake(&tls, socket, &mut connection).await?;
    let guard = Box::new(Guard::new(stream, Arc::new(connection)));
    log::trace!("connection {}: TLS done", guard.id());
    Some(Opened::Tls(guard))
}

/// Whether a connection is wanted at all.
async fn let_in(socket: &mut Socket, connection: &mut Connection) -> Result<(), RejectReason> {
    proxy_header::read(socket, connection).await?;
    connection.take_place()?;
    match connection.listener.admission.load_full() {
        Some(admission) => admission.ask(connection).await,
        None => Ok(()),
    }
}

/// HTTP to the connection's end.
async fn serve<S, A>(mut guard: Box<Guard<S>>, app: &Arc<A>, shutdown: &ShutdownWatch)
where
    S: IO + 'static,
    A: HttpServerApp + Send + Sync + 'static,
{
    if guard.selected_alpn_proto() == Some(ALPN::H2) {
        guard.begin_http2(Default::default());
        return Box::pin(http2::serve(guard, app, shutdown)).await;
    }
    let connection = guard.connection().clone();
    connection.scope(http1::serve(guard, app, shutdown)).await;
}

/// The TLS handshake; `None` when the connection ends with it.
async fn handshake(
    tls: &Tls,
    mut socket: Socket,
    connection: &mut Connection,
) -> Option<SslStream<Socket>> {
    let limits = &connection.config.limits;
    let metrics = connection.listener.metrics.clone();
    socket.read_ahead();
    let accepted = tls.accept(socket, limits.max_queued_handshakes);
    let (stream, facts) = match timeout(limits.tls_handshake_timeout, accepted).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => {
            log::debug!("listener {}: {error}", connection.config.name);
            metrics.handshake_failures.inc(error.reason());
            return None;
        }
        Err(_) => {
            metrics.slow_closed.inc(SlowPhase::Tls);
            metrics.handshake_failures.inc(HandshakeFailure::Timeout);
            return None;
        }
    };
    let version = match facts.version {
        "TLSv1.3" => TlsVersion::Tls13,
        _ => TlsVersion::Tls12,
    };
    metrics.handshake(version, facts.key_type, facts.resumed, facts.early_data);
    if facts.early_data {
        connection.early_data().begin();
    }
    connection.tls = Some(Box::new(facts));
    Some(stream)
}
