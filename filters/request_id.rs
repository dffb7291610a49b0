//! Gives each request an id, for the backend, the client and the access log.
//! ```yaml
//! - request_id: { header: x-request-id, trust: true }
//! ```
//! Ids are UUIDv7 (RFC 9562 section 5.7): they sort by time.

use async_trait::async_trait;
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::filter::units::Header;
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, ResponseHead, Verdict};

/// Gives each request an id, for the backend, the client and the access log.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The header that holds it. Default: x-request-id.
    pub header: Header,
    /// Keeps an id that comes with the request, if it is 1 to 128 visible ASCII characters. Default: false.
    pub trust: bool,
    /// Sends it to the client as well. Default: true.
    pub respond: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            header: Header(HeaderName::from_static("x-request-id")),
            trust: false,
            respond: true,
        }
    }
}

/// See the module.
pub struct RequestId {
    header: HeaderName,
    trust: bool,
    respond: bool,
}

impl RequestId {
    fn given(&self, exchange: &Exchange) -> Option<HeaderValue> {
        let value = exchange.request.headers.get(&self.header)?;
        let bytes = value.as_bytes();
        let sound = (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        (self.trust && sound).then(|| value.clone())
    }
}

fn fresh() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[async_trait]
impl Filter for RequestId {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST | Hooks::RESPONSE
    }

    fn owned_headers(&self) -> Vec<HeaderName> {
        vec![self.header.clone()]
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let id = self.given(exchange).unwrap_or_else(fresh);
        let text = id.to_str().unwrap_or_default().to_string();
        exchange.attributes.set("request_id", text);
        exchange.request.headers.insert(&self.header, id.clone());
        if self.respond {
            exchange.set_state(id);
        }
        Verdict::Continue
    }

    async fn on_response(&self, exchange: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        if let Some(id) = exchange.state::<HeaderValue>() {
            head.headers.insert(&self.header, id.clone());
        }
        Verdict::Continue
    }
}

impl Build for RequestId {
    const NAME: &'static str = "request_id";
    type Config = Config;

    fn build(config: Config) -> Result<RequestId, BuildError> {
        Ok(RequestId {
            header: config.header.0,
            trust: config.trust,
            respond: config.respond,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route};
    use serde_json::json;

    #[test]
    fn one_id_for_backend_client_and_log() {
        let seen = Route::of::<RequestId>(json!(null)).send(Call::get("/"));
        let id = seen.backend().header("x-request-id").unwrap();
        assert_eq!(Uuid::parse_str(id).unwrap().get_version_num(), 7);
        assert_eq!(seen.header("x-request-id"), Some(id));
        assert_eq!(seen.attribute("request_id").as_deref(), Some(id));
    }

    #[test]
    fn a_clients_id_is_kept_only_if_trusted_and_sound() {
        let call = |id: &str| Call::get("/").header("x-request-id", id);
        let trusting = Route::of::<RequestId>(json!({ "trust": true }));
        assert_eq!(
            trusting.send(call("abc-1")).header("x-request-id"),
            Some("abc-1")
        );
        for bad in ["", "a b", &"x".repeat(129)] {
            assert_ne!(trusting.send(call(bad)).header("x-request-id"), Some(bad));
        }
        let wary = Route::of::<RequestId>(json!({ "trust": false }));
        assert_ne!(
            wary.send(call("abc-1")).backend().header("x-request-id"),
            Some("abc-1")
        );
    }

    #[test]
    fn the_client_need_not_see_it() {
        let seen = Route::of::<RequestId>(json!({ "respond": false, "header": "x-id" }))
            .send(Call::get("/"));
        assert!(seen.backend().header("x-id").is_some());
        assert_eq!(seen.header("x-id"), None);
    }
}
