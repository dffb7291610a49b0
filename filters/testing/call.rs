//! What goes in and what comes out of a test.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Request, StatusCode};

use crate::filter::{Exchange, Facts, RequestHead, Response, ResponseHead, TlsFacts};
use crate::path::PathMode;

/// The moment at which all tests begin.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The same by the wall clock: 2026-01-01T00:00:00Z.
const START_SECONDS: u64 = 1_767_225_600;

/// A request, and the answer the backend will give to it.
pub struct Call {
    head: RequestHead,
    facts: Facts,
    chunks: Vec<Bytes>,
    answer: Vec<Response>,
}

impl Call {
    /// A request from 192.0.2.1 at 2026-01-01T00:00:00Z, answered with `200 OK` and `hello`.
    ///
    /// # Panics
    /// On what is not a target.
    #[must_use]
    pub fn new(method: Method, target: &str) -> Call {
        let request = Request::builder().method(method).uri(target);
        let request = request.header("host", "example.com").body(());
        let client = IpAddr::from([192, 0, 2, 1]);
        Call {
            head: request.expect("a valid target").into_parts().0,
            facts: Facts {
                client: Some(client),
                peer: (client, 40000).into(),
                scheme: "http",
                tls: None,
                listener: "public".into(),
                paths: PathMode::Strict,
                route: "test".into(),
                started: *START,
                time: SystemTime::UNIX_EPOCH + Duration::from_secs(START_SECONDS),
            },
            chunks: Vec::new(),
            answer: vec![Response::new(StatusCode::OK).text("hello")],
        }
    }

    /// `GET`.
    #[must_use]
    pub fn get(target: &str) -> Call {
        Call::new(Method::GET, target)
    }

    /// `POST`, with a body in one chunk.
    #[must_use]
    pub fn post(target: &str, body: impl Into<Bytes>) -> Call {
        Call::new(Method::POST, target).chunk(body)
    }

    /// Adds a header; `host` replaces `example.com`.
    ///
    /// # Panics
    /// On what is not a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Call {
        let name: http::HeaderName = name.parse().expect("a header name");
        let value = http::HeaderValue::from_bytes(value.as_ref()).expect("a header value");
        if name == http::header::HOST {
            self.head.headers.insert(name, value);
        } else {
            self.head.headers.append(name, value);
        }
        self
    }

    /// Adds a piece of body.
    #[must_use]
    pub fn chunk(mut self, chunk: impl Into<Bytes>) -> Call {
        self.chunks.push(chunk.into());
        self
    }

    /// From this address.
    ///
    /// # Panics
    /// On what is not an address.
    #[must_use]
    pub fn client(mut self, address: &str) -> Call {
        self.facts.client = Some(address.parse().expect("an IP address"));
        self
    }

    /// From a client that nobody knows, by the trusted proxy 192.0.2.1.
    #[must_use]
    pub fn unknown_client(mut self) -> Call {
        self.facts.client = None;
        self
    }

    /// On this route.
    #[must_use]
    pub fn route(mut self, name: &str) -> Call {
        self.facts.route = name.into();
        self
    }

    /// Through a listener that reads paths like this; `strict` by default.
    #[must_use]
    pub fn paths(mut self, mode: PathMode) -> Call {
        self.facts.paths = mode;
        self
    }

    /// Over TLS.
    #[must_use]
    pub fn tls(mut self, facts: TlsFacts) -> Call {
        self.facts.scheme = "https";
        self.facts.tls = Some(Arc::new(facts));
        self
    }

    /// This much later than the first call.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Call {
        self.facts.started += time;
        self.facts.time += time;
        self
    }

    /// The backend answers this.
    #[must_use]
    pub fn answered(mut self, response: Response) -> Call {
        self.answer = vec![response];
        self
    }

    /// The backend's answer has one more piece of body.
    #[must_use]
    pub fn and_piece(mut self, body: impl Into<Bytes>) -> Call {
        let mut piece = Response::new(StatusCode::OK);
        piece.body = body.into();
        self.answer.push(piece);
        self
    }

    /// No backend can be reached: Tidegate itself answers 502.
    #[must_use]
    pub fn unanswered(mut self) -> Call {
        self.answer.clear();
        self
    }

    /// The exchange alone, for calling a hook by hand.
    #[must_use]
    pub fn exchange(self) -> Exchange {
        Exchange::new(self.head, self.facts)
    }

    pub(super) fn take(self) -> (RequestHead, Facts, Vec<Bytes>, Vec<Response>) {
        (self.head, self.facts, self.chunks, self.answer)
    }
}

/// What came of a call.
pub struct Seen {
    /// The response head that the client got.
    pub response: ResponseHead,
    /// The response body that the client got.
    pub body: Bytes,
    /// The exchange as the filters left it.
    pub exchange: Exchange,
    pub(super) backend: Option<BackendSaw>,
}

/// What the backend got.
#[derive(Debug)]
pub struct BackendSaw {
    /// The head, after all filters.
    pub head: RequestHead,
    /// All of the body.
    pub body: Bytes,
    /// The pool it belongs to; `web` unless a filter chose another.
    pub pool: String,
    /// The hash key, if a filter set one.
    pub hash_key: Option<Bytes>,
}

impl Seen {
    /// The status the client got.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status.as_u16()
    }

    /// A response header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        text(&self.response.headers, name)
    }

    /// The response body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text")
    }

    /// True when a backend got the request.
    #[must_use]
    pub fn reached_backend(&self) -> bool {
        self.backend.is_some()
    }

    /// What the backend got.
    ///
    /// # Panics
    /// When the request never came to one.
    #[must_use]
    pub fn backend(&self) -> &BackendSaw {
        let status = self.status();
        let saw = self.backend.as_ref();
        saw.unwrap_or_else(|| panic!("no backend saw the request: a filter answered {status}"))
    }

    /// An attribute as text.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.exchange.attributes.get(name).map(ToString::to_string)
    }

    /// Why a filter refused it.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.exchange.reason()
    }
}

impl BackendSaw {
    /// A request header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        text(&self.head.headers, name)
    }

    /// Path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        let target = self.head.uri.path_and_query();
        target.map_or("/", |target| target.as_str())
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
