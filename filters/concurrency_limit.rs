//! Limits how many requests of a client are served at the same time.
//! ```yaml
//! - concurrency_limit: { key: client_ip, max: 20 }
//! ```
//! One more gets 429 with `Retry-After`. A request counts from its head until its response is through or its
//! connection gone; a WebSocket counts as long as it is open.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::Status;
use crate::filter::{Build, BuildError, Exchange, Filter, Finished, Hooks, Key, Response, Verdict};

/// Limits how many requests of a client are served at the same time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What requests are counted by. Default: client_ip.
    #[serde(default)]
    pub key: Key,
    /// How many at a time, from 1.
    pub max: u32,
    /// What one more gets. Default: 429.
    pub status: Option<Status>,
}

/// See the module.
pub struct ConcurrencyLimit {
    key: Key,
    max: u32,
    status: StatusCode,
    serving: Arc<Serving>,
}

/// Requests being served, by keyed hash. Keys at zero are removed, so there are never more than requests.
struct Serving {
    shards: [Mutex<HashMap<u64, u32>>; 16],
    hasher: RandomState,
}

impl Serving {
    /// Held for one look-up; sixteen of them, so that cores rarely meet.
    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, u32>> {
        let shard = self.shards[(key >> 60) as usize].lock();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, key: u64, max: u32) -> Option<Place> {
        let mut shard = self.shard(key);
        let count = shard.entry(key).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Place {
            key,
            serving: Arc::clone(self),
        })
    }
}

/// Gives itself back when the exchange ends, however it ends.
struct Place {
    key: u64,
    serving: Arc<Serving>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shard = self.serving.shard(self.key);
        if let Some(count) = shard.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.key);
            }
        }
    }
}

#[async_trait]
impl Filter for ConcurrencyLimit {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST | Hooks::FINISHED
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let key = self.serving.hasher.hash_one(self.key.of(exchange));
        if let Some(place) = self.serving.enter(key, self.max) {
            exchange.set_state(place);
            return Verdict::Continue;
        }
        exchange.set_reason("concurrency_limit: too many at a time");
        let response = Response::plain(self.status);
        response
            .header(RETRY_AFTER, HeaderValue::from_static("1"))
            .into()
    }

    fn on_finished(&self, exchange: &mut Exchange, _: &Finished) {
        drop(exchange.take_state::<Place>());
    }

    fn adopt(&mut self, previous: &dyn std::any::Any) {
        let previous = previous.downcast_ref::<ConcurrencyLimit>();
        if let Some(previous) = previous.filter(|previous| previous.key == self.key) {
            self.serving = Arc::clone(&previous.serving);
        }
    }
}

impl Build for ConcurrencyLimit {
    const NAME: &'static str = "concurrency_limit";
    type Config = Config;

    fn build(config: Config) -> Result<ConcurrencyLimit, BuildError> {
        if config.max == 0 {
            return Err(BuildError::at("max", "write at least 1"));
        }
        Ok(ConcurrencyLimit {
            key: config.key.compiled(),
            max: config.max,
            status: config.status.map_or(StatusCode::TOO_MANY_REQUESTS, |s| s.0),
            serving: Arc::new(Serving {
                shards: std::array::from_fn(|_| Mutex::default()),
                hasher: RandomState::new(),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route, refusal};
    use futures_util::FutureExt;
    use serde_json::json;

    fn limit(max: u32) -> ConcurrencyLimit {
        let config = serde_json::from_value(json!({ "max": max })).unwrap();
        ConcurrencyLimit::build(config).unwrap()
    }

    fn begin(filter: &ConcurrencyLimit, client: &str) -> (Exchange, bool) {
        let mut exchange = Call::get("/").client(client).exchange();
        let verdict = filter.on_request(&mut exchange).now_or_never().unwrap();
        (exchange, matches!(verdict, Verdict::Continue))
    }

    #[test]
    fn one_more_is_refused_until_one_ends() {
        let filter = limit(2);
        let (mut first, _) = begin(&filter, "192.0.2.1");
        let (second, passed) = begin(&filter, "192.0.2.1");
        assert!(passed);
        assert!(!begin(&filter, "192.0.2.1").1);
        assert!(begin(&filter, "192.0.2.2").1, "another client");
        filter.on_finished(&mut first, &Finished::default());
        assert!(begin(&filter, "192.0.2.1").1);
        drop(second);
        let (_third, _) = begin(&filter, "192.0.2.1");
        assert!(begin(&filter, "192.0.2.1").1, "dropped without an end");
    }

    #[test]
    fn nothing_is_left_behind() {
        let filter = limit(1);
        for n in 0..1000 {
            let _ = begin(&filter, &format!("10.0.{}.{}", n / 256, n % 256));
        }
        assert!(
            filter
                .serving
                .shards
                .iter()
                .all(|s| s.lock().unwrap().is_empty())
        );
    }

    #[test]
    fn a_reload_counts_on() {
        let filter = limit(1);
        let (_held, _) = begin(&filter, "192.0.2.1");
        let mut reloaded = limit(1);
        reloaded.adopt(&filter);
        assert!(!begin(&reloaded, "192.0.2.1").1);
    }

    #[test]
    fn through_the_chain_each_ends_before_the_next() {
        let route = Route::of::<ConcurrencyLimit>(json!({ "max": 1, "key": "route" }));
        assert!((0..5).all(|_| route.send(Call::get("/")).status() == 200));
        assert_eq!(
            refusal::<ConcurrencyLimit>(&json!({ "max": 0 })).path,
            "max"
        );
    }
}
