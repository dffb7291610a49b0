//! The facts of one request, gathered on its way and read by the log at its end.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use pingora_http::RequestHeader;
use smallvec::SmallVec;
use tidegate_filters::Exchange;
use tidegate_filters::filter::Response;
use tidegate_filters::path::PathMode;

use crate::forwarded::Origin;
use crate::listener::{Connection, Streaming};
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
    /// How many instances of Tidegate it has passed before this one.
    pub hops: u32,
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
    /// The head as the client sent it, for the log, where its path is not forwarded like that or filters have changed it.
    pub asked: Option<Box<RequestHeader>>,
    /// What a filter answers to a request whose body is under way; sent when the attempt is given up.
    pub answer: Option<Response>,
    /// The attempt under way.
    pub attempt: Option<Attempt>,
    /// The attempts that ended.
    pub ended: SmallVec<[Ended; 2]>,
    pub retry: Option<RetryPermit>,
    /// The status of an answer that a gRPC client was given in another form.
    pub meant: Option<u16>,
    /// Why the response is not a backend's.
    pub failure: Option<Failure>,
    pub upgrade: bool,
    /// It came before the TLS handshake was done, and its route lets it go on.
    pub early_data: bool,
    /// The attempt under way says so to the backend.
    pub sent_early: bool,
    pub body_seen: u64,
    /// The whole request was read from the client, body included.
    pub body_over: bool,
    /// The body may take any time: its route or pool is for streams.
    pub streaming: Option<Streaming>,
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
    /// When the backend had the whole request; `None` while the client has not ended it.
    pub whole: Option<Instant>,
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
            hops: 0,
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
            meant: None,
            failure: None,
            upgrade: false,
            early_data: false,
            sent_early: false,
            body_seen: 0,
            body_over: false,
            streaming: None,
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
    /// How the listener that the request came in by reads paths.
    pub fn paths(&self) -> PathMode {
        let connection = self.connection.as_deref();
        connection.map_or(PathMode::Strict, |c| c.config.paths)
    }

    /// Keys of the backends that were tried.
    pub fn tried(&self) -> SmallVec<[u64; 4]> {
        self.ended.iter().map(|ended| ended.backend.key()).collect()
    }
}
