//! How long a task that is ready waits until a worker thread of the data path runs it.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Readings that are looked at together: one slow moment is no overload, only a wait that does not go away is.
const WINDOW: usize = 4;

/// Sends a task ahead with each reading and times it.
#[derive(Default)]
pub struct LagProbe {
    under_way: Option<(Instant, oneshot::Receiver<Duration>)>,
    recent: [Duration; WINDOW],
    next: usize,
}

impl LagProbe {
    /// The shortest wait of the last readings; to be called at regular times, from another runtime than `workers`.
    pub fn read(&mut self, workers: &Handle) -> Duration {
        let now = Instant::now();
        if let Some((sent, answer)) = &mut self.under_way {
            match answer.try_recv() {
                Ok(waited) => {
                    self.note(waited);
                    self.under_way = None;
                }
                // Still waiting: it is at least as long.
                Err(oneshot::error::TryRecvError::Empty) => {
                    let waited = now.saturating_duration_since(*sent);
                    self.note(waited);
                }
                Err(oneshot::error::TryRecvError::Closed) => self.under_way = None,
            }
        }
        if self.under_way.is_none() {
            let (answer, waiting) = oneshot::channel();
            workers.spawn(async move {
                let _ = answer.send(now.elapsed());
            });
            self.under_way = Some((now, waiting));
        }
        self.recent.iter().copied().min().unwrap_or_default()
    }

    fn note(&mut self, waited: Duration) {
        self.recent[self.next % WINDOW] = waited;
        self.next = (self.next + 1) % WINDOW;
    }
}
