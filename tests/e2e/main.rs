//! The real process on free ports, against real sockets and real clients. Each test names what must be seen from
//! outside; `harness` starts the process, `setup` says what most begin with, `client` and `backend` are the two ends of it.
// clippy.toml lets test functions panic; the harness and the clients that they call are none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod backend;
mod client;
mod dns;
mod frames;
mod harness;
mod pki;
mod setup;
mod strict;

mod admin;
mod bad_input;
mod blame;
mod caps;
mod client_auth;
mod discovery;
mod doctor;
mod early_data;
mod filters;
mod floods;
mod health;
mod hops;
mod interim;
mod keys;
mod listening;
mod one_way;
mod origin;
mod overload;
mod paths;
mod patience;
mod probes;
mod proxying;
mod real_clients;
mod reload;
mod resilience;
mod routing;
mod slow;
mod smuggling;
mod sticky;
mod stopping;
mod strictness;
mod tickets;
mod tls;
mod trust;
mod unread;
