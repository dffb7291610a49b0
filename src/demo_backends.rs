//! `tidegate demo-backends`: real HTTP servers to try Tidegate on, each with a switch that makes it slow, failing, hanging
//! or dead.

mod backend;
mod control;
mod service;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

pub use backend::{DemoBackend, Mode, UnknownMode};
pub use control::Control;

/// Starts one backend for each address, named a, b, c .., and their control server; runs until SIGINT or SIGTERM.
/// Fails when an address can't be bound; port 0 takes a free one.
pub async fn run(addresses: Vec<SocketAddr>, control: SocketAddr) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut backends = Vec::with_capacity(addresses.len());
    for (index, address) in addresses.into_iter().enumerate() {
        let backend = DemoBackend::start_named(&name_of(index), address).await?;
        log::info!("backend {} listens on {}", backend.name, backend.address);
        backends.push(Arc::new(backend));
    }
    let control = Control::start(control, backends).await?;
    log::info!("the switch for them listens on {}", control.address);
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    control.stop().await;
    Ok(())
}

/// a to z, then b27, b28 ..
fn name_of(index: usize) -> String {
    let letter = u8::try_from(index).ok().filter(|index| *index < 26);
    letter.map_or_else(
        || format!("b{}", index + 1),
        |index| char::from(b'a' + index).to_string(),
    )
}

#[cfg(test)]
mod tests;
