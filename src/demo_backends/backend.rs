//! One sample backend: a server with a runtime of its own, so that killing it takes its socket, its connections and its
//! WebSockets at once, as SIGKILL would.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;

use super::service;

/// How long a killed backend's thread is waited for.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// How a backend behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Answers at once.
    Healthy,
    /// Answers 2 s later.
    Slow,
    /// Answers 500, but for `/healthz`.
    Failing,
    /// Answers 500 to everything.
    FailingAll,
    /// Accepts and doesn't answer.
    Hanging,
    /// Listens no more; its connections are cut.
    Dead,
}

/// The text is the name of no mode.
#[derive(Debug, thiserror::Error)]
#[error("unknown mode: write healthy, slow, failing, failing-all, hanging or dead")]
pub struct UnknownMode;

/// A running backend; dropping it stops it.
pub struct DemoBackend {
    /// Shown in its answers and as their `X-Backend`.
    pub name: String,
    /// Where it listens; kept while it is dead.
    pub address: SocketAddr,
    state: Arc<State>,
    /// `None` while dead.
    runtime: Mutex<Option<Runtime>>,
}

/// What the service reads and counts.
pub(super) struct State {
    pub name: String,
    pub mode: watch::Sender<Mode>,
    pub requests: AtomicU64,
    pub probes: AtomicU64,
}

impl DemoBackend {
    /// Starts a backend named `a`. Port 0 takes a free one. Fails when the address can't be bound.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        Self::start_named("a", address).await
    }

    /// As `start`, with a name.
    pub async fn start_named(name: &str, address: SocketAddr) -> io::Result<Self> {
        let state = Arc::new(State {
            name: name.to_owned(),
            mode: watch::Sender::new(Mode::Healthy),
            requests: AtomicU64::new(0),
            probes: AtomicU64::new(0),
        });
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let runtime = serve(listener, &state)?;
        Ok(Self {
            name: name.to_owned(),
            address,
            state,
            runtime: Mutex::new(Some(runtime)),
        })
    }

    /// Requests that reached it since its start, without those to `/healthz`.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Requests to `/healthz` since its start.
    #[must_use]
    pub fn probes(&self) -> u64 {
        self.state.probes.load(Ordering::SeqCst)
    }

    /// The mode it is in.
    #[must_use]
    pub fn mode(&self) -> Mode {
        *self.state.mode.borrow()
    }

    /// Switches it; done when this returns: a dead backend refuses connections, a revived one accepts them.
    /// Fails when its port was taken by someone else while it was dead; it stays dead then.
    pub async fn set_mode(&self, mode: Mode) -> io::Result<()> {
        let mut runtime = self.runtime.lock().await;
        if mode == Mode::Dead {
            kill(runtime.take()).await;
        } else if runtime.is_none() {
            let listener = TcpListener::bind(self.address).await?;
            *runtime = Some(serve(listener, &self.state)?);
        }
        self.state.mode.send_replace(mode);
        Ok(())
    }

    /// Cuts all connections and stops listening.
    pub async fn stop(self) {
        kill(self.runtime.lock().await.take()).await;
    }
}

impl Drop for DemoBackend {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.get_mut().take() {
            runtime.shutdown_background();
        }
    }
}

impl Mode {
    const NAMES: [(&'static str, Mode); 6] = [
        ("healthy", Mode::Healthy),
        ("slow", Mode::Slow),
        ("failing", Mode::Failing),
        ("failing-all", Mode::FailingAll),
        ("hanging", Mode::Hanging),
        ("dead", Mode::Dead),
    ];

    /// As the control server writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, mode)| *mode == self)
            .map_or("", |(name, _)| name)
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        Self::NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, mode)| *mode)
            .ok_or(UnknownMode)
    }
}

/// Moves the bound socket into a new runtime and serves HTTP/1 and HTTP/2 on it there.
fn serve(listener: TcpListener, state: &Arc<State>) -> io::Result<Runtime> {
    let listener = listener.into_std()?;
    let router = service::router(Arc::clone(state));
    let name = format!("backend-{}", state.name);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()?;
    runtime.spawn(async move {
        let served = async {
            let listener =
                TcpListener::from_std(listener)?.tap_io(|stream| drop(stream.set_nodelay(true)));
            axum::serve(listener, router).await
        };
        if let Err(error) = served.await {
            log::error!("a sample backend ended: {error}");
        }
    });
    Ok(runtime)
}

/// Waits until the runtime's sockets are closed.
async fn kill(runtime: Option<Runtime>) {
    if let Some(runtime) = runtime {
        // Fails only if the waiting thread panicked; the runtime is gone then too.
        drop(spawn_blocking(move || runtime.shutdown_timeout(KILL_TIMEOUT)).await);
    }
}
