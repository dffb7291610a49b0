//! Tidegate, a programmable layer 7 load balancer on Pingora.
//!
//! A request's way, and where to read it:
//!
//! 1. `listener` accepts a connection, reads its PROXY header, does TLS and wraps the stream in a guard that holds
//!    deadlines and framing. `http1` reads one head after the other; `http2` hands each stream on.
//! 2. `proxy` is the order of everything that follows, one call a step.
//! 3. `snapshot` is the configuration that the request uses to its end; `route` finds the route in it.
//! 4. The route's filters (crate `tidegate-filters`) see the request on its way down and the response on its way up.
//! 5. `pool` picks a backend and counts the request on it; `upstream` says how to connect.
//! 6. `outcome` judges what came back; the pool is told, and maybe another backend is tried.
//! 7. `observe` writes the log line and counts.
//!
//! Beside it, `background` probes, keeps pools up, reloads and watches what runs out (`overload`); `lifecycle` ends the
//! process. `config` makes a checked `Config` out of YAML, and `app` puts everything together.

mod cli;

pub mod app;
pub mod background;
pub mod config;
pub mod context;
pub mod demo_backends;
pub mod discovery;
pub mod doctor;
pub mod forwarded;
#[doc(hidden)]
pub mod fuzzing;
pub mod hash;
pub mod healthcheck;
pub mod instance;
pub mod kernel;
pub mod lifecycle;
pub mod listener;
pub mod observe;
pub mod outcome;
pub mod overload;
pub mod pool;
pub mod proxy;
pub mod route;
pub mod snapshot;
pub mod sticky;
pub mod upstream;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use tidegate_filters::Table;

/// The whole program: parses the command line and does what it says, with these filters.
///
/// ```ignore
/// fn main() -> std::process::ExitCode {
///     tidegate::run(tidegate_filters::table().with(tidegate_filters::entry::<MyFilter>()))
/// }
/// ```
pub fn run(filters: Table) -> ExitCode {
    cli::run(filters)
}
