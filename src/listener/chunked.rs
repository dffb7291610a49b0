//! Watches a chunked body go by (RFC 9112 7.1): keeps nothing, but knows where it ends, and refuses what two parsers could
//! read in two ways.

mod trailer;

pub use super::refusal::Refusal;
use trailer::Trailer;

/// Digits of a size, leading zeros included.
const MAX_SIZE_DIGITS: u8 = 16;
/// Extension bytes of one chunk, and of all chunks of a body.
const MAX_EXTENSION: u16 = 256;
const MAX_EXTENSIONS: u16 = 1024;

/// What one piece of a body told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkProgress {
    /// Bytes of this piece that belong to the body, once its end was seen; the rest is the next request.
    pub done_at: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    Done,
}

/// Follows one chunked body; a fixed handful of bytes.
#[derive(Debug)]
pub struct ChunkScanner {
    state: State,
    /// Of the chunk: its size, then what is still to come.
    remaining: u64,
    digits: u8,
    extension: u16,
    extensions: u16,
    trailer: Trailer,
}

impl Default for ChunkScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkScanner {
    /// For one body.
    pub fn new() -> Self {
        let trailer = Trailer::default();
        Self {
            state: State::Size,
            remaining: 0,
            digits: 0,
            extension: 0,
            extensions: 0,
            trailer,
        }
    }

    /// Takes the next piece, cut anywhere. After an error or the end, feed nothing more: the end says 0 again, and
    /// an error leaves the scanner in no useful state.
    pub fn feed(&mut self, piece: &[u8]) -> Result<ChunkProgress, Refusal> {
        self.feed_to(piece, |_| ())
    }

    /// The same, handing out the data between the chunks' frames.
    pub fn feed_to(
        &mut self,
        piece: &[u8],
        mut data: impl FnMut(&[u8]),
    ) -> Result<ChunkProgress, Refusal> {
        let mut at = 0;
        while self.state != State::Done {
            let rest = &piece[at..];
            let Some(&byte) = rest.first() else {
                return Ok(ChunkProgress { done_at: None });
            };
            at += if self.state == State::Data {
                let taken = self.skip(rest.len());
                data(&rest[..taken]);
                taken
            } else {
                self.step(byte).map(|()| 1)?
            };
        }
        Ok(ChunkProgress { done_at: Some(at) })
    }

    /// Passes over data without looking at it.
    fn skip(&mut self, available: usize) -> usize {
        let taken =
            usize::try_from(self.remaining).map_or(available, |remaining| remaining.min(available));
        self.remaining -= taken as u64;
        if self.remaining == 0 {
            self.state = State::DataCr;
        }
        taken
    }

    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match (self.state, byte) {
            (State::Size, _) => self.size(byte)?,
            (State::Extension, b'\r') | (State::DataCr, b'\r') => self.after_cr(),
            (State::Extension, _) => self.extension(byte)?,
            (State::SizeLf, b'\n') => self.after_size(),
            (State::SizeLf, _) => return Err(Refusal::BareCr),
            (State::DataLf, b'\n') => {
                (self.digits, self.extension) = (0, 0);
                State::Size
            }
            (State::DataCr | State::DataLf, _) => return Err(Refusal::ChunkEndMissing),
            (State::Trailer, _) if self.trailer.step(byte)? => State::Done,
            (State::Trailer, _) => State::Trailer,
            (State::Data | State::Done, _) => self.state,
        };
        Ok(())
    }

    fn after_cr(&self) -> State {
        if self.state == State::DataCr {
            State::DataLf
        } else {
            State::SizeLf
        }
    }

    fn after_size(&self) -> State {
        if self.remaining == 0 {
            State::Trailer
        } else {
            State::Data
        }
    }

    /// No white space may stand around the size: lenient parsers have disagreed about it.
    fn size(&mut self, byte: u8) -> Result<State, Refusal> {
        let digit = char::from(byte).to_digit(16);
        match (digit, byte) {
            (Some(_), _) if self.digits == MAX_SIZE_DIGITS => Err(Refusal::ChunkSizeOverflow),
            (Some(digit), _) => {
                self.digits += 1;
                self.remaining = (self.remaining << 4) | u64::from(digit);
                Ok(State::Size)
            }
            (None, b'\n') if self.digits > 0 => Err(Refusal::BareLf),
            (None, b'\r') if self.digits > 0 => Ok(State::SizeLf),
            (None, b';') if self.digits > 0 => self.extension(byte),
            _ => Err(Refusal::ChunkSizeBad),
        }
    }

    fn extension(&mut self, byte: u8) -> Result<State, Refusal> {
        self.extension += 1;
        self.extensions += 1;
        if self.extension > MAX_EXTENSION || self.extensions > MAX_EXTENSIONS {
            return Err(Refusal::ChunkExtTooLong);
        }
        match byte {
            b'\n' => Err(Refusal::BareLf),
            b'\t' => Ok(State::Extension),
            _ if byte.is_ascii_control() => Err(Refusal::ChunkExtBad),
            _ => Ok(State::Extension),
        }
    }
}

#[cfg(test)]
mod tests;
