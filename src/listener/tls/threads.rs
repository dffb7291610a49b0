//! Threads for full handshakes, which cost hundreds of times what a request does. They run at a lower priority than the
//! workers, so that a flood of handshakes is slow by itself and delays nobody who is connected or resumes.
//!
//! Only the costly step is done there, from the ClientHello to the server's first flight. Waiting for the client's answer
//! is the worker's, so that slow clients occupy no thread. Where the process has a single core, there are none: handing
//! over would cost and part nothing.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use pingora_core::protocols::tls::SslStream;
use tokio::sync::oneshot;

use super::failure::HandshakeError;
use crate::listener::socket::Socket;

/// Under contention a third of a worker's share (nice 5).
const NICE: i32 = 5;

type Stream = SslStream<Socket>;

/// A handshake that waits for its costly step, and who waits for that.
struct Step {
    stream: Stream,
    done: oneshot::Sender<Result<Stream, HandshakeError>>,
}

/// The queue, and the threads that empty it.
pub struct HandshakeThreads {
    queue: Arc<Queue<Step>>,
    threads: usize,
}

impl HandshakeThreads {
    /// Half as many as there are workers, at least one; none where there is only one core.
    pub fn start(workers: usize) -> io::Result<HandshakeThreads> {
        let single = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
        let threads = HandshakeThreads {
            queue: Arc::new(Queue::default()),
            threads: if single { 0 } else { (workers / 2).max(1) },
        };
        for _ in 0..threads.threads {
            let queue = threads.queue.clone();
            std::thread::Builder::new()
                .name("handshakes".into())
                .spawn(move || {
                    // Of this thread alone; where it may not be changed, handshakes compete as equals.
                    let _ = rustix::process::setpriority_process(None, NICE);
                    while let Some(step) = queue.next() {
                        run(step);
                    }
                })?;
        }
        Ok(threads)
    }

    /// Goes on with a handshake that `accept` was broken off from, to its end. At most `limit` wait for a thread.
    pub async fn accept(&self, mut stream: Stream, limit: usize) -> Result<Stream, HandshakeError> {
        if self.threads == 0 {
            stream.accept().await?;
            return Ok(stream);
        }
        let (done, stepped) = oneshot::channel();
        if !self.queue.push(Step { stream, done }, limit) {
            return Err(HandshakeError::Overloaded);
        }
        let mut stream = stepped.await.map_err(|_| HandshakeError::Overloaded)??;
        // Done at once, if the step was the last.
        stream.accept().await?;
        Ok(stream)
    }
}

impl Drop for HandshakeThreads {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// One poll: everything up to where the client has to answer. Whoever waits polls again, and is woken then.
fn run(step: Step) {
    let Step { mut stream, done } = step;
    if done.is_closed() {
        // Its deadline is over.
        return;
    }
    let polled = {
        let mut accepting = std::pin::pin!(stream.accept());
        accepting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    };
    let stepped = match polled {
        Poll::Ready(Err(error)) => Err(error.into()),
        Poll::Ready(Ok(())) | Poll::Pending => Ok(stream),
    };
    let _ = done.send(stepped);
}

/// First in, first out; bounded by who pushes.
struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    more: Condvar,
}

struct Waiting<T> {
    steps: VecDeque<T>,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        let waiting = Waiting {
            steps: VecDeque::new(),
            closed: false,
        };
        Queue {
            waiting: Mutex::new(waiting),
            more: Condvar::new(),
        }
    }
}

impl<T> Queue<T> {
    /// `false`: `limit` are waiting already.
    fn push(&self, step: T, limit: usize) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.steps.len() >= limit {
            return false;
        }
        waiting.steps.push_back(step);
        drop(waiting);
        self.more.notify_one();
        true
    }

    /// Waits for one; `None` once the queue is closed.
    fn next(&self) -> Option<T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(step) = waiting.steps.pop_front() {
                return Some(step);
            }
            waiting = self
                .more
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.closed = true;
        self.more.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_in_order_and_ends() {
        let queue = Queue::default();
        assert!(queue.push(1, 2) && queue.push(2, 2));
        assert!(!queue.push(3, 2));
        assert_eq!(queue.next(), Some(1));
        assert!(queue.push(4, 2));
        assert_eq!((queue.next(), queue.next()), (Some(2), Some(4)));
        let waits = std::thread::scope(|scope| {
            let waits = scope.spawn(|| queue.next());
            queue.close();
            waits.join().unwrap()
        });
        assert_eq!(waits, None);
    }
}
