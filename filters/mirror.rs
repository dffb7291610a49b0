//! Sends a copy of requests to another service and drops, or compares, its answer.
//! ```yaml
//! - mirror: { url: "http://shadow.internal:8080", percent: 10, compare: true }
//! ```
//! The copy leaves when the client has its response, from a queue that is never waited for: what does not fit is
//! dropped and counted. Only GET and HEAD are copied unless `methods` says otherwise, since the other service may act
//! on what it gets. To compare what the backend itself has answered, put it last in the list.

mod copy;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::filter::units::{Percent, Size, Span};
use crate::filter::{
    Build, BuildError, Exchange, Filter, Finished, Hooks, ResponseHead, Task, Verdict,
};
use crate::outbound::{self, Outbound};
use copy::{Copier, Copy, Counts, Taking};

/// Sends a copy of requests to another service and drops, or compares, its answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Scheme, host and port; path and query are those of the request.
    pub url: String,
    /// Share of requests. Default: 100.
    pub percent: Option<Percent>,
    /// Methods that are copied. Default: GET, HEAD.
    #[serde(default = "methods")]
    pub methods: Vec<String>,
    /// Requests with a larger body are not copied. Default: 64KiB; at most 16MiB.
    #[serde(default = "max_body")]
    pub max_body: Size,
    /// Copies waiting and copies under way, each at most so many. Default: 32.
    #[serde(default = "max_in_flight")]
    pub max_in_flight: usize,
    /// For one answer. Default: 5s.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Counts and logs answers that differ in status or body. Default: false.
    #[serde(default)]
    pub compare: bool,
}

fn methods() -> Vec<String> {
    ["GET", "HEAD"].map(String::from).into()
}

fn max_body() -> Size {
    Size(64 * 1024)
}

fn max_in_flight() -> usize {
    32
}

fn timeout() -> Span {
    Span(Duration::from_secs(5))
}

/// The largest answer that is read; a larger one counts as failed.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// See the module.
pub struct Mirror {
    percent: Percent,
    methods: Vec<Method>,
    max_body: usize,
    compare: bool,
    queue: mpsc::Sender<Copy>,
    /// Taken by the task.
    copier: Mutex<Option<Copier>>,
    counts: Arc<Counts>,
}

#[async_trait]
impl Filter for Mirror {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
            | Hooks::REQUEST_BODY
            | Hooks::RESPONSE
            | Hooks::RESPONSE_BODY
            | Hooks::FINISHED
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        if self.methods.contains(&exchange.request.method) && self.percent.hit() {
            let taking = Taking::new(&exchange.request);
            exchange.set_state(taking);
        }
        Verdict::Continue
    }

    async fn on_request_body(
        &self,
        exchange: &mut Exchange,
        chunk: &mut Option<Bytes>,
        _end: bool,
    ) -> Verdict {
        let attempt = exchange.attempt();
        if let (Some(taking), Some(chunk)) = (exchange.state::<Taking>(), chunk)
            && !taking.body(attempt, chunk, self.max_body)
        {
            self.counts.too_large();
            drop(exchange.take_state::<Taking>());
        }
        Verdict::Continue
    }

    async fn on_response(&self, exchange: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        if let Some(taking) = exchange.state::<Taking>().filter(|_| self.compare) {
            taking.answered(head.status);
        }
        Verdict::Continue
    }

    fn on_response_body(&self, exchange: &mut Exchange, chunk: &mut Option<Bytes>, _end: bool) {
        if let (Some(taking), Some(chunk)) = (exchange.state::<Taking>(), chunk) {
            taking.answer_body(chunk);
        }
    }

    fn on_finished(&self, exchange: &mut Exchange, _: &Finished) {
        if let Some(taking) = exchange.take_state::<Taking>()
            && self.queue.try_send(taking.done()).is_err()
        {
            self.counts.dropped();
        }
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counts.read()
    }

    fn tasks(self: Arc<Self>) -> Vec<Task> {
        let copier = self
            .copier
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let task = copier.map(|copier| Task {
            name: "mirror",
            run: Box::pin(copier.run()),
        });
        task.into_iter().collect()
    }
}

impl Build for Mirror {
    const NAME: &'static str = "mirror";
    type Config = Config;

    fn build(config: Config) -> Result<Mirror, BuildError> {
        let url = outbound::url(&config.url, "url")?;
        if url
            .path_and_query()
            .is_some_and(|target| target.as_str() != "/")
        {
            return Err(BuildError::at("url", "write it without a path"));
        }
        if config.max_body.0 > 16 * 1024 * 1024 {
            return Err(BuildError::at("max_body", "write at most 16MiB"));
        }
        if !(1..=4096).contains(&config.max_in_flight) {
            return Err(BuildError::at("max_in_flight", "write 1 to 4096"));
        }
        let methods = config.methods.iter().enumerate().map(|(at, method)| {
            let method = Method::from_bytes(method.as_bytes());
            method.map_err(|_| BuildError::at(format!("methods[{at}]"), "not a method"))
        });
        let methods = methods.collect::<Result<Vec<_>, _>>()?;
        let client = Outbound::new(config.timeout.0, MAX_ANSWER)?;

        let (queue, waiting) = mpsc::channel(config.max_in_flight);
        let counts = Arc::new(Counts::default());
        Ok(Mirror {
            percent: config.percent.unwrap_or(Percent::ALL),
            methods,
            max_body: usize::try_from(config.max_body.0).unwrap_or(usize::MAX),
            compare: config.compare,
            queue,
            copier: Mutex::new(Some(Copier {
                base: url,
                client,
                waiting,
                max_in_flight: config.max_in_flight,
                counts: Arc::clone(&counts),
            })),
            counts,
        })
    }
}
