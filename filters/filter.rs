//! The contract: what a filter is, what it may see and what it may answer.
//!
//! A filter is one instance per place in the YAML, shared by all requests that pass there. It sees an [`Exchange`]
//! (request head, client, attributes), never a socket and never the proxy, and answers with a named [`Verdict`].

mod attributes;
pub mod cache;
mod entry;
mod exchange;
mod key;
mod message;
pub mod units;

#[cfg(test)]
mod tests;

pub use attributes::{Attribute, Attributes};
pub use entry::{BuildError, Entry, Table, entry, entry_with};
pub use exchange::{Exchange, Facts, Finished, PoolChoice, TlsFacts};
pub use key::{Key, KeyBytes};
pub use message::{RequestHead, Response, ResponseHead};

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderName;

bitflags::bitflags! {
    /// Which hooks a filter has. A hook that is not named here is never called, and costs nothing.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Hooks: u16 {
        /// [`Filter::on_connection`]
        const CONNECTION = 1;
        /// [`Filter::on_request`]
        const REQUEST = 1 << 1;
        /// [`Filter::on_request_body`]
        const REQUEST_BODY = 1 << 2;
        /// [`Filter::on_pool`]
        const POOL = 1 << 3;
        /// [`Filter::on_upstream_request`]
        const UPSTREAM_REQUEST = 1 << 4;
        /// [`Filter::on_response`]
        const RESPONSE = 1 << 5;
        /// [`Filter::on_response_body`]
        const RESPONSE_BODY = 1 << 6;
        /// [`Filter::on_finished`]
        const FINISHED = 1 << 7;
    }
}

/// What happens to the request after a hook.
#[derive(Debug)]
pub enum Verdict {
    /// The next filter's turn.
    Continue,
    /// The client gets this. No later filter and no backend sees the request; the filters before this one see the
    /// response on its way up.
    Respond(Box<Response>),
}

/// What happens to a connection after [`Filter::on_connection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is served.
    Accept,
    /// It is closed without an answer.
    Close,
}

/// A connection that was accepted, its PROXY header read; no byte of TLS or HTTP has been.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The address that clients are told apart by: that of the PROXY header when there is one.
    pub client: IpAddr,
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// The listener's name.
    pub listener: Arc<str>,
}

/// Work beside the requests, such as fetching keys now and then. Tidegate runs it from the moment a config is live
/// until the config is replaced; then it is dropped at its next `.await`.
pub struct Task {
    /// For the log, when the task panics.
    pub name: &'static str,
    /// What to run.
    pub run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// The hooks. Each has a body that does nothing: write those you need, and name them in [`hooks`](Filter::hooks).
///
/// Hooks run in the order of the YAML on the way down (connection, request, request body, pool, upstream request)
/// and in reverse on the way up (response, response body, finished). They run on a worker thread that serves other
/// requests too: never block it. A panic costs the request (500), not the process.
#[async_trait]
pub trait Filter: Any + Send + Sync {
    /// The hooks that this filter has, whatever its config: `Hooks::REQUEST | Hooks::RESPONSE`. The test kit refuses
    /// a filter that has a hook and does not name it here.
    fn hooks(&self) -> Hooks;

    /// A connection was accepted. Called only for filters of a listener, which have no other hooks called there. It must
    /// be over within the listener's `header_timeout`.
    async fn on_connection(&self, _connection: &Connection) -> Admission {
        not_written();
        Admission::Accept
    }

    /// The request head is complete and has a route. Change `exchange.request` to change what the backend gets.
    async fn on_request(&self, _exchange: &mut Exchange) -> Verdict {
        not_written();
        Verdict::Continue
    }

    /// A piece of the request body. `end` is set on the last call, which may come without a chunk. Called again from
    /// the start of the body when a request is retried: see [`Exchange::attempt`].
    async fn on_request_body(
        &self,
        _exchange: &mut Exchange,
        _chunk: &mut Option<Bytes>,
        _end: bool,
    ) -> Verdict {
        not_written();
        Verdict::Continue
    }

    /// The route has named a pool; a backend is picked next.
    async fn on_pool(&self, _exchange: &mut Exchange, _choice: &mut PoolChoice) {
        not_written();
    }

    /// The head that goes to the backend, hop-by-hop headers already gone. Once per attempt.
    async fn on_upstream_request(&self, _exchange: &mut Exchange, _head: &mut RequestHead) {
        not_written();
    }

    /// The response head, from the backend, from a later filter or from Tidegate itself (502, 503, 504).
    async fn on_response(&self, _exchange: &mut Exchange, _head: &mut ResponseHead) -> Verdict {
        not_written();
        Verdict::Continue
    }

    /// A piece of the response body; `end` as in [`on_request_body`](Filter::on_request_body). Without a call with `end`
    /// the body broke off. Not async: the platform hands bodies over between two writes.
    fn on_response_body(&self, _exchange: &mut Exchange, _chunk: &mut Option<Bytes>, _end: bool) {
        not_written();
    }

    /// The exchange is over, however it ended. Called on every filter of the chain that has this hook, also on those
    /// the request never came to.
    fn on_finished(&self, _exchange: &mut Exchange, _finished: &Finished) {
        not_written();
    }

    /// Pools that this filter may choose; checked to exist when the config is loaded.
    fn pools(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Request headers that backends believe because of this filter: those that it sets, takes out or checks. The core takes
    /// out a client's headers whose names differ from these in `_` for `-` alone, as CGI and its heirs read both as one;
    /// what a client sends under the very name is for the filter to take out.
    fn owned_headers(&self) -> Vec<HeaderName> {
        Vec::new()
    }

    /// Query parameters that hold a secret, by their decoded names. The access log shows `***` in place of their values.
    /// Read once, when the config is loaded.
    fn secret_query_names(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Events counted since the filter was built, by a fixed name each; metrics show them as
    /// `tidegate_filter_events_total{filter,event}`. Read at each scrape.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Takes over what must survive a reload (counters, fetched keys) from the filter that stood in this place
    /// before: `previous.downcast_ref::<Self>()`. Called before the first request.
    fn adopt(&mut self, _previous: &dyn Any) {}

    /// Work to be run beside the requests.
    fn tasks(self: Arc<Self>) -> Vec<Task> {
        Vec::new()
    }
}

/// How a filter comes out of the YAML.
pub trait Build: Filter + Sized {
    /// The key in the YAML: lower case, words joined by `_`.
    const NAME: &'static str;
    /// What stands under that key. Derive `Deserialize` with `#[serde(deny_unknown_fields)]`; the doc comments
    /// become the reference, the first one is the line that `tidegate filters` prints.
    type Config: serde::de::DeserializeOwned + schemars::JsonSchema;

    /// Checks what types alone cannot. Must not open sockets or start tasks: `tidegate check` calls it too.
    ///
    /// # Errors
    /// [`BuildError::at`] names the key that is wrong and what to write instead.
    fn build(config: Self::Config) -> Result<Self, BuildError>;
}

/// Lets the test kit tell a hook that was written from one that was not.
fn not_written() {
    NOT_WRITTEN.with(|cell| cell.set(true));
}

std::thread_local! {
    pub(crate) static NOT_WRITTEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}
