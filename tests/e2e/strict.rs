//! A backend that reads HTTP/1 by the letter and records what it saw: whole requests, or that the bytes were no such.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request as it stood on the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub line: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Record {
    requests: Vec<Seen>,
    wrong: Vec<String>,
}

pub struct Strict {
    pub address: std::net::SocketAddr,
    record: Arc<Mutex<Record>>,
}

impl Strict {
    pub async fn start() -> Strict {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::new(Mutex::new(Record::default()));
        let shared = record.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Strict { address, record }
    }

    /// Whether there were any since the last `take`.
    pub fn has_requests(&self) -> bool {
        !self.record.lock().unwrap().requests.is_empty()
    }

    /// Requests since the last call, and what was no request.
    pub fn take(&self) -> (Vec<Seen>, Vec<String>) {
        let record = std::mem::take(&mut *self.record.lock().unwrap());
        (record.requests, record.wrong)
    }
}

async fn serve(mut stream: TcpStream, record: Arc<Mutex<Record>>) {
    let mut bytes = Vec::new();
    loop {
        match read_request(&bytes) {
            Ok(Some((seen, length))) => {
                bytes.drain(..length);
                record.lock().unwrap().requests.push(seen);
                let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                if stream.write_all(ok).await.is_err() {
                    return;
                }
            }
            Ok(None) => match stream.read_buf(&mut bytes).await {
                Ok(n) if n > 0 => {}
                _ => return,
            },
            Err(why) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                record
                    .lock()
                    .unwrap()
                    .wrong
                    .push(format!("{why}: {text:?}"));
                return;
            }
        }
    }
}

/// The first request in the bytes and its length; `None` when it is not whole.
fn read_request(bytes: &[u8]) -> Result<Option<(Seen, usize)>, String> {
    let Some(head) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..head]).map_err(|e| e.to_string())?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    if line.split(' ').count() != 3 || !line.ends_with(" HTTP/1.1") || line.contains(['\r', '\n']) {
        return Err(format!("request line {line:?}"));
    }
    let mut fields = Vec::new();
    for field in lines {
        let (name, value) = field.split_once(": ").ok_or(format!("field {field:?}"))?;
        if name.is_empty() || name.contains([' ', '\t']) || field.contains(['\r', '\n', '\0']) {
            return Err(format!("field {field:?}"));
        }
        fields.push((name.to_lowercase(), value.to_owned()));
    }
    let all = |name: &str| -> Vec<&str> {
        let found = fields.iter().filter(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str()).collect()
    };
    if all("host").len() != 1 {
        return Err("hosts".to_owned());
    }
    let rest = &bytes[head + 4..];
    let body = match (
        all("content-length").as_slice(),
        all("transfer-encoding").as_slice(),
    ) {
        ([], []) => Some((Vec::new(), 0)),
        ([length], []) => {
            let length: usize = length.parse().map_err(|_| "length".to_owned())?;
            rest.get(..length).map(|body| (body.to_vec(), length))
        }
        ([], ["chunked"]) => read_chunks(rest)?,
        other => return Err(format!("framing {other:?}")),
    };
    Ok(body.map(|(body, length)| {
        (
            Seen {
                line,
                fields: fields.clone(),
                body,
            },
            head + 4 + length,
        )
    }))
}

type Body = Option<(Vec<u8>, usize)>;

fn read_chunks(bytes: &[u8]) -> Result<Body, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[at..at + line]).map_err(|e| e.to_string())?;
        let bad = size.is_empty() || !size.bytes().all(|b| b.is_ascii_hexdigit());
        let length = usize::from_str_radix(size, 16).map_err(|e| e.to_string())?;
        if bad {
            return Err(format!("chunk size {size:?}"));
        }
        at += line + 2;
        let Some(chunk) = bytes.get(at..at + length + 2) else {
            return Ok(None);
        };
        if !chunk.ends_with(b"\r\n") {
            return Err("chunk end".to_owned());
        }
        body.extend_from_slice(&chunk[..length]);
        at += length + 2;
        if length == 0 {
            return Ok(Some((body, at)));
        }
    }
}

pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
