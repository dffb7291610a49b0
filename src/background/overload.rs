//! Takes the readings that the overload ladder decides by, and does what is not done by requests and accept loops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level as LogLevel;
use pingora_core::apps::HttpServerApp;
use serde_json::json;

use crate::instance::Instance;
use crate::kernel::{Kernel, MemoryUse, is_out_of_descriptors};
use crate::listener::Listeners;
use crate::observe::event_log::{self, EventKind};
use crate::overload::{Amounts, Ladder, LagProbe, Level, Resource, Seen};

/// Between two readings.
const TICK: Duration = Duration::from_millis(250);
/// Readings may take at most one part in so many of the time: counting open files is slow on an old kernel.
const READING_SHARE: u32 = 50;

/// Readings, and the ladders that they move.
pub struct Watcher<A> {
    instance: Arc<Instance>,
    listeners: Arc<Listeners<A>>,
    kernel: Kernel,
    /// The limit of open files.
    most_files: u64,
    memory: MemoryUse,
    lag: LagProbe,
    ladders: [Ladder; 3],
    rounds: usize,
}

impl<A: HttpServerApp + Send + Sync + 'static> Watcher<A> {
    /// With everything normal so far.
    pub fn new(instance: Arc<Instance>, listeners: Arc<Listeners<A>>) -> Watcher<A> {
        let kernel = Kernel::default();
        let limit = kernel.open_files_limit();
        Watcher {
            instance,
            listeners,
            most_files: limit.map_or(u64::MAX, |limit| limit.soft),
            memory: kernel.memory().unwrap_or_default(),
            kernel,
            lag: LagProbe::default(),
            ladders: [
                Ladder::new(Resource::Descriptors),
                Ladder::new(Resource::Memory),
                Ladder::new(Resource::Lag),
            ],
            rounds: 0,
        }
    }

    /// Goes on for as long as the process does.
    pub async fn run(mut self) {
        loop {
            let began = Instant::now();
            self.round(began);
            tokio::time::sleep(TICK.max(began.elapsed() * READING_SHARE)).await;
        }
    }

    fn round(&mut self, now: Instant) {
        let config = self.instance.snapshot.load().config.overload.clone();
        let readings = [
            (self.descriptors(), config.descriptors),
            (self.memory(), config.memory),
            (self.lag(), config.lag),
        ];
        let mut all = Vec::with_capacity(readings.len());
        for (ladder, ((reading, amounts), steps)) in self.ladders.iter_mut().zip(readings) {
            let from = ladder.level();
            ladder.read(reading, &steps, config.hold, now);
            let seen = Seen {
                resource: ladder.resource(),
                level: ladder.level(),
                reading,
                amounts,
            };
            if seen.level != from {
                say(from, &seen);
            }
            all.push(seen);
        }
        let ceiling = self.most_files as f64 * config.descriptors.pause_accept;
        let overload = &self.instance.overload;
        overload.set(all, ceiling as i32);
        if overload.cuts_keep_alive() {
            self.listeners.say_goodbye(self.rounds);
            overload.metrics.goodbyes.inc();
            self.rounds = self.rounds.wrapping_add(1);
        }
    }

    fn descriptors(&self) -> (f64, Option<Amounts>) {
        let open = match self.kernel.open_files() {
            Ok(open) => open,
            // Not even one to look with.
            Err(error) if is_out_of_descriptors(&error) => self.most_files,
            Err(_) => 0,
        };
        share(open, self.most_files)
    }

    /// As before, where it can't be read: looking takes a descriptor.
    fn memory(&mut self) -> (f64, Option<Amounts>) {
        self.memory = self.kernel.memory().unwrap_or(self.memory);
        share(self.memory.used, self.memory.limit)
    }

    fn lag(&mut self) -> (f64, Option<Amounts>) {
        let workers = self.listeners.runtime();
        let lag = workers.map_or(Duration::ZERO, |workers| self.lag.read(workers));
        (lag.as_secs_f64(), None)
    }
}

fn share(used: u64, limit: u64) -> (f64, Option<Amounts>) {
    let share = used as f64 / limit.max(1) as f64;
    (share, Some(Amounts { used, limit }))
}

fn say(from: Level, seen: &Seen) {
    let level = match seen.level > from {
        true => LogLevel::Warn,
        false => LogLevel::Info,
    };
    let mut fields = seen.to_json();
    fields["from"] = json!(from.as_str());
    event_log::event(level, EventKind::Overload, &fields);
}
