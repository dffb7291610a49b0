//! Follows the frames of an HTTP/2 connection (RFC 9113 4.1) on its plain bytes, cut anywhere: tells which deadline
//! applies, and counts the frames that floods are made of. It checks no more of the protocol than that: h2 does.

mod budget;
mod framer;

use std::time::Instant;

pub use budget::FloodBudget;
use budget::Window;
pub use framer::{Event, FrameHead, Framer};

/// What a client sends first (RFC 9113 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The last frame of a direction of a stream.
pub const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// The type of a frame (RFC 9113 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the RFC")]
pub enum FrameKind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    Goaway,
    WindowUpdate,
    Continuation,
    /// Any other; ignored by the protocol.
    Unknown(u8),
}

impl FrameKind {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::Goaway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            other => Self::Unknown(other),
        }
    }
}

/// Frames that are limited in number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flood {
    /// Streams opened and reset at once (CVE-2023-44487).
    RstStream,
    /// Each must be acknowledged.
    Settings,
    /// Each must be answered.
    Ping,
    /// DATA that carries nothing and ends nothing.
    EmptyData,
    /// Advice that costs time.
    Priority,
    /// Small steps of the window.
    WindowUpdate,
    /// Header blocks in pieces (CVE-2024-27316).
    Continuation,
    /// Types that are to be ignored.
    Unknown,
}

/// Where in the byte stream a connection stands, and so which deadline it is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The 24 bytes of the preface, or the frame that belongs to them (RFC 9113 3.4), are not whole.
    Preface,
    /// Nothing is begun: idle is as good as busy.
    BetweenFrames,
    /// From a HEADERS or PUSH_PROMISE without END_HEADERS to the end of the block.
    HeaderBlock,
    /// Inside a frame; its kind, once its nine bytes are read. Large DATA frames are under the body deadlines.
    PartialFrame {
        /// `None` inside the frame header.
        kind: Option<FrameKind>,
    },
}

/// Whether the connection may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Ok,
    /// The first bytes are no HTTP/2.
    BadPreface,
    /// More frames of this kind than the budget allows: GOAWAY (ENHANCE_YOUR_CALM) and close.
    Flood(Flood),
}

/// Follows one connection; a fixed hundred bytes, no allocation.
#[derive(Debug)]
pub struct FrameScanner {
    preface: usize,
    /// The first frame is whole.
    begun: bool,
    framer: Framer,
    in_block: bool,
    window: Window,
}

impl FrameScanner {
    /// For a connection from its first byte, preface included.
    pub fn new(budget: FloodBudget, now: Instant) -> Self {
        Self {
            preface: 0,
            begun: false,
            framer: Framer::default(),
            in_block: false,
            window: Window::new(budget, now),
        }
    }

    /// Where the connection stands after all that was fed.
    pub fn phase(&self) -> Phase {
        if !self.begun {
            Phase::Preface
        } else if self.in_block {
            Phase::HeaderBlock
        } else if self.framer.is_between() {
            Phase::BetweenFrames
        } else {
            let kind = self.framer.frame().map(|frame| frame.kind);
            Phase::PartialFrame { kind }
        }
    }

    /// Takes the next bytes that the client sent. After a verdict other than `Ok` close: the scanner is spent.
    pub fn feed(&mut self, bytes: &[u8], now: Instant) -> Verdict {
        self.feed_to(bytes, now, |_| {})
    }

    /// The same, and tells `seen` what was met in the frames.
    pub fn feed_to(&mut self, bytes: &[u8], now: Instant, mut seen: impl FnMut(Event)) -> Verdict {
        let mut rest = bytes;
        if self.preface < PREFACE.len() && !self.take_preface(&mut rest) {
            return Verdict::BadPreface;
        }
        while let Some(event) = self.framer.next(&mut rest) {
            if let Some(flood) = self.follow(event, now) {
                return Verdict::Flood(flood);
            }
            seen(event);
        }
        Verdict::Ok
    }

    /// One more frame of this kind, of the server's making but the client's doing.
    pub fn provoked(&mut self, flood: Flood, now: Instant) -> bool {
        self.window.allows(flood, now)
    }

    fn take_preface(&mut self, rest: &mut &[u8]) -> bool {
        let wanted = &PREFACE[self.preface..];
        let (here, after) = rest.split_at(wanted.len().min(rest.len()));
        self.preface += here.len();
        *rest = after;
        wanted.starts_with(here)
    }

    fn follow(&mut self, event: Event, now: Instant) -> Option<Flood> {
        match event {
            Event::Begin(frame) => {
                if matches!(frame.kind, FrameKind::Headers | FrameKind::PushPromise) {
                    self.in_block = frame.flags & END_HEADERS == 0;
                }
                counted(frame.kind, frame.flags, frame.length)
                    .filter(|&flood| !self.window.allows(flood, now))
            }
            Event::End(frame) => {
                self.begun = true;
                if frame.kind == FrameKind::Continuation && frame.flags & END_HEADERS != 0 {
                    self.in_block = false;
                }
                None
            }
            _ => None,
        }
    }
}

fn counted(kind: FrameKind, flags: u8, length: usize) -> Option<Flood> {
    Some(match kind {
        FrameKind::RstStream => Flood::RstStream,
        FrameKind::Settings => Flood::Settings,
        FrameKind::Ping => Flood::Ping,
        FrameKind::Priority => Flood::Priority,
        FrameKind::WindowUpdate => Flood::WindowUpdate,
        FrameKind::Continuation => Flood::Continuation,
        FrameKind::Unknown(_) => Flood::Unknown,
        // What is so short and padded may be padding alone. The one that ends a stream is the usual way to do so.
        FrameKind::Data
            if flags & END_STREAM == 0
                && (length == 0 || (flags & PADDED != 0 && length <= 256)) =>
        {
            Flood::EmptyData
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
