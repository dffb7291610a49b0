//! Backends of the tests: the demo backends, and ones that say exactly the bytes they are told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A backend that answers every connection with a script and records what it read.
pub struct Raw {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Raw {
    /// Reads a request head, sends `response`, then closes.
    pub async fn answering(response: &'static [u8]) -> Raw {
        Raw::start(move |mut stream, seen, index| async move {
            read_head(&mut stream, &seen, index).await;
            let _ = stream.write_all(response).await;
            let _ = stream.shutdown().await;
        })
        .await
    }

    /// Runs `serve` on each connection; `seen[index]` is where it records.
    pub async fn start<F, S>(serve: S) -> Raw
    where
        S: Fn(TcpStream, Arc<Mutex<Vec<Vec<u8>>>>, usize) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let index = {
                    let mut all = record.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                tokio::spawn(serve(stream, record.clone(), index));
            }
        });
        Raw { address, seen }
    }

    /// What came in, a connection each.
    pub fn seen(&self) -> Vec<String> {
        let all = self.seen.lock().unwrap();
        all.iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .collect()
    }
}

/// Reads up to the empty line and records it.
pub async fn read_head(stream: &mut TcpStream, seen: &Arc<Mutex<Vec<Vec<u8>>>>, index: usize) {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf).await {
            Ok(n) if n > 0 => {
                let mut all = seen.lock().unwrap();
                all[index].extend_from_slice(&buf[..n]);
                if all[index].windows(4).any(|w| w == b"\r\n\r\n") {
                    return;
                }
            }
            _ => return,
        }
    }
}
