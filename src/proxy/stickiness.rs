//! Sticky sessions on a request's way: what the client carries, which backend that means, what it is given back.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, COOKIE};
use pingora_core::Result;
use pingora_http::ResponseHeader;

use crate::context::Context;
use crate::outcome::{self, Failure};
use crate::pool::{Pick, Picked, Refused};
use crate::snapshot::{PoolHandle, Split, unix_seconds};
use crate::sticky::{Clock, NoBackend, Stripped, TARGETED_CACHE_CONTROL, cache_control, choose};

/// The pool of a split that the client's cookie names; `None` lets the split choose.
pub fn choose_pool<'a>(split: &'a Split, headers: &HeaderMap) -> Option<&'a Arc<PoolHandle>> {
    // Pools of one split have the same cookie and keys, or none has any: `config` sees to it.
    let claim = split.pools().next()?.sticky.as_ref()?.read(headers);
    let choices = split.pools().zip(split.weights());
    let choices = choices.filter_map(|(pool, weight)| Some((pool.sticky.as_ref()?, weight)));
    split.pools().nth(choose(&claim, choices, unix_seconds())?)
}

/// Why there is no backend.
pub enum Missing {
    /// As in any pool.
    Refused(Refused),
    /// The client's own backend is down, and no other will do.
    Strict,
}

impl From<Missing> for Failure {
    fn from(missing: Missing) -> Failure {
        match missing {
            Missing::Refused(refused) => outcome::refused(refused),
            Missing::Strict => outcome::STICKY_STRICT,
        }
    }
}

/// Picks the client's backend where it has one, else one by the pool's policy.
pub fn pick(
    pool: &PoolHandle,
    headers: &HeaderMap,
    ctx: &mut Context,
    request: &Pick<'_>,
    now: Instant,
) -> Result<Picked, Missing> {
    let Some(sticky) = &pool.sticky else {
        return pool.pool.pick(request, now).map_err(Missing::Refused);
    };
    let decision = ctx.sticky.get_or_insert_with(|| {
        let unix = unix_seconds();
        sticky.decide(sticky.read(headers), &pool.pool, Clock { now, unix })
    });
    let picked = sticky.pick(decision, &pool.pool, request, now);
    picked.map_err(|none| match none {
        NoBackend::Refused(refused) => Missing::Refused(refused),
        NoBackend::Strict => Missing::Strict,
    })
}

/// What is between the client and Tidegate is not for the backend to see.
pub fn strip(headers: &mut HeaderMap, ctx: &Context) {
    let Some(sticky) = ctx.pool.as_ref().and_then(|pool| pool.sticky.as_ref()) else {
        return;
    };
    if let Some(name) = sticky.private_header() {
        headers.remove(name);
    }
    match sticky.strip(headers) {
        Stripped::Unchanged => {}
        Stripped::Removed => {
            headers.remove(COOKIE);
        }
        Stripped::Replaced(cookies) => {
            headers.insert(COOKIE, cookies);
        }
    }
}

/// Tells a client that is new or was moved where it belongs; shared caches must not tell others.
pub fn tell_client(response: &mut ResponseHeader, ctx: &Context) -> Result<()> {
    let (Some(pool), Some(decision)) = (&ctx.pool, &ctx.sticky) else {
        return Ok(());
    };
    let tls = ctx.connection.as_ref().is_some_and(|c| c.tls.is_some());
    let header = pool
        .sticky
        .as_ref()
        .and_then(|s| s.set_header(decision, tls));
    let Some((name, value)) = header else {
        return Ok(());
    };
    response.append_header(name, value)?;
    if let Some(value) = cache_control(&response.headers) {
        response.insert_header(CACHE_CONTROL, value)?;
    }
    for name in &TARGETED_CACHE_CONTROL {
        response.remove_header(name);
    }
    Ok(())
}
