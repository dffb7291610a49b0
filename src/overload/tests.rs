use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::config::model::OverloadSteps;

const STEPS: OverloadSteps = OverloadSteps {
    cut_keep_alive: 0.8,
    shed: 0.9,
    pause_accept: 0.95,
};
const HOLD: Duration = Duration::from_secs(5);

/// Readings by the second.
struct Run {
    ladder: Ladder,
    now: Instant,
}

impl Run {
    fn new(resource: Resource) -> Run {
        Run {
            ladder: Ladder::new(resource),
            now: Instant::now(),
        }
    }

    fn read(&mut self, reading: f64) -> Level {
        self.now += Duration::from_secs(1);
        self.ladder.read(reading, &STEPS, HOLD, self.now);
        self.ladder.level()
    }

    fn reads(&mut self, times: usize, reading: f64) {
        for _ in 0..times {
            self.read(reading);
        }
    }
}

#[test]
fn up_at_once_and_as_far_as_the_reading_says() {
    let mut run = Run::new(Resource::Memory);
    assert_eq!(run.read(0.79), Level::Normal);
    assert_eq!(run.read(0.8), Level::CutKeepAlive);
    assert_eq!(run.read(1.2), Level::PauseAccept);
    let mut run = Run::new(Resource::Descriptors);
    assert_eq!(run.read(0.9), Level::Shed);
}

#[test]
fn down_a_step_at_a_time_after_readings_well_below_it() {
    let mut run = Run::new(Resource::Memory);
    run.read(1.0);
    for _ in 0..10 {
        assert_eq!(run.read(0.91), Level::PauseAccept, "not by the margin");
    }
    for second in 0..16 {
        let expected = match second {
            0..5 => Level::PauseAccept,
            5..11 => Level::Shed,
            _ => Level::CutKeepAlive,
        };
        assert_eq!(run.read(0.76), expected, "{second}");
    }
    for _ in 0..20 {
        assert_eq!(run.read(0.76), Level::CutKeepAlive);
    }
    run.reads(6, 0.1);
    assert_eq!(run.read(0.1), Level::Normal);
}

#[test]
fn one_bad_reading_begins_the_wait_anew() {
    let mut run = Run::new(Resource::Memory);
    run.read(0.85);
    for _ in 0..5 {
        run.reads(4, 0.1);
        assert_eq!(run.read(0.77), Level::CutKeepAlive);
    }
}

#[test]
fn lag_is_left_at_half_of_its_step() {
    let mut run = Run::new(Resource::Lag);
    assert_eq!(run.read(0.85), Level::CutKeepAlive);
    for _ in 0..10 {
        assert_eq!(run.read(0.45), Level::CutKeepAlive);
    }
    run.reads(6, 0.3);
    assert_eq!(run.read(0.3), Level::Normal);
}

proptest! {
    #[test]
    fn no_flapping_whatever_the_readings(readings in prop::collection::vec(0.0..1.2f64, 1..400)) {
        let mut run = Run::new(Resource::Descriptors);
        let (mut before, mut last_change) = (Level::Normal, 0);
        for (second, reading) in readings.into_iter().enumerate() {
            let level = run.read(reading);
            if level > before {
                // Never higher than the reading itself says.
                let highest = Run::new(Resource::Descriptors).read(reading);
                prop_assert_eq!(level, highest);
            }
            if level < before {
                prop_assert_eq!(level as u8, before as u8 - 1);
                prop_assert!(second - last_change >= 5, "{} to {}", last_change, second);
            }
            if level != before {
                last_change = second;
            }
            before = level;
        }
    }
}

fn seen(resource: Resource, level: Level) -> Seen {
    Seen {
        resource,
        level,
        reading: 0.5,
        amounts: None,
    }
}

#[test]
fn the_highest_step_of_all_resources_holds() {
    let overload = Overload::new(Arc::default());
    assert_eq!(overload.level(), Level::Normal);
    assert!(!overload.is_at_ceiling(1 << 30));
    let all = vec![
        seen(Resource::Descriptors, Level::CutKeepAlive),
        seen(Resource::Memory, Level::Shed),
        seen(Resource::Lag, Level::Normal),
    ];
    overload.set(all, 100);
    assert_eq!(overload.level(), Level::Shed);
    assert!(overload.cuts_keep_alive() && overload.sheds() && !overload.pauses_accept());
    assert!(overload.is_at_ceiling(100) && !overload.is_at_ceiling(99));
    assert_eq!(overload.status()["level"], "shed");
    assert_eq!(overload.status()["resources"][1]["resource"], "memory");
}

#[tokio::test]
async fn those_who_wait_to_accept_go_on_when_the_step_is_left() {
    let overload = Arc::new(Overload::new(Arc::default()));
    overload.accepting().await;
    overload.set(vec![seen(Resource::Lag, Level::PauseAccept)], 0);
    let waiting = overload.clone();
    let waiting = tokio::spawn(async move { waiting.accepting().await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    overload.set(vec![seen(Resource::Lag, Level::Shed)], 0);
    waiting.await.unwrap();
}

#[test]
fn lag_is_what_a_ready_task_waits() {
    let workers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let (mut probe, handle) = (LagProbe::default(), workers.handle().clone());
    let (held, begun) = std::sync::mpsc::channel();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    workers.spawn(async move {
        held.send(()).unwrap();
        // Blocks the only worker.
        let _ = wait.recv();
    });
    begun.recv().unwrap();
    assert_eq!(probe.read(&handle), Duration::ZERO);
    let began = Instant::now();
    // The first readings of the window are still from before.
    while probe.read(&handle) == Duration::ZERO {
        std::thread::yield_now();
    }
    assert!(probe.read(&handle) <= began.elapsed() + Duration::from_secs(1));
    release.send(()).unwrap();
    while probe.read(&handle) > began.elapsed() / 2 {
        std::thread::yield_now();
    }
}

#[test]
fn only_memory_is_short_of_memory() {
    let overload = Overload::new(std::sync::Arc::default());
    for (resource, level, short) in [
        (Resource::Memory, Level::CutKeepAlive, true),
        (Resource::Memory, Level::Normal, false),
        (Resource::Memory, Level::PauseAccept, true),
        (Resource::Descriptors, Level::PauseAccept, false),
        (Resource::Lag, Level::Shed, false),
    ] {
        let seen = Seen {
            resource,
            level,
            reading: 0.0,
            amounts: None,
        };
        overload.set(vec![seen], i32::MAX);
        assert_eq!(
            overload.is_short_of_memory(),
            short,
            "{resource:?} {level:?}"
        );
    }
}
