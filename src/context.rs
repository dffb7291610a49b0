//! The facts of one request, gathered on its way and read by the log at its end.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use pingora_http::RequestHeader;
use smallvec::SmallVec;
use tidegate_filters::Exchange;
use tidegate_filters::filter::Response;

use crate::forwarded::Origin;
use crate::listener::Connection;
use crate::outcome::{Failure, Outcome};
use crate::pool::{Picked, RetryPermit};
use crate::snapshot::{PoolHandle, Route, Snapshot};
use crate::sticky::Decision;

/// Pingora's `CTX`: one per request.
pub struct Context {
    pub started: Instant,
    pub started_at: SystemTime,
    pub connection: Option<Arc<Connection>>,
    pub snapshot: Option<Arc<Snapshot>>,
    pub origin: Option<Origin>,
    pub request_id: HeaderValue,
    pub route: Option<Arc<Route>>,
    pub pool: Option<Arc<PoolHandle>>,
    /// The path and query to ask the backend for, where the route rewrites it.
    pub rewritten: Option<String>,
    /// What the pool's policy hashes.
    pub hash: Option<u64>,
    /// What the client's sticky session is worth; made with the first pick.
    pub sticky: Option<Decision>,
    /// Only where the route has filters.
    pub exchange: Option<Box<Exchange>>,
    /// The head as the client sent it, for the log, where filters have changed it.
    pub asked: Option<Box<RequestHeader>>,
    /// What a filter answers to a request whose body is under way; sent when the attempt is given up.
    pub answer: Option<Response>,
    /// The attempt under way.
    pub attempt: Option<Attempt>,
    /// The attempts that ended.
    pub ended: SmallVec<[Ended; 2]>,
    pub retry: Option<RetryPermit>,
    /// Why the response is not a backend's.
    pub failure: Option<Failure>,
    pub upgrade: bool,
    /// It came before the TLS handshake was done, and its route lets it go on.
    pub early_data: bool,
    /// The attempt under way says so to the backend.
    pub sent_early: bool,
    pub body_seen: u64,
    /// The request body has come to its end.
    pub body_over: bool,
    /// More of the body was read than is kept: it can't be sent again.
    pub body_lost: bool,
    /// Idle connections that were closed as this request took them.
    pub stale: u8,
    /// Bytes of the response's body that the session did not count.
    pub sent: u64,
    pub first_byte: Option<Duration>,
    pub connect: Option<Duration>,
    /// How long it waited for a place in the pool's queue.
    pub queued: Option<Duration>,
}

/// One try at one backend.
pub struct Attempt {
    pub picked: Picked,
    pub started: Instant,
    /// When the backend was connected to.
    pub connected: Option<Instant>,
    /// A response head came.
    pub answered: bool,
}

/// How a try ended, for the log and for the next pick.
pub struct Ended {
    pub backend: Arc<crate::pool::Backend>,
    pub outcome: Outcome,
    pub duration: Duration,
}

impl Default for Context {
    fn default() -> Context {
        Context {
            started: Instant::now(),
            started_at: SystemTime::now(),
            connection: None,
            snapshot: None,
            origin: None,
            request_id: HeaderValue::from_static("-"),
            route: None,
            pool: None,
            rewritten: None,
            hash: None,
            sticky: None,
            exchange: None,
            asked: None,
            answer: None,
            attempt: None,
            ended: SmallVec::new(),
            retry: None,
            failure: None,
            upgrade: false,
            early_data: false,
            sent_early: false,
            body_seen: 0,
            body_over: false,
            body_lost: false,
            stale: 0,
            sent: 0,
            first_byte: None,
            connect: None,
            queued: None,
        }
    }
}

impl Context {
    /// Keys of the backends that were tried.
    pub fn tried(&self) -> SmallVec<[u64; 4]> {
        self.ended.iter().map(|ended| ended.backend.key()).collect()
    }
}
