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
//! way that can't be read. 2xx lets the request pass; 3xx and 4xx go to the client as they are. No answer, or 5xx, is
//! `on_failure`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Request, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::filter::units::{Header, Span};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, Verdict};
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
    /// Request headers that the service gets. Default: authorization, cookie.
    #[serde(default = "send_headers")]
    pub send_headers: Vec<Header>,
    /// Headers of its answer that the backend gets; what the client sent there is dropped.
    #[serde(default)]
    pub take_headers: Vec<Header>,
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
/// Headers of a refusal that make no sense on another connection.
const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "content-length",
];

/// See the module.
pub struct ExtAuth {
    url: Uri,
    client: Outbound,
    send_headers: Vec<HeaderName>,
    take_headers: Vec<HeaderName>,
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
        answer
            .ok()
            .filter(|answer| !answer.status().is_server_error())
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
        Verdict::Continue
    }

    fn refuse(&self, exchange: &mut Exchange, answer: http::Response<Bytes>) -> Verdict {
        self.refused.fetch_add(1, Relaxed);
        let (head, body) = answer.into_parts();
        exchange.set_reason(format!("ext_auth: answered {}", head.status.as_u16()));
        let mut response = Response::new(head.status);
        response.head.headers = head.headers;
        for name in HOP_BY_HOP {
            response.head.headers.remove(name);
        }
        response.body = body;
        response.into()
    }
}

/// As RFC 7239, section 6, writes it.
fn client(exchange: &Exchange) -> String {
    let client = exchange.client();
    client.map_or_else(|| "unknown".to_owned(), |client| client.to_string())
}

#[async_trait]
impl Filter for ExtAuth {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn owned_headers(&self) -> Vec<HeaderName> {
        self.take_headers.clone()
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        for name in &self.take_headers {
            exchange.request.headers.remove(name);
        }
        match self.ask(exchange).await {
            None => self.unanswered(exchange),
            Some(answer) if answer.status().is_success() => self.pass(exchange, answer.headers()),
            Some(answer) => self.refuse(exchange, answer),
        }
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
        let names = |list: Vec<Header>| list.into_iter().map(|name| name.0).collect();
        Ok(ExtAuth {
            url: outbound::url(&config.url, "url")?,
            client: Outbound::new(config.timeout.0, MAX_ANSWER)?,
            send_headers: names(config.send_headers),
            take_headers: names(config.take_headers),
            on_failure: config.on_failure,
            in_flight: Semaphore::new(config.max_in_flight),
            passed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::loopback::Loopback;
    use crate::testing::{Call, Route, refusal};
    use serde_json::json;

    fn route(url: &str) -> Route {
        Route::of::<ExtAuth>(json!({ "url": url, "take_headers": ["x-user"], "timeout": "2s" }))
    }

    #[tokio::test]
    async fn the_service_is_told_what_it_needs_and_lets_pass() {
        let service = Loopback::answering("200 OK", "x-user: ann\r\nx-other: no\r\n", "");
        let call = Call::post("/orders?id=1", "body")
            .header("cookie", "sid=1")
            .header("x-secret", "no");
        let seen = route(&service.url("/check"))
            .send_async(call.header("x-user", "root"))
            .await;
        assert_eq!(seen.status(), 200);
        let users: Vec<_> = seen
            .backend()
            .head
            .headers
            .get_all("x-user")
            .iter()
            .collect();
        assert_eq!(users, ["ann"]);
        assert_eq!(seen.backend().header("x-other"), None);
        let asked = service.heard();
        assert!(asked.starts_with("GET /check HTTP/1.1\r\n"), "{asked}");
        for line in [
            "x-forwarded-method: POST",
            "x-forwarded-uri: /orders?id=1",
            "x-forwarded-host: example.com",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-proto: http",
            "cookie: sid=1",
        ] {
            assert!(asked.contains(line), "{line} in {asked}");
        }
        assert!(!asked.contains("x-secret") && !asked.contains("body"));
    }

    #[tokio::test]
    async fn a_client_that_nobody_knows_is_said_to_be_unknown() {
        let service = Loopback::answering("200 OK", "", "");
        let asking = route(&service.url("/"));
        asking.send_async(Call::get("/").unknown_client()).await;
        let asked = service.heard();
        assert!(asked.contains("x-forwarded-for: unknown\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn its_refusal_goes_to_the_client() {
        let service =
            Loopback::answering("302 Found", "location: /login\r\nset-cookie: a=b\r\n", "go");
        let seen = route(&service.url("/")).send_async(Call::get("/")).await;
        assert_eq!((seen.status(), seen.text()), (302, "go"));
        assert_eq!(seen.header("location"), Some("/login"));
        assert_eq!(seen.header("set-cookie"), Some("a=b"));
        assert_eq!(seen.reason(), Some("ext_auth: answered 302"));
        assert!(!seen.reached_backend());
    }

    #[tokio::test]
    async fn without_an_answer_closed_refuses_and_open_lets_pass() {
        let broken = Loopback::answering("500 Internal Server Error", "", "");
        let gone = "http://127.0.0.1:1/".to_string();
        let large = Loopback::answering("200 OK", "", &"x".repeat(MAX_ANSWER + 1));
        for url in [broken.url("/"), gone, large.url("/")] {
            let seen = route(&url)
                .send_async(Call::get("/").header("x-user", "root"))
                .await;
            assert_eq!(
                (seen.status(), seen.reason()),
                (503, Some("ext_auth: no answer"))
            );
            let open = json!({ "url": url, "on_failure": "open", "take_headers": ["x-user"] });
            let seen = Route::of::<ExtAuth>(open)
                .send_async(Call::get("/").header("x-user", "root"))
                .await;
            assert_eq!(
                seen.attribute("ext_auth.failed_open").as_deref(),
                Some("true")
            );
            assert_eq!(
                seen.backend().header("x-user"),
                None,
                "nobody vouches for it"
            );
        }
    }

    #[tokio::test]
    async fn a_service_that_hangs_is_given_up() {
        let service = Loopback::silent();
        let config = json!({ "url": service.url("/"), "timeout": "20ms" });
        let seen = Route::of::<ExtAuth>(config)
            .send_async(Call::get("/"))
            .await;
        assert_eq!(seen.status(), 503);
    }

    #[test]
    fn bad_configs() {
        assert_eq!(refusal::<ExtAuth>(&json!({ "url": "/check" })).path, "url");
        assert_eq!(
            refusal::<ExtAuth>(&json!({ "url": "http://a/", "timeout": "0s" })).path,
            "timeout"
        );
        let fail = json!({ "url": "http://a/", "on_failure": "ajar" });
        assert_eq!(refusal::<ExtAuth>(&fail).path, "on_failure");
    }
}
