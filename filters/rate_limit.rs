//! Limits how often a client may ask.
//! ```yaml
//! - rate_limit: { key: client_ip, requests: 100, per: 1s, burst: 200 }
//! - rate_limit: { key: { header: x-api-key }, requests: 1000, per: 1h }
//! ```
//! The rate is kept by GCRA (ITU-T I.371): requests may come `burst` at a time and `requests` per `per` in the long
//! run. Over it the answer is 429 with `Retry-After`; every answer has `RateLimit-Limit`, `RateLimit-Remaining` and
//! `RateLimit-Reset`, in requests and seconds.

mod gcra;
mod table;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use http::header::{HeaderMap, HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

pub use gcra::{Decision, Quota};
pub use table::{Local, Store};

use crate::filter::units::Span;
use crate::filter::{
    Build, BuildError, Exchange, Filter, Hooks, Key, Response, ResponseHead, Verdict,
};

/// Limits how often a client may ask.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What requests are counted by. Default: client_ip.
    #[serde(default)]
    pub key: Key,
    /// How many requests, 1 to 1,000,000,000.
    pub requests: u32,
    /// In which time, 1ms to 1d.
    pub per: Span,
    /// How many may come at once. Default: `requests`.
    pub burst: Option<u32>,
    /// Clients remembered at a time, 16 to 10,000,000; 16 bytes each. Default: 100000.
    #[serde(default = "max_keys")]
    pub max_keys: usize,
}

fn max_keys() -> usize {
    100_000
}

/// See the module.
pub struct RateLimit {
    key: Key,
    quota: Quota,
    max_keys: usize,
    limit: HeaderValue,
    store: Arc<dyn Store>,
    /// The store is this instance's own, and may be taken over on reload.
    local: Option<Arc<Local>>,
    refused: AtomicU64,
}

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

impl RateLimit {
    /// Counts in a store that instances share, instead of a table of its own.
    ///
    /// # Errors
    /// As [`Build::build`].
    pub fn with_store(config: Config, store: Arc<dyn Store>) -> Result<RateLimit, BuildError> {
        let quota = quota(&config)?;
        Ok(RateLimit {
            key: config.key.compiled(),
            limit: HeaderValue::from(quota.burst),
            quota,
            max_keys: config.max_keys,
            store,
            local: None,
            refused: AtomicU64::new(0),
        })
    }

    fn describe(&self, headers: &mut HeaderMap, decision: &Decision) {
        headers.insert(LIMIT, self.limit.clone());
        headers.insert(REMAINING, decision.remaining.into());
        headers.insert(RESET, seconds(decision.full_after).into());
    }
}

/// Rounded up: whoever waits that long has waited long enough.
fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

fn quota(config: &Config) -> Result<Quota, BuildError> {
    let burst = config.burst.unwrap_or(config.requests);
    if !(1..=1_000_000_000).contains(&config.requests) {
        return Err(BuildError::at("requests", "write 1 to 1000000000"));
    }
    if !(1..=1_000_000_000).contains(&burst) {
        return Err(BuildError::at("burst", "write 1 to 1000000000"));
    }
    if !(Duration::from_millis(1)..=Duration::from_hours(24)).contains(&config.per.0) {
        return Err(BuildError::at("per", "write 1ms to 1d"));
    }
    if !(16..=10_000_000).contains(&config.max_keys) {
        return Err(BuildError::at("max_keys", "write 16 to 10000000"));
    }
    Ok(Quota::new(config.requests, config.per.0, burst))
}

#[async_trait]
impl Filter for RateLimit {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST | Hooks::RESPONSE
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let key = self.key.of(exchange);
        let decision = self
            .store
            .take(exchange.route(), key, &self.quota, exchange.started());
        if decision.allowed {
            exchange.set_state(decision);
            return Verdict::Continue;
        }
        self.refused.fetch_add(1, Relaxed);
        exchange.set_reason("rate_limit: over the limit");
        let wait = seconds(decision.retry_after).max(1);
        let mut response = Response::plain(StatusCode::TOO_MANY_REQUESTS);
        self.describe(&mut response.head.headers, &decision);
        response.header(RETRY_AFTER, wait.into()).into()
    }

    async fn on_response(&self, exchange: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        if let Some(decision) = exchange.state::<Decision>() {
            self.describe(&mut head.headers, decision);
        }
        Verdict::Continue
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![("refused", self.refused.load(Relaxed))]
    }

    fn adopt(&mut self, previous: &dyn Any) {
        let Some(previous) = previous.downcast_ref::<RateLimit>() else {
            return;
        };
        let same = previous.key == self.key && previous.max_keys == self.max_keys;
        if let (Some(_), Some(local), true) = (&self.local, &previous.local, same) {
            self.store = Arc::<Local>::clone(local);
            self.local = Some(Arc::clone(local));
        }
    }
}

impl Build for RateLimit {
    const NAME: &'static str = "rate_limit";
    type Config = Config;

    fn build(config: Config) -> Result<RateLimit, BuildError> {
        quota(&config)?;
        let local = Arc::new(Local::new(config.max_keys));
        let mut filter = RateLimit::with_store(config, Arc::<Local>::clone(&local))?;
        filter.local = Some(local);
        Ok(filter)
    }
}

#[cfg(test)]
mod tests;
