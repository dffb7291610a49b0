//! A filter that Tidegate does not come with: what panics, refuses and replaces wherever it is told to. The process is this
//! test binary, started again: the stock one has no such filter.

use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_filters::filter::{
    Admission, Build, BuildError, Connection, Exchange, Filter, Finished, Hooks, PoolChoice,
    RequestHead, Response, ResponseHead, Task, Verdict,
};
use tidegate_filters::{entry, table};
use tokio::process::Command;

use super::*;
use crate::client::{Http1, Http2};
use crate::setup::{addresses, demo, demos};

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
    /// Changes what may be changed there, so that it can be seen.
    Mark,
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
                    .header(HeaderName::from_static("x-spout"), spout)
                    .into()
            }
            Action::Wait => std::future::pending().await,
            Action::Mark => Verdict::Continue,
        }
    }

    fn marks(&self, at: &str) -> bool {
        self.0.at == at && self.0.action == Action::Mark
    }
}

fn shout(chunk: &mut Option<Bytes>) {
    *chunk = chunk.take().map(|chunk| chunk.to_ascii_uppercase().into());
}

const MARK: HeaderName = HeaderName::from_static("x-mark");
const YES: HeaderValue = HeaderValue::from_static("yes");

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
        if self.marks("request") {
            exchange.request.headers.insert(MARK, YES);
        }
        self.act("request", Some(exchange)).await
    }
    async fn on_request_body(
        &self,
        exchange: &mut Exchange,
        chunk: &mut Option<Bytes>,
        _: bool,
    ) -> Verdict {
        if self.marks("request_body") {
            shout(chunk);
        }
        self.act("request_body", Some(exchange)).await
    }
    async fn on_pool(&self, exchange: &mut Exchange, choice: &mut PoolChoice) {
        if self.marks("pool") {
            choice.hash_key = exchange.header(&MARK).map(|key| key.to_owned().into());
        }
        self.act("pool", Some(exchange)).await;
    }
    async fn on_upstream_request(&self, exchange: &mut Exchange, head: &mut RequestHead) {
        if self.marks("upstream_request") {
            head.headers.insert(MARK, YES);
        }
        self.act("upstream_request", Some(exchange)).await;
    }
    async fn on_response(&self, exchange: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        head.headers.append("x-seen", HeaderValue::from_static("1"));
        if self.marks("response") {
            head.headers.insert(MARK, YES);
        }
        self.act("response", Some(exchange)).await
    }
    fn on_response_body(&self, exchange: &mut Exchange, chunk: &mut Option<Bytes>, end: bool) {
        if self.marks("response_body") {
            shout(chunk);
        }
        // At the end: the head, and most of the body, are on their way.
        if end {
            let acted = self.act("response_body", Some(exchange));
            drop(futures_util::FutureExt::now_or_never(acted));
        }
    }
    fn on_finished(&self, exchange: &mut Exchange, finished: &Finished) {
        if self.marks("finished") {
            let backend = finished.backend.as_deref().unwrap_or_default();
            exchange.attributes.set("odd.backend", backend.to_owned());
        }
        let acted = self.act("finished", Some(exchange));
        drop(futures_util::FutureExt::now_or_never(acted));
    }

    fn tasks(self: Arc<Self>) -> Vec<Task> {
        let name = "odd work";
        let run = Box::pin(async move {
            self.act("task", None).await;
        });
        vec![Task { name, run }]
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

/// A running instance that has `odd`.
pub async fn start(config: &str) -> Tidegate {
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
async fn a_panic_beside_the_requests_is_said_and_costs_none() {
    let backend = demo().await;
    let tidegate = odd(backend.address, "task", "panic").await;
    tidegate
        .events
        .wait("the panic", |l| {
            l["message"] == "odd work panicked, and is over until the next reload"
        })
        .await;
    assert_eq!(ask(&tidegate, "/headers", &[]).await.status, 200);
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
        let mut over_h2 = Http2::connect(tidegate.address("public")).await;
        let mut request = asking("/over-h2", &[]);
        *request.method_mut() = http::Method::POST;
        *request.body_mut() = "hello".into();
        let reply = over_h2.send(request).await.unwrap();
        let seen = (reply.status, reply.text(), reply.header("x-spout"));
        assert_eq!(seen, (418, "short and stout".to_owned(), "tip"), "{at}");
        let line = logged(&tidegate, "/echo").await;
        assert_eq!(line["status"], 418, "{at}");
    }
}

#[tokio::test]
async fn what_a_filter_changes_in_each_place_is_seen() {
    let backend = demo().await;
    for (at, request, response) in [
        ("request", Some("yes"), ""),
        ("upstream_request", Some("yes"), ""),
        ("response", None, "yes"),
        ("finished", None, ""),
    ] {
        let tidegate = odd(backend.address, at, "mark").await;
        let reply = ask(&tidegate, "/headers", &[]).await;
        assert_eq!(saw(&reply, "x-mark").as_deref(), request, "{at}");
        assert_eq!(reply.header("x-mark"), response, "{at}");
        let line = logged(&tidegate, "/headers").await;
        let noted = line["attributes"]["odd.backend"] == backend.address.to_string();
        assert_eq!(noted, at == "finished", "{line}");
    }
    for at in ["request_body", "response_body"] {
        let tidegate = odd(backend.address, at, "mark").await;
        assert_eq!(post(&tidegate, "/echo", &[], "hello").await.text(), "HELLO");
        // The backend counts what it gets: a request's body is changed on its way down.
        assert_eq!(post(&tidegate, "/upload", &[], "hello").await.text(), "5\n");
    }
}

#[tokio::test]
async fn a_filter_s_hash_key_picks_the_backend() {
    let backends = demos(4).await;
    let addresses = addresses(&backends);
    let filters = "{ odd: { at: pool, do: mark } }";
    // By the path all would be one.
    let policy =
        "  web:\n    policy: consistent_hash\n    hash: { key: path, bounded_load: off }\n";
    let tidegate = start(&config(&addresses, filters).replace("  web:\n", policy)).await;
    let mut seen = std::collections::BTreeSet::new();
    for key in 0..32 {
        let key = key.to_string();
        let first = ask(&tidegate, "/headers", &[("x-mark", &key)]).await;
        let again = ask(&tidegate, "/headers", &[("x-mark", &key)]).await;
        assert_eq!(first.header("x-backend"), again.header("x-backend"));
        seen.insert(first.header("x-backend").to_owned());
    }
    assert_eq!(seen.len(), 4);
}
