//! Delays or fails a share of requests, to see how clients take it.
//! ```yaml
//! - fault: { delay: { time: 2s, percent: 5 }, abort: { status: 503, percent: 1 } }
//! - fault: { abort: { status: 500, percent: 100 }, only_with: x-fault }
//! ```

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderName, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::{Header, Percent, Span, Status};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, Verdict};

/// Delays or fails a share of requests, to see how clients take it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Requests that wait before they go on.
    pub delay: Option<Delay>,
    /// Requests that get an error.
    pub abort: Option<Abort>,
    /// Only requests with this header.
    pub only_with: Option<Header>,
}

/// How long, and how many.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// 1ms to 5m.
    pub time: Span,
    /// Share of requests, 0 to 100.
    pub percent: Percent,
}

/// Which error, and how many.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// 400 to 599.
    pub status: Status,
    /// Share of requests, 0 to 100.
    pub percent: Percent,
}

/// See the module.
pub struct Fault {
    delay: Option<(Duration, Percent)>,
    abort: Option<(StatusCode, Percent)>,
    only_with: Option<HeaderName>,
    delayed: AtomicU64,
    aborted: AtomicU64,
}

#[async_trait]
impl Filter for Fault {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let headers = &exchange.request.headers;
        if self
            .only_with
            .as_ref()
            .is_some_and(|name| !headers.contains_key(name))
        {
            return Verdict::Continue;
        }
        if let Some((time, percent)) = self.delay
            && percent.hit()
        {
            self.delayed.fetch_add(1, Relaxed);
            exchange.attributes.set("fault.delayed", true);
            tokio::time::sleep(time).await;
        }
        if let Some((status, percent)) = self.abort
            && percent.hit()
        {
            self.aborted.fetch_add(1, Relaxed);
            exchange.set_reason("fault: aborted");
            return Response::plain(status).into();
        }
        Verdict::Continue
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("delayed", self.delayed.load(Relaxed)),
            ("aborted", self.aborted.load(Relaxed)),
        ]
    }
}

impl Build for Fault {
    const NAME: &'static str = "fault";
    type Config = Config;

    fn build(config: Config) -> Result<Fault, BuildError> {
        if config.delay.is_none() && config.abort.is_none() {
            return Err(BuildError::new("write delay, abort or both"));
        }
        let delay = config.delay.map(|delay| (delay.time.0, delay.percent));
        let range = Duration::from_millis(1)..=Duration::from_mins(5);
        if delay.is_some_and(|(time, _)| !range.contains(&time)) {
            return Err(BuildError::at("delay.time", "write 1ms to 5m"));
        }
        let abort = config.abort.map(|abort| (abort.status.0, abort.percent));
        if abort.is_some_and(|(status, _)| status.as_u16() < 400) {
            return Err(BuildError::at("abort.status", "write 400 to 599"));
        }
        Ok(Fault {
            delay,
            abort,
            only_with: config.only_with.map(|name| name.0),
            delayed: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route, refusal};
    use serde_json::json;

    #[test]
    fn all_or_none_are_aborted() {
        let abort = |percent: u32| json!({ "abort": { "status": 503, "percent": percent } });
        let seen = Route::of::<Fault>(abort(100)).send(Call::get("/"));
        assert_eq!(
            (seen.status(), seen.reason()),
            (503, Some("fault: aborted"))
        );
        assert_eq!(
            Route::of::<Fault>(abort(0)).send(Call::get("/")).status(),
            200
        );
    }

    #[test]
    fn a_share_is_aborted() {
        let route = Route::of::<Fault>(json!({ "abort": { "status": 500, "percent": 30 } }));
        let aborted = (0..1000)
            .filter(|_| route.send(Call::get("/")).status() == 500)
            .count();
        assert!((200..400).contains(&aborted), "{aborted} of 1000");
    }

    #[tokio::test(start_paused = true)]
    async fn delays_take_their_time() {
        let route = Route::of::<Fault>(json!({ "delay": { "time": "2s", "percent": 100 } }));
        let start = tokio::time::Instant::now();
        let seen = route.send_async(Call::get("/")).await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        assert_eq!(
            (seen.status(), seen.attribute("fault.delayed").as_deref()),
            (200, Some("true"))
        );
    }

    #[test]
    fn only_whoever_asks_for_it() {
        let route = Route::of::<Fault>(
            json!({ "abort": { "status": 500, "percent": 100 }, "only_with": "x-fault" }),
        );
        assert_eq!(route.send(Call::get("/")).status(), 200);
        assert_eq!(
            route.send(Call::get("/").header("x-fault", "1")).status(),
            500
        );
    }

    #[test]
    fn bad_configs() {
        assert_eq!(refusal::<Fault>(&json!({})).path, "");
        let time = json!({ "delay": { "time": "1h", "percent": 1 } });
        assert_eq!(refusal::<Fault>(&time).path, "delay.time");
        let percent = json!({ "delay": { "time": "1s", "percent": 101 } });
        assert_eq!(refusal::<Fault>(&percent).path, "delay.percent");
        let status = json!({ "abort": { "status": 200, "percent": 1 } });
        assert_eq!(refusal::<Fault>(&status).path, "abort.status");
    }
}
