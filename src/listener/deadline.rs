//! How long what a task waits for may take: one timer a task, and the total time of a request.
//!
//! A request waits several times, and almost always what it waits for comes at once. The timer is therefore not set
//! for each wait: it is left where it is while it rings early enough, and set anew when it has rung too early.
//!
//! Pingora's timers bound each silence of a backend, not a response head that comes a byte at a time, nor the sum of
//! several attempts. The proxy arms the deadline when it knows the route and disarms it at the response head. Over
//! HTTP/1 the connection is then cut on its reading side, which ends the request with a clean 504; an HTTP/2 stream is
//! reset, as it has no reading side of its own.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

tokio::task_local! {
    static TIMES: Times;
}

#[derive(Default)]
struct Times {
    /// When the request that this task serves ends, if it is still without a response head.
    total: Cell<Option<Instant>>,
    alarm: RefCell<Alarm>,
}

/// Made with the first wait.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready from `at` on.
    fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let new = || Box::pin(tokio::time::sleep_until(at));
        let sleep = self.0.get_or_insert_with(new);
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= at || Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

/// The time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late;

/// Gives the task that runs `work` its timer. No `async fn`: that would hold the room of `work` twice.
pub fn scope<W: Future>(work: W) -> impl Future<Output = W::Output> {
    TIMES.scope(Times::default(), work)
}

/// Runs `work` for at most this long, by the task's timer; one without has a timer for each.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Late> {
    let mut work = pin!(work);
    let mut at = None;
    let mut own = Alarm::default();
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        let at = *at.get_or_insert_with(|| Instant::now() + limit);
        let shared = TIMES.try_with(|times| times.alarm.borrow_mut().poll(cx, at));
        shared
            .unwrap_or_else(|_| own.poll(cx, at))
            .map(|()| Err(Late))
    })
    .await
}

/// Ready from `at` on, by the task's timer; never in a task that has none.
pub fn poll_at(cx: &mut Context<'_>, at: std::time::Instant) -> Poll<()> {
    TIMES
        .try_with(|times| times.alarm.borrow_mut().poll(cx, at.into()))
        .unwrap_or(Poll::Pending)
}

/// From now on the request that this task serves ends at `at`, if it is still without a response head.
pub fn arm(at: std::time::Instant) {
    // Requests of other applications than the proxy have none.
    let _ = TIMES.try_with(|times| times.total.set(Some(at.into())));
}

/// The response has begun: how long it takes is bounded by silence alone.
pub fn disarm() {
    let _ = TIMES.try_with(|times| times.total.set(None));
}

/// Runs a request in a [`scope`]. When its deadline has passed by `grace`, `cut` decides: `true` lets it come to its own
/// end, `false` drops it.
pub async fn bound<T>(
    request: impl Future<Output = Option<T>>,
    grace: Duration,
    cut: impl Fn() -> bool,
) -> Option<T> {
    let mut request = pin!(request);
    let mut fired = false;
    disarm();
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = request.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            let late = TIMES.try_with(|times| {
                let at = times.total.get().filter(|_| !fired)?;
                Some(times.alarm.borrow_mut().poll(cx, at + grace))
            });
            if !matches!(late, Ok(Some(Poll::Ready(())))) {
                return Poll::Pending;
            }
            fired = true;
            if !cut() {
                return Poll::Ready(None);
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fires_once_and_lets_a_request_end_by_itself() {
        let cut = Cell::new(0);
        let request = async {
            arm(std::time::Instant::now() + Duration::from_millis(30));
            poll_fn(|cx| match cut.get() {
                0 => Poll::Pending,
                n => {
                    cx.waker().wake_by_ref();
                    Poll::Ready(n)
                }
            })
            .await;
            Some("ended")
        };
        let ended = bound(request, Duration::ZERO, || {
            cut.set(cut.get() + 1);
            true
        });
        assert_eq!(scope(ended).await, Some("ended"));
        assert_eq!(cut.get(), 1);
    }

    #[tokio::test]
    async fn drops_a_request_that_can_not_end() {
        let request = async {
            arm(std::time::Instant::now() + Duration::from_millis(20));
            std::future::pending::<Option<()>>().await
        };
        let ended = bound(request, Duration::ZERO, || false);
        assert_eq!(scope(ended).await, None);
    }

    #[tokio::test]
    async fn a_disarmed_deadline_never_fires() {
        let request = async {
            arm(std::time::Instant::now());
            disarm();
            tokio::task::yield_now().await;
            Some(1)
        };
        let ended = bound(request, Duration::ZERO, || unreachable!());
        assert_eq!(scope(ended).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_end_when_they_should_whatever_the_timer_was_set_to_before() {
        let seconds = Duration::from_secs;
        let never = || std::future::pending::<()>();
        let waits = async {
            for limit in [9, 3, 5, 5, 60, 1] {
                let began = tokio::time::Instant::now();
                assert_eq!(within(seconds(limit), async { 7 }).await, Ok(7));
                assert_eq!(within(seconds(limit), never()).await, Err(Late));
                assert_eq!(began.elapsed().as_secs(), limit);
            }
        };
        scope(waits).await;
        assert_eq!(within(seconds(1), never()).await, Err(Late));
    }
}
