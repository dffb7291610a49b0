//! Words with a meaning: durations, sizes, addresses, names. Each has one parser, used by the validator (through the
//! schema's `format`) and by serde; what it says completes the sentence that begins with the value.

mod address;
mod names;

use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::model;

/// Regexes may take this much memory when compiled, so that a short pattern cannot take all of it.
const REGEX_SIZE: usize = 1024 * 1024;
/// Longest duration: ten years, so that adding it to a clock never overflows.
const MAX_MILLIS: u64 = 10 * 365 * 24 * 3_600_000;

/// A number where a word may also be a plain number in YAML (`1024`, `404`).
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(u64),
    Text(String),
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident($inner:ty) $format:literal $types:tt $noun:literal, $parse:path, $show:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq)]
            pub struct $name(pub $inner);

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = match Scalar::deserialize(deserializer)? {
                        Scalar::Number(number) => number.to_string(),
                        Scalar::Text(text) => text,
                    };
                    $parse(&text).map(Self).map_err(|e| serde::de::Error::custom(format!("{text:?} {e}")))
                }
            }

            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    let show: fn(&$inner) -> String = $show;
                    serializer.serialize_str(&show(&self.0))
                }
            }

            impl JsonSchema for $name {
                fn inline_schema() -> bool {
                    true
                }
                fn schema_name() -> std::borrow::Cow<'static, str> {
                    stringify!($name).into()
                }
                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({ "type": $types, "format": $format })
                }
            }
        )*

        /// What a schema's `format` calls for, as a noun; `None` for formats that are not ours.
        pub(crate) fn noun(format: &str) -> Option<&'static str> {
            match format {
                $($format => Some($noun),)*
                _ => None,
            }
        }

        /// Checks a word against a `format`; formats that are not ours take everything.
        pub(crate) fn check(format: &str, text: &str) -> Result<(), String> {
            match format {
                $($format => $parse(text).map(drop),)*
                _ => Ok(()),
            }
        }
    };
}

words! {
    /// `500ms`, `10s`, `5m`, `1h`; zero is allowed.
    Duration(std::time::Duration) "duration-with-unit" "string" "a duration such as \"500ms\", \"10s\", \"5m\" or \"1h\"",
        duration, show_duration;
    /// A duration that is not zero.
    Timeout(std::time::Duration) "duration-above-zero" "string" "a duration such as \"500ms\", \"10s\", \"5m\" or \"1h\"",
        timeout, show_duration;
    /// A plain number of bytes, or with a unit: `64KiB`, `1MiB`, `10MB`.
    Size(u64) "byte-size" ["string", "integer"] "a size such as \"64KiB\", \"10MB\" or a number of bytes", size, show_size;
    /// `10.0.0.0/8`, or one address.
    Cidr(IpNet) "cidr" "string" "a network such as \"10.0.0.0/8\"", address::network, ToString::to_string;
    /// Where to listen.
    Address(model::Address) "listen-address" "string" "an address such as \"0.0.0.0:8080\", \"[::1]:80\" or \"unix:/path\"",
        address::listen, show_address;
    /// Where to connect.
    BackendAddress(model::Endpoint) "backend-address" "string" "an address such as \"10.0.1.10:8080\", \"app.internal:8080\" or \"unix:/path\"",
        address::backend, show_endpoint;
    /// A name in DNS, with or without a final dot.
    DnsName(String) "dns-name" "string" "a DNS name such as \"app.internal\"", names::dns_name, String::clone;
    /// An address, with port 53 unless it has another.
    ResolverAddress(SocketAddr) "resolver-address" "string" "an address such as \"10.0.0.2\" or \"10.0.0.2:53\"",
        address::resolver, ToString::to_string;
    /// An address, or `none`.
    AdminAddress(Option<model::Address>) "address-or-none" "string" "an address such as \"127.0.0.1:9901\", or \"none\"",
        address::admin, |a| a.as_ref().map_or("none".into(), show_address);
    /// `stdout`, `off`, or a file's path.
    AccessLog(model::AccessLog) "access-log" "string" "\"stdout\", \"off\" or a file's path", access_log, show_access_log;
    /// A pseudonym for `Via` (RFC 9110, section 7.6.3), or `off`.
    #[derive(Default)]
    Via(Option<String>) "pseudonym" "string" "a name such as \"edge-1\", or \"off\"", via,
        |name| name.clone().unwrap_or_else(|| "off".into());
    /// Names of listeners and pools: metric labels and parts of URLs.
    Name(String) "name" "string" "a name of letters, digits, \"_\", \"-\" and \".\"", name, String::clone;
    /// Names that may hold addresses and paths: routes, backends, zones.
    Label(String) "label" "string" "a name without spaces", label, String::clone;
    /// A header's name (RFC 9110, section 5.1).
    HeaderName(http::HeaderName) "header-name" "string" "a header name", header_name, ToString::to_string;
    /// A cookie's name (RFC 6265, section 4.1.1).
    CookieName(String) "cookie-name" "string" "a cookie name", cookie_name, String::clone;
    /// A header's value (RFC 9110, section 5.5).
    HeaderValue(http::HeaderValue) "header-value" "string" "a header value", header_value,
        |v| String::from_utf8_lossy(v.as_bytes()).into_owned();
    /// A request method, in capitals.
    Method(http::Method) "http-method" "string" "a method such as \"GET\"", method, ToString::to_string;
    /// A host name or address, exact or with `*.` in front.
    HostPattern(model::HostMatch) "host-pattern" "string" "a host such as \"api.example.com\" or \"*.example.com\"",
        host_pattern, |h| match h {
            model::HostMatch::Exact(host) => host.clone(),
            model::HostMatch::Wildcard(suffix) => format!("*{suffix}"),
        };
    /// A host name or address.
    Host(String) "host" "string" "a host such as \"api.example.com\"", host, String::clone;
    /// A URL path that begins with `/`.
    UrlPath(String) "url-path" "string" "a path such as \"/api\"", url_path, String::clone;
    /// A regular expression in the syntax of Rust's `regex` crate.
    Pattern(String) "regex" "string" "a regular expression", pattern, String::clone;
    /// One status or a range, both ends included.
    StatusRange((u16, u16)) "status-range" ["string", "integer"] "a status such as 404 or \"200-299\"", status_range, show_range;
}

/// A word that a `format` takes, in place of one that it does not: names and addresses differ by their number.
pub(crate) fn stand_in(format: &str, number: usize) -> String {
    match format {
        "duration-with-unit" | "duration-above-zero" => "1s".into(),
        "byte-size" => "64KiB".into(),
        "cidr" | "resolver-address" => "192.0.2.1".into(),
        "listen-address" | "backend-address" | "address-or-none" => {
            format!("unix:/stand-in/{number}")
        }
        "access-log" | "pseudonym" => "off".into(),
        "http-method" => "GET".into(),
        "url-path" => "/".into(),
        "regex" | "header-value" => String::new(),
        "status-range" => "500".into(),
        _ => format!("stand-in-{number}"),
    }
}

/// Compiles a pattern that must match the whole text.
pub(crate) fn anchored(pattern: &str) -> Result<regex::Regex, String> {
    regex(&format!("^(?:{pattern})$"))
}

/// Compiles a pattern within a bound on its size.
pub(crate) fn regex(pattern: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(pattern)
        .size_limit(REGEX_SIZE)
        .build()
        .map_err(|e| match e {
            regex::Error::CompiledTooBig(_) => "is too large a regular expression".to_owned(),
            // The last line says what is wrong; those before it draw the pattern again.
            e => {
                let text = e.to_string();
                let what = text
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                format!("is not a regular expression: {what}")
            }
        })
}

fn pattern(text: &str) -> Result<String, String> {
    // Alone first: `a)(b` would pass inside the anchors' group.
    regex(text)?;
    anchored(text).map(|_| text.to_owned())
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(
            "is not a duration; write a number and a unit: \"500ms\", \"10s\", \"5m\" or \"1h\""
                .into(),
        );
    }
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => {
            return Err(format!(
                "has no unit; write \"{number}s\" or \"{number}ms\""
            ));
        }
        _ => {
            return Err(format!(
                "has an unknown unit {unit:?}; the units are ms, s, m and h, with a whole number before"
            ));
        }
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit_ms))
        .filter(|ms| *ms <= MAX_MILLIS);
    millis
        .map(std::time::Duration::from_millis)
        .ok_or_else(|| "is longer than ten years".into())
}

fn timeout(text: &str) -> Result<std::time::Duration, String> {
    match duration(text)? {
        std::time::Duration::ZERO => Err("must be longer than zero".into()),
        duration => Ok(duration),
    }
}

pub(crate) fn show_duration(duration: &std::time::Duration) -> String {
    let millis = duration.as_millis();
    match [(3_600_000, "h"), (60_000, "m"), (1000, "s")]
        .into_iter()
        .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".into(),
        None => format!("{millis}ms"),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err("is not a size; write a number of bytes, or one with a unit: \"64KiB\", \"1MiB\", \"10MB\"".into());
    }
    let unit: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => {
            return Err(format!(
                "has an unknown unit {unit:?}; the units are B, KiB, MiB, GiB, KB, MB and GB"
            ));
        }
    };
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    bytes
        .filter(|n| *n <= i64::MAX as u64)
        .ok_or_else(|| "is too large".into())
}

pub(crate) fn show_size(size: &u64) -> String {
    match [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(unit, _)| *size >= *unit && size.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", size / unit),
        None => size.to_string(),
    }
}

pub(crate) fn show_address(address: &model::Address) -> String {
    match address {
        model::Address::Tcp(socket) => socket.to_string(),
        model::Address::Unix(path) => format!("unix:{}", path.display()),
    }
}

fn show_endpoint(endpoint: &model::Endpoint) -> String {
    match endpoint {
        model::Endpoint::Address(address) => show_address(address),
        model::Endpoint::Name(name, port) => format!("{name}:{port}"),
    }
}

fn access_log(text: &str) -> Result<model::AccessLog, String> {
    match text {
        "stdout" => Ok(model::AccessLog::Stdout),
        "off" => Ok(model::AccessLog::Off),
        path if path.contains('/') && !path.contains('\0') => {
            Ok(model::AccessLog::File(path.into()))
        }
        _ => Err(
            "is not known; write \"stdout\", \"off\" or a path such as \"/var/log/access.log\""
                .into(),
        ),
    }
}

fn via(text: &str) -> Result<Option<String>, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match text {
        "off" => Ok(None),
        name if (1..=64).contains(&name.len()) && name.bytes().all(token) => {
            Ok(Some(name.to_owned()))
        }
        _ => Err(
            "is no pseudonym; write 1 to 64 letters, digits, \"-\", \"_\" or \".\", or \"off\""
                .into(),
        ),
    }
}

fn show_access_log(log: &model::AccessLog) -> String {
    match log {
        model::AccessLog::Off => "off".into(),
        model::AccessLog::Stdout => "stdout".into(),
        model::AccessLog::File(path) => path.display().to_string(),
    }
}

pub(crate) fn name(text: &str) -> Result<String, String> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(ok) {
        return Err("is not a name; write 1 to 64 letters, digits, \"_\", \"-\" or \".\"".into());
    }
    Ok(text.into())
}

fn label(text: &str) -> Result<String, String> {
    let ok = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
    if text.is_empty() || text.len() > 128 || !text.bytes().all(ok) {
        return Err(
            "is not a name; write 1 to 128 ASCII characters without spaces, quotes and backslashes"
                .into(),
        );
    }
    Ok(text.into())
}

pub(crate) fn header_name(text: &str) -> Result<http::HeaderName, String> {
    http::HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| "is not a header name; letters, digits and \"-\" are usual, spaces and \":\" are not allowed".into())
}

fn cookie_name(text: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match !text.is_empty() && text.len() <= 64 && text.bytes().all(token) {
        true => Ok(text.into()),
        false => Err("is not a cookie name; write 1 to 64 letters, digits, \"_\" or \"-\"".into()),
    }
}

fn header_value(text: &str) -> Result<http::HeaderValue, String> {
    // Bytes over 127 are legal (RFC 9110, section 5.5, obs-text), but no two programs agree on what they mean.
    if text.is_ascii()
        && text.trim() == text
        && let Ok(value) = http::HeaderValue::from_str(text)
    {
        return Ok(value);
    }
    Err(
        "is not a header value; write ASCII text without line ends and without spaces around it"
            .into(),
    )
}

fn method(text: &str) -> Result<http::Method, String> {
    let token = http::Method::from_bytes(text.as_bytes())
        .map_err(|_| "is not a method; write one such as \"GET\"")?;
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(format!(
            "is not a method; methods are in capitals: \"{}\"",
            text.to_ascii_uppercase()
        ));
    }
    Ok(token)
}

fn host_pattern(text: &str) -> Result<model::HostMatch, String> {
    if text == "*" {
        return Err("is not a host; leave \"host\" out to match every host".into());
    }
    if let Some(rest) = text.strip_prefix("*.") {
        return host(rest).map(|host| model::HostMatch::Wildcard(format!(".{host}")));
    }
    if text.contains('*') {
        return Err("has \"*\" in the wrong place; only a leading \"*.\" is a wildcard".into());
    }
    host(text).map(model::HostMatch::Exact)
}

/// Lower case; IPv6 addresses in brackets, as they stand in a Host header (RFC 9110, section 7.2).
fn host(text: &str) -> Result<String, String> {
    if let Some(v6) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let address: Result<std::net::Ipv6Addr, _> = v6.parse();
        return address
            .map(|a| format!("[{a}]"))
            .map_err(|_| "is not an IPv6 address in brackets".into());
    }
    if let Some((_, port)) = text.rsplit_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err("has a port; write the host alone, hosts are compared without port".into());
    }
    if text.contains("://") || text.contains('/') {
        return Err("is not a host; write the name alone, without scheme and path".into());
    }
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label_ok = |l: &str| !l.is_empty() && l.len() <= 63 && l.bytes().all(ok);
    if text.len() > 253 || !text.split('.').all(label_ok) {
        return Err(
            "is not a host; write a name such as \"api.example.com\" (xn-- form for other scripts)"
                .into(),
        );
    }
    Ok(text.to_ascii_lowercase())
}

fn url_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("must begin with \"/\"".into());
    }
    if let Some(odd) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#'))
    {
        return Err(format!(
            "has {odd:?} in it; write the path alone, percent-encoded"
        ));
    }
    Ok(text.into())
}

fn status_range(text: &str) -> Result<(u16, u16), String> {
    let status = |t: &str| {
        t.parse::<u16>()
            .ok()
            .filter(|s| t.len() == 3 && (100..=599).contains(s))
    };
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (status(low), status(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        (Some(_), Some(_)) => Err(format!("is a range backwards; write \"{high}-{low}\"")),
        _ => Err("is not a status; write one such as 404, or a range such as \"200-299\"".into()),
    }
}

fn show_range((low, high): &(u16, u16)) -> String {
    if low == high {
        low.to_string()
    } else {
        format!("{low}-{high}")
    }
}

#[cfg(test)]
mod tests;
