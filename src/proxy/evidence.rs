//! What the end of an attempt says about its backend: the one place that decides it, by what the client has done so far.
//!
//! A backend that waits for its client can't be told from one that hangs, and many backends end such a request in their own
//! time: they answer 408 or 504, or close the connection. If that counted, any client could have every backend taken out by
//! withholding the end of its requests. So a client that has not sent its whole request is never evidence against a backend,
//! whatever the protocol, the method and the header fields that it sends:
//!
//! | how the attempt ended | whole request | unfinished request, or a tunnel |
//! |---|---|---|
//! | no connection: refused, timed out, TLS | failure | failure: the client has no part in it |
//! | time-out: `first_byte`, `read`, `write`, `per_try`, `total` | failure, if the backend had half of its time | nothing |
//! | connection or stream closed by the backend before its response | failure | nothing |
//! | response that is not HTTP | failure | nothing |
//! | status that counts as a failure, gRPC's included | failure | nothing |
//! | any other status | success, with its latency | success, without a latency |
//! | response that breaks off | failure, unless the client let it wait | nothing |
//! | client gone, or too slow | nothing | nothing |
//!
//! "Nothing" is neither failure nor success: it leaves the run of failures, the error rate, the latency and the trial of a
//! backend that was ejected as they are. The time of an attempt counts from where the backend had the whole request, so that
//! neither a slow upload nor one that ends just before a time-out makes a backend look slow or hung.

use std::time::{Duration, Instant};

use crate::outcome::Outcome;

/// What the client had done when an attempt ended.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// From when on the backend alone was waited for: it had been picked and the whole request had been read. `None`
    /// while the client may still send.
    pub whole_since: Option<Instant>,
    /// A response head had come.
    pub answered: bool,
    /// The client kept the response waiting for so long that the backend may have given up.
    pub lagged: bool,
}

/// What the pool is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// `Aborted` where it says nothing.
    pub outcome: Outcome,
    /// From the whole request to the end; `None` where that says nothing.
    pub latency: Option<Duration>,
}

/// The table above. `failure`: whether a status counts against the backend. `silence`: how long a backend may be silent.
pub fn of(
    outcome: Outcome,
    standing: Standing,
    failure: impl Fn(u16) -> bool,
    silence: Duration,
    now: Instant,
) -> Evidence {
    let own_time = standing
        .whole_since
        .map(|since| now.saturating_duration_since(since));
    let counts = match (outcome, own_time) {
        (Outcome::Aborted, _) => false,
        (Outcome::ConnectError { .. }, _) => true,
        (Outcome::Status(status), _) if !failure(status) => true,
        (_, None) => false,
        (Outcome::Timeout, Some(time)) if !standing.answered => time >= silence / 2,
        (Outcome::Timeout | Outcome::Reset | Outcome::Garbage, _) if standing.answered => {
            !standing.lagged
        }
        _ => true,
    };
    if !counts {
        return Evidence {
            outcome: Outcome::Aborted,
            latency: None,
        };
    }
    Evidence {
        outcome,
        latency: own_time.filter(|_| !standing.answered),
    }
}

/// What metrics and the log say became of the attempt: the failure of an unfinished request is the client's. A status is
/// what the backend said, whoever made it say so.
pub fn shown(outcome: Outcome, whole: bool) -> Outcome {
    match outcome {
        Outcome::Timeout | Outcome::Reset | Outcome::Garbage if !whole => Outcome::Aborted,
        _ => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(10);

    /// What is told of an attempt whose backend had the whole request for `own` seconds; `None`: it never had.
    fn told(outcome: Outcome, own: Option<u64>, answered: bool, lagged: bool) -> Outcome {
        let now = Instant::now() + Duration::from_secs(100);
        let standing = Standing {
            whole_since: own.map(|seconds| now - Duration::from_secs(seconds)),
            answered,
            lagged,
        };
        let failure = |status| (500..600).contains(&status);
        let evidence = of(outcome, standing, failure, SILENCE, now);
        let timed = evidence.outcome != Outcome::Aborted && !answered;
        let expected = own.map(Duration::from_secs).filter(|_| timed);
        assert_eq!(evidence.latency, expected, "{outcome:?} {standing:?}");
        evidence.outcome
    }

    #[test]
    fn the_table() {
        use Outcome::{Aborted, ConnectError, Garbage, Reset, Status, Timeout};
        let (refused, no_connection) = (
            ConnectError { refused: true },
            ConnectError { refused: false },
        );
        // Ended; counts with a whole request; counts with an unfinished one.
        for (outcome, whole, unfinished) in [
            (refused, true, true),
            (no_connection, true, true),
            (Timeout, true, false),
            (Reset, true, false),
            (Garbage, true, false),
            (Status(500), true, false),
            (Status(503), true, false),
            (Status(504), true, false),
            (Status(200), true, true),
            (Status(408), true, true),
            (Status(413), true, true),
            (Aborted, false, false),
        ] {
            for answered in [false, true] {
                let expected = |counts: bool| if counts { outcome } else { Aborted };
                let with = told(outcome, Some(20), answered, false);
                assert_eq!(with, expected(whole), "{outcome:?} {answered}");
                let without = told(outcome, None, answered, false);
                assert_eq!(without, expected(unfinished), "{outcome:?} {answered}");
            }
        }
    }

    #[test]
    fn a_time_out_counts_when_the_backend_had_its_time() {
        for (own, counts) in [(0, false), (4, false), (5, true), (10, true)] {
            let told = told(Outcome::Timeout, Some(own), false, false);
            assert_eq!(told == Outcome::Timeout, counts, "{own}");
        }
    }

    #[test]
    fn a_response_that_breaks_off_counts_unless_the_client_let_it_wait() {
        for outcome in [Outcome::Timeout, Outcome::Reset, Outcome::Garbage] {
            assert_eq!(told(outcome, Some(20), true, false), outcome);
            assert_eq!(told(outcome, Some(20), true, true), Outcome::Aborted);
        }
        // Before the response there was nothing to let wait.
        let told = told(Outcome::Reset, Some(20), false, true);
        assert_eq!(told, Outcome::Reset);
    }

    #[test]
    fn metrics_blame_no_backend_for_an_unfinished_request() {
        for outcome in [Outcome::Timeout, Outcome::Reset, Outcome::Garbage] {
            assert_eq!(shown(outcome, true), outcome);
            assert_eq!(shown(outcome, false), Outcome::Aborted);
        }
        let refused = Outcome::ConnectError { refused: true };
        assert_eq!(shown(refused, false), refused);
        assert_eq!(shown(Outcome::Status(503), false), Outcome::Status(503));
    }
}
