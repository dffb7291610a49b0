//! The total time of a request, up to its response head.
//!
//! Pingora's timers bound each silence of a backend, not a response head that comes a byte at a time, nor the sum of
//! several attempts. The proxy arms the deadline when it knows the route and disarms it at the response head. Over
//! HTTP/1 the connection is then cut on its reading side, which ends the request with a clean 504; an HTTP/2 stream is
//! reset, as it has no reading side of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

tokio::task_local! {
    static DEADLINE: Cell<Option<Instant>>;
}

/// From now on the request that this task serves ends at `at`, if it is still without a response head.
pub fn arm(at: Instant) {
    // Requests of other applications than the proxy have none.
    let _ = DEADLINE.try_with(|deadline| deadline.set(Some(at)));
}

/// The response has begun: how long it takes is bounded by silence alone.
pub fn disarm() {
    let _ = DEADLINE.try_with(|deadline| deadline.set(None));
}

/// Runs a request. When its deadline has passed by `grace`, `cut` decides: `true` lets it come to its own end, `false`
/// drops it.
pub async fn bound<T>(
    request: impl Future<Output = Option<T>>,
    grace: Duration,
    cut: impl Fn() -> bool,
) -> Option<T> {
    DEADLINE
        .scope(Cell::new(None), run(request, grace, cut))
        .await
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn run<T>(
    request: impl Future<Output = Option<T>>,
    grace: Duration,
    cut: impl Fn() -> bool,
) -> Option<T> {
    let mut request = pin!(request);
    let mut timer: Option<Timer> = None;
    let mut fired = false;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = request.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            let at = DEADLINE.with(Cell::get).filter(|_| !fired);
            let Some(at) = at else {
                timer = None;
                return Poll::Pending;
            };
            let timer = timer.get_or_insert_with(|| {
                Box::pin(pingora_timeout::sleep(
                    (at + grace).saturating_duration_since(Instant::now()),
                ))
            });
            if timer.as_mut().poll(cx).is_pending() {
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
            arm(Instant::now() + Duration::from_millis(30));
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
        assert_eq!(ended.await, Some("ended"));
        assert_eq!(cut.get(), 1);
    }

    #[tokio::test]
    async fn drops_a_request_that_can_not_end() {
        let request = async {
            arm(Instant::now() + Duration::from_millis(20));
            std::future::pending::<Option<()>>().await
        };
        assert_eq!(bound(request, Duration::ZERO, || false).await, None);
    }

    #[tokio::test]
    async fn a_disarmed_deadline_never_fires() {
        let request = async {
            arm(Instant::now());
            disarm();
            tokio::task::yield_now().await;
            Some(1)
        };
        assert_eq!(
            bound(request, Duration::ZERO, || unreachable!()).await,
            Some(1)
        );
    }
}
