//! The three encoders behind one face: bytes in, bytes out as they come.

use std::io::{Result, Write};

use brotli::CompressorWriter;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Encoding;

/// Brotli's quality and window (2^18 bytes): about as fast as gzip, and 2 MiB of memory at most.
const BROTLI_QUALITY: u32 = 4;
const BROTLI_WINDOW: u32 = 18;
const ZSTD_LEVEL: i32 = 3;

pub(super) struct Encoder {
    kind: Kind,
    /// Flushes after each piece.
    live: bool,
}

enum Kind {
    Gzip(GzEncoder<Vec<u8>>),
    Br(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Finished,
}

impl Encoder {
    pub fn new(encoding: Encoding, live: bool) -> Result<Encoder> {
        let kind = match encoding {
            Encoding::Gzip => Kind::Gzip(GzEncoder::new(Vec::new(), Compression::new(5))),
            Encoding::Br => {
                let writer = CompressorWriter::new(Vec::new(), 4096, BROTLI_QUALITY, BROTLI_WINDOW);
                Kind::Br(Box::new(writer))
            }
            Encoding::Zstd => {
                Kind::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?)
            }
        };
        Ok(Encoder { kind, live })
    }

    /// What can be sent after this piece; the trailer too when it was the last.
    pub fn write(&mut self, piece: &[u8], end: bool) -> Result<Vec<u8>> {
        if end {
            return self.finish(piece);
        }
        let flush = self.live && !piece.is_empty();
        let out = match &mut self.kind {
            Kind::Gzip(gzip) => feed(gzip, piece, flush).map(|()| gzip.get_mut()),
            Kind::Br(br) => feed(br, piece, flush).map(|()| br.get_mut()),
            Kind::Zstd(zstd) => feed(zstd, piece, flush).map(|()| zstd.get_mut()),
            Kind::Finished => return Ok(Vec::new()),
        };
        out.map(std::mem::take)
    }

    fn finish(&mut self, piece: &[u8]) -> Result<Vec<u8>> {
        match std::mem::replace(&mut self.kind, Kind::Finished) {
            Kind::Gzip(mut gzip) => {
                gzip.write_all(piece)?;
                gzip.finish()
            }
            Kind::Br(mut br) => {
                br.write_all(piece)?;
                Ok(br.into_inner())
            }
            Kind::Zstd(mut zstd) => {
                zstd.write_all(piece)?;
                zstd.finish()
            }
            Kind::Finished => Ok(Vec::new()),
        }
    }
}

fn feed(encoder: &mut impl Write, piece: &[u8], flush: bool) -> Result<()> {
    encoder.write_all(piece)?;
    if flush { encoder.flush() } else { Ok(()) }
}
