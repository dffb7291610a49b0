use std::time::Duration;

use super::*;
use crate::observe::metrics::{BuildInfo, Metrics};

fn limits(connections: usize, unfinished: usize) -> ListenerLimits {
    ListenerLimits {
        max_connections: connections,
        max_unfinished: unfinished,
        ..ListenerLimits::default()
    }
}

/// Connections that have waited for these times, in seconds, and the task of each.
struct Room {
    seats: Arc<Seats>,
    held: Vec<(Seat, tokio::task::JoinHandle<()>)>,
    metrics: Arc<ListenerMetrics>,
}

impl Room {
    fn of(waiting: &[(Waits, u64)]) -> Room {
        // The listener began an hour ago.
        let began = Instant::now() - Duration::from_secs(3600);
        let seats = Arc::new(Seats {
            began,
            ..Seats::default()
        });
        let mut held = Vec::new();
        for (waits, seconds) in waiting {
            let seat = seats.take();
            seat.waits(*waits);
            seat.taken
                .since
                .store(seats.now() - seconds * 1000, Ordering::Relaxed);
            let task = tokio::spawn(std::future::pending());
            seat.task().is(task.abort_handle());
            held.push((seat, task));
        }
        let metrics = Metrics::new(BuildInfo::default()).listener("a");
        Room {
            seats,
            held,
            metrics,
        }
    }

    fn make_room(&self, limits: &ListenerLimits) -> Result<(), RejectReason> {
        self.seats.make_room(self.held.len(), limits, &self.metrics)
    }

    /// Which of them was closed.
    async fn closed(&self) -> Vec<usize> {
        tokio::task::yield_now().await;
        let tasks = self.held.iter().enumerate();
        let closed = tasks.filter(|(_, (_, task))| task.is_finished());
        closed.map(|(n, _)| n).collect()
    }
}

use Waits::{Busy, Idle, Slow, Unfinished};

#[tokio::test]
async fn far_from_the_limit_nobody_is_closed() {
    let room = Room::of(&[(Idle, 60), (Slow, 60), (Unfinished, 60)]);
    assert_eq!(room.make_room(&limits(10, 10)), Ok(()));
    assert_eq!(room.closed().await, [0; 0]);
}

#[tokio::test]
async fn near_it_the_longest_idle_makes_room() {
    let room = Room::of(&[(Slow, 60), (Idle, 5), (Idle, 9), (Busy, 90)]);
    assert_eq!(room.make_room(&limits(4, 10)), Ok(()));
    assert_eq!(room.closed().await, [2]);
    assert_eq!(room.make_room(&limits(4, 10)), Ok(()));
    assert_eq!(room.closed().await, [1, 2]);
    assert_eq!(room.make_room(&limits(4, 10)), Ok(()));
    assert_eq!(room.closed().await, [0, 1, 2], "then the slowest");
    let full = room.make_room(&limits(4, 10));
    assert_eq!(full, Err(RejectReason::MaxConnections), "never a busy one");
}

#[tokio::test]
async fn under_the_limit_only_idle_ones_are_closed() {
    let room = Room::of(&[(Slow, 60), (Unfinished, 60), (Busy, 60)]);
    assert_eq!(room.make_room(&limits(4, 10)), Ok(()));
    let nine = [(Slow, 60); 9];
    let near = Room::of(&nine);
    assert_eq!(near.make_room(&limits(10, 10)), Ok(()));
    assert_eq!(near.closed().await, [0; 0]);
}

#[tokio::test]
async fn who_has_just_come_is_given_time() {
    let room = Room::of(&[(Idle, 0), (Unfinished, 0)]);
    let full = room.make_room(&limits(2, 10));
    assert_eq!(full, Err(RejectReason::MaxConnections));
}

#[tokio::test]
async fn unfinished_heads_have_a_limit_of_their_own() {
    let room = Room::of(&[(Idle, 60), (Unfinished, 3), (Unfinished, 2)]);
    assert_eq!(room.make_room(&limits(100, 2)), Ok(()));
    assert_eq!(room.closed().await, [1]);
    let fresh = Room::of(&[(Unfinished, 0), (Unfinished, 0)]);
    let full = fresh.make_room(&limits(100, 2));
    assert_eq!(full, Err(RejectReason::MaxUnfinished));
    fresh.held[0].0.waits(Busy);
    assert_eq!(fresh.make_room(&limits(100, 2)), Ok(()));
}

#[tokio::test]
async fn places_are_given_back_in_any_order() {
    let mut room = Room::of(&[(Idle, 1); 100]);
    while !room.held.is_empty() {
        let at = (room.held.len() * 7) % room.held.len().max(1);
        room.held.swap_remove(at);
        for shard in &room.seats.shards {
            for (at, taken) in shard.lock().unwrap().iter().enumerate() {
                assert_eq!(taken.at.load(Ordering::Relaxed), at);
            }
        }
    }
    assert_eq!(room.seats.unfinished.load(Ordering::Relaxed), 0);
}
