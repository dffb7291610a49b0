//! A filter that Tidegate does not come with: what panics, refuses and replaces wherever it is told to. The process is this
//! test binary, started again: the stock one has no such filter.

use std::process::Stdio;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_filters::filter::{
    Admission, Build, BuildError, Connection, Exchange, Filter, Finished, Hooks, PoolChoice,
    RequestHead, Response, ResponseHead, Verdict,
};
use tidegate_filters::{entry, table};
use tokio::process::Command;

use super::*;
use crate::backend::Raw;
use crate::client::{Http1, raw};
use crate::setup::demo;

/// Where the process that `serve` is finds its configuration.
const CONFIG: &str = "TIDEGATE_E2E_CONFIG";

/// Does one thing in one place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The hook.
    at: String,
    /// What to do there.
    #[serde(rename = "do")]
    action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    Panic,
    /// Answers 418.
    Respond,
    /// Never comes back.
    Wait,
}

struct Odd(Config);

impl Odd {
    async fn act(&self, at: &str, exchange: Option<&Exchange>) -> Verdict {
        let harmless = exchange.is_some_and(|e| e.request.uri.path() == "/harmless");
        if self.0.at != at || harmless {
            return Verdict::Continue;
        }
        match self.0.action {
            Action::Panic => panic!("as told"),
            Action::Respond => {
                let teapot = Response::new(StatusCode::IM_A_TEAPOT).text("short and stout");
                let spout = HeaderValue::from_static("tip");
                teapot
                    .header(http::HeaderName::from_static("x-spout"), spout)
                    .into()
            }
            Action::Wait => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Filter for Odd {
    fn hooks(&self) -> Hooks {
        match self.0.at.as_str() {
            "connection" => Hooks::CONNECTION,
            _ => Hooks::all() - Hooks::CONNECTION,
        }
    }
    async fn on_connection(&self, _: &Connection) -> Admission {
        match self.act("connection", None).await {
            Verdict::Continue => Admission::Accept,
            Verdict::Respond(_) => Admission::Close,
        }
    }
    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        self.act("request", Some(exchange)).await
    }
    async fn on_request_body(
        &self,
        exchange: &mut Exchange,
        _: &mut Option<Bytes>,
        _: bool,
    ) -> Verdict {
        self.act("request_body", Some(exchange)).await
    }
    async fn on_pool(&self, exchange: &mut Exchange, _: &mut PoolChoice) {
        self.act("pool", Some(exchange)).await;
    }
    async fn on_upstream_request(&self, exchange: &mut Exchange, _: &mut RequestHead) {
        self.act("upstream_request", Some(exchange)).await;
    }
    async fn on_response(&self, exchange: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        head.headers.append("x-seen", HeaderValue::from_static("1"));
        self.act("response", Some(exchange)).await
    }
    fn on_response_body(&self, exchange: &mut Exchange, _: &mut Option<Bytes>, end: bool) {
        // At the end: the head, and most of the body, are on their way.
        if end {
            let acted = self.act("response_body", Some(exchange));
            drop(futures_util::FutureExt::now_or_never(acted));
        }
    }
    fn on_finished(&self, exchange: &mut Exchange, _: &Finished) {
        let acted = self.act("finished", Some(exchange));
        drop(futures_util::FutureExt::now_or_never(acted));
    }
}

impl Build for Odd {
    const NAME: &'static str = "odd";
    type Config = Config;

    fn build(config: Config) -> Result<Odd, BuildError> {
        Ok(Odd(config))
    }
}

/// The process under test, when `CONFIG` is set; nothing otherwise.
#[test]
fn serve() {
    if let Some(path) = std::env::var_os(CONFIG) {
        tidegate::app::run(path.into(), table().with(entry::<Odd>()));
    }
}

async fn start(config: &str) -> Tidegate {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidegate.yaml");
    write(&path, config);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "filters::own::serve", "--nocapture"]);
    command.env(CONFIG, &path).stdin(Stdio::null());
    Tidegate::spawn(dir, command).await
}

async fn odd(backend: SocketAddr, at: &str, action: &str) -> Tidegate {
    let filters = format!(
        "{{ security_headers: {{}} }}, {{ odd: {{ at: {at}, do: {action} }} }}, {{ request_id: {{ header: x-later }} }}"
    );
    start(&config(&[backend], &filters)).await
}

#[tokio::test]
async fn a_panic_costs_one_request_and_not_the_process() {
    let backend = demo().await;
    for at in [
        "request",
        "request_body",
        "pool",
        "upstream_request",
        "response",
    ] {
        let tidegate = odd(backend.address, at, "panic").await;
        let reply = post(&tidegate, "/echo", &[], "hello").await;
        assert_eq!(reply.status, 500, "{at}");
        assert_eq!(reply.text(), "500 Internal Server Error\n", "{at}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{at}");
        let after = ask(&tidegate, "/harmless", &[]).await;
        assert_eq!(after.status, 404, "{at}: the backend's own answer");
        counted(&tidegate, at).await;
    }
}

async fn counted(tidegate: &Tidegate, at: &str) {
    let errors = "tidegate_filter_errors_total{filter=\"odd\"}";
    tidegate.wait_metric(errors, 1.0).await;
    tidegate
        .events
        .wait(at, |l| {
            l["message"]
                .as_str()
                .is_some_and(|m| m.starts_with("filter odd panicked"))
        })
        .await;
}

#[tokio::test]
async fn a_panic_in_a_body_cuts_it_and_one_at_the_end_costs_nothing() {
    let backend = demo().await;
    let tidegate = odd(backend.address, "response_body", "panic").await;
    let request = asking("/bytes?n=1000000&chunked=1", &[]);
    let cut = crate::client::try_send(tidegate.address("public"), request).await;
    assert!(cut.is_err(), "{cut:?}");
    assert_eq!(ask(&tidegate, "/harmless", &[]).await.status, 404);
    counted(&tidegate, "response_body").await;

    let tidegate = odd(backend.address, "finished", "panic").await;
    let mut connection = Http1::connect(tidegate.address("public")).await.unwrap();
    for _ in 0..2 {
        assert_eq!(connection.get("/bytes?n=10").await.body.len(), 10);
    }
    let errors = "tidegate_filter_errors_total{filter=\"odd\"}";
    tidegate.wait_metric(errors, 2.0).await;
}

#[tokio::test]
async fn an_answer_of_a_filter_goes_out_as_it_is_from_every_place() {
    let backend = demo().await;
    for at in ["request", "request_body", "response"] {
        let tidegate = odd(backend.address, at, "respond").await;
        let reply = post(&tidegate, "/echo", &[], "hello").await;
        let seen = (reply.status, reply.text(), reply.header("x-spout"));
        assert_eq!(seen, (418, "short and stout".to_owned(), "tip"), "{at}");
        // Only those further up have seen it, once.
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{at}");
        let all = reply.headers.get_all("x-seen").iter().count();
        assert_eq!((all, reply.header("x-later")), (0, ""), "{at}");
        let line = logged(&tidegate, "/echo").await;
        assert_eq!(line["status"], 418, "{at}");
    }
}

fn listening(backend: SocketAddr, listener: &str, filters: &str) -> String {
    config(&[backend], "").replace(
        "listen: \"127.0.0.1:0\" }]",
        &format!("listen: \"127.0.0.1:0\"{listener}, filters: [{filters}] }}]"),
    )
}

const REJECTED: &str = "tidegate_connections_rejected_total{listener=\"public\",reason=\"filter\"}";
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_connection_is_closed_by_a_refusal_a_panic_and_a_filter_that_takes_too_long() {
    let backend = demo().await;
    for action in ["respond", "panic", "wait"] {
        let limits = ", limits: { header_timeout: 500ms }";
        let filters = format!(
            "{{ ip_access: {{ deny: [192.0.2.0/24] }} }}, {{ odd: {{ at: connection, do: {action} }} }}"
        );
        let mut tidegate = start(&listening(backend.address, limits, &filters)).await;
        let address = tidegate.address("public");
        assert_eq!(raw(address, GET).await, "", "{action}");
        tidegate.wait_metric(REJECTED, 1.0).await;
        let errors = "tidegate_filter_errors_total{filter=\"odd\"}";
        let expected = if action == "panic" { 1.0 } else { 0.0 };
        assert_eq!(tidegate.metric(errors).await, expected);
        let timed =
            "tidegate_filter_duration_seconds_count{filter=\"ip_access\",phase=\"connection\"}";
        assert_eq!(tidegate.metric(timed).await, 1.0);
        // Taken out by a reload, without a new socket.
        let without = listening(backend.address, "", "");
        assert_eq!(tidegate.reload(&without).await["result"], "taken");
        assert!(raw(address, GET).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn ip_access_on_a_listener_acts_on_the_true_client_before_tls() {
    let backend = Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let proxied = ", proxy_protocol: required, trusted: [127.0.0.0/8], health_path: /lb";
    let filters = "{ ip_access: { allow: [203.0.113.0/24], deny: [203.0.113.9/32] } }";
    let config = format!(
        "log: {{ level: debug }}\n{}",
        listening(backend.address, proxied, filters).trim_start()
    );
    let tidegate = Tidegate::start(&config).await;
    let address = tidegate.address("public");
    for (client, served) in [
        ("203.0.113.1", true),
        ("203.0.113.9", false),
        ("198.51.100.1", false),
    ] {
        let proxy = format!("PROXY TCP4 {client} 127.0.0.1 4321 80\r\n");
        let answer = raw(address, &[proxy.as_bytes(), GET].concat()).await;
        assert_eq!(answer.starts_with("HTTP/1.1 200"), served, "{client}");
        assert_eq!(answer.is_empty(), !served, "{client}: {answer}");
    }
    tidegate.wait_metric(REJECTED, 2.0).await;
    tidegate
        .events
        .wait("who and by what", |l| {
            l["message"] == "listener public: connection of 203.0.113.9 closed by ip_access"
                && l["level"] == "debug"
        })
        .await;
    // The balancer's own check brings no client.
    let check = b"GET /lb HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert!(raw(address, check).await.starts_with("HTTP/1.1 200"));
    assert_eq!(tidegate.metric(REJECTED).await, 2.0);
}

#[tokio::test]
async fn a_refused_client_gets_no_byte_of_tls() {
    let dir = tempfile::tempdir().unwrap();
    crate::listening::certificate(dir.path(), "test.example");
    let tls = ", tls: { certificates: [{ cert: cert.pem, key: key.pem }] }";
    let filters = "{ ip_access: { deny: [127.0.0.0/8] } }";
    let config = listening("127.0.0.1:1".parse().unwrap(), tls, filters);
    let tidegate = Tidegate::start_in(dir, &config).await;
    assert_eq!(raw(tidegate.address("public"), b"\x16\x03\x01").await, "");
    tidegate.wait_metric(REJECTED, 1.0).await;
    let handshakes = "tidegate_tls_handshakes_total{listener=\"public\"";
    assert_eq!(tidegate.metric(handshakes).await, 0.0);
}
