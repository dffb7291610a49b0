//! A pool that leads back to its own listener, directly or through others, would multiply each request without end. So each
//! request carries how many instances it has passed ([`tidegate_filters::hops`]), and one that has passed `max_hops` is
//! answered with 508 (RFC 5842, section 7.2).
//!
//! A 508 is about the request and not about the backend that it comes from, whoever made it: it is never tried again
//! (`retry.on_status` leaves it out) and is no evidence (`Pool::record`). Otherwise each instance on the circle would try
//! again what its successor refused, and take out the backend for it.

use http::HeaderMap;
use tidegate_filters::hops;

use crate::context::Context;
use crate::outcome::{self, Failure};

/// Counts the instances that the request has passed, and refuses it when they are too many.
pub fn admit(headers: &HeaderMap, ctx: &mut Context) -> Result<(), Failure> {
    ctx.hops = hops::passed(headers);
    let most = ctx.snapshot.as_ref().map(|s| s.config.max_hops);
    match most.is_some_and(|most| ctx.hops >= most) {
        true => Err(outcome::TOO_MANY_HOPS),
        false => Ok(()),
    }
}

/// One more, for the next instance to read.
pub fn tell_backend(headers: &mut HeaderMap, ctx: &Context) {
    hops::set(headers, ctx.hops);
}
