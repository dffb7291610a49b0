//! What became of one attempt, and of a request that no backend answered: the one table from errors to status, log
//! flag and health evidence.

use pingora_core::{Error, ErrorSource, ErrorType};

use crate::observe::metrics::{Label, UpstreamOutcome};
use crate::pool::Refused;

/// The end of one attempt. A pool decides by its settings which statuses are failures of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response head came with this status. gRPC statuses are mapped to the nearest HTTP one before.
    Status(u16),
    /// No connection, TLS handshake included. `refused`: the kernel there said that nobody listens.
    ConnectError {
        /// `ECONNREFUSED`, or the socket file is missing.
        refused: bool,
    },
    /// No response head, or no further byte of it, within the time allowed.
    Timeout,
    /// The connection or the stream was cut by the backend.
    Reset,
    /// What came was not HTTP.
    Garbage,
    /// The client went away, sent what cannot be forwarded, or was too slow: says nothing about the backend.
    Aborted,
}

impl Outcome {
    /// As in the log and in `tidegate_upstream_requests_total`.
    pub fn as_str(self) -> &'static str {
        UpstreamOutcome::from(self).name()
    }
}

/// Why a response is Tidegate's own, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Sent to the client; 499 is only logged: the client is gone.
    pub status: u16,
    /// For the log, in the letters that Envoy's `%RESPONSE_FLAGS%` uses.
    pub flag: &'static str,
    /// For the log.
    pub reason: &'static str,
}

const fn failure(status: u16, flag: &'static str, reason: &'static str) -> Failure {
    Failure {
        status,
        flag,
        reason,
    }
}

/// No route matches.
pub const NO_ROUTE: Failure = failure(404, "NR", "no_route");
/// The path is none that a server should take: it leads above the root, or holds control bytes or broken escapes.
pub const BAD_PATH: Failure = failure(400, "DPE", "bad_path");
/// Two servers may read the path in two ways.
pub const AMBIGUOUS_PATH: Failure = failure(400, "DPE", "ambiguous_path");
/// The host can't stand in a redirect.
pub const BAD_HOST: Failure = failure(400, "DPE", "bad_host");
/// The host is not one of those that the certificate of the connection is made out to (RFC 9110, section 15.5.20).
pub const MISDIRECTED: Failure = failure(421, "DPE", "misdirected");
/// The request has passed so many instances that it is taken for one that is led in a circle (RFC 5842, section 7.2).
pub const TOO_MANY_HOPS: Failure = failure(508, "", "too_many_hops");
/// TRACE, which the listener does not pass on.
pub const TRACE_REFUSED: Failure = failure(405, "DPE", "trace");
/// TRACE with a body (RFC 9110, section 9.3.8).
pub const TRACE_WITH_BODY: Failure = failure(400, "DPE", "trace_with_body");
/// `Max-Forwards` of TRACE or OPTIONS is no number (RFC 9110, section 7.6.2).
pub const BAD_MAX_FORWARDS: Failure = failure(400, "DPE", "bad_max_forwards");
/// The TLS handshake behind early data was not finished in time (RFC 8470, section 5.2).
pub const TOO_EARLY: Failure = failure(425, "DPE", "handshake_unfinished");
/// The body is larger than the route allows.
pub const BODY_TOO_LARGE: Failure = failure(413, "DPE", "body_too_large");
/// A connection without the PROXY header that its listener requires.
pub const HEALTH_PATH_ONLY: Failure = failure(400, "DPE", "proxy_header_missing");
/// A filter panicked or an invariant of ours did not hold.
pub const INTERNAL: Failure = failure(500, "", "internal_error");
/// The route is sheddable, and the instance is short of something. `OM` is Envoy's for its overload manager.
pub const SHED: Failure = failure(503, "OM", "overload");
/// There was no descriptor or no local port for a connection to a backend.
pub const NO_SOCKET: Failure = failure(503, "UF", "no_local_socket");
/// The client's request body came too slowly. `SI` is Envoy's for an idle stream.
pub const BODY_SLOW: Failure = failure(408, "SI", "request_body_slow");
/// The request's total time is over, and the client has not sent the whole of it.
pub const BODY_UNFINISHED: Failure = failure(408, "UT", "request_unfinished");
/// The client took the response too slowly.
pub const RESPONSE_SLOW: Failure = failure(499, "SI", "response_slow");
/// The request's total time is over.
pub const TOTAL_TIMEOUT: Failure = failure(504, "UT", "total_timeout");

/// The pool's queue is full.
pub const QUEUE_FULL: Failure = failure(503, "UO", "queue_full");
/// No place came free in time.
pub const QUEUE_TIMEOUT: Failure = failure(503, "UO", "queue_timeout");

/// `strict`: the client's own backend is not to be had.
pub const STICKY_STRICT: Failure = failure(503, "UH", "sticky_backend_unavailable");

/// A filter answered in the middle of a request.
pub const fn by_filter(status: u16) -> Failure {
    failure(status, "", "filter")
}

/// The request's body breaks the rules of chunks.
pub const fn bad_body(status: u16, reason: &'static str) -> Failure {
    failure(status, "DPE", reason)
}

/// No backend can be picked.
pub fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::NoBackends => failure(503, "UH", "no_backends"),
        Refused::NotFound => failure(503, "UH", "backends_not_found_yet"),
        Refused::AllDown => failure(503, "UH", "no_healthy_backend"),
        Refused::Overloaded { .. } => failure(503, "UO", "in_flight_limit"),
    }
}

/// What an attempt's error says of the backend.
pub fn of_attempt(error: &Error, connecting: bool) -> Outcome {
    use ErrorType as E;
    if *error.esource() == ErrorSource::Downstream {
        return Outcome::Aborted;
    }
    match error.etype() {
        E::ConnectRefused => Outcome::ConnectError { refused: true },
        _ if connecting && is_local(error) => Outcome::Aborted,
        _ if connecting => Outcome::ConnectError { refused: false },
        E::HTTPStatus(status) => Outcome::Status(*status),
        E::ReadTimedout | E::WriteTimedout => Outcome::Timeout,
        E::InvalidHTTPHeader | E::InvalidH2 | E::H2Downgrade => Outcome::Garbage,
        _ if *error.esource() == ErrorSource::Upstream => Outcome::Reset,
        _ => Outcome::Aborted,
    }
}

/// Whether connecting failed on this side: no descriptor, no local port. Says nothing about the backend.
pub fn is_local(error: &Error) -> bool {
    matches!(
        error.etype(),
        ErrorType::InternalError | ErrorType::SocketError | ErrorType::BindError
    )
}

/// The request ended because the client kept us waiting: over HTTP/2 its stream was reset for that, with a code that no
/// client sends.
pub fn of_slow_stream(error: &Error) -> Option<Failure> {
    let cause = error.root_cause().downcast_ref::<h2::Error>()?;
    // h2 says so itself, too, of connections that it ends.
    if cause.is_library() || cause.reason() != Some(h2::Reason::ENHANCE_YOUR_CALM) {
        return None;
    }
    Some(match error.etype() {
        ErrorType::ReadError => BODY_SLOW,
        _ => RESPONSE_SLOW,
    })
}

/// The response to a client whose request ended with this error.
pub fn of_request(error: &Error) -> Failure {
    use ErrorType as E;
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, E::ReadTimedout | E::WriteTimedout) => {
            failure(408, "DPE", "client_timeout")
        }
        (ErrorSource::Downstream, E::ReadError | E::WriteError | E::ConnectionClosed) => {
            failure(499, "DC", "client_gone")
        }
        (ErrorSource::Downstream, E::H2Error | E::ConnectError) => {
            failure(499, "DC", "client_gone")
        }
        (ErrorSource::Downstream, _) => failure(400, "DPE", "bad_request"),
        (_, E::HTTPStatus(status)) => failure(*status, "", "refused"),
        (_, E::ConnectTimedout | E::TLSHandshakeTimedout) => failure(504, "UF", "connect_timeout"),
        (_, E::ConnectRefused) => failure(502, "UF", "connect_refused"),
        (_, E::ConnectNoRoute | E::ConnectError | E::BindError | E::SocketError) => {
            failure(502, "UF", "connect_error")
        }
        (_, E::TLSHandshakeFailure | E::InvalidCert | E::TLSWantX509Lookup) => {
            failure(502, "UF", "tls_error")
        }
        (_, E::ReadTimedout | E::WriteTimedout) => failure(504, "UT", "response_timeout"),
        (_, E::InvalidHTTPHeader | E::InvalidH2 | E::H2Downgrade) => {
            failure(502, "UPE", "bad_response")
        }
        (ErrorSource::Upstream, _) => failure(502, "UC", "connection_closed"),
        _ => INTERNAL,
    }
}

impl From<Outcome> for UpstreamOutcome {
    fn from(outcome: Outcome) -> UpstreamOutcome {
        match outcome {
            Outcome::Status(status) if status >= 500 => UpstreamOutcome::ServerError,
            Outcome::Status(_) => UpstreamOutcome::Ok,
            Outcome::ConnectError { .. } => UpstreamOutcome::ConnectError,
            Outcome::Timeout => UpstreamOutcome::Timeout,
            Outcome::Reset => UpstreamOutcome::Reset,
            Outcome::Garbage => UpstreamOutcome::Garbage,
            Outcome::Aborted => UpstreamOutcome::Aborted,
        }
    }
}
