//! Whose turn it is on each stream of an HTTP/2 connection, by the flow-control windows of both sides (RFC 9113 5.2).
//!
//! A client owes us a body while we let it send more and have not begun to answer; it owes us reading while our answer
//! has no window left. A backend that is slow shows as neither: it leaves the client's window shut, or ours open.

use std::collections::HashMap;
use std::time::Duration;

use super::h2_frames::{END_STREAM, Event, FrameHead, FrameKind};
use super::pace::Pace;
use super::unread::LAG;
use crate::config::model::PaceLimits;
use crate::observe::metrics::SlowPhase;

/// Both windows before anybody says otherwise (RFC 9113 6.9.2).
const INITIAL_WINDOW: i64 = 65_535;
/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 6.5.2).
const SETTING_INITIAL_WINDOW: u16 = 4;

/// The streams that are open, as far as turns go.
#[derive(Debug)]
pub struct Streams {
    open: HashMap<u32, Stream>,
    /// More than these are not followed: h2 refuses them.
    most: usize,
    /// What the client may send, and what we may.
    in_window: Windows,
    out_window: Windows,
    last: u32,
}

#[derive(Debug)]
struct Windows {
    initial: i64,
    connection: i64,
}

impl Windows {
    fn new() -> Windows {
        Windows {
            initial: INITIAL_WINDOW,
            connection: INITIAL_WINDOW,
        }
    }
}

#[derive(Debug)]
struct Stream {
    in_window: i64,
    out_window: i64,
    body: Side,
    answer: Side,
    /// How long the answer has had no window.
    lag: Duration,
    /// Its body is one of those that may take any time.
    spared: bool,
}

/// What one look at all streams has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Streams whose client is too slow: they are followed no more.
    pub slow: Vec<(u32, SlowPhase)>,
    /// Responses that have been kept waiting for longer than [`LAG`].
    pub lagging: usize,
}

/// One direction of a stream.
#[derive(Debug)]
struct Side {
    state: State,
    pace: Pace,
    /// Bytes since the last look.
    moved: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ahead,
    Open,
    Over,
}

impl Side {
    fn new(state: State, limits: &PaceLimits) -> Side {
        Side {
            state,
            pace: Pace::new(limits),
            moved: 0,
        }
    }

    /// False: it was the client's turn for so long and it did too little.
    fn keeps(&mut self, limits: &PaceLimits, waited: Duration) -> bool {
        let moved = std::mem::take(&mut self.moved);
        self.pace.keeps(limits, waited, moved)
    }
}

impl Streams {
    /// For a connection with at most so many streams at once.
    pub fn new(concurrent: u32) -> Streams {
        Streams {
            open: HashMap::new(),
            most: concurrent as usize * 2,
            in_window: Windows::new(),
            out_window: Windows::new(),
            last: 0,
        }
    }

    /// The last stream that the client opened.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// How many are followed.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// No stream is followed: there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes note of what the client sent.
    pub fn client(&mut self, event: &Event, body: &PaceLimits, answer: &PaceLimits) {
        match *event {
            Event::Begin(frame) if frame.kind == FrameKind::Headers => {
                self.client_headers(frame, body, answer);
            }
            Event::Data(frame, bytes) => {
                self.in_window.connection -= bytes as i64;
                if let Some(stream) = self.open.get_mut(&frame.stream) {
                    stream.in_window -= bytes as i64;
                    stream.body.moved += bytes as u64;
                }
            }
            Event::Setting(SETTING_INITIAL_WINDOW, window) => {
                let change = i64::from(window) - self.out_window.initial;
                self.out_window.initial = i64::from(window);
                self.open.values_mut().for_each(|s| s.out_window += change);
            }
            Event::Number(frame, step) if frame.kind == FrameKind::WindowUpdate => {
                match self.open.get_mut(&frame.stream) {
                    Some(stream) => stream.out_window += i64::from(step),
                    None if frame.stream == 0 => self.out_window.connection += i64::from(step),
                    None => {}
                }
            }
            Event::End(frame) if ends_stream(frame) => self.over(frame.stream, |s| &mut s.body),
            Event::End(frame) if frame.kind == FrameKind::RstStream => {
                self.open.remove(&frame.stream);
            }
            _ => {}
        }
    }

    fn client_headers(&mut self, frame: FrameHead, body: &PaceLimits, answer: &PaceLimits) {
        if frame.stream <= self.last || self.open.len() >= self.most {
            return;
        }
        self.last = frame.stream;
        let stream = Stream {
            in_window: self.in_window.initial,
            out_window: self.out_window.initial,
            body: Side::new(State::Open, body),
            answer: Side::new(State::Ahead, answer),
            lag: Duration::ZERO,
            spared: false,
        };
        self.open.insert(frame.stream, stream);
    }

    /// Takes note of what we sent.
    pub fn server(&mut self, event: &Event) {
        match *event {
            Event::Begin(frame) if frame.kind == FrameKind::Headers => {
                if let Some(stream) = self.open.get_mut(&frame.stream) {
                    stream.answer.state = State::Open;
                }
            }
            Event::Data(frame, bytes) => {
                self.out_window.connection -= bytes as i64;
                if let Some(stream) = self.open.get_mut(&frame.stream) {
                    stream.out_window -= bytes as i64;
                    stream.answer.moved += bytes as u64;
                }
            }
            Event::Setting(SETTING_INITIAL_WINDOW, window) => {
                let change = i64::from(window) - self.in_window.initial;
                self.in_window.initial = i64::from(window);
                self.open.values_mut().for_each(|s| s.in_window += change);
            }
            Event::Number(frame, step) if frame.kind == FrameKind::WindowUpdate => {
                match self.open.get_mut(&frame.stream) {
                    Some(stream) => stream.in_window += i64::from(step),
                    None if frame.stream == 0 => self.in_window.connection += i64::from(step),
                    None => {}
                }
            }
            Event::End(frame) if ends_stream(frame) => self.over(frame.stream, |s| &mut s.answer),
            Event::End(frame) if frame.kind == FrameKind::RstStream => {
                self.open.remove(&frame.stream);
            }
            _ => {}
        }
    }

    fn over(&mut self, id: u32, side: impl Fn(&mut Stream) -> &mut Side) {
        let Some(stream) = self.open.get_mut(&id) else {
            return;
        };
        side(stream).state = State::Over;
        if stream.body.state == State::Over && stream.answer.state == State::Over {
            self.open.remove(&id);
        }
    }

    /// Looks at all streams, `waited` after the last look. `spared` request bodies at most may take any time: which streams
    /// they belong to isn't known here, so that it is those whose client is silent first. `blocked`: the connection takes
    /// nothing at all.
    pub fn look(
        &mut self,
        waited: Duration,
        body: &PaceLimits,
        answer: &PaceLimits,
        spared: u32,
        blocked: bool,
    ) -> Look {
        let (may_send, may_answer) = (
            self.in_window.connection > 0,
            self.out_window.connection > 0,
        );
        let taken = self.open.values().filter(|s| s.spared).count();
        let mut spared = (spared as usize).saturating_sub(taken);
        let mut look = Look::default();
        self.open.retain(|id, stream| {
            let answering = stream.answer.state == State::Open;
            // Once we answer, the rest of the body may come as it likes: that is a conversation.
            let body_owed = stream.body.state == State::Open
                && !answering
                && !stream.spared
                && may_send
                && stream.in_window > 0;
            let reading_owed = answering && !(may_answer && stream.out_window > 0);
            stream.lag = match reading_owed || (answering && blocked) {
                true => stream.lag + waited,
                false => Duration::ZERO,
            };
            look.lagging += usize::from(stream.lag >= LAG);
            let phase = if body_owed && !stream.body.keeps(body, waited) {
                if spared > 0 {
                    spared -= 1;
                    stream.spared = true;
                    return true;
                }
                SlowPhase::Body
            } else if reading_owed && !stream.answer.keeps(answer, waited) {
                SlowPhase::Response
            } else {
                return true;
            };
            look.slow.push((*id, phase));
            false
        });
        look
    }

    /// Responses under way.
    pub fn answering(&self) -> usize {
        let answering = |s: &&Stream| s.answer.state == State::Open;
        self.open.values().filter(answering).count()
    }

    /// Gives up so many of the responses that are kept waiting, those that wait for longest: they are followed no more.
    pub fn give_up(&mut self, most: usize) -> Vec<u32> {
        let lagging = self.open.iter().filter(|(_, s)| s.lag >= LAG);
        let mut lagging: Vec<(Duration, u32)> = lagging.map(|(id, s)| (s.lag, *id)).collect();
        lagging.sort_unstable_by_key(|(lag, _)| std::cmp::Reverse(*lag));
        lagging.truncate(most);
        for (_, id) in &lagging {
            self.open.remove(id);
        }
        lagging.into_iter().map(|(_, id)| id).collect()
    }
}

fn ends_stream(frame: FrameHead) -> bool {
    matches!(frame.kind, FrameKind::Headers | FrameKind::Data) && frame.flags & END_STREAM != 0
}

#[cfg(test)]
mod tests;
