//! Answers instead of the backend while work is done.
//! ```yaml
//! - maintenance: { retry_after: 10m, allow: ["10.0.0.0/8"], body: "Back at ten." }
//! - maintenance: { flag_file: /run/tidegate/maintenance }
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::{Span, Status};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, Task, Verdict};

/// Answers instead of the backend while work is done.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// In force. Default: true, unless `flag_file` is given.
    pub enabled: Option<bool>,
    /// In force while this file exists; looked for once a second.
    pub flag_file: Option<PathBuf>,
    /// The answer's status. Default: 503.
    pub status: Status,
    /// `Retry-After`. Default: 5m.
    pub retry_after: Span,
    /// Networks that get through; a client that nobody knows is in none.
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<IpNet>,
    /// Default: a line of plain text.
    pub body: Option<String>,
    /// Default: text/html; charset=utf-8.
    pub content_type: Option<crate::filter::units::Value>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            enabled: None,
            flag_file: None,
            status: Status(StatusCode::SERVICE_UNAVAILABLE),
            retry_after: Span(Duration::from_mins(5)),
            allow: Vec::new(),
            body: None,
            content_type: None,
        }
    }
}

/// See the module.
pub struct Maintenance {
    in_force: AtomicBool,
    flag_file: Option<PathBuf>,
    status: StatusCode,
    retry_after: HeaderValue,
    allow: Vec<IpNet>,
    page: Option<(HeaderValue, bytes::Bytes)>,
}

#[async_trait]
impl Filter for Maintenance {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let allows = |client| self.allow.iter().any(|net| net.contains(&client));
        if !self.in_force.load(Relaxed) || exchange.client().is_some_and(allows) {
            return Verdict::Continue;
        }
        exchange.set_reason("maintenance");
        let response = match &self.page {
            Some((kind, page)) => Response::new(self.status).body(kind.clone(), page.clone()),
            None => Response::plain(self.status),
        };
        response
            .header(RETRY_AFTER, self.retry_after.clone())
            .into()
    }

    fn tasks(self: Arc<Self>) -> Vec<Task> {
        let Some(file) = self.flag_file.clone() else {
            return Vec::new();
        };
        let watch = async move {
            loop {
                let found = tokio::task::spawn_blocking({
                    let file = file.clone();
                    move || file.exists()
                });
                self.in_force.store(found.await.unwrap_or(false), Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        vec![Task {
            name: "maintenance flag file",
            run: Box::pin(watch),
        }]
    }
}

impl Build for Maintenance {
    const NAME: &'static str = "maintenance";
    type Config = Config;

    fn build(config: Config) -> Result<Maintenance, BuildError> {
        if config.enabled.is_some() && config.flag_file.is_some() {
            return Err(BuildError::at("enabled", "leave it out: flag_file decides"));
        }
        let in_force = match &config.flag_file {
            Some(file) => file.exists(),
            None => config.enabled.unwrap_or(true),
        };
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        let kind = config.content_type.map_or(html, |kind| kind.0);
        Ok(Maintenance {
            in_force: in_force.into(),
            flag_file: config.flag_file,
            status: config.status.0,
            retry_after: config.retry_after.0.as_secs().into(),
            allow: config.allow,
            page: config.body.map(|body| (kind, body.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route, refusal};
    use serde_json::json;

    #[test]
    fn clients_are_told_when_to_come_back() {
        let route =
            Route::of::<Maintenance>(json!({ "retry_after": "10m", "body": "<h1>Soon</h1>" }));
        let seen = route.send(Call::get("/"));
        assert_eq!((seen.status(), seen.text()), (503, "<h1>Soon</h1>"));
        assert_eq!(seen.header("retry-after"), Some("600"));
        assert_eq!(seen.reason(), Some("maintenance"));
    }

    #[test]
    fn allowed_networks_get_through() {
        let route = Route::of::<Maintenance>(json!({ "allow": ["10.0.0.0/8"] }));
        assert_eq!(route.send(Call::get("/").client("10.1.2.3")).status(), 200);
        assert_eq!(route.send(Call::get("/").client("11.1.2.3")).status(), 503);
        let everyone = Route::of::<Maintenance>(json!({ "allow": ["0.0.0.0/0", "::/0"] }));
        assert_eq!(everyone.send(Call::get("/")).status(), 200);
        assert_eq!(everyone.send(Call::get("/").unknown_client()).status(), 503);
    }

    #[test]
    fn off_is_off() {
        let route = Route::of::<Maintenance>(json!({ "enabled": false }));
        assert_eq!(route.send(Call::get("/")).status(), 200);
    }

    #[test]
    fn a_flag_file_decides() {
        let there = std::env::current_exe().unwrap();
        let route = Route::of::<Maintenance>(json!({ "flag_file": there }));
        assert_eq!(route.send(Call::get("/")).status(), 503);
        let route = Route::of::<Maintenance>(json!({ "flag_file": "/nonexistent/flag" }));
        assert_eq!(route.send(Call::get("/")).status(), 200);
        let both = json!({ "flag_file": "/x", "enabled": true });
        assert_eq!(refusal::<Maintenance>(&both).path, "enabled");
    }

    #[test]
    fn bad_networks_are_named() {
        assert_eq!(
            refusal::<Maintenance>(&json!({ "allow": ["10.0.0.0/33"] })).path,
            "allow[0]"
        );
    }
}
