//! Requests against backends in virtual time: an arrival every so often, ends in order, a tick a second.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::outcome::Outcome;
use crate::pool::{Attempt, Pick, Picked, Pool, RetryPermit, backoff};

/// What a backend does with a request at a time (s since the start): after how many ms, and how it ends.
pub type Behaviour = dyn Fn(&str, f64) -> (u64, Outcome);

/// One ended attempt.
pub struct Done {
    pub backend: String,
    pub began: f64,
    pub millis: u64,
    /// The client got an answer that is no failure from this attempt.
    pub ok: bool,
    /// No other attempt follows.
    pub last: bool,
}

struct Running {
    picked: Picked,
    outcome: Outcome,
    millis: u64,
    began: Instant,
    tried: Vec<u64>,
    _permit: Option<RetryPermit>,
}

pub struct Simulation<'a> {
    pub pool: &'a Pool,
    pub start: Instant,
    pub per_second: u64,
    pub timeout_millis: u64,
    pub behave: &'a Behaviour,
    pub done: Vec<Done>,
    pub refused: usize,
    running: Vec<Option<Running>>,
    /// When, what: an end (index), or a retry.
    agenda: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl<'a> Simulation<'a> {
    pub fn new(pool: &'a Pool, start: Instant, per_second: u64, behave: &'a Behaviour) -> Self {
        fastrand::seed(11);
        Self {
            pool,
            start,
            per_second,
            timeout_millis: 15_000,
            behave,
            done: Vec::new(),
            refused: 0,
            running: Vec::new(),
            agenda: BinaryHeap::new(),
        }
    }

    pub fn run(mut self, seconds: u64, mut each_second: impl FnMut(u64, Instant)) -> Self {
        for second in 0..seconds {
            for i in 0..self.per_second {
                let now = self.start
                    + Duration::from_secs_f64(second as f64 + i as f64 / self.per_second as f64);
                self.end_until(now);
                self.begin(now, Vec::new(), None);
            }
            let now = self.start + Duration::from_secs(second + 1);
            self.end_until(now);
            self.pool.tick(now);
            each_second(second + 1, now);
        }
        self
    }

    fn begin(&mut self, now: Instant, tried: Vec<u64>, permit: Option<RetryPermit>) {
        let request = Pick {
            exclude: &tried,
            idempotent: true,
            ..Pick::default()
        };
        let Ok(picked) = self.pool.pick(&request, now) else {
            self.refused += 1;
            return;
        };
        let (mut millis, mut outcome) =
            (self.behave)(picked.backend.id(), (now - self.start).as_secs_f64());
        if millis > self.timeout_millis {
            (millis, outcome) = (self.timeout_millis, Outcome::Timeout);
        }
        self.agenda.push(Reverse((
            now + Duration::from_millis(millis),
            self.running.len(),
        )));
        self.running.push(Some(Running {
            picked,
            outcome,
            millis,
            began: now,
            tried,
            _permit: permit,
        }));
    }

    fn end_until(&mut self, limit: Instant) {
        while let Some(Reverse((now, _))) = self.agenda.peek().copied()
            && now <= limit
        {
            let Some(Reverse((now, i))) = self.agenda.pop() else {
                return;
            };
            if let Some(run) = self.running[i].take() {
                self.end(run, now);
            }
        }
    }

    fn end(&mut self, run: Running, now: Instant) {
        let latency = Some(now - run.began);
        let attempt = Attempt {
            outcome: run.outcome,
            latency,
            drain: false,
        };
        self.pool.record(&run.picked.in_flight, &attempt, now);
        let ok = matches!(run.outcome, Outcome::Status(status) if status < 500);
        let permit = if ok || !run.tried.is_empty() {
            None
        } else {
            self.pool.retry(now)
        };
        self.done.push(Done {
            backend: run.picked.backend.id().to_owned(),
            began: (run.began - self.start).as_secs_f64(),
            millis: run.millis,
            ok,
            last: permit.is_none(),
        });
        if let Some(permit) = permit {
            let tried = vec![run.picked.backend.key()];
            drop(run);
            // The wait is short against everything else here; what matters is that the permit is held meanwhile.
            let _ = backoff(&self.pool.settings().retry, 1, now);
            self.begin(now, tried, Some(permit));
        }
    }
}
