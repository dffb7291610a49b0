//! Finds hooks that were written but not named in `hooks`: they would silently never run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

use super::Call;
use crate::filter::{Connection, Filter, Finished, Hooks, NOT_WRITTEN, PoolChoice, Response};

/// Calls each hook that is not named, and sees whether it is the one that does nothing.
///
/// # Panics
/// When it is not.
pub fn check(name: &str, filter: &dyn Filter) {
    for (hook, bit) in (!filter.hooks()).iter_names() {
        NOT_WRITTEN.with(|cell| cell.set(false));
        // A hook that was written may do anything when called out of turn; that too tells it is there.
        let _ = catch_unwind(AssertUnwindSafe(|| call(filter, bit)));
        assert!(
            NOT_WRITTEN.with(std::cell::Cell::get),
            "{name} has a hook for {hook}, but `hooks` does not name Hooks::{hook}: it would never run"
        );
    }
}

fn call(filter: &dyn Filter, hook: Hooks) {
    let mut exchange = Call::get("/").exchange();
    let exchange = &mut exchange;
    let mut head = Call::get("/").exchange().request;
    let mut response = Response::new(http::StatusCode::OK).head;
    let mut choice = PoolChoice {
        pool: "web".into(),
        hash_key: None,
    };
    let connection = Connection {
        client: exchange.peer().ip(),
        peer: exchange.peer(),
        listener: "public".into(),
    };
    match hook {
        Hooks::CONNECTION => drop(filter.on_connection(&connection).now_or_never()),
        Hooks::REQUEST => drop(filter.on_request(exchange).now_or_never()),
        Hooks::REQUEST_BODY => {
            drop(
                filter
                    .on_request_body(exchange, &mut None, true)
                    .now_or_never(),
            );
        }
        Hooks::POOL => {
            let _ = filter.on_pool(exchange, &mut choice).now_or_never();
        }
        Hooks::UPSTREAM_REQUEST => {
            let _ = filter
                .on_upstream_request(exchange, &mut head)
                .now_or_never();
        }
        Hooks::RESPONSE => drop(filter.on_response(exchange, &mut response).now_or_never()),
        Hooks::RESPONSE_BODY => filter.on_response_body(exchange, &mut None, true),
        _ => filter.on_finished(exchange, &Finished::default()),
    }
}
