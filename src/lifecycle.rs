//! Signals, and the way to the end: not ready, no new connections, nothing left, exit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::config::model;

/// SIGINT is a person at a terminal: don't wait for an L4 balancer, and not long for anything else.
const INTERRUPT: model::Drain = model::Drain {
    delay: Duration::ZERO,
    timeout: Duration::from_secs(5),
};

/// Where the process is in its life; shared by all who must know.
#[derive(Debug, Default)]
pub struct Lifecycle {
    started: AtomicBool,
    draining: AtomicBool,
    forced: AtomicBool,
    /// A reload was asked for by SIGHUP.
    pub reload: Notify,
}

impl Lifecycle {
    /// Listeners are open and the first round of probes is over.
    pub fn mark_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Whether the L4 balancer in front should send new connections here.
    pub fn is_ready(&self) -> bool {
        self.started.load(Ordering::Acquire) && !self.is_draining()
    }

    /// Whether the process is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether requests were cut because `drain.timeout` ran out or a second signal came.
    pub fn was_forced(&self) -> bool {
        self.forced.load(Ordering::Acquire)
    }
}

/// What the lifecycle does to the rest of the process.
#[async_trait]
pub trait Drainable: Send + Sync {
    /// The times to keep, as configured now.
    fn drain(&self) -> model::Drain;
    /// Ends accepting; connections end with the request that they carry.
    fn stop_accepting(&self);
    /// Returns when no connection is open.
    async fn nothing_left(&self);
    /// Connections still open, for the log.
    fn connections_left(&self) -> usize;
    /// What must be written before the process ends.
    fn flush(&self);
}

/// Pingora asks this when to stop. It answers when there is nothing left to wait for, because Pingora itself would
/// sleep through its whole grace period.
pub struct SignalWatch<D> {
    pub lifecycle: Arc<Lifecycle>,
    pub process: Arc<D>,
}

struct Signals {
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
    hangup: Signal,
}

enum Asked {
    Reload,
    Drain(&'static str),
    Interrupt,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Drain("SIGTERM"),
            _ = self.quit.recv() => Asked::Drain("SIGQUIT"),
            _ = self.interrupt.recv() => Asked::Interrupt,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    async fn second(&mut self) {
        while let Asked::Reload = self.next().await {}
    }
}

#[async_trait]
impl<D: Drainable> ShutdownSignalWatch for SignalWatch<D> {
    async fn recv(&self) -> ShutdownSignal {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                log::error!("signals can't be handled: {error}");
                return ShutdownSignal::FastShutdown;
            }
        };
        loop {
            match signals.next().await {
                Asked::Reload => self.lifecycle.reload.notify_one(),
                Asked::Drain(signal) => {
                    self.end(signal, self.process.drain(), &mut signals).await;
                    return ShutdownSignal::FastShutdown;
                }
                Asked::Interrupt => {
                    self.end("SIGINT", INTERRUPT, &mut signals).await;
                    return ShutdownSignal::FastShutdown;
                }
            }
        }
    }
}

impl<D: Drainable> SignalWatch<D> {
    async fn end(&self, signal: &str, drain: model::Drain, signals: &mut Signals) {
        log::info!(
            "{signal}: not ready from now on, accepting for {:?} more, then at most {:?} for what runs",
            drain.delay,
            drain.timeout
        );
        self.lifecycle.draining.store(true, Ordering::Release);
        tokio::select! {
            () = self.drain(&drain) => {}
            () = signals.second() => {
                log::warn!("second signal: ending now");
                self.lifecycle.forced.store(true, Ordering::Release);
            }
        }
        log::info!(
            "ended; connections cut: {}",
            self.process.connections_left()
        );
        self.process.flush();
    }

    async fn drain(&self, drain: &model::Drain) {
        tokio::time::sleep(drain.delay).await;
        self.process.stop_accepting();
        let rest = tokio::time::timeout(drain.timeout, self.process.nothing_left());
        if rest.await.is_err() {
            log::warn!("drain.timeout of {:?} is over", drain.timeout);
            self.lifecycle.forced.store(true, Ordering::Release);
        }
    }
}
