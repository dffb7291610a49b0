//! Threads for full handshakes, which cost hundreds of times what a request does. They run at a lower priority than the
//! workers, so that a flood of handshakes is slow by itself and delays nobody who is connected or resumes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pingora_core::protocols::tls::SslStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::failure::HandshakeError;
use crate::listener::socket::Socket;

/// Under contention a third of a worker's share (nice 5).
const NICE: i32 = 5;

/// A runtime for nothing but handshakes.
pub struct HandshakeThreads {
    runtime: Option<Runtime>,
    /// Handshakes that no thread has begun with.
    queued: Arc<AtomicUsize>,
}

impl HandshakeThreads {
    /// Half as many as there are workers, at least one.
    pub fn start(workers: usize) -> io::Result<HandshakeThreads> {
        let runtime = Builder::new_multi_thread()
            .worker_threads((workers / 2).max(1))
            .thread_name("handshakes")
            .on_thread_start(|| {
                // Of this thread alone; where it may not be changed, handshakes compete as equals.
                let _ = rustix::process::setpriority_process(None, NICE);
            })
            .enable_io()
            .build()?;
        Ok(HandshakeThreads {
            runtime: Some(runtime),
            queued: Arc::default(),
        })
    }

    /// Goes on with a handshake that `accept` was broken off from. At most `limit` wait; dropping the future ends it.
    pub async fn accept(
        &self,
        mut stream: SslStream<Socket>,
        limit: usize,
    ) -> Result<SslStream<Socket>, HandshakeError> {
        let place = Place::take(&self.queued, limit).ok_or(HandshakeError::Overloaded)?;
        let runtime = self.runtime.as_ref().ok_or(HandshakeError::Overloaded)?;
        let mut task = Ends(runtime.spawn(async move {
            drop(place);
            stream.accept().await?;
            Ok(stream)
        }));
        match (&mut task.0).await {
            Ok(accepted) => accepted,
            Err(_) => Err(HandshakeError::Overloaded),
        }
    }
}

impl Drop for HandshakeThreads {
    fn drop(&mut self) {
        // Waiting for its threads is not allowed on a worker.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A place in the queue, given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(queued: &Arc<AtomicUsize>, limit: usize) -> Option<Place> {
        if queued.fetch_add(1, Ordering::Relaxed) >= limit {
            queued.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(queued.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A task that ends with who waits for it.
struct Ends<T>(JoinHandle<T>);

impl<T> Drop for Ends<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let queued = Arc::default();
        let first = Place::take(&queued, 1);
        assert!(first.is_some());
        assert!(Place::take(&queued, 1).is_none());
        drop(first);
        assert!(Place::take(&queued, 1).is_some());
        assert_eq!(queued.load(Ordering::Relaxed), 0);
    }
}
