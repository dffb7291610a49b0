//! Watches the frames of one HTTP/2 connection: deadlines that bytes can't stretch, budgets against floods, and the pace
//! of each stream. What it has to say to client and h2 it says in frames of its own, between theirs.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use pingora_core::protocols::UniqueIDType;
use tokio::time::Sleep;

use super::connection::Connection;
use super::h2_frames::{
    END_STREAM, Event, Flood, FloodBudget, FrameHead, FrameKind, FrameScanner, Framer, Phase,
    Verdict,
};
use super::h2_streams::Streams;
use super::head::Refusal;
use super::listening::{HTTP2, RefusedRequest};
use super::pace::tick;
use super::seats::Waits;
use super::unread::{LAG, Rest, RestLook, Sent};
use crate::observe::metrics::{Http2Abuse, SlowPhase};

/// Further in the future than any connection lives: no deadline runs.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// RFC 9113 7.
const PROTOCOL_ERROR: u32 = 0x1;
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client did not finish what it began in time.
    Slow(SlowPhase),
    /// Not HTTP/2, or more frames of one kind than a client has use for.
    Abuse(Http2Abuse),
}

/// The scanner and the deadline of what it is in the middle of.
pub struct FrameWatch {
    scanner: FrameScanner,
    /// What goes to the client.
    out: Framer,
    streams: Streams,
    connection: Arc<Connection>,
    socket: UniqueIDType,
    /// The connection takes nothing of what is written to it.
    pub blocked: bool,
    /// While no stream is open: whether the client takes what it was sent before.
    rest: Option<Rest>,
    /// The preface is whole.
    begun: bool,
    /// Runs out when a preface, a header block or a short frame takes too long.
    deadline: Pin<Box<Sleep>>,
    armed: bool,
    /// The next look at the streams, if it is armed, and when the last was.
    look: Pin<Box<Sleep>>,
    look_armed: bool,
    looked: Option<Instant>,
    /// Frames of ours for the client, and for h2 as if the client had sent them.
    to_client: BytesMut,
    to_h2: BytesMut,
}

impl FrameWatch {
    /// Watches from the preface on; preface and every header block must be whole within the header's time.
    pub fn new(connection: Arc<Connection>, socket: UniqueIDType) -> FrameWatch {
        let limits = &connection.config.limits;
        FrameWatch {
            scanner: FrameScanner::new(FloodBudget::default(), Instant::now()),
            out: Framer::default(),
            streams: Streams::new(limits.max_concurrent_streams),
            deadline: Box::pin(tokio::time::sleep(limits.header_timeout)),
            begun: false,
            armed: true,
            look: Box::pin(tokio::time::sleep(NEVER)),
            look_armed: false,
            looked: None,
            socket,
            blocked: false,
            rest: None,
            to_client: BytesMut::new(),
            to_h2: BytesMut::new(),
            connection,
        }
    }

    /// Takes note of bytes from the client. `Err` ends the connection.
    pub fn saw(&mut self, bytes: &[u8], now: Instant) -> Result<(), Ended> {
        let limits = &self.connection.config.limits;
        let streams = &mut self.streams;
        let seen = |event: Event| streams.client(&event, &limits.request_body, &limits.response);
        match self.scanner.feed_to(bytes, now, seen) {
            Verdict::Ok => {}
            Verdict::BadPreface => return Err(Ended::Abuse(Http2Abuse::BadPreface)),
            Verdict::Flood(flood) => return Err(Ended::Abuse(flood.into())),
        }
        if !self.begun && self.scanner.phase() != Phase::Preface {
            self.begun = true;
            self.connection.finish_head();
        }
        note_turn(&self.connection, self.begun, &self.streams);
        let waiting = self.is_waiting();
        if waiting != self.armed {
            self.armed = waiting;
            let limit = if waiting {
                limits.header_timeout
            } else {
                NEVER
            };
            self.deadline.as_mut().reset((now + limit).into());
        }
        // Bytes that keep coming must not keep the timers from being looked at.
        if self.armed && self.deadline.deadline().into_std() <= now {
            return Err(Ended::Slow(self.slow_phase()));
        }
        self.look_at_streams(now)
    }

    /// Takes note of bytes that went to the client. `Err` ends the connection.
    pub fn wrote(&mut self, bytes: &[u8], now: Instant) -> Result<(), Ended> {
        let mut rest = bytes;
        while let Some(event) = self.out.next(&mut rest) {
            self.streams.server(&event);
            match event {
                // Resets that the client provokes cost as much as its own (CVE-2025-8671).
                Event::Begin(frame)
                    if frame.kind == FrameKind::RstStream
                        && !self.scanner.provoked(Flood::RstStream, now) =>
                {
                    return Err(Ended::Abuse(Http2Abuse::RstStream));
                }
                Event::Number(frame, code) if frame.kind == FrameKind::Goaway => {
                    self.connection.mark_parted();
                    self.count_goaway(code);
                }
                Event::Number(frame, PROTOCOL_ERROR) if frame.kind == FrameKind::RstStream => {
                    self.refused(Refusal::Http2Malformed, None);
                }
                Event::End(frame) if frame.flags & END_STREAM != 0 => {
                    self.count_unasked(frame);
                }
                _ => {}
            }
        }
        note_turn(&self.connection, self.begun, &self.streams);
        Ok(())
    }

    /// What h2 and Pingora answer by themselves, before we are asked, is counted and logged with what we refuse.
    fn count_unasked(&self, frame: FrameHead) {
        let refusal = match self.out.ended_with_status_only(frame) {
            None => return,
            Some(true) => Refusal::AuthorityBad,
            Some(false) => Refusal::HeaderTooLarge,
        };
        self.refused(refusal, Some(refusal.status()));
    }

    fn refused(&self, refusal: Refusal, status: Option<u16>) {
        let request = RefusedRequest {
            protocol: HTTP2,
            head: None,
            status,
        };
        let listener = &self.connection.listener;
        listener.refuse_request(&self.connection, refusal, &request);
    }

    /// h2 has bounds of its own; what it ends for them is counted with ours.
    fn count_goaway(&self, code: u32) {
        let abuse = match code {
            0 => return,
            ENHANCE_YOUR_CALM => Http2Abuse::Calm,
            _ => {
                self.refused(Refusal::Http2Malformed, None);
                Http2Abuse::Error
            }
        };
        self.connection.listener.metrics.http2_abuse.inc(abuse);
    }

    /// Whether the client owes the rest of something: a preface, a header block, a frame other than DATA.
    fn is_waiting(&self) -> bool {
        match self.scanner.phase() {
            Phase::BetweenFrames => false,
            Phase::PartialFrame { kind } => kind != Some(FrameKind::Data),
            Phase::Preface | Phase::HeaderBlock => true,
        }
    }

    /// `Err` when the client took too long; looks at the streams when it is time.
    pub fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ended::Slow(self.slow_phase()));
        }
        loop {
            if let Err(ended) = self.look_at_streams(Instant::now()) {
                return Poll::Ready(ended);
            }
            if !self.look_armed || self.look.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.look_armed = false;
        }
    }

    /// What the client was in the middle of.
    fn slow_phase(&self) -> SlowPhase {
        match self.scanner.phase() {
            Phase::Preface => SlowPhase::Preface,
            _ => SlowPhase::Header,
        }
    }

    /// Resets the streams that are too slow, if a tick has passed since the last look.
    fn look_at_streams(&mut self, now: Instant) -> Result<(), Ended> {
        let limits = &self.connection.config.limits;
        let every = tick(&limits.request_body).min(tick(&limits.response));
        if self.streams.is_empty() {
            self.looked = None;
            self.connection.keep_waiting(0);
            return self.look_at_rest(now);
        }
        self.rest = None;
        let mut looked = *self.looked.get_or_insert(now);
        let waited = now - looked;
        if waited >= every {
            looked = now;
            self.looked = Some(now);
            self.look(waited)?;
        }
        // At most once a tick, however many streams come and go.
        self.arm_look(looked + every);
        Ok(())
    }

    fn look(&mut self, waited: Duration) -> Result<(), Ended> {
        let limits = &self.connection.config.limits;
        let (streaming, blocked) = (self.connection.streaming(), self.blocked);
        let look = self.streams.look(
            waited,
            &limits.request_body,
            &limits.response,
            streaming,
            blocked,
        );
        for (stream, phase) in look.slow {
            self.reset(stream, phase)?;
        }
        if look.lagging > 0 {
            self.connection.set_lagged(true);
        }
        let surplus = self.connection.keep_waiting(look.lagging);
        if surplus == 0 {
            return Ok(());
        }
        let given_up = self.streams.give_up(surplus);
        for stream in &given_up {
            self.reset(*stream, SlowPhase::Response)?;
        }
        let left = look.lagging.saturating_sub(given_up.len());
        self.connection.keep_waiting(left);
        Ok(())
    }

    /// No stream is open: what was sent on the last ones must be taken at a pace, too.
    fn look_at_rest(&mut self, now: Instant) -> Result<(), Ended> {
        if !self.begun {
            return Ok(());
        }
        let limits = &self.connection.config.limits.response;
        let rest = self.rest.get_or_insert_with(|| Rest::new(now + LAG));
        match rest.look(limits, || Sent::on(self.socket), now) {
            RestLook::Taken => Ok(()),
            RestLook::At(at) => {
                self.arm_look(at);
                Ok(())
            }
            RestLook::Slow => Err(Ended::Slow(SlowPhase::Response)),
        }
    }

    /// The next look is at `at`, or sooner if it was to be.
    fn arm_look(&mut self, at: Instant) {
        if !self.look_armed || self.look.deadline().into_std() > at {
            self.look.as_mut().reset(at.into());
            self.look_armed = true;
        }
    }

    /// Both sides read that the other one has reset the stream. In the middle of a frame there is no place to say so.
    fn reset(&mut self, stream: u32, phase: SlowPhase) -> Result<(), Ended> {
        if self.scanner.phase() != Phase::BetweenFrames {
            return Err(Ended::Slow(phase));
        }
        self.connection.listener.metrics.slow_closed.inc(phase);
        let frame = rst_stream(stream, ENHANCE_YOUR_CALM);
        self.to_client.extend_from_slice(&frame);
        self.to_h2.extend_from_slice(&frame);
        Ok(())
    }

    /// Responses under way.
    pub fn answering(&self) -> usize {
        self.streams.answering()
    }

    /// What h2 is to read now, before anything else of the client.
    pub fn for_h2(&mut self) -> Option<&mut BytesMut> {
        let between = self.scanner.phase() == Phase::BetweenFrames;
        Some(&mut self.to_h2).filter(|bytes| between && !bytes.is_empty())
    }

    /// What the client is to be sent now, before anything else of h2.
    pub fn for_client(&mut self) -> Option<&mut BytesMut> {
        let between = self.out.is_between();
        Some(&mut self.to_client).filter(|bytes| between && !bytes.is_empty())
    }

    /// The connection ends: so the client learns why (RFC 9113 6.8).
    pub fn say_goaway(&mut self, ended: Ended) {
        let code = match ended {
            Ended::Abuse(Http2Abuse::BadPreface) => PROTOCOL_ERROR,
            _ => ENHANCE_YOUR_CALM,
        };
        let frame = goaway(self.streams.last(), code);
        self.to_client.extend_from_slice(&frame);
    }
}

/// Without a stream the connection is idle.
fn note_turn(connection: &Connection, begun: bool, streams: &Streams) {
    if begun {
        let idle = streams.is_empty();
        connection.waits(if idle { Waits::Idle } else { Waits::Busy });
    }
}

fn rst_stream(stream: u32, code: u32) -> Vec<u8> {
    let head = [0, 0, 4, 3, 0];
    [&head[..], &stream.to_be_bytes(), &code.to_be_bytes()].concat()
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    let head = [0, 0, 8, 7, 0, 0, 0, 0, 0];
    [&head[..], &last.to_be_bytes(), &code.to_be_bytes()].concat()
}

impl From<Flood> for Http2Abuse {
    fn from(flood: Flood) -> Http2Abuse {
        match flood {
            Flood::RstStream => Http2Abuse::RstStream,
            Flood::Settings => Http2Abuse::Settings,
            Flood::Ping => Http2Abuse::Ping,
            Flood::EmptyData => Http2Abuse::EmptyData,
            Flood::Priority => Http2Abuse::Priority,
            Flood::WindowUpdate => Http2Abuse::WindowUpdate,
            Flood::Continuation => Http2Abuse::Continuation,
            Flood::Unknown => Http2Abuse::Unknown,
        }
    }
}
