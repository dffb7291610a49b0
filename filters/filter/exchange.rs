//! One request and what is known of it: all that a filter sees.

use std::any::Any;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http::header::{COOKIE, HOST, HeaderName};
use http::uri::{PathAndQuery, Uri};

use super::{Attributes, RequestHead};
use crate::path::{self, Path, PathError, PathMode};

/// Facts about the client's TLS session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// As OpenSSL writes it: `TLSv1.3`.
    pub version: Cow<'static, str>,
    /// The IANA name of the cipher suite.
    pub cipher: Cow<'static, str>,
    /// The server name the client asked for (RFC 6066 section 3).
    pub sni: Option<String>,
    /// The protocol agreed on (RFC 7301).
    pub alpn: Option<String>,
    /// The session was resumed.
    pub resumed: bool,
    /// The request came as early data (RFC 8470): it may be a replay.
    pub early_data: bool,
    /// Hex SHA-256 of the client's certificate, when it showed a verified one.
    pub client_certificate: Option<String>,
}

/// What the core knows of a request when its filters begin.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The client, behind PROXY protocol and trusted proxies. `None` is a client that nobody knows: a trusted proxy named it
    /// in a way that can't be read.
    pub client: Option<IpAddr>,
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// `None` on a plain listener.
    pub tls: Option<Arc<TlsFacts>>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// How the listener reads paths.
    pub paths: PathMode,
    /// The route's name.
    pub route: Arc<str>,
    /// When the head was complete.
    pub started: Instant,
    /// The same moment by the wall clock.
    pub time: SystemTime,
}

/// One request on its way through the filters, from the head to the log.
pub struct Exchange {
    /// The head, as the filters before have left it. Changes reach the backend. Compare and match paths by
    /// [`path`](Exchange::path), not by the `uri` here: one place has many spellings.
    pub request: RequestHead,
    /// Shared down the chain and with the access log.
    pub attributes: Attributes,
    facts: Facts,
    attempt: u32,
    reason: Option<Cow<'static, str>>,
    broken_off: bool,
    states: Vec<(u16, Box<dyn Any + Send + Sync>)>,
    /// Whose turn it is: the place in the chain.
    place: u16,
}

/// The pool a request goes to, before a backend is picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolChoice {
    /// The pool's name. One that is set here must be among the filter's [`pools`](super::Filter::pools).
    pub pool: Arc<str>,
    /// Instead of the key that the pool's policy would hash. At most 256 bytes count.
    pub hash_key: Option<Bytes>,
}

/// How an exchange ended.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// What the client was sent; `None` when it left before.
    pub status: Option<StatusCode>,
    /// From the head to the last byte.
    pub duration: Duration,
    /// Request body bytes received.
    pub bytes_in: u64,
    /// Response body bytes sent.
    pub bytes_out: u64,
    /// The pool that served it.
    pub pool: Option<Arc<str>>,
    /// The backend that served it.
    pub backend: Option<Arc<str>>,
}

impl Exchange {
    /// For the core, once per request that has filters. Filters get theirs from the chain or the test kit.
    #[must_use]
    pub fn new(request: RequestHead, facts: Facts) -> Exchange {
        Exchange {
            request,
            attributes: Attributes::default(),
            facts,
            attempt: 0,
            reason: None,
            broken_off: false,
            states: Vec::new(),
            place: 0,
        }
    }

    /// The client's address, behind PROXY protocol and trusted proxies.
    ///
    /// `None` is a client that nobody knows: a trusted proxy named it in a way that can't be read. A filter that lets
    /// addresses in refuses it, one that keeps addresses out does too, and one that counts uses [`Key`](super::Key), which
    /// counts such clients apart. Never put [`peer`](Exchange::peer) in its place: that is the trusted proxy.
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.facts.client
    }

    /// The other end of the socket.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.facts.peer
    }

    /// `http` or `https`, as the client sees it.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.facts.scheme
    }

    /// `None` on a plain listener.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.facts.tls.as_deref()
    }

    /// The listener's name.
    #[must_use]
    pub fn listener(&self) -> &str {
        &self.facts.listener
    }

    /// The route's name.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.facts.route
    }

    /// When the head was complete: the clock that filters count by.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.facts.started
    }

    /// When the head was complete, by the wall clock.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        self.facts.time
    }

    /// 0 on the first attempt, one more with each retry. Body hooks begin anew when it changes.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// For the core, before each attempt.
    pub fn set_attempt(&mut self, attempt: u32) {
        self.attempt = attempt;
    }

    /// Why a filter refused the request: for the access log, never for the client. The first reason stays.
    pub fn set_reason(&mut self, reason: impl Into<Cow<'static, str>>) {
        self.reason.get_or_insert_with(|| reason.into());
    }

    /// See [`set_reason`](Exchange::set_reason).
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// From a body hook that can't go on: the client sees the response body broken off, never a whole one.
    pub fn break_off(&mut self) {
        self.broken_off = true;
    }

    /// For the chain, after each piece of a response body.
    pub(crate) fn is_broken_off(&self) -> bool {
        self.broken_off
    }

    /// Host of the target or of the `Host` header, without the port, as it was written.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        let authority = match self.request.uri.authority() {
            Some(authority) => authority.as_str(),
            None => self.header(&HOST)?,
        };
        match authority.rfind(':') {
            Some(colon) if !authority[colon..].contains(']') => Some(&authority[..colon]),
            _ => Some(authority),
        }
    }

    /// The first value of a request header, if it is visible ASCII.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.request.headers.get(name)?.to_str().ok()
    }

    /// The first cookie of that name (RFC 6265 section 5.4), as it was sent.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.request.headers.get_all(COOKIE).into_iter();
        let mut pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'));
        pairs.find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key.trim() == name).then(|| value.trim())
        })
    }

    /// The first query parameter of that name, decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let query = self.request.uri.query()?;
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The path in its normal form, which routes are matched against: unreserved characters decoded, empty and dot segments
    /// resolved. `/admin`, `//admin`, `/%61dmin` and `/x/../admin` are all `/admin` here. It follows what filters write.
    #[must_use]
    pub fn path(&self) -> Cow<'_, str> {
        match self.read_path() {
            Ok(path) => path.into_normal(),
            // A filter wrote it past `set_path_and_query`; the request is refused when the chain is through.
            Err(_) => Cow::Borrowed(self.request.uri.path()),
        }
    }

    /// The path as it is forwarded and as it is matched.
    pub fn read_path(&self) -> Result<Path<'_>, PathError> {
        Path::parse(self.request.uri.path(), self.facts.paths)
    }

    /// Puts another path (and query, after a `?`) in place of the old one. The path is held to the same reading as a
    /// client's, with `.` and `..` resolved and one `/` at its beginning. `false`: it is not a valid target or may be read in
    /// two ways, and nothing has changed; refuse the request then.
    pub fn set_path_and_query(&mut self, target: &str) -> bool {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let Ok(path) = path::written(path, self.facts.paths) else {
            return false;
        };
        let target = match query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let mut parts = self.request.uri.clone().into_parts();
        let Ok(target) = PathAndQuery::try_from(target) else {
            return false;
        };
        parts.path_and_query = Some(target);
        let uri = Uri::from_parts(parts);
        uri.map(|uri| self.request.uri = uri).is_ok()
    }

    /// What this filter, in this place of the chain, keeps for this request.
    pub fn state<T: Any + Send + Sync>(&mut self) -> Option<&mut T> {
        let place = self.place;
        let mut states = self.states.iter_mut();
        states.find_map(|(p, state)| (*p == place).then(|| state.downcast_mut())?)
    }

    /// Keeps something for this filter's later hooks; dropped when the exchange ends, however it ends.
    pub fn set_state<T: Any + Send + Sync>(&mut self, state: T) {
        drop(self.take_state::<T>());
        self.states.push((self.place, Box::new(state)));
    }

    /// Takes back what [`set_state`](Exchange::set_state) kept.
    pub fn take_state<T: Any + Send + Sync>(&mut self) -> Option<T> {
        let place = self.place;
        let mut states = self.states.iter();
        let at = states.position(|(p, state)| *p == place && state.is::<T>())?;
        let (_, state) = self.states.swap_remove(at);
        state.downcast().ok().map(|state| *state)
    }

    /// For the chain, before each hook.
    pub(crate) fn enter(&mut self, place: u16) {
        self.place = place;
    }
}
