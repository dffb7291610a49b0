//! A server on loopback for tests: one answer to everything, and it remembers what it heard.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

pub(crate) struct Loopback {
    address: SocketAddr,
    heard: Arc<Mutex<String>>,
    _listener: TcpListener,
}

impl Loopback {
    /// Must be made inside of a tokio runtime's blocking reach: it runs on a thread of its own.
    pub fn answering(status: &str, headers: &str, body: &str) -> Loopback {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
        );
        let loopback = Loopback::silent();
        let listener = loopback._listener.try_clone().unwrap();
        let heard = Arc::clone(&loopback.heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                heard.lock().unwrap().push_str(&request);
                // A client that has had enough may be gone.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        loopback
    }

    /// Takes connections and says nothing.
    pub fn silent() -> Loopback {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Loopback {
            address: listener.local_addr().unwrap(),
            heard: Arc::default(),
            _listener: listener,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far, as they came.
    pub fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }
}

fn read_request(stream: &mut impl Read) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if read == 0 {
                return text;
            }
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if body.len() >= length || read == 0 {
            return text;
        }
    }
}
