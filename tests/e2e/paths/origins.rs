//! Backends that read paths in their own way: one in all the ways at once, and Flask.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::backend::{Raw, read_head};

/// The path as servers of many kinds would read it, one for each kind.
pub fn readings(target: &str) -> Vec<String> {
    let path = target.split('?').next().unwrap_or_default();
    let mut all = Vec::new();
    for decoded in 0..4 {
        for (overlong, backslash, parameters) in
            [0, 1, 2, 3, 4, 5, 6, 7].map(|n| (n & 1 > 0, n & 2 > 0, n & 4 > 0))
        {
            let mut text = path.to_owned();
            for _ in 0..decoded {
                text = decode(&text, overlong);
            }
            if backslash {
                text = text.replace('\\', "/");
            }
            let mut segments = Vec::new();
            for segment in text.split('/') {
                let segment = match parameters {
                    true => segment.split(';').next().unwrap_or_default(),
                    false => segment,
                };
                match segment {
                    "" | "." => {}
                    ".." => drop(segments.pop()),
                    other => segments.push(other),
                }
            }
            all.push(format!("/{}", segments.join("/")));
        }
    }
    all
}

fn decode(text: &str, overlong: bool) -> String {
    let mut text = text.to_owned();
    if overlong {
        for (long, short) in [
            ("%c0%af", "/"),
            ("%c0%ae", "."),
            ("%c0%2e", "."),
            ("%c1%9c", "\\"),
            ("%e0%80%af", "/"),
            ("%e0%80%ae", "."),
            ("%f0%80%80%af", "/"),
        ] {
            text = text.replace(long, short);
        }
    }
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .filter(|d| *first == b'%' && d.iter().all(u8::is_ascii_hexdigit));
        match digits.and_then(|d| std::str::from_utf8(d).ok()) {
            Some(digits) => {
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether this is what `protected` wants a token for.
pub fn is_admin(path: &str) -> bool {
    let protected = |place: &str| path == place || path.starts_with(&format!("{place}/"));
    protected("/admin") && !protected("/admin/open")
}

/// A backend that serves `admin` to whatever any server would take for a path of `/admin`, and `other` to the rest.
pub async fn lenient() -> Raw {
    Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let head = String::from_utf8_lossy(&seen.lock().unwrap()[index].clone()).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default();
        let body = match readings(target).iter().any(|read| is_admin(read)) {
            true => "admin",
            false => "other",
        };
        let answer =
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\n{body}");
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

/// A Flask application with a page at `/admin` and one for everything else; `None` where there is no Flask.
pub async fn flask() -> Option<(Child, SocketAddr)> {
    const APPLICATION: &str = r#"
from flask import Flask
from werkzeug.serving import make_server
app = Flask("paths")
@app.route("/admin", methods=["GET", "POST"], defaults={"rest": ""})
@app.route("/admin/<path:rest>", methods=["GET", "POST"])
def admin(rest): return "admin"
@app.route("/", methods=["GET", "POST"], defaults={"rest": ""})
@app.route("/<path:rest>", methods=["GET", "POST"])
def other(rest): return "other"
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;
    let mut command = Command::new("python3");
    command.args(["-c", APPLICATION]).kill_on_drop(true);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.ok()?;
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    let port = lines.next_line().await.ok()??.parse().ok()?;
    Some((child, SocketAddr::from(([127, 0, 0, 1], port))))
}
