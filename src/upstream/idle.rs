//! Idle connections to one backend. The one that was used last is taken first, so that those not needed any more grow old.
//!
//! No task waits on them: a connection that its backend has closed is found when it is to be taken, and by the sweep that
//! runs about once a second.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::stream::Stream;

/// Idle connections that the process keeps at most, to all backends: descriptors are the process's, too.
const MOST: usize = 8192;

static KEPT: AtomicUsize = AtomicUsize::new(0);

/// The idle connections to one backend.
#[derive(Debug, Default)]
pub struct Idle(Mutex<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    stream: Stream,
    until: Instant,
    _counted: Counted,
}

/// One of the process's idle connections.
#[derive(Debug)]
struct Counted;

impl Counted {
    fn new() -> Option<Counted> {
        let counted = Counted;
        (KEPT.fetch_add(1, Ordering::Relaxed) < MOST).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Kept {
    fn is_usable(&mut self, now: Instant) -> bool {
        self.until > now && self.stream.is_quiet()
    }
}

impl Idle {
    /// One that can carry a request. Those found dead are closed.
    pub fn take(&self, now: Instant) -> Option<Stream> {
        loop {
            // Closing is a system call: not under the lock.
            let mut kept = self.list().pop()?;
            if kept.is_usable(now) {
                return Some(kept.stream);
            }
        }
    }

    /// Keeps a connection for the next request, for as long as it stays quiet and at most until then.
    pub fn put(&self, mut stream: Stream, until: Instant) {
        if !stream.is_quiet() {
            return;
        }
        if let Some(counted) = Counted::new() {
            let kept = Kept {
                stream,
                until,
                _counted: counted,
            };
            self.list().push(kept);
        }
    }

    /// Closes what is too old, and what the backend has closed.
    pub fn sweep(&self, now: Instant) {
        let mut list = self.list();
        let dead: Vec<Kept> = list.extract_if(.., |kept| !kept.is_usable(now)).collect();
        drop(list);
        drop(dead);
    }

    /// Closes all of them.
    pub fn close_all(&self) {
        drop(std::mem::take(&mut *self.list()));
    }

    fn list(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Stream::Tcp(ours.unwrap()), theirs.unwrap().0)
    }

    fn port(stream: &Stream) -> u16 {
        match stream {
            Stream::Tcp(stream) => stream.local_addr().unwrap().port(),
            Stream::Other(_) => unreachable!(),
        }
    }

    /// Waits until the runtime knows that something came.
    async fn news(stream: &Stream) {
        match stream {
            Stream::Tcp(stream) => stream.readable().await.unwrap(),
            Stream::Other(_) => unreachable!(),
        }
    }

    #[tokio::test]
    async fn the_last_one_used_comes_first() {
        let (idle, now) = (Idle::default(), Instant::now());
        let ((a, _a), (b, _b)) = (pair().await, pair().await);
        let (first, second) = (port(&a), port(&b));
        idle.put(a, now + LONG);
        idle.put(b, now + LONG);
        assert_eq!(port(&idle.take(now).unwrap()), second);
        assert_eq!(port(&idle.take(now).unwrap()), first);
        assert!(idle.take(now).is_none());
    }

    #[tokio::test]
    async fn what_is_too_old_is_not_taken() {
        let (idle, now) = (Idle::default(), Instant::now());
        let (a, _a) = pair().await;
        idle.put(a, now + LONG);
        assert!(idle.take(now + LONG).is_none());
    }

    #[tokio::test]
    async fn what_was_closed_or_spoke_unasked_is_neither_taken_nor_kept() {
        let (idle, now) = (Idle::default(), Instant::now());
        let ((a, theirs), (b, mut talks), (c, _c)) = (pair().await, pair().await, pair().await);
        drop(theirs);
        talks.write_all(b"HTTP/1.1 408 ").await.unwrap();
        let good = port(&c);
        for stream in [&a, &b] {
            news(stream).await;
        }
        for stream in [c, a, b] {
            idle.list().push(Kept {
                stream,
                until: now + LONG,
                _counted: Counted::new().unwrap(),
            });
        }
        assert_eq!(port(&idle.take(now).unwrap()), good);
        assert!(idle.take(now).is_none());
    }

    #[tokio::test]
    async fn the_sweep_closes_the_dead_and_leaves_the_rest() {
        let (idle, now) = (Idle::default(), Instant::now());
        let ((old, mut theirs), (young, _young)) = (pair().await, pair().await);
        idle.put(old, now + LONG);
        idle.put(young, now + 2 * LONG);
        idle.sweep(now + LONG);
        assert_eq!(idle.list().len(), 1);
        // The end of the connection is seen there.
        let read = tokio::io::AsyncReadExt::read(&mut theirs, &mut [0]).await;
        assert_eq!(read.unwrap(), 0);
    }
}
