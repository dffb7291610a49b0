//! The access log: one JSON object a line for each request, written by hand because it is written for every request.

mod blot;

use std::net::IpAddr;
use std::time::Duration;

use crate::observe::json::{self, Object};
use crate::observe::timestamp;

pub use blot::{blot, blot_url};

/// What one request left behind. `None`, an empty string and an empty list are left out of the line.
///
/// Text that a client can choose is bytes: it may be anything. Durations are written as milliseconds with three decimals.
#[derive(Debug, Clone, Default)]
pub struct AccessRecord<'a> {
    /// When the request's first byte came, in milliseconds since 1970.
    pub unix_ms: u64,
    /// `X-Request-ID`, the client's own or made here.
    pub request_id: &'a [u8],
    /// 32 hex digits; see [`trace_ids`].
    pub trace_id: &'a str,
    /// 16 hex digits.
    pub span_id: &'a str,
    /// The client, after PROXY protocol and trusted proxies.
    pub client_ip: Option<IpAddr>,
    /// A trusted proxy named the client in a way that can't be read: there is no `client_ip`.
    pub client_unknown: bool,
    /// The client's port, where known.
    pub client_port: Option<u16>,
    /// The other end of the connection: the client or the proxy in front.
    pub peer_ip: Option<IpAddr>,
    /// Name of the listener.
    pub listener: &'a str,
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'a str,
    /// `TLSv1.3`.
    pub tls_version: &'a str,
    /// Name of the cipher suite.
    pub tls_cipher: &'a str,
    /// The key that signed the handshake: `ecdsa`, `rsa`; `none` in a resumption.
    pub tls_key: &'a str,
    /// The TLS session was resumed.
    pub tls_resumed: bool,
    /// Sent on before the TLS handshake was done.
    pub early_data: bool,
    /// Server name the client asked for in its TLS hello.
    pub sni: &'a [u8],
    /// As sent.
    pub method: &'a [u8],
    /// `http` or `https`.
    pub scheme: &'a str,
    /// `Host` or `:authority`, as sent.
    pub host: &'a [u8],
    /// The raw path, without the query.
    pub path: &'a [u8],
    /// Without its question mark; secrets in it [blotted](blot).
    pub query: &'a [u8],
    /// Sent to the client; `None` when no response began.
    pub status: Option<u16>,
    /// Request body, in bytes.
    pub bytes_in: u64,
    /// Response body, in bytes.
    pub bytes_out: u64,
    /// From the first byte of the request to the last of the response.
    pub duration: Duration,
    /// Reading the request head.
    pub t_header: Option<Duration>,
    /// Waiting for a place at a backend.
    pub t_queue: Option<Duration>,
    /// Connecting to the backend that answered; zero for a reused connection.
    pub t_connect: Option<Duration>,
    /// From the request sent to the first byte of the response.
    pub t_first_byte: Option<Duration>,
    /// As `duration`, plus reading the request head.
    pub t_total: Option<Duration>,
    /// Name of the route.
    pub route: &'a str,
    /// Name of the pool.
    pub pool: &'a str,
    /// Id of the backend that answered, or of the last one tried.
    pub backend: &'a str,
    /// What became of the client's sticky session, as in `tidegate_sticky_total`.
    pub sticky: &'a str,
    /// In the order they were made.
    pub attempts: &'a [Attempt<'a>],
    /// Why the response is what it is, as letters: `UF`, `UH`, `UT`, `DC`.
    pub flags: &'a [&'a str],
    /// The same in words, where Tidegate itself made the response.
    pub reason: &'a str,
    /// Request header.
    pub user_agent: &'a [u8],
    /// Request header.
    pub referer: &'a [u8],
    /// What filters noted, as name and value.
    pub attributes: &'a [(&'a str, Note<'a>)],
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note<'a> {
    /// Any text.
    Text(&'a str),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

/// One try at a backend.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Id of the backend.
    pub backend: &'a str,
    /// As in the metric `tidegate_upstream_requests_total`.
    pub outcome: &'a str,
    /// From the pick to the response head or the failure.
    pub duration: Duration,
}

impl AccessRecord<'_> {
    /// Appends one JSON object, without a line end. Allocates only when `out` has to grow.
    pub fn format(&self, out: &mut Vec<u8>) {
        let mut line = Object::begin(out);
        let ts = line.member("ts");
        ts.push(b'"');
        timestamp::write(self.unix_ms, ts);
        ts.push(b'"');
        self.connection(&mut line);
        self.request(&mut line);
        self.response(&mut line);
        self.way(&mut line);
        line.string_if_any("user_agent", self.user_agent);
        line.string_if_any("referer", self.referer);
        self.attributes(&mut line);
        line.end();
    }

    fn connection(&self, line: &mut Object) {
        line.string_if_any("request_id", self.request_id);
        line.string_if_any("trace_id", self.trace_id.as_bytes());
        line.string_if_any("span_id", self.span_id.as_bytes());
        address(line, "client_ip", self.client_ip);
        line.flag_if("client_unknown", self.client_unknown);
        if let Some(port) = self.client_port {
            line.integer("client_port", u64::from(port));
        }
        address(line, "peer_ip", self.peer_ip);
        line.string_if_any("listener", self.listener.as_bytes());
        line.string_if_any("protocol", self.protocol.as_bytes());
        line.string_if_any("tls_version", self.tls_version.as_bytes());
        line.string_if_any("tls_cipher", self.tls_cipher.as_bytes());
        line.string_if_any("tls_key", self.tls_key.as_bytes());
        line.flag_if("tls_resumed", self.tls_resumed);
        line.flag_if("early_data", self.early_data);
        line.string_if_any("sni", self.sni);
    }

    fn request(&self, line: &mut Object) {
        line.string_if_any("method", self.method);
        line.string_if_any("scheme", self.scheme.as_bytes());
        line.string_if_any("host", self.host);
        line.string_if_any("path", self.path);
        line.string_if_any("query", self.query);
    }

    fn response(&self, line: &mut Object) {
        if let Some(status) = self.status {
            line.integer("status", u64::from(status));
        }
        line.integer("bytes_in", self.bytes_in);
        line.integer("bytes_out", self.bytes_out);
        milliseconds(self.duration, line.member("duration_ms"));
        timer(line, "t_header", self.t_header);
        timer(line, "t_queue", self.t_queue);
        timer(line, "t_connect", self.t_connect);
        timer(line, "t_first_byte", self.t_first_byte);
        timer(line, "t_total", self.t_total);
    }

    fn way(&self, line: &mut Object) {
        line.string_if_any("route", self.route.as_bytes());
        line.string_if_any("pool", self.pool.as_bytes());
        line.string_if_any("backend", self.backend.as_bytes());
        line.string_if_any("sticky", self.sticky.as_bytes());
        self.attempts(line);
        self.flags(line);
        line.string_if_any("reason", self.reason.as_bytes());
    }

    fn attempts(&self, line: &mut Object) {
        if self.attempts.is_empty() {
            return;
        }
        let out = line.member("attempts");
        for (index, attempt) in self.attempts.iter().enumerate() {
            out.push(if index == 0 { b'[' } else { b',' });
            let mut entry = Object::begin(out);
            entry.string("backend", attempt.backend.as_bytes());
            entry.string("outcome", attempt.outcome.as_bytes());
            milliseconds(attempt.duration, entry.member("ms"));
            entry.end();
        }
        out.push(b']');
    }

    /// One string with commas, as Envoy's `RESPONSE_FLAGS`: existing log queries look for that.
    fn flags(&self, line: &mut Object) {
        if self.flags.is_empty() {
            return;
        }
        let out = line.member("flags");
        out.push(b'"');
        for (index, flag) in self.flags.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend(flag.bytes().filter(u8::is_ascii_alphanumeric));
        }
        out.push(b'"');
    }

    fn attributes(&self, line: &mut Object) {
        if self.attributes.is_empty() {
            return;
        }
        let mut entries = Object::begin(line.member("attributes"));
        for (name, value) in self.attributes {
            let out = entries.escaped_member(name);
            match value {
                Note::Text(text) => json::string(text.as_bytes(), out),
                Note::Number(number) => json::integer(*number, out),
                Note::Flag(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            }
        }
        entries.end();
    }
}

/// Trace id and parent span id of a `traceparent` header (W3C Trace Context, section 3.2); `None` if it isn't one.
#[must_use]
pub fn trace_ids(traceparent: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(traceparent).ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Version 00 has these four parts; a later one may have more, ff is never valid.
    let ends = version != "00" || parts.next().is_none();
    let sound = is_hex(version, 2) && version != "ff" && is_hex(flags, 2) && ends;
    (sound && is_id(trace, 32) && is_id(span, 16)).then_some((trace, span))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_id(text: &str, length: usize) -> bool {
    is_hex(text, length) && text.bytes().any(|byte| byte != b'0')
}

fn timer(line: &mut Object, name: &str, value: Option<Duration>) {
    if let Some(value) = value {
        milliseconds(value, line.member(name));
    }
}

fn milliseconds(value: Duration, out: &mut Vec<u8>) {
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    json::integer(micros / 1000, out);
    let rest = micros % 1000;
    if rest > 0 {
        let digit = |value: u64| b'0' + (value % 10) as u8;
        out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
    }
}

fn address(line: &mut Object, name: &str, value: Option<IpAddr>) {
    let Some(value) = value else { return };
    let out = line.member(name);
    out.push(b'"');
    match value {
        IpAddr::V4(v4) => dotted(v4.octets(), out),
        // Through `Display`, which knows the short form (RFC 5952); writing to a Vec can't fail.
        IpAddr::V6(v6) => drop(std::io::Write::write_fmt(out, format_args!("{v6}"))),
    }
    out.push(b'"');
}

fn dotted(octets: [u8; 4], out: &mut Vec<u8>) {
    for (index, octet) in octets.into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        json::integer(u64::from(octet), out);
    }
}

#[cfg(test)]
mod tests;
