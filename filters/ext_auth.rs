//! Asks a service over HTTP whether a request may pass.
//! ```yaml
//! - ext_auth:
//!     url: http://auth.internal:9000/check
//!     timeout: 500ms
//!     send_headers: [authorization, cookie]
//!     take_headers: [x-user, x-roles]
//! ```
//! The service gets a GET with `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For`, without the body. `-Uri` is what
//! goes on to the backend, but for a `rewrite` of the route or of a later filter: in no mode of `paths` but `as_is` does it
//! hold what the two could read differently. `-For` is the client's address, or `unknown` where a trusted proxy named it in a
//! way that can't be read. 2xx lets
//! the request pass; 3xx and 4xx go to the client with their fields and body, but for what belongs to the connection. No
//! answer, 304 or 5xx is `on_failure`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER, SET_COOKIE,
};
use http::{Request, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::filter::units::{Header, Span};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, ResponseHead, Verdict};
use crate::hops;
use crate::outbound::{self, Outbound};

/// Asks a service over HTTP whether a request may pass.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to ask; https too where Tidegate is built with it, as it is.
    pub url: String,
    /// For the whole answer, 1ms to 1m. Default: 1s.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Request headers that the service gets, beside the `x-forwarded-*` that tell it what is asked for. Default:
    /// authorization, cookie. A request with two `authorization` lines is refused, as the service might read another one
    /// than the backend.
    #[serde(default = "send_headers")]
    pub send_headers: Vec<Header>,
    /// Headers of its answer that the backend gets; what the client sent there is dropped.
    #[serde(default)]
    pub take_headers: Vec<Header>,
    /// Headers of an answer that lets pass which the client gets with its response, such as `set-cookie` of a service that
    /// renews sessions. A response that gets a cookie so is not for shared caches: it is made `private`. Default: none.
    #[serde(default)]
    pub client_headers: Vec<Header>,
    /// What happens when the service does not answer: `closed` refuses with 503, `open` lets pass. Default: closed.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Questions at a time; one more counts as no answer. Default: 256.
    #[serde(default = "max_in_flight")]
    pub max_in_flight: usize,
}

/// What to do without an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Refuse.
    #[default]
    Closed,
    /// Let pass.
    Open,
}

fn timeout() -> Span {
    Span(Duration::from_secs(1))
}

fn send_headers() -> Vec<Header> {
    vec![Header(AUTHORIZATION), Header(COOKIE)]
}

fn max_in_flight() -> usize {
    256
}

/// The largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;
/// Headers that belong to one message on one connection: never sent on, in either direction.
static OF_CONNECTION: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "content-length",
    "expect",
];
/// Headers of a question that are this filter's own.
static OF_QUESTION: [&str; 6] = [
    "host",
    "x-forwarded-method",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-uri",
    "x-forwarded-for",
];
/// Headers that overrule `Cache-Control` in some caches (RFC 9213).
const TARGETED_CACHE_CONTROL: [&str; 2] = ["cdn-cache-control", "surrogate-control"];

/// What the client's response gets of the service's answer.
struct ForClient(Vec<(HeaderName, HeaderValue)>);

/// See the module.
pub struct ExtAuth {
    url: Uri,
    client: Outbound,
    send_headers: Vec<HeaderName>,
    take_headers: Vec<HeaderName>,
    client_headers: Vec<HeaderName>,
    on_failure: OnFailure,
    in_flight: Semaphore,
    passed: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl ExtAuth {
    fn question(&self, exchange: &Exchange) -> Result<Request<Bytes>, http::Error> {
        let request = &exchange.request;
        let target = request
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let mut question = Request::get(self.url.clone())
            .header("x-forwarded-method", request.method.as_str())
            .header("x-forwarded-proto", exchange.scheme())
            .header("x-forwarded-host", exchange.host().unwrap_or_default())
            .header("x-forwarded-uri", target)
            .header("x-forwarded-for", client(exchange))
            .body(Bytes::new())?;
        for name in &self.send_headers {
            for value in request.headers.get_all(name) {
                question.headers_mut().append(name, value.clone());
            }
        }
        hops::set(question.headers_mut(), hops::passed(&request.headers));
        Ok(question)
    }

    /// The service's answer; `None` when it has none.
    async fn ask(&self, exchange: &Exchange) -> Option<http::Response<Bytes>> {
        let _turn = self.in_flight.try_acquire().ok()?;
        let question = self.question(exchange).ok()?;
        let answer = self.client.ask(question).await;
        let answer = answer.inspect_err(|error| log::debug!("ext_auth: {}: {error}", self.url));
        answer.ok().filter(|answer| is_verdict(answer.status()))
    }

    fn unanswered(&self, exchange: &mut Exchange) -> Verdict {
        self.failed.fetch_add(1, Relaxed);
        if self.on_failure == OnFailure::Open {
            exchange.attributes.set("ext_auth.failed_open", true);
            return Verdict::Continue;
        }
        exchange.set_reason("ext_auth: no answer");
        let response = Response::plain(StatusCode::SERVICE_UNAVAILABLE);
        response
            .header(RETRY_AFTER, HeaderValue::from_static("1"))
            .into()
    }

    fn pass(&self, exchange: &mut Exchange, answer: &HeaderMap) -> Verdict {
        self.passed.fetch_add(1, Relaxed);
        for name in &self.take_headers {
            for value in answer.get_all(name) {
                exchange.request.headers.append(name, value.clone());
            }
        }
        let for_client = self.client_headers.iter().flat_map(|name| {
            let values = answer.get_all(name).into_iter();
            values.map(|value| (name.clone(), value.clone()))
        });
        let for_client: Vec<_> = for_client.collect();
        if !for_client.is_empty() {
            exchange.set_state(ForClient(for_client));
        }
        Verdict::Continue
    }

    fn refuse(&self, exchange: &mut Exchange, answer: http::Response<Bytes>) -> Verdict {
        self.refused.fetch_add(1, Relaxed);
        let (head, body) = answer.into_parts();
        exchange.set_reason(format!("ext_auth: answered {}", head.status.as_u16()));
        let mut response = Response::new(head.status);
        response.head.headers = head.headers;
        remove_of_connection(&mut response.head.headers);
        response.body = body;
        response.into()
    }
}

/// As RFC 7239, section 6, writes it.
fn client(exchange: &Exchange) -> String {
    let client = exchange.client();
    client.map_or_else(|| "unknown".to_owned(), |client| client.to_string())
}

/// A 2xx lets pass, any other redirection or client error refuses. What is neither is no answer: a 5xx, a switch of
/// protocols, and 304, by which the client would show what it has cached.
fn is_verdict(status: StatusCode) -> bool {
    let refuses = status.is_redirection() || status.is_client_error();
    status.is_success() || (refuses && status != StatusCode::NOT_MODIFIED)
}

/// Also takes out what `Connection` names (RFC 9110 section 7.6.1).
fn remove_of_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in &named {
        headers.remove(name);
    }
    for name in OF_CONNECTION {
        headers.remove(name);
    }
}

/// One client's cookie must not be handed to others by a cache between (RFC 9111 section 7.3).
fn make_private(headers: &mut HeaderMap) {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let mut directives = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let is_private = directives.any(|directive| {
        let directive = directive.trim_ascii();
        directive.eq_ignore_ascii_case(b"private") || directive.eq_ignore_ascii_case(b"no-store")
    });
    if !is_private {
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
    for name in TARGETED_CACHE_CONTROL {
        headers.remove(name);
    }
}

#[async_trait]
impl Filter for ExtAuth {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST | Hooks::RESPONSE
    }

    fn owned_headers(&self) -> Vec<HeaderName> {
        self.take_headers.clone()
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        for name in &self.take_headers {
            exchange.request.headers.remove(name);
        }
        let lines = exchange.request.headers.get_all(AUTHORIZATION).iter();
        if lines.count() > 1 && self.send_headers.contains(&AUTHORIZATION) {
            exchange.set_reason("ext_auth: two authorization lines");
            return Response::plain(StatusCode::BAD_REQUEST).into();
        }
        match self.ask(exchange).await {
            None => self.unanswered(exchange),
            Some(answer) if answer.status().is_success() => self.pass(exchange, answer.headers()),
            Some(answer) => self.refuse(exchange, answer),
        }
    }

    async fn on_response(&self, exchange: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        let Some(ForClient(fields)) = exchange.take_state() else {
            return Verdict::Continue;
        };
        for name in self
            .client_headers
            .iter()
            .filter(|name| **name != SET_COOKIE)
        {
            if fields.iter().any(|(given, _)| given == name) {
                head.headers.remove(name);
            }
        }
        for (name, value) in fields {
            if name == SET_COOKIE {
                make_private(&mut head.headers);
            }
            head.headers.append(name, value);
        }
        Verdict::Continue
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("passed", self.passed.load(Relaxed)),
            ("refused", self.refused.load(Relaxed)),
            ("failed", self.failed.load(Relaxed)),
        ]
    }
}

impl Build for ExtAuth {
    const NAME: &'static str = "ext_auth";
    type Config = Config;

    fn build(config: Config) -> Result<ExtAuth, BuildError> {
        let range = Duration::from_millis(1)..=Duration::from_mins(1);
        if !range.contains(&config.timeout.0) {
            return Err(BuildError::at("timeout", "write 1ms to 1m"));
        }
        if !(1..=65_536).contains(&config.max_in_flight) {
            return Err(BuildError::at("max_in_flight", "write 1 to 65536"));
        }
        let sent = OF_CONNECTION.iter().chain(&OF_QUESTION);
        refuse_names("send_headers", &config.send_headers, sent)?;
        refuse_names("take_headers", &config.take_headers, OF_CONNECTION.iter())?;
        refuse_names(
            "client_headers",
            &config.client_headers,
            OF_CONNECTION.iter(),
        )?;
        let names = |list: Vec<Header>| list.into_iter().map(|name| name.0).collect();
        Ok(ExtAuth {
            url: outbound::url(&config.url, "url")?,
            client: Outbound::new(config.timeout.0, MAX_ANSWER)?,
            send_headers: names(config.send_headers),
            take_headers: names(config.take_headers),
            client_headers: names(config.client_headers),
            on_failure: config.on_failure,
            in_flight: Semaphore::new(config.max_in_flight),
            passed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }
}

/// A header that frames a message, or that this filter sets, would stand there twice or cut the message elsewhere.
fn refuse_names<'a>(
    key: &str,
    names: &[Header],
    refused: impl Iterator<Item = &'a &'static str> + Clone,
) -> Result<(), BuildError> {
    let is_refused = |name: &Header| refused.clone().any(|refused| name.0 == *refused);
    match names.iter().position(is_refused) {
        Some(at) => {
            let say = "belongs to each message itself; leave it out";
            Err(BuildError::at(format!("{key}[{at}]"), say))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
