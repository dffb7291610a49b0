//! An HTTP/2 client that sends the frames it is told (RFC 9113 6), over any stream.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::harness::PATIENCE;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A frame that came in.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let last = self.payload.len() - 4;
        let at = if self.kind == GOAWAY { 4 } else { last };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// One frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals, none of them indexed (RFC 7541 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            bytes.push(text.len() as u8);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// The fields of a request for `path`.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    block(&[
        (":method", method),
        (":scheme", "http"),
        (":authority", "test.example"),
        (":path", path),
    ])
}

pub struct Frames<S>(pub S);

impl<S: Stream> Frames<S> {
    /// Sends preface and these settings.
    pub async fn begin(stream: S, settings: &[(u16, u32)]) -> Frames<S> {
        let mut frames = Frames(stream);
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let settings = frame(SETTINGS, 0, 0, &payload);
        frames.send(&[PREFACE, &settings].concat()).await;
        frames
    }

    /// Sends bytes; an end of the connection is seen when reading.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok() && self.0.flush().await.is_ok()
    }

    /// The next frame, acknowledging nothing; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, s1, s2, s3, s4] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind,
                flags,
                stream: u32::from_be_bytes([s1, s2, s3, s4]),
                payload,
            })
        };
        let next = tokio::time::timeout(PATIENCE, read).await;
        next.expect("the connection stays open")
    }

    /// Reads until such a frame comes.
    pub async fn until(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let next = self.next().await;
            let next = next.unwrap_or_else(|| panic!("closed before frame {kind} of {stream}"));
            if next.kind == kind && next.stream == stream {
                return next;
            }
        }
    }

    /// Reads to the end; the code of the GOAWAY before it.
    pub async fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(next) = self.next().await {
            if next.kind == GOAWAY {
                code = Some(next.code());
            }
        }
        code
    }
}
