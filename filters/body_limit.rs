//! Refuses request bodies over a size.
//! ```yaml
//! - body_limit: { max: 10MiB }
//! ```
//! By `Content-Length` at once, by counting otherwise: 413 (RFC 9110 section 15.5.14).

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::Size;
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, Verdict};

/// Refuses request bodies over a size.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The largest body that passes.
    pub max: Size,
}

/// See the module.
pub struct BodyLimit {
    max: u64,
}

/// Counted so far, in this attempt.
#[derive(Default)]
struct Count {
    attempt: u32,
    bytes: u64,
}

impl BodyLimit {
    fn too_large(exchange: &mut Exchange) -> Verdict {
        exchange.set_reason("body_limit: body too large");
        Response::plain(StatusCode::PAYLOAD_TOO_LARGE).into()
    }
}

#[async_trait]
impl Filter for BodyLimit {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST | Hooks::REQUEST_BODY
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let length = exchange.header(&CONTENT_LENGTH);
        let length = length.and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.max) {
            return BodyLimit::too_large(exchange);
        }
        exchange.set_state(Count::default());
        Verdict::Continue
    }

    async fn on_request_body(
        &self,
        exchange: &mut Exchange,
        chunk: &mut Option<Bytes>,
        _end: bool,
    ) -> Verdict {
        let attempt = exchange.attempt();
        let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        let Some(count) = exchange.state::<Count>() else {
            return Verdict::Continue;
        };
        // A retry sends the body again.
        if count.attempt != attempt {
            *count = Count { attempt, bytes: 0 };
        }
        count.bytes = count.bytes.saturating_add(length);
        if count.bytes > self.max {
            *chunk = None;
            return BodyLimit::too_large(exchange);
        }
        Verdict::Continue
    }
}

impl Build for BodyLimit {
    const NAME: &'static str = "body_limit";
    type Config = Config;

    fn build(config: Config) -> Result<BodyLimit, BuildError> {
        Ok(BodyLimit { max: config.max.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route, refusal};
    use futures_util::FutureExt;
    use serde_json::json;

    #[test]
    fn a_length_over_the_limit_is_refused_before_the_body() {
        let route = Route::of::<BodyLimit>(json!({ "max": "1KiB" }));
        let length = |n: &str| Call::get("/").header("content-length", n);
        assert_eq!(route.send(length("1024")).status(), 200);
        assert_eq!(route.send(length("1025")).status(), 413);
        assert_eq!(
            route.send(length("18446744073709551615")).reason(),
            Some("body_limit: body too large")
        );
    }

    #[test]
    fn a_body_without_length_is_counted() {
        let route = Route::of::<BodyLimit>(json!({ "max": 5 }));
        assert_eq!(route.send(Call::post("/", "12345")).status(), 200);
        let seen = route.send(Call::post("/", "123").chunk("456"));
        assert_eq!((seen.status(), seen.reached_backend()), (413, false));
    }

    #[test]
    fn a_retry_counts_anew() {
        let filter = BodyLimit { max: 5 };
        let mut exchange = Call::post("/", "").exchange();
        filter.on_request(&mut exchange).now_or_never().unwrap();
        for attempt in 0..3 {
            exchange.set_attempt(attempt);
            let mut chunk = Some(Bytes::from("12345"));
            let verdict = filter.on_request_body(&mut exchange, &mut chunk, true);
            assert!(matches!(verdict.now_or_never(), Some(Verdict::Continue)));
        }
    }

    #[test]
    fn bad_configs() {
        assert_eq!(refusal::<BodyLimit>(&json!({ "max": "10MB" })).path, "max");
        assert!(refusal::<BodyLimit>(&json!({})).message.contains("max"));
    }
}
