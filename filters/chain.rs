//! Runs a route's filters: down for requests, in reverse for responses, timed, each panic kept to its request.
//!
//! Which filter has which hook is sorted out once, when the chain is made: a phase that no filter takes part in is a
//! branch on an empty slice.

mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, StatusCode};

use crate::filter::{
    Admission, Connection, Exchange, Filter, Finished, Hooks, PoolChoice, RequestHead, Response,
    ResponseHead, Task, Verdict,
};
use step::{Lap, Panicked, Step, isolated, isolated_async};

/// Where in a request's life a filter runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Connection accepted.
    Connection,
    /// Request head.
    Request,
    /// Request body chunk.
    RequestBody,
    /// Pool chosen.
    Pool,
    /// Request to the backend.
    UpstreamRequest,
    /// Response head.
    Response,
    /// Response body chunk.
    ResponseBody,
    /// Over.
    Finished,
}

impl Phase {
    /// The metrics label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Phase::Connection => "connection",
            Phase::Request => "request",
            Phase::RequestBody => "request_body",
            Phase::Pool => "pool",
            Phase::UpstreamRequest => "upstream_request",
            Phase::Response => "response",
            Phase::ResponseBody => "response_body",
            Phase::Finished => "finished",
        }
    }
}

/// Makes the meters of a chain when it is built, so that nothing is looked up per request.
pub trait Observer {
    /// The meter for one filter in one phase; asked only for hooks that exist.
    fn meter(&self, filter: &'static str, phase: Phase) -> Arc<dyn Meter>;
}

/// Told what each call of a hook took.
pub trait Meter: Send + Sync {
    /// One call. For an async hook this is wall time, waiting included.
    fn took(&self, elapsed: std::time::Duration);
    /// The hook panicked; the request was answered with 500 or cut off.
    fn panicked(&self);
}

/// Measures nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn meter(&self, _: &'static str, _: Phase) -> Arc<dyn Meter> {
        Arc::new(Unobserved)
    }
}

impl Meter for Unobserved {
    fn took(&self, _: std::time::Duration) {}
    fn panicked(&self) {}
}

/// A response that cannot be finished, because a filter panicked or gave up in the middle of its body: close the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("filter {filter} could not go on with a response body")]
pub struct BrokenBody {
    /// The filter's name.
    pub filter: &'static str,
}

/// The filters of one route (or of one listener, for connections), in the order of the YAML.
#[derive(Default)]
pub struct Chain {
    filters: Vec<(&'static str, Arc<dyn Filter>)>,
    connection: Box<[Step]>,
    request: Box<[Step]>,
    request_body: Box<[Step]>,
    pool: Box<[Step]>,
    upstream_request: Box<[Step]>,
    response: Box<[Step]>,
    response_body: Box<[Step]>,
    finished: Box<[Step]>,
    /// Of all filters together.
    hooks: Hooks,
    secret_query_names: Box<[Box<str>]>,
}

impl Chain {
    /// Compiles the chain. With the chain that stood in this place before, each filter takes over what must survive
    /// a reload from the filter of the same name, the first from the first, the second from the second.
    #[must_use]
    pub fn new(
        filters: Vec<(&'static str, Box<dyn Filter>)>,
        previous: Option<&Chain>,
        observer: &dyn Observer,
    ) -> Chain {
        let mut kept: Vec<(&'static str, Arc<dyn Filter>)> = Vec::with_capacity(filters.len());
        for (name, mut filter) in filters {
            let same = kept.iter().filter(|(n, _)| *n == name).count();
            if let Some(before) = previous.and_then(|chain| chain.nth(name, same)) {
                filter.adopt(before);
            }
            kept.push((name, Arc::from(filter)));
        }
        let down = |hook, phase| step::compile(&kept, hook, phase, observer);
        let up = |hook, phase| {
            let mut steps = down(hook, phase);
            steps.reverse();
            steps
        };
        Chain {
            connection: down(Hooks::CONNECTION, Phase::Connection),
            request: down(Hooks::REQUEST, Phase::Request),
            request_body: down(Hooks::REQUEST_BODY, Phase::RequestBody),
            pool: down(Hooks::POOL, Phase::Pool),
            upstream_request: down(Hooks::UPSTREAM_REQUEST, Phase::UpstreamRequest),
            response: up(Hooks::RESPONSE, Phase::Response),
            response_body: up(Hooks::RESPONSE_BODY, Phase::ResponseBody),
            finished: up(Hooks::FINISHED, Phase::Finished),
            hooks: kept
                .iter()
                .map(|(_, filter)| filter.hooks())
                .fold(Hooks::empty(), Hooks::union),
            secret_query_names: kept
                .iter()
                .flat_map(|(_, filter)| filter.secret_query_names())
                .map(Box::from)
                .collect(),
            filters: kept,
        }
    }

    fn nth(&self, name: &str, n: usize) -> Option<&dyn std::any::Any> {
        let mut same = self.filters.iter().filter(|(other, _)| *other == name);
        same.nth(n)
            .map(|(_, filter)| &**filter as &dyn std::any::Any)
    }

    /// No filters: no [`Exchange`] needs to be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Whether any filter has this hook: the core need not prepare what nobody looks at.
    #[must_use]
    pub fn has(&self, hook: Hooks) -> bool {
        self.hooks.intersects(hook)
    }

    /// Every pool that a filter may choose, with the filter's place in the chain.
    pub fn pools(&self) -> impl Iterator<Item = (usize, &str)> {
        let filters = self.filters.iter().enumerate();
        filters.flat_map(|(place, (_, filter))| {
            let pools = filter.pools().into_iter();
            pools.map(move |pool| (place, pool))
        })
    }

    /// Every request header that backends believe because of a filter.
    pub fn owned_headers(&self) -> impl Iterator<Item = HeaderName> {
        let filters = self.filters.iter();
        filters.flat_map(|(_, filter)| filter.owned_headers())
    }

    /// Query parameters that hold a secret: their values are not for logs.
    #[must_use]
    pub fn secret_query_names(&self) -> &[Box<str>] {
        &self.secret_query_names
    }

    /// The filters' own counters, for a scrape: filter, event, count.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        let filters = self.filters.iter();
        let counts = filters.flat_map(|(name, filter)| {
            let counts = filter.counts().into_iter();
            counts.map(|(event, count)| (*name, event, count))
        });
        counts.collect()
    }

    /// To be spawned when the chain goes live and aborted when it is dropped.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
        let filters = self.filters.iter();
        filters.flat_map(|(_, f)| Arc::clone(f).tasks()).collect()
    }

    /// A connection was accepted. `Some`: close it, this filter will not have it. A panic closes it, too.
    pub async fn connection(&self, connection: &Connection) -> Option<&'static str> {
        let mut lap = Lap::start(&self.connection);
        for step in &self.connection {
            let hook = step.filter.on_connection(connection);
            let admission = isolated_async(step, &mut lap, hook).await;
            if admission.unwrap_or(Admission::Close) == Admission::Close {
                return Some(step.name);
            }
        }
        None
    }

    /// The request head. `Some`: send this, and nothing to a backend.
    pub async fn request(&self, exchange: &mut Exchange) -> Option<Response> {
        let mut lap = Lap::start(&self.request);
        for step in &self.request {
            exchange.enter(step.place);
            let hook = step.filter.on_request(exchange);
            let verdict = isolated_async(step, &mut lap, hook).await;
            if let Some(response) = answer(verdict) {
                return Some(self.up(exchange, response, step.place).await);
            }
        }
        None
    }

    /// A piece of the request body. `Some`: send this if the response has not begun, else close the stream.
    pub async fn request_body(
        &self,
        exchange: &mut Exchange,
        chunk: &mut Option<Bytes>,
        end: bool,
    ) -> Option<Response> {
        let mut lap = Lap::start(&self.request_body);
        for step in &self.request_body {
            exchange.enter(step.place);
            let hook = step.filter.on_request_body(exchange, chunk, end);
            let verdict = isolated_async(step, &mut lap, hook).await;
            if let Some(response) = answer(verdict) {
                return Some(self.up(exchange, response, step.place).await);
            }
        }
        None
    }

    /// Before a backend is picked. `Some` (a 500) only after a panic.
    pub async fn pool(&self, exchange: &mut Exchange, choice: &mut PoolChoice) -> Option<Response> {
        let mut lap = Lap::start(&self.pool);
        for step in &self.pool {
            exchange.enter(step.place);
            let hook = step.filter.on_pool(exchange, choice);
            if let Err(panicked) = isolated_async(step, &mut lap, hook).await {
                return Some(self.up(exchange, panicked.into(), step.place).await);
            }
        }
        None
    }

    /// The head that goes to the backend, once per attempt. `Some` (a 500) only after a panic.
    pub async fn upstream_request(
        &self,
        exchange: &mut Exchange,
        head: &mut RequestHead,
    ) -> Option<Response> {
        let mut lap = Lap::start(&self.upstream_request);
        for step in &self.upstream_request {
            exchange.enter(step.place);
            let hook = step.filter.on_upstream_request(exchange, head);
            if let Err(panicked) = isolated_async(step, &mut lap, hook).await {
                return Some(self.up(exchange, panicked.into(), step.place).await);
            }
        }
        None
    }

    /// The backend's response head. `Some`: send this instead; it has been through the filters further up.
    pub async fn response(
        &self,
        exchange: &mut Exchange,
        head: &mut ResponseHead,
    ) -> Option<Response> {
        let (replaced, from) = self.response_below(exchange, head, u16::MAX).await?;
        Some(self.up(exchange, replaced, from).await)
    }

    /// Takes a response that Tidegate made itself (502, 503, 504) up through all filters.
    pub async fn reply(&self, exchange: &mut Exchange, response: Response) -> Response {
        self.up(exchange, response, u16::MAX).await
    }

    /// A piece of the response body.
    ///
    /// # Errors
    /// A filter panicked or gave up; the body cannot be completed.
    pub fn response_body(
        &self,
        exchange: &mut Exchange,
        chunk: &mut Option<Bytes>,
        end: bool,
    ) -> Result<(), BrokenBody> {
        self.response_body_below(exchange, chunk, end, u16::MAX)
    }

    /// The exchange is over.
    pub fn finished(&self, exchange: &mut Exchange, finished: &Finished) {
        let mut lap = Lap::start(&self.finished);
        for step in &self.finished {
            exchange.enter(step.place);
            // What a filter fails to note at the end concerns nobody else; the panic is counted.
            let _ = isolated(step, &mut lap, || {
                step.filter.on_finished(exchange, finished)
            });
        }
    }

    /// The response hooks of the filters before place `below`. `Some`: a filter put another response in its place.
    async fn response_below(
        &self,
        exchange: &mut Exchange,
        head: &mut ResponseHead,
        below: u16,
    ) -> Option<(Response, u16)> {
        let mut lap = Lap::start(&self.response);
        for step in self.response.iter().filter(|step| step.place < below) {
            exchange.enter(step.place);
            let hook = step.filter.on_response(exchange, head);
            let verdict = isolated_async(step, &mut lap, hook).await;
            if let Some(response) = answer(verdict) {
                return Some((response, step.place));
            }
        }
        None
    }

    fn response_body_below(
        &self,
        exchange: &mut Exchange,
        chunk: &mut Option<Bytes>,
        end: bool,
        below: u16,
    ) -> Result<(), BrokenBody> {
        let mut lap = Lap::start(&self.response_body);
        for step in self.response_body.iter().filter(|s| s.place < below) {
            exchange.enter(step.place);
            let hook = || step.filter.on_response_body(exchange, chunk, end);
            let done = isolated(step, &mut lap, hook);
            if done.is_err() || exchange.is_broken_off() {
                return Err(BrokenBody { filter: step.name });
            }
        }
        Ok(())
    }

    /// Takes a whole response up through the filters before place `from`, head and body. Boxed: it is rare, and
    /// would make the futures of every phase larger.
    fn up<'a>(
        &'a self,
        exchange: &'a mut Exchange,
        response: Response,
        from: u16,
    ) -> BoxFuture<'a, Response> {
        Box::pin(self.up_from(exchange, response, from))
    }

    async fn up_from(
        &self,
        exchange: &mut Exchange,
        mut response: Response,
        mut from: u16,
    ) -> Response {
        response.set_length();
        // Each round ends further up, so there are at most as many as filters.
        while let Some((replaced, place)) = self
            .response_below(exchange, &mut response.head, from)
            .await
        {
            response = replaced;
            response.set_length();
            from = place;
        }
        let mut chunk = Some(std::mem::take(&mut response.body));
        if self
            .response_body_below(exchange, &mut chunk, true, from)
            .is_err()
        {
            response = Panicked.into();
            chunk = Some(std::mem::take(&mut response.body));
        }
        response.body = chunk.unwrap_or_default();
        response.set_length();
        response
    }
}

fn answer(verdict: Result<Verdict, Panicked>) -> Option<Response> {
    match verdict {
        Ok(Verdict::Continue) => None,
        Ok(Verdict::Respond(response)) => Some(*response),
        Err(panicked) => Some(panicked.into()),
    }
}

impl From<Panicked> for Response {
    fn from(_: Panicked) -> Response {
        Response::plain(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
