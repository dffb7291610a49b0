//! The admin listener: `/healthz`, `/readyz`, `/metrics`, `/status`, and the switch that drains a backend. Never on a
//! public address: it has no access control but [`access`], which keeps web pages out.

mod access;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use access::{Asked, Forbidden};
use async_trait::async_trait;
use http::{HeaderValue, Method, Response, StatusCode, header};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use pingora_http::RequestHeader;
use serde_json::{Value, json};

use crate::config::model::Address;
use crate::instance::Instance;
use crate::listener::{Connection, ListenerStatus};
use crate::observe::metrics::CONTENT_TYPE;

/// Lists listeners; told after they exist.
pub type ListenerList = Box<dyn Fn() -> Vec<ListenerStatus> + Send + Sync>;

const USAGE: &str = "\
GET  /healthz /readyz /metrics /status
POST /pools/POOL/backends/ID/drain
POST /pools/POOL/backends/ID/undrain
POST needs the field Content-Type: application/json
";

/// Answers requests to the admin listener.
pub struct Admin {
    instance: Arc<Instance>,
    listeners: OnceLock<ListenerList>,
    started: Instant,
}

impl Admin {
    /// For this instance.
    pub fn new(instance: Arc<Instance>) -> Admin {
        Admin {
            instance,
            listeners: OnceLock::new(),
            started: Instant::now(),
        }
    }

    /// Says where `/status` finds the listeners.
    pub fn show_listeners(&self, list: ListenerList) {
        let _ = self.listeners.set(list);
    }

    fn answer(&self, request: &RequestHeader) -> Response<Vec<u8>> {
        let (method, path) = (&request.method, request.uri.path());
        if let Err(why) = self.admit(request) {
            log::warn!("admin: {method} {path}: {why}");
            return text(StatusCode::FORBIDDEN, format!("{why}\n"));
        }
        let reads = [Method::GET, Method::HEAD].contains(method);
        match path {
            _ if Switch::named(path).is_some() && *method != Method::POST => only("POST"),
            _ if Switch::named(path).is_some() => self.switch(path),
            "/healthz" | "/livez" | "/readyz" | "/metrics" | "/status" | "/" if !reads => {
                only("GET, HEAD")
            }
            "/healthz" | "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => readiness(&self.instance),
            "/metrics" => self.metrics(),
            "/status" => body(StatusCode::OK, "application/json", pretty(&self.status())),
            "/" => text(StatusCode::OK, USAGE),
            _ => text(StatusCode::NOT_FOUND, USAGE),
        }
    }

    /// Refuses what a web page has sent, or may have.
    fn admit(&self, request: &RequestHeader) -> Result<(), Forbidden> {
        let snapshot = self.instance.snapshot.load();
        let connection = Connection::current();
        let asked = Asked {
            method: &request.method,
            target: &request.uri,
            headers: &request.headers,
            unix: connection.is_some_and(|c| matches!(c.config.address, Address::Unix(_))),
            hosts: &snapshot.config.admin_hosts,
        };
        asked.check()
    }

    /// `POST /pools/POOL/backends/ID/drain` and `/undrain`. What is drained so stays it until undrained or restarted.
    fn switch(&self, path: &str) -> Response<Vec<u8>> {
        let Some(switch) = Switch::named(path) else {
            return text(StatusCode::NOT_FOUND, USAGE);
        };
        let snapshot = self.instance.snapshot.load();
        let Some(pool) = snapshot.pools.get(switch.pool) else {
            return text(StatusCode::NOT_FOUND, "no such pool; see /status\n");
        };
        let now = Instant::now();
        let known = match switch.drain {
            true => pool.pool.drain(switch.backend, now),
            false => pool.pool.undrain(switch.backend, now),
        };
        match known {
            true => text(StatusCode::OK, "ok\n"),
            false => text(StatusCode::NOT_FOUND, "no such backend; see /status\n"),
        }
    }

    fn metrics(&self) -> Response<Vec<u8>> {
        let snapshot = self.instance.snapshot.load();
        let now = Instant::now();
        for pool in snapshot.pools.values() {
            pool.export(now);
        }
        let text = self.instance.metrics.render();
        body(StatusCode::OK, CONTENT_TYPE, text.into_bytes())
    }

    fn status(&self) -> Value {
        let snapshot = self.instance.snapshot.load();
        let now = Instant::now();
        let listeners = self.listeners.get().map(|list| list()).unwrap_or_default();
        let routes = snapshot.config.routes.iter();
        let pools = snapshot.pools.values();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "ready": self.instance.is_ready(),
            "draining": self.instance.lifecycle.is_draining(),
            "overload": self.instance.overload.status(),
            "config": { "hash": snapshot.hash, "loaded_at": snapshot.loaded_at },
            "listeners": listeners,
            "routes": routes.map(|r| r.name.as_str()).collect::<Vec<_>>(),
            "pools": pools.map(|p| p.status(now)).collect::<Vec<_>>(),
        })
    }
}

/// What a path of a switch names.
struct Switch<'a> {
    pool: &'a str,
    backend: &'a str,
    drain: bool,
}

impl Switch<'_> {
    fn named(path: &str) -> Option<Switch<'_>> {
        let parts: Vec<&str> = path.split('/').collect();
        let ["", "pools", pool, "backends", backend, action] = parts[..] else {
            return None;
        };
        let drain = match action {
            "drain" => true,
            "undrain" => false,
            _ => return None,
        };
        Some(Switch {
            pool,
            backend,
            drain,
        })
    }
}

/// What `/readyz` and a data listener's health path say: 503 from the first signal to stop on, and while accepting pauses.
pub fn readiness(instance: &Instance) -> Response<Vec<u8>> {
    if instance.is_ready() {
        return text(StatusCode::OK, "ready\n");
    }
    let missing = instance.missing_sources();
    if !(instance.lifecycle.is_ready() || instance.lifecycle.is_draining() || missing.is_empty()) {
        let list = missing.join("\n");
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("starting: no answer yet for\n{list}\n"),
        );
    }
    let why = match (
        instance.lifecycle.is_draining(),
        instance.lifecycle.is_ready(),
    ) {
        (true, _) => "draining\n",
        (false, true) => "overloaded\n",
        (false, false) => "starting\n",
    };
    text(StatusCode::SERVICE_UNAVAILABLE, why)
}

fn only(methods: &'static str) -> Response<Vec<u8>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, USAGE);
    let methods = HeaderValue::from_static(methods);
    response.headers_mut().insert(header::ALLOW, methods);
    response
}

fn text(status: StatusCode, text: impl Into<Vec<u8>>) -> Response<Vec<u8>> {
    body(status, "text/plain", text.into())
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

fn body(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    // Browsers neither guess a type nor hand the body to pages of other origins (Fetch, section 3.7).
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        header::HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        "cross-origin-resource-policy",
        header::HeaderValue::from_static("same-origin"),
    );
    response
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let head_only = request.method == Method::HEAD;
        let mut response = self.answer(request);
        if head_only {
            response.body_mut().clear();
        }
        response
    }
}
