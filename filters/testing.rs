//! The test kit for authors of filters: plain values in, plain values out, no sockets and no Pingora.
//!
//! A [`Route`] holds filters as the YAML would; [`Route::send`] takes a [`Call`] through every phase, with a backend
//! that is a value too, and returns what was [`Seen`] from outside.
//! ```ignore
//! let route = Route::of::<Headers>(json!({ "request": { "set": { "x-env": "test" } } }));
//! let seen = route.send(Call::get("/"));
//! assert_eq!(seen.backend().header("x-env"), Some("test"));
//! ```
// A kit that fails a test does it by a panic, with a message that says what is wrong.
#![allow(clippy::panic, clippy::expect_used)]

mod call;
mod hooks;

pub use call::{BackendSaw, Call, Seen};
pub use hooks::check as check_hooks;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::chain::{Chain, Unobserved};
use crate::filter::{
    Admission, Build, BuildError, Connection, Entry, Exchange, Finished, PoolChoice, Response,
    entry,
};

/// Filters in the order of the YAML.
pub struct Route {
    chain: Chain,
    pool: Arc<str>,
}

impl Route {
    /// One filter, with what stands under its key.
    ///
    /// # Panics
    /// When the config is refused, or a hook is written that the filter's `hooks` does not name.
    #[must_use]
    pub fn of<F: Build>(config: Value) -> Route {
        Route::chain(&[(entry::<F>(), config)])
    }

    /// Several filters.
    ///
    /// # Panics
    /// As [`Route::of`].
    #[must_use]
    pub fn chain(filters: &[(Entry, Value)]) -> Route {
        Route::after(filters, None)
    }

    /// The same place after a reload: filters take over from those of `self`.
    ///
    /// # Panics
    /// As [`Route::of`].
    #[must_use]
    pub fn reloaded(&self, filters: &[(Entry, Value)]) -> Route {
        Route::after(filters, Some(&self.chain))
    }

    fn after(filters: &[(Entry, Value)], previous: Option<&Chain>) -> Route {
        let built = filters.iter().map(|(entry, config)| {
            let filter = entry.build(config);
            let filter = filter.unwrap_or_else(|e| panic!("{}: config refused: {e}", entry.name));
            hooks::check(entry.name, &*filter);
            (entry.name, filter)
        });
        Route {
            chain: Chain::new(built.collect(), previous, &Unobserved),
            pool: "web".into(),
        }
    }

    /// The chain itself.
    #[must_use]
    pub fn filters(&self) -> &Chain {
        &self.chain
    }

    /// Takes a call through all phases, on a runtime of its own.
    ///
    /// # Panics
    /// When called inside of a tokio runtime: use [`send_async`](Route::send_async) there.
    #[must_use]
    pub fn send(&self, call: Call) -> Seen {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build();
        runtime
            .expect("a runtime can be made")
            .block_on(self.send_async(call))
    }

    /// Takes a call through all phases, as Tidegate would.
    pub async fn send_async(&self, call: Call) -> Seen {
        let (head, facts, chunks, answer) = call.take();
        let mut exchange = Exchange::new(head, facts);
        let mut saw = None;
        let mut response = match self.down(&mut exchange, chunks).await {
            Err(response) => *response,
            Ok(backend) => {
                saw = Some(backend);
                self.up(&mut exchange, answer).await
            }
        };
        let finished = Finished {
            status: Some(response.status()),
            bytes_out: response.body.len() as u64,
            pool: saw
                .as_ref()
                .map(|saw: &BackendSaw| saw.pool.as_str().into()),
            ..Finished::default()
        };
        self.chain.finished(&mut exchange, &finished);
        let body = std::mem::take(&mut response.body);
        Seen {
            response: response.head,
            body,
            backend: saw,
            exchange,
        }
    }

    async fn down(
        &self,
        exchange: &mut Exchange,
        chunks: Vec<Bytes>,
    ) -> Result<BackendSaw, Box<Response>> {
        let chain = &self.chain;
        refused(chain.request(exchange).await)?;
        let mut choice = PoolChoice {
            pool: Arc::clone(&self.pool),
            hash_key: None,
        };
        refused(chain.pool(exchange, &mut choice).await)?;
        let mut head = exchange.request.clone();
        refused(chain.upstream_request(exchange, &mut head).await)?;
        let mut body = Vec::new();
        for chunk in chunks {
            let mut chunk = Some(chunk);
            refused(chain.request_body(exchange, &mut chunk, false).await)?;
            body.extend_from_slice(&chunk.unwrap_or_default());
        }
        let mut last = None;
        refused(chain.request_body(exchange, &mut last, true).await)?;
        body.extend_from_slice(&last.unwrap_or_default());
        Ok(BackendSaw {
            head,
            body: body.into(),
            pool: choice.pool.to_string(),
            hash_key: choice.hash_key,
        })
    }

    async fn up(&self, exchange: &mut Exchange, answer: Vec<Response>) -> Response {
        let mut pieces = answer.into_iter();
        let Some(mut response) = pieces.next() else {
            return self
                .chain
                .reply(exchange, Response::plain(http::StatusCode::BAD_GATEWAY))
                .await;
        };
        if let Some(replaced) = self.chain.response(exchange, &mut response.head).await {
            return replaced;
        }
        let mut body = Vec::new();
        let first = std::mem::take(&mut response.body);
        let rest = pieces.map(|piece| piece.body);
        for chunk in std::iter::once(first).chain(rest).map(Some).chain([None]) {
            let end = chunk.is_none();
            let mut chunk = chunk;
            let whole = self.chain.response_body(exchange, &mut chunk, end);
            whole.expect("no filter panics in a response body");
            body.extend_from_slice(&chunk.unwrap_or_default());
        }
        response.body = body.into();
        response
    }

    /// Offers a connection, as to the filters of a listener.
    #[must_use]
    pub fn connect(&self, client: &str) -> Admission {
        let client = client.parse().expect("an IP address");
        let connection = Connection {
            client,
            peer: (client, 40000).into(),
            listener: "public".into(),
        };
        let closed = self.chain.connection(&connection);
        match futures_util::FutureExt::now_or_never(closed) {
            Some(None) => Admission::Accept,
            Some(Some(_)) => Admission::Close,
            None => panic!("no waiting in on_connection"),
        }
    }
}

fn refused(response: Option<Response>) -> Result<(), Box<Response>> {
    response.map_or(Ok(()), |response| Err(Box::new(response)))
}

/// Why a config is refused.
///
/// # Panics
/// When it is accepted.
#[must_use]
pub fn refusal<F: Build>(config: &Value) -> BuildError {
    match entry::<F>().build(config) {
        Ok(_) => panic!(
            "{}: this config should have been refused: {config}",
            F::NAME
        ),
        Err(error) => error,
    }
}
