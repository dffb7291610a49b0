//! The switch: a small HTTP server that lists the sample backends and changes their modes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::backend::{DemoBackend, Mode};

type Backends = Arc<Vec<Arc<DemoBackend>>>;

/// The running control server.
pub struct Control {
    /// Where it listens.
    pub address: SocketAddr,
    backends: Backends,
    task: JoinHandle<io::Result<()>>,
}

impl Control {
    /// `GET /` lists the backends as JSON, `POST /backends/{name}/{mode}` switches one. Fails when the address can't be
    /// bound.
    pub async fn start(address: SocketAddr, backends: Vec<Arc<DemoBackend>>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let backends = Arc::new(backends);
        let router = Router::new()
            .route("/", get(list))
            .route("/backends/{name}/{mode}", post(switch))
            .with_state(Arc::clone(&backends));
        let task = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            address,
            backends,
            task,
        })
    }

    /// Stops listening, and kills the backends.
    pub async fn stop(self) {
        self.task.abort();
        for backend in self.backends.iter() {
            if let Err(error) = backend.set_mode(Mode::Dead).await {
                log::warn!("backend {} can't be stopped: {error}", backend.name);
            }
        }
    }
}

async fn list(State(backends): State<Backends>) -> String {
    let entry = |backend: &Arc<DemoBackend>| {
        json!({
            "name": backend.name,
            "address": backend.address.to_string(),
            "mode": backend.mode().name(),
            "requests": backend.requests(),
            "probes": backend.probes(),
        })
    };
    let entries: Vec<_> = backends.iter().map(entry).collect();
    format!("{:#}\n", json!(entries))
}

async fn switch(
    State(backends): State<Backends>,
    Path((name, mode)): Path<(String, String)>,
) -> Result<String, (StatusCode, String)> {
    let backend = backends.iter().find(|backend| backend.name == name);
    let backend = backend.ok_or_else(|| {
        (
            StatusCode::NOT_FOUND,
            format!("there is no backend {name}\n"),
        )
    })?;
    let mode: Mode = mode
        .parse()
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    let switched = backend.set_mode(mode).await;
    switched.map_err(|error| {
        (
            StatusCode::CONFLICT,
            format!("{} can't be had: {error}\n", backend.address),
        )
    })?;
    Ok(format!("{name} is {}\n", mode.name()))
}
