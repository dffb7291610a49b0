//! Watches the frames of one HTTP/2 connection: deadlines that bytes can't stretch, and budgets against floods.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::observe::metrics::SlowPhase;

use super::h2_frames::{FloodBudget, FrameKind, FrameScanner, Phase, Verdict};

/// Further in the future than any connection lives: no deadline runs.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client did not finish what it began in time.
    Slow(SlowPhase),
    /// Not HTTP/2, or more frames of one kind than a client has use for.
    Flood,
}

/// The scanner and the deadline of what it is in the middle of.
pub struct FrameWatch {
    scanner: FrameScanner,
    deadline: Pin<Box<Sleep>>,
    armed: bool,
    limit: Duration,
}

impl FrameWatch {
    /// Watches from the preface on; preface and every header block must be whole within `limit`.
    pub fn new(limit: Duration) -> FrameWatch {
        FrameWatch {
            scanner: FrameScanner::new(FloodBudget::default(), Instant::now()),
            deadline: Box::pin(tokio::time::sleep(limit)),
            armed: true,
            limit,
        }
    }

    /// Takes note of bytes from the client. `Err` ends the connection.
    pub fn saw(&mut self, bytes: &[u8], now: Instant) -> Result<(), Ended> {
        match self.scanner.feed(bytes, now) {
            Verdict::Ok => {}
            Verdict::BadPreface | Verdict::Flood(_) => return Err(Ended::Flood),
        }
        let waiting = self.is_waiting();
        if waiting != self.armed {
            self.armed = waiting;
            let limit = if waiting { self.limit } else { NEVER };
            self.deadline
                .as_mut()
                .reset(tokio::time::Instant::from_std(now + limit));
        }
        // Bytes that keep coming must not keep the timer from being looked at.
        if self.armed && self.deadline.deadline().into_std() <= now {
            return Err(Ended::Slow(self.slow_phase()));
        }
        Ok(())
    }

    /// Whether the client owes the rest of something: a preface, a header block, a frame other than DATA.
    fn is_waiting(&self) -> bool {
        match self.scanner.phase() {
            Phase::BetweenFrames => false,
            Phase::PartialFrame { kind } => kind != Some(FrameKind::Data),
            Phase::Preface | Phase::HeaderBlock => true,
        }
    }

    /// Ready when the client took too long.
    pub fn deadline(&mut self) -> Pin<&mut Sleep> {
        self.deadline.as_mut()
    }

    /// What the client was in the middle of.
    pub fn slow_phase(&self) -> SlowPhase {
        match self.scanner.phase() {
            Phase::Preface => SlowPhase::Preface,
            _ => SlowPhase::Header,
        }
    }
}
