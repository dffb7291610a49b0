//! What is known of one client connection, for everything behind the listener.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::HeaderValue;

use super::addresses::Place;
use super::deadline;
use super::early_data::EarlyData;
use super::listening::Shared;
use super::seats::{Seat, Waits};
use super::tls::{ClientCertificate, Identity};
use crate::config::model::{Listener, UNREAD_RESPONSE, UnderscoresInHeaders};
use crate::observe::metrics::{KeyType, RejectReason, SlowPhase};

tokio::task_local! {
    /// Pingora has no place for it in a session that would not be made anew for each request.
    static CURRENT: Arc<Connection>;
}

const BODY_SLOW: u8 = 1;
const RESPONSE_SLOW: u8 = 2;

/// Facts of one connection. Filters, routing and logs read it; only the listener makes it.
#[derive(Debug)]
pub struct Connection {
    /// The listener that accepted it.
    pub listener: Arc<Shared>,
    /// The listener's configuration when it was accepted.
    pub config: Arc<Listener>,
    /// Who is at the other end of the socket; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The client: from the PROXY header where one was read, else `peer`.
    pub client: Option<SocketAddr>,
    /// The port that the client connected to, 0 on a Unix socket.
    pub local_port: u16,
    /// Set when the handshake is done.
    pub tls: Option<Box<TlsFacts>>,
    /// Came without the PROXY header that is required: only the health path is answered.
    pub health_only: bool,
    /// Its place among all connections of the listener, and among those of its address.
    seat: Seat,
    place: Option<Place>,
    labels: OnceLock<Labels>,
    upgraded: AtomicBool,
    cut: AtomicBool,
    /// A `Slow`.
    slow: AtomicU8,
    /// Requests under way whose body may take any time.
    streaming: AtomicU32,
    lagged: AtomicBool,
    parted: AtomicBool,
    closes: AtomicBool,
    unusual: AtomicBool,
    requests: AtomicU32,
    early: EarlyData,
}

/// One request of a connection whose body may take any time; see [`Connection::begin_streaming`].
#[derive(Debug)]
pub struct Streaming(Arc<Connection>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streaming.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is the same in every request's headers to backends; made with the first.
#[derive(Debug)]
pub struct Labels {
    pub client_ip: HeaderValue,
    pub port: HeaderValue,
}

/// What the TLS handshake agreed on.
#[derive(Debug)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's standard name.
    pub cipher: &'static str,
    /// The server name that the client asked for.
    pub server_name: Option<String>,
    /// The protocol agreed on (RFC 7301): `h2` or `http/1.1`.
    pub alpn: Option<&'static str>,
    /// A ticket was accepted: no full handshake.
    pub resumed: bool,
    /// The key that signed.
    pub key_type: KeyType,
    /// The client sent data before the handshake was done, and it was taken.
    pub early_data: bool,
    /// The certificates for the name that it asks for: what it may ask for on this connection.
    pub identity: Option<Arc<Identity>>,
    /// What the client showed of itself.
    pub client: Option<ClientCertificate>,
}

impl Connection {
    /// A connection before TLS.
    pub fn new(
        listener: Arc<Shared>,
        config: Arc<Listener>,
        peer: Option<SocketAddr>,
        local_port: u16,
        seat: Seat,
    ) -> Connection {
        Connection {
            listener,
            config,
            peer,
            client: peer,
            local_port,
            tls: None,
            health_only: false,
            seat,
            place: None,
            labels: OnceLock::new(),
            upgraded: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            slow: AtomicU8::new(0),
            streaming: AtomicU32::new(0),
            lagged: AtomicBool::new(false),
            parted: AtomicBool::new(false),
            closes: AtomicBool::new(false),
            unusual: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            early: EarlyData::default(),
        }
    }

    /// Takes a place among the connections of the client's address, now that it is known.
    pub(super) fn take_place(&mut self) -> Result<(), RejectReason> {
        // Who comes by a Unix socket has no address of its own.
        if let Some(client) = self.client {
            let limits = &self.config.limits.per_address;
            let addresses = &self.listener.addresses;
            self.place = addresses.admit(client.ip().to_canonical(), limits, Instant::now())?;
        }
        Ok(())
    }

    /// From now on it waits for this.
    pub(super) fn waits(&self, waits: Waits) {
        self.seat.waits(waits);
    }

    /// A further request head has begun and is not whole. False: too many of this address have.
    pub(super) fn begin_head(&self) -> bool {
        self.seat.waits(Waits::Unfinished);
        let limits = &self.config.limits.per_address;
        self.place.as_ref().is_none_or(|place| place.begin(limits))
    }

    /// The request head, or the preface of HTTP/2, is whole.
    pub(super) fn finish_head(&self) {
        self.seat.waits(Waits::Busy);
        if let Some(place) = &self.place {
            place.finished();
        }
    }

    /// The client's address. A Unix socket's peer is on this machine: it counts as 127.0.0.1, also for
    /// `trusted_proxies`.
    pub fn client_ip(&self) -> IpAddr {
        ip_of(self.client)
    }

    /// The address at the other end of the socket; see [`Connection::client_ip`].
    pub fn peer_ip(&self) -> IpAddr {
        ip_of(self.peer)
    }

    /// What headers to backends say of it.
    pub fn labels(&self) -> &Labels {
        self.labels.get_or_init(|| Labels {
            client_ip: header_value(&self.client_ip().to_string()),
            port: HeaderValue::from(self.local_port),
        })
    }

    /// Whether the TLS handshake is done; see [`EarlyData`].
    pub fn early_data(&self) -> &EarlyData {
        &self.early
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// From here on the stream belongs to another protocol: a 101 was sent.
    pub fn mark_upgraded(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    /// Whether a 101 was sent.
    pub fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Acquire)
    }

    /// The HTTP/1 request's total time is over: reading fails from now on, so that it ends.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Whether the HTTP/1 request ran out of its total time.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// The client kept us waiting for too long: counted, and remembered for the log.
    pub(super) fn slow(&self, phase: SlowPhase) {
        self.listener.metrics.slow_closed.inc(phase);
        let slow = match phase {
            SlowPhase::Body => BODY_SLOW,
            _ => RESPONSE_SLOW,
        };
        self.slow.store(slow, Ordering::Release);
        if phase == SlowPhase::Response {
            self.seat.reset();
        }
    }

    /// So many responses are kept waiting by the client now; how many of them are to be given up, as it, or its address,
    /// keeps too many, or memory is short.
    pub(super) fn keep_waiting(&self, responses: usize) -> usize {
        let limits = &self.config.limits;
        let bytes = responses as u64 * UNREAD_RESPONSE;
        let place = self.place.as_ref();
        let of_address = place.map_or(0, |place| place.keep_unread(bytes, &limits.per_address));
        let surplus = match self.listener.is_short_of_memory() {
            true => bytes,
            false => of_address.max(bytes.saturating_sub(limits.max_unread)),
        };
        usize::try_from(surplus.min(bytes).div_ceil(UNREAD_RESPONSE)).unwrap_or(responses)
    }

    /// Whether the socket is reset when it is closed: there is no word to say before it.
    pub(super) fn is_reset(&self) -> bool {
        self.ended_slow() == Some(SlowPhase::Response)
    }

    /// Whether the connection ends because the client's request body, or its reading, was too slow.
    pub fn ended_slow(&self) -> Option<SlowPhase> {
        match self.slow.load(Ordering::Acquire) {
            BODY_SLOW => Some(SlowPhase::Body),
            RESPONSE_SLOW => Some(SlowPhase::Response),
            _ => None,
        }
    }

    /// A request whose body may take any time is under way until the result is dropped.
    pub fn begin_streaming(self: &Arc<Self>) -> Streaming {
        self.streaming.fetch_add(1, Ordering::Relaxed);
        Streaming(self.clone())
    }

    /// Requests under way whose body may take any time.
    pub(super) fn streaming(&self) -> u32 {
        self.streaming.load(Ordering::Relaxed)
    }

    /// Whether the client kept a response waiting for so long that a backend may have given up sending it. Over HTTP/1 it
    /// is said of the request under way, over HTTP/2 of all that follow.
    pub(super) fn set_lagged(&self, lagged: bool) {
        self.lagged.store(lagged, Ordering::Relaxed);
    }

    /// See [`Connection::set_lagged`].
    pub fn has_lagged(&self) -> bool {
        self.lagged.load(Ordering::Relaxed)
    }

    /// The client ended the HTTP/2 connection, or was told that we do.
    pub(super) fn mark_parted(&self) {
        self.parted.store(true, Ordering::Release);
    }

    /// Whether either side said that the HTTP/2 connection ends: one that was merely idle is closed without a word.
    pub(super) fn has_parted(&self) -> bool {
        self.parted.load(Ordering::Acquire)
    }

    /// A head came in which something must be cleaned before routes and filters read it, so that those of connections on which
    /// none ever came need not be looked through.
    pub(super) fn mark_unusual(&self) {
        self.unusual.store(true, Ordering::Relaxed);
    }

    /// Whether there was such a head, now or before.
    pub fn has_unusual_heads(&self) -> bool {
        self.unusual.load(Ordering::Relaxed)
    }

    /// Whether field names with `_` and the like are refused.
    pub(super) fn refuses_odd_names(&self) -> bool {
        self.config.underscores_in_headers == UnderscoresInHeaders::Refuse
    }

    /// The HTTP/1 connection ends with the response that is to come.
    pub fn close(&self) {
        self.closes.store(true, Ordering::Relaxed);
    }

    /// Whether the HTTP/1 connection ends with the response under way.
    pub(super) fn closes(&self) -> bool {
        self.closes.load(Ordering::Relaxed)
    }

    /// Counts one more HTTP/1 request.
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether this HTTP/1 connection may carry no further request.
    pub fn is_last_request(&self) -> bool {
        self.requests.load(Ordering::Relaxed) >= self.config.limits.max_requests_per_connection
    }

    /// The connection whose requests this task serves; `None` in tasks of others than listeners.
    pub fn current() -> Option<Arc<Connection>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Makes it the current one of the task that runs `work`, with a timer.
    pub(super) fn scope<W: Future>(
        self: &Arc<Self>,
        work: W,
    ) -> impl Future<Output = W::Output> + use<W> {
        CURRENT.scope(self.clone(), deadline::scope(work))
    }
}

fn ip_of(address: Option<SocketAddr>) -> IpAddr {
    address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |a| a.ip().to_canonical())
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
}
