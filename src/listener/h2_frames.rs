//! Follows the frames of an HTTP/2 connection (RFC 9113 4.1) on its plain bytes, cut anywhere: tells which deadline
//! applies, and counts the frames that floods are made of. It checks no more of the protocol than that: h2 does.

mod budget;

use std::time::Instant;

pub use budget::FloodBudget;
use budget::Window;

/// What a client sends first (RFC 9113 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER: usize = 9;
const END_STREAM: u8 = 0x1;
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
    /// The 24 bytes of the preface are not whole.
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
    header: [u8; HEADER],
    filled: usize,
    /// Payload bytes of the frame still to come.
    remaining: usize,
    kind: Option<FrameKind>,
    in_block: bool,
    window: Window,
}

impl FrameScanner {
    /// For a connection from its first byte, preface included.
    pub fn new(budget: FloodBudget, now: Instant) -> Self {
        let window = Window::new(budget, now);
        Self {
            preface: 0,
            header: [0; HEADER],
            filled: 0,
            remaining: 0,
            kind: None,
            in_block: false,
            window,
        }
    }

    /// Where the connection stands after all that was fed.
    pub fn phase(&self) -> Phase {
        if self.preface < PREFACE.len() {
            Phase::Preface
        } else if self.in_block {
            Phase::HeaderBlock
        } else if self.filled > 0 {
            Phase::PartialFrame { kind: self.kind }
        } else {
            Phase::BetweenFrames
        }
    }

    /// Takes the next bytes that the client sent. After a verdict other than `Ok` close: the scanner is spent.
    pub fn feed(&mut self, bytes: &[u8], now: Instant) -> Verdict {
        let mut rest = bytes;
        if self.preface < PREFACE.len() && !self.take_preface(&mut rest) {
            return Verdict::BadPreface;
        }
        while !rest.is_empty() {
            if let Some(flood) = self.take(&mut rest, now) {
                return Verdict::Flood(flood);
            }
        }
        Verdict::Ok
    }

    fn take_preface(&mut self, rest: &mut &[u8]) -> bool {
        let wanted = &PREFACE[self.preface..];
        let (here, after) = rest.split_at(wanted.len().min(rest.len()));
        self.preface += here.len();
        *rest = after;
        wanted.starts_with(here)
    }

    /// Takes what `rest` has of the current frame: its header, or its payload.
    fn take(&mut self, rest: &mut &[u8], now: Instant) -> Option<Flood> {
        if self.kind.is_some() {
            let (here, after) = rest.split_at(self.remaining.min(rest.len()));
            self.remaining -= here.len();
            *rest = after;
            self.end_frame();
            return None;
        }
        let missing = &mut self.header[self.filled..];
        let (here, after) = rest.split_at(missing.len().min(rest.len()));
        missing[..here.len()].copy_from_slice(here);
        self.filled += here.len();
        *rest = after;
        if self.filled < HEADER {
            None
        } else {
            self.begin_frame(now)
        }
    }

    fn begin_frame(&mut self, now: Instant) -> Option<Flood> {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.remaining = u32::from_be_bytes([0, high, middle, low]) as usize;
        let kind = FrameKind::from_byte(kind);
        self.kind = Some(kind);
        if matches!(kind, FrameKind::Headers | FrameKind::PushPromise) {
            self.in_block = flags & END_HEADERS == 0;
        }
        let flood =
            counted(kind, flags, self.remaining).filter(|&flood| !self.window.allows(flood, now));
        self.end_frame();
        flood
    }

    fn end_frame(&mut self) {
        if self.remaining > 0 {
            return;
        }
        if self.kind == Some(FrameKind::Continuation) && self.header[4] & END_HEADERS != 0 {
            self.in_block = false;
        }
        (self.kind, self.filled) = (None, 0);
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
