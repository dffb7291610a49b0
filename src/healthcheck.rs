//! `tidegate healthcheck`: one GET against the admin listener, for an image without a shell.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// What is asked unless told otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:9901/readyz";
/// For the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(2);
/// `HTTP/1.1 200`
const STATUS_LINE_BYTES: usize = 12;

/// Why an instance isn't taken as healthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    /// Neither `http://host:port/path` nor `unix:/socket` nor `unix:/socket:/path`.
    #[error(
        "{0:?} is no URL for this: write http://127.0.0.1:9901/readyz or unix:/run/tidegate.sock:/readyz"
    )]
    Url(String),
    /// Nobody answers there, or not within 2 s.
    #[error("no answer: {0}")]
    Io(#[from] io::Error),
    /// Any status but 200, or no HTTP at all.
    #[error("answered {0:?}, not with status 200")]
    Status(String),
}

/// Passes if a GET of `url` is answered with status 200 within 2 s.
pub fn run(url: &str) -> Result<(), HealthcheckError> {
    let bad_url = || HealthcheckError::Url(url.to_owned());
    let deadline = Instant::now() + TIMEOUT;
    if let Some(rest) = url.strip_prefix("unix:") {
        let (socket, path) = rest.split_once(":/").unwrap_or((rest, "readyz"));
        let stream = UnixStream::connect(socket)?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        return ask(
            &stream,
            |left| stream.set_read_timeout(Some(left)),
            "localhost",
            path,
            deadline,
        );
    }
    let rest = url.strip_prefix("http://").ok_or_else(bad_url)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = host
        .to_socket_addrs()
        .map_err(|_| bad_url())?
        .next()
        .ok_or_else(bad_url)?;
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    ask(
        &stream,
        |left| stream.set_read_timeout(Some(left)),
        host,
        path,
        deadline,
    )
}

fn ask<S: Copy + Read + Write>(
    mut stream: S,
    set_read_timeout: impl Fn(Duration) -> io::Result<()>,
    host: &str,
    path: &str,
    deadline: Instant,
) -> Result<(), HealthcheckError> {
    // One write: a server may answer as soon as it has read the first packet.
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; STATUS_LINE_BYTES];
    let mut got = 0;
    while got < STATUS_LINE_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        // A zero would mean no limit.
        set_read_timeout(left.max(Duration::from_millis(1)))?;
        match stream.read(&mut answer[got..])? {
            0 => break,
            read => got += read,
        }
    }
    let text = String::from_utf8_lossy(&answer[..got]);
    let fits = text.starts_with("HTTP/1.") && text.ends_with(" 200");
    if fits {
        Ok(())
    } else {
        Err(HealthcheckError::Status(text.into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// Answers one connection with these bytes and gives the request line.
    fn answer_once<S: Read + Write>(mut stream: S, answer: &[u8]) -> String {
        let mut request = [0; 1024];
        let read = stream.read(&mut request).unwrap();
        stream.write_all(answer).unwrap();
        String::from_utf8_lossy(&request[..read])
            .lines()
            .next()
            .unwrap()
            .to_owned()
    }

    fn check_tcp(path: &str, answer: &'static [u8]) -> (Result<(), HealthcheckError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}{path}", listener.local_addr().unwrap());
        let server = thread::spawn(move || answer_once(listener.accept().unwrap().0, answer));
        (run(&url), server.join().unwrap())
    }

    #[test]
    fn only_200_passes() {
        let (result, line) = check_tcp("/readyz", b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(result.is_ok());
        assert_eq!(line, "GET /readyz HTTP/1.1");
        assert!(matches!(
            check_tcp("", b"HTTP/1.1 503 No\r\n\r\n").0,
            Err(HealthcheckError::Status(_))
        ));
        assert!(matches!(
            check_tcp("/", b"nonsense, not HTTP 200").0,
            Err(HealthcheckError::Status(_))
        ));
        assert!(matches!(
            check_tcp("/", b"").0,
            Err(HealthcheckError::Status(_))
        ));
    }

    #[test]
    fn unix_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            [(); 2].map(|()| answer_once(listener.accept().unwrap().0, b"HTTP/1.1 200 OK\r\n\r\n"))
        });
        run(&format!("unix:{}", socket.display())).unwrap();
        run(&format!("unix:{}:/healthz", socket.display())).unwrap();
        assert_eq!(
            server.join().unwrap(),
            ["GET /readyz HTTP/1.1", "GET /healthz HTTP/1.1"]
        );
    }

    #[test]
    fn nobody_there() {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(matches!(
            run(&format!("http://{free}/readyz")),
            Err(HealthcheckError::Io(_))
        ));
        assert!(matches!(
            run("https://127.0.0.1/"),
            Err(HealthcheckError::Url(_))
        ));
        assert!(matches!(
            run("http://127.0.0.1/"),
            Err(HealthcheckError::Url(_))
        ));
    }
}
