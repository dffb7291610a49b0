use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    fall: 3,
    rise: 2,
    probes: true,
    base_ejection: Duration::from_secs(30),
    max_ejection: Duration::from_secs(300),
    drain_timeout: Duration::from_secs(30),
};
const PASS: Input = Input::Probe(ProbeResult::Pass);
const FAIL: Input = Input::Probe(ProbeResult::Fail(ProbeFailure::Timeout));
const EJECT: Input = Input::Eject(Cause::ConsecutiveFailures);
const GOOD: Input = Input::Trial { good: true };

struct Run {
    health: Health,
    now: Instant,
}

impl Run {
    fn new(verdict: Verdict) -> Self {
        let now = Instant::now();
        Self {
            health: Health::new(verdict, 7, now),
            now,
        }
    }

    fn feed(&mut self, inputs: &[Input]) -> State {
        for input in inputs {
            self.health.step(*input, &RULES, self.now);
        }
        self.health.state()
    }

    fn after(&mut self, secs: u64) -> State {
        self.now += Duration::from_secs(secs);
        self.feed(&[Input::Time])
    }

    fn ejected_for(&self) -> f64 {
        match self.health.traffic {
            Traffic::Ejected { until, .. } => (until - self.now).as_secs_f64(),
            _ => panic!("not ejected"),
        }
    }
}

#[test]
fn a_new_backend_needs_rise_passes_and_one_at_a_cold_start() {
    let mut run = Run::new(Verdict::unknown(false));
    assert_eq!(run.feed(&[PASS]), State::Checking);
    assert_eq!(run.feed(&[FAIL, PASS]), State::Checking);
    assert_eq!(run.feed(&[PASS]), State::Healthy);
    assert!(run.health.ramp_from.is_some());
    let mut cold = Run::new(Verdict::unknown(true));
    assert_eq!(cold.feed(&[PASS]), State::Healthy);
    assert!(cold.health.ramp_from.is_none());
    assert_eq!(Run::new(Verdict::unknown(true)).feed(&[FAIL]), State::Down);
}

#[test]
fn probes_take_down_and_bring_back() {
    let mut run = Run::new(Verdict::Up { fails: 0 });
    assert_eq!(run.feed(&[FAIL]), State::Suspect);
    assert_eq!(run.feed(&[PASS]), State::Healthy);
    assert_eq!(run.feed(&[FAIL, FAIL]), State::Suspect);
    assert_eq!(run.feed(&[FAIL]), State::Down);
    assert_eq!(run.health.badness(), Some(Badness::ProbeFailed));
    assert_eq!(run.feed(&[PASS, FAIL, PASS]), State::Down);
    assert_eq!(run.feed(&[PASS]), State::Healthy);
}

#[test]
fn a_passing_probe_never_lifts_an_ejection() {
    let mut run = Run::new(Verdict::Up { fails: 0 });
    run.feed(&[EJECT]);
    assert_eq!(run.feed(&[PASS; 20]), State::Ejected);
    assert_eq!(run.after(34), State::HalfOpen);
    assert_eq!(run.health.trial_open(&RULES, run.now), None);
    run.feed(&[PASS; 20]);
    assert_eq!(run.health.state(), State::HalfOpen);
    assert_eq!(run.health.trial_open(&RULES, run.now), Some(false));
    assert_eq!(run.feed(&[GOOD, GOOD]), State::HalfOpen);
    assert_eq!(run.feed(&[GOOD]), State::Healthy);
    assert_eq!(run.health.ramp_from, Some(run.now));
}

#[test]
fn a_trial_without_idempotent_requests_takes_others_in_the_end() {
    let mut run = Run::new(Verdict::Up { fails: 0 });
    run.feed(&[EJECT]);
    run.after(34);
    run.feed(&[PASS]);
    run.after(31);
    assert_eq!(run.health.trial_open(&RULES, run.now), Some(true));
}

#[test]
fn ejections_double_to_the_cap_and_are_forgotten() {
    let mut run = Run::new(Verdict::Up { fails: 0 });
    for wanted in [30.0, 60.0, 120.0, 240.0, 300.0, 300.0] {
        run.feed(&[EJECT]);
        let time = run.ejected_for();
        assert!(
            (wanted * 0.9..=wanted * 1.1).contains(&time),
            "{time} of {wanted}"
        );
        run.after(331);
        run.feed(&[PASS, GOOD, GOOD, GOOD]);
    }
    assert_eq!(run.health.row, 6);
    (0..6).for_each(|_| {
        run.after(60);
    });
    assert_eq!(run.health.row, 0);
}

#[test]
fn a_failure_in_the_trial_ejects_for_longer() {
    for failure in [FAIL, Input::Trial { good: false }] {
        let mut run = Run::new(Verdict::Up { fails: 0 });
        run.feed(&[EJECT]);
        run.after(34);
        assert_eq!(run.feed(&[PASS, failure]), State::Ejected);
        assert!(run.ejected_for() > 50.0);
    }
}

#[test]
fn draining_stands_over_all_and_ends_by_who_began_it() {
    let mut run = Run::new(Verdict::Up { fails: 0 });
    let asked = Input::Probe(ProbeResult::Drain);
    assert_eq!(run.feed(&[asked]), State::Draining);
    assert!(run.health.drains_by_itself());
    assert_eq!(
        run.feed(&[Input::Drain(Drain::Operator, true), PASS]),
        State::Draining
    );
    assert!(!run.health.drains_by_itself());
    assert_eq!(
        run.feed(&[Input::Drain(Drain::Operator, false)]),
        State::Healthy
    );
    assert_eq!(run.feed(&[Input::AdminDown(true), PASS]), State::AdminDown);
}

#[test]
fn a_drain_asked_for_without_probes_ends_by_itself() {
    let mut run = Run::new(Verdict::Up { fails: 0 });
    let rules = Rules {
        probes: false,
        ..RULES
    };
    run.health
        .step(Input::Drain(Drain::Asked, true), &rules, run.now);
    run.health
        .step(Input::Time, &rules, run.now + Duration::from_secs(29));
    assert_eq!(run.health.state(), State::Draining);
    run.health
        .step(Input::Time, &rules, run.now + Duration::from_secs(30));
    assert_eq!(run.health.state(), State::Healthy);
}

proptest! {
    /// From ejection to rotation there is no way without its time, and a trial after it.
    #[test]
    fn an_ejection_lasts(steps in proptest::collection::vec(0u8..5, 0..60)) {
        let mut run = Run::new(Verdict::Up { fails: 0 });
        run.feed(&[EJECT]);
        let start = run.now;
        for step in steps {
            let before = run.health.state();
            match step {
                0 => { run.feed(&[PASS]); }
                1 => { run.feed(&[FAIL]); }
                2 => { run.feed(&[Input::Suspect(Suspicion::Failures, false)]); }
                3 => { run.feed(&[GOOD]); }
                _ => { run.after(3); }
            }
            if run.health.state().in_rotation() {
                prop_assert!(run.now - start >= Duration::from_secs(27));
                prop_assert!(before.in_rotation() || matches!(before, State::HalfOpen | State::Down));
            }
        }
    }
}
