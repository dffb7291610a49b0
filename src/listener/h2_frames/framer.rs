//! Cuts a byte stream into HTTP/2 frames (RFC 9113 4.1), in whatever pieces it comes. Payloads are passed over but for
//! the few numbers that flow control and resets are made of.

use super::FrameKind;

const HEADER: usize = 9;
const ACK: u8 = 0x1;
/// `:status: 400` in the static table (RFC 7541 appendix A).
const INDEXED_400: u8 = 0x80 | 12;

/// The nine bytes in front of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Type of the frame.
    pub kind: FrameKind,
    /// Flags, of which each type has its own.
    pub flags: u8,
    /// Of the payload, in bytes.
    pub length: usize,
    /// 0 is the connection.
    pub stream: u32,
}

/// What was met in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A frame's head is whole.
    Begin(FrameHead),
    /// So many bytes of a DATA frame's payload.
    Data(FrameHead, usize),
    /// One parameter of a SETTINGS frame.
    Setting(u16, u32),
    /// The number in a RST_STREAM (its code), a WINDOW_UPDATE (its step) or a GOAWAY (its code).
    Number(FrameHead, u32),
    /// The frame is over.
    End(FrameHead),
}

/// Follows one direction of a connection; a fixed handful of bytes.
#[derive(Debug, Default)]
pub struct Framer {
    header: [u8; HEADER],
    filled: usize,
    frame: Option<FrameHead>,
    /// Payload bytes of the frame still to come.
    remaining: usize,
    /// The number that is being read, or the first bytes of a header block.
    item: [u8; 8],
    item_filled: usize,
}

impl Framer {
    /// Whether the last frame is over and no other begun.
    pub fn is_between(&self) -> bool {
        self.filled == 0 && self.frame.is_none()
    }

    /// The frame whose payload is being read.
    pub fn frame(&self) -> Option<FrameHead> {
        self.frame
    }

    /// Whether the frame that has just ended is a header block with nothing in it but `:status`, and if so, whether that is
    /// 400. h2 and Pingora answer so by themselves; every answer of ours has a `Date`, at the least.
    pub fn ended_with_status_only(&self, frame: FrameHead) -> Option<bool> {
        let length = match self.item.get(..self.item_filled)? {
            // Indexed (RFC 7541 6.1).
            [byte, ..] if byte & 0x80 != 0 => 1,
            // A literal beside the name `:status`, index 8 (RFC 7541 6.2).
            [0x48 | 0x08 | 0x18, value, ..] => 2 + usize::from(value & 0x7f),
            _ => return None,
        };
        let is_whole = frame.kind == FrameKind::Headers && frame.length == length;
        is_whole.then(|| self.item[0] == INDEXED_400)
    }

    /// The next event; `None` when all of `rest` is taken.
    pub fn next(&mut self, rest: &mut &[u8]) -> Option<Event> {
        loop {
            let Some(frame) = self.frame else {
                return self.header(rest).map(Event::Begin);
            };
            if self.remaining == 0 {
                (self.frame, self.filled) = (None, 0);
                return Some(Event::End(frame));
            }
            if rest.is_empty() {
                return None;
            }
            if let Some(event) = self.payload(frame, rest) {
                return Some(event);
            }
        }
    }

    fn header(&mut self, rest: &mut &[u8]) -> Option<FrameHead> {
        let missing = &mut self.header[self.filled..];
        let (here, after) = rest.split_at(missing.len().min(rest.len()));
        missing[..here.len()].copy_from_slice(here);
        self.filled += here.len();
        *rest = after;
        if self.filled < HEADER {
            return None;
        }
        let [high, middle, low, kind, flags, s1, s2, s3, s4] = self.header;
        let frame = FrameHead {
            kind: FrameKind::from_byte(kind),
            flags,
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            stream: u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]),
        };
        (self.frame, self.remaining, self.filled) = (Some(frame), frame.length, 0);
        self.item_filled = 0;
        Some(frame)
    }

    fn payload(&mut self, frame: FrameHead, rest: &mut &[u8]) -> Option<Event> {
        let wanted = match frame.kind {
            FrameKind::Settings if frame.flags & ACK == 0 => 6,
            FrameKind::RstStream | FrameKind::WindowUpdate => 4,
            FrameKind::Goaway => 8,
            FrameKind::Headers => 2,
            _ => 0,
        };
        if wanted == 0 || self.item_filled == wanted {
            let taken = self.take(rest, self.remaining);
            let is_data = frame.kind == FrameKind::Data;
            return is_data.then_some(Event::Data(frame, taken));
        }
        let bytes = *rest;
        let from = self.item_filled;
        let taken = self.take(rest, wanted - from);
        self.item[from..from + taken].copy_from_slice(&bytes[..taken]);
        self.item_filled += taken;
        let is_number = frame.kind != FrameKind::Headers;
        (is_number && self.item_filled == wanted).then(|| self.item(frame))
    }

    /// Passes over at most `most` bytes of the payload; says how many.
    fn take(&mut self, rest: &mut &[u8], most: usize) -> usize {
        let taken = most.min(self.remaining).min(rest.len());
        *rest = &rest[taken..];
        self.remaining -= taken;
        taken
    }

    fn item(&mut self, frame: FrameHead) -> Event {
        let [a, b, c, d, e, f, g, h] = self.item;
        match frame.kind {
            FrameKind::Settings => {
                self.item_filled = 0;
                Event::Setting(u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))
            }
            FrameKind::Goaway => Event::Number(frame, u32::from_be_bytes([e, f, g, h])),
            _ => Event::Number(frame, u32::from_be_bytes([a & 0x7f, b, c, d])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<Event> {
        let mut framer = Framer::default();
        let mut all = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while let Some(event) = framer.next(&mut rest) {
                all.push(event);
            }
        }
        all
    }

    #[test]
    fn answers_with_nothing_but_a_status_are_told_from_others() {
        let told = |block: &[u8], cut: usize| {
            let length = u8::try_from(block.len()).unwrap();
            let head = [0, 0, length, 1, 5, 0, 0, 0, 1];
            let (mut framer, mut told) = (Framer::default(), None);
            for mut rest in [&head[..], block].concat().chunks(cut) {
                while let Some(event) = framer.next(&mut rest) {
                    if let Event::End(frame) = event {
                        told = framer.ended_with_status_only(frame);
                    }
                }
            }
            told
        };
        for (block, wanted) in [
            (&[0x8c][..], Some(true)),
            (&[0x88], Some(false)),
            (&[0xbe], Some(false)),
            (b"\x48\x03431", Some(false)),
            (&[0x48, 0x82, 0x68, 0x1f], Some(false)),
            (&[0x8c, 0xbf], None),
            (&[0x48, 0x82, 0x68, 0x1f, 0xbf], None),
            (b"\x0f\x0d\x01\x30", None),
            (&[], None),
        ] {
            for cut in [1, 2, 9, 100] {
                assert_eq!(told(block, cut), wanted, "{block:?}");
            }
        }
    }

    #[test]
    fn numbers_and_data_are_met_however_the_bytes_are_cut() {
        let bytes = [
            &b"\0\0\x0c\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\x01\0\0"[..],
            b"\0\0\x04\x08\0\0\0\0\x05\x80\0\x10\0",
            b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x07\0\0\0\x0b",
            b"\0\0\x03\0\x01\x80\0\0\x09abc",
            b"\0\0\0\x04\x01\0\0\0\0",
        ]
        .concat();
        let whole = events(&[&bytes]);
        assert_eq!(
            &whole[1..3],
            &[Event::Setting(3, 100), Event::Setting(4, 65536)]
        );
        let numbers: Vec<u32> = whole
            .iter()
            .filter_map(|e| match e {
                Event::Number(_, number) => Some(*number),
                _ => None,
            })
            .collect();
        assert_eq!(numbers, [4096, 11]);
        assert!(
            whole
                .iter()
                .any(|e| matches!(e, Event::Data(head, 3) if head.stream == 9))
        );
        let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
        let cut = events(&pieces);
        let data = |events: &[Event]| {
            let data = events.iter().filter_map(|e| match e {
                Event::Data(_, n) => Some(*n),
                _ => None,
            });
            data.sum::<usize>()
        };
        assert_eq!(data(&cut), 3);
        let rest = |events: &[Event]| -> Vec<Event> {
            let others = events.iter().filter(|e| !matches!(e, Event::Data(..)));
            others.copied().collect()
        };
        assert_eq!(rest(&cut), rest(&whole));
    }
}
