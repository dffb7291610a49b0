//! From accept to a clean byte stream with a true client address: caps, PROXY header, TLS, guarded stream.
//!
//! `Listeners` opens and closes listeners as the configuration says; `listening` is one of them at work; `http1` and
//! `http2` serve one connection each. Nothing here knows routes or pools, nor which filters there
//! are: requests go to an `HttpServerApp`.

mod addresses;
mod admission;
mod bind;
pub(crate) mod chunked;
mod connection;
pub mod deadline;
mod early_data;
mod frame_watch;
mod gate;
mod goodbye;
mod guard;
pub(crate) mod h2_frames;
pub(crate) mod h2_streams;
pub(crate) mod head;
pub(crate) mod http1;
mod http2;
mod linger;
mod listening;
mod open;
mod pace;
mod proxy_header;
pub(crate) mod proxy_protocol;
mod refusal;
mod refuse;
mod reserve;
mod seats;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod unread;
mod write_buffer;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use log::Level;
use pingora_core::apps::HttpServerApp;
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Handle;

pub use admission::Admission;
pub use bind::BACKLOG;
pub use connection::{Connection, Streaming, TlsFacts};
pub use gate::Gate;
pub use head::Refusal;
pub use listening::{Refused, RefusedRequest, Shared};
pub use open::Open;
pub use tls::{ClientCertificate, Tls, TlsError};

use crate::config::model::{Address, Listener};
use crate::observe::event_log::{self, EventKind};
use crate::observe::metrics::{CertificateExpiry, Metrics};
use bind::Bound;
use tls::TlsShared;

/// Warnings of a certificate's end begin so many seconds before: two weeks.
const EXPIRES_SOON: i64 = 14 * 86_400;

/// Why the listeners can't be as configured. Nothing has changed when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A certificate or key is unusable.
    #[error("listener {listener}: {source}")]
    Tls { listener: String, source: TlsError },
    /// The address can't be listened on.
    #[error("listener {listener}: {address}: {source}")]
    Bind {
        listener: String,
        address: Address,
        source: io::Error,
    },
}

/// The listeners of one application; opened, reconfigured and closed while it runs.
pub struct Listeners<A> {
    app: Arc<A>,
    refused: Arc<dyn Refused>,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    open: Arc<Open>,
    runtime: OnceLock<Handle>,
    /// Made with the first listener that has TLS.
    tls: OnceLock<Arc<TlsShared>>,
    workers: usize,
    running: Mutex<BTreeMap<Address, Running>>,
}

struct Running {
    name: String,
    shared: Arc<Shared>,
    local: Address,
}

/// A new set of listeners: every certificate loaded, every new socket bound, nothing applied.
pub struct Prepared(Vec<PreparedListener>);

struct PreparedListener {
    config: Listener,
    tls: Option<Tls>,
    admission: Option<Admission>,
    bound: Option<Bound>,
}

/// One listener in `/status`.
#[derive(Debug, Serialize)]
pub struct ListenerStatus {
    pub listener: String,
    pub address: String,
    pub tls: bool,
    pub connections: usize,
}

impl<A> Listeners<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    /// No listeners yet. `refused` is told of requests that were refused before they reached the application; `workers`
    /// is the number of threads that they will run on.
    pub fn new(
        app: Arc<A>,
        refused: Arc<dyn Refused>,
        gate: Gate,
        metrics: Arc<Metrics>,
        workers: usize,
    ) -> Listeners<A> {
        Listeners {
            app,
            refused,
            gate: Arc::new(gate),
            metrics,
            open: Arc::default(),
            runtime: OnceLock::new(),
            tls: OnceLock::new(),
            workers,
            running: Mutex::default(),
        }
    }

    /// Accept loops and connections run on the runtime that this is called in.
    pub fn run_here(&self) {
        let _ = self.runtime.set(Handle::current());
    }

    /// The runtime that connections run on, once there is one.
    pub fn runtime(&self) -> Option<&Handle> {
        self.runtime.get()
    }

    /// Tells a part of the connections of each listener to end; see `Goodbye`.
    pub fn say_goodbye(&self, part: usize) {
        for listener in self.running().values() {
            listener.shared.goodbye.to_part(part);
        }
    }

    /// Does everything that can fail. `admissions` holds the listeners that have filters, by name.
    pub fn prepare(
        &self,
        configs: &[Listener],
        admissions: &BTreeMap<String, Admission>,
    ) -> Result<Prepared, ListenError> {
        let running = self.running();
        let mut prepared = Vec::with_capacity(configs.len());
        for config in configs {
            let tls = self.load_tls(config)?;
            let bound = match running.contains_key(&config.address) {
                true => None,
                false => Some(bind(config)?),
            };
            prepared.push(PreparedListener {
                config: config.clone(),
                tls,
                admission: admissions.get(&config.name).cloned(),
                bound,
            });
        }
        Ok(Prepared(prepared))
    }

    /// Makes it so: new listeners accept, changed ones serve new connections differently, the others close.
    pub fn apply(&self, prepared: Prepared) {
        let mut running = self.running();
        let mut before = std::mem::take(&mut *running);
        for mut listener in prepared.0 {
            let key = listener.config.address.clone();
            let bound = listener.bound.take();
            let entry = match (before.remove(&key), bound) {
                (Some(mut old), _) => {
                    old.name.clone_from(&listener.config.name);
                    old.shared.reconfigure(listener.config, listener.tls);
                    old.shared.ask_first(listener.admission);
                    old
                }
                (None, Some(bound)) => match self.open(listener, bound) {
                    Some(opened) => opened,
                    None => continue,
                },
                (None, None) => continue,
            };
            running.insert(key, entry);
        }
        drop(running);
        self.warn_of_expiry();
        for closed in before.into_values() {
            say(&closed.name, &closed.local, "closed");
            closed.shared.stop();
        }
    }

    fn load_tls(&self, config: &Listener) -> Result<Option<Tls>, ListenError> {
        let Some(tls) = &config.tls else {
            return Ok(None);
        };
        let loaded = self.tls_shared().and_then(|shared| Tls::load(tls, &shared));
        loaded.map(Some).map_err(|source| ListenError::Tls {
            listener: config.name.clone(),
            source,
        })
    }

    fn tls_shared(&self) -> Result<Arc<TlsShared>, TlsError> {
        match self.tls.get() {
            Some(shared) => Ok(shared.clone()),
            None => {
                let shared = Arc::new(TlsShared::start(self.workers)?);
                Ok(self.tls.get_or_init(|| shared).clone())
            }
        }
    }

    fn open(&self, listener: PreparedListener, bound: Bound) -> Option<Running> {
        let runtime = self.runtime.get()?;
        let config = listener.config;
        let local = bound.local_address().unwrap_or(config.address.clone());
        let name = config.name.clone();
        let metrics = self.metrics.listener(&name);
        let (refused, gate) = (self.refused.clone(), self.gate.clone());
        let shared = Shared::new(config, listener.tls, metrics, refused, gate);
        shared.ask_first(listener.admission);
        runtime.spawn(listening::accept_loop(
            bound,
            shared.clone(),
            self.app.clone(),
            self.open.clone(),
        ));
        say(&name, &local, "listening");
        Some(Running {
            name,
            shared,
            local,
        })
    }

    /// Says which certificates have ended or will within two weeks: to be called now and then.
    pub fn warn_of_expiry(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
        for listener in self.running().values() {
            for certificate in listener.shared.certificates() {
                let left = certificate.not_after - now;
                if left < EXPIRES_SOON {
                    say_expiry(&listener.name, &certificate, left);
                }
            }
        }
    }

    /// Ends all accept loops; connections end with the request that they carry.
    pub fn stop(&self) {
        for listener in self.running().values() {
            listener.shared.stop();
        }
    }

    /// Counts open connections of all listeners, also of closed ones.
    pub fn open_connections(&self) -> &Arc<Open> {
        &self.open
    }

    /// For `/status`.
    pub fn status(&self) -> Vec<ListenerStatus> {
        let status = |listener: &Running| ListenerStatus {
            listener: listener.name.clone(),
            address: listener.local.to_string(),
            tls: listener.shared.has_tls(),
            connections: listener.shared.open_connections(),
        };
        self.running().values().map(status).collect()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<Address, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bind(config: &Listener) -> Result<Bound, ListenError> {
    bind::bind(&config.address).map_err(|source| ListenError::Bind {
        listener: config.name.clone(),
        address: config.address.clone(),
        source,
    })
}

fn say_expiry(listener: &str, certificate: &CertificateExpiry, seconds: i64) {
    let fields = json!({
        "listener": listener,
        "sni": certificate.sni,
        "key_type": certificate.key_type,
        "state": if seconds <= 0 { "expired" } else { "expires_soon" },
        "days_left": seconds.div_euclid(86_400),
    });
    event_log::event(Level::Warn, EventKind::Cert, &fields);
}

fn say(name: &str, address: &Address, state: &str) {
    let address = address.to_string();
    let fields = json!({ "listener": name, "address": address, "state": state });
    event_log::event(Level::Info, EventKind::Listener, &fields);
}
