//! Compresses responses: gzip, Brotli or Zstandard, as the client likes.
//! ```yaml
//! - compress: { encodings: [zstd, br, gzip], min_size: 1KiB }
//! ```
//! Left alone are responses that are small, encoded already, partial, or of a type that does not shrink. A response
//! without `Content-Length` may be a live stream: each of its pieces is flushed.

mod encoder;
mod negotiate;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, VARY,
};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::Size;
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, ResponseHead, Verdict};
use encoder::Encoder;
pub use negotiate::Encoding;

/// Compresses responses: gzip, Brotli or Zstandard, as the client likes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What may be used; the first wins where the client has no preference. Default: zstd, br, gzip.
    pub encodings: Vec<Encoding>,
    /// Smaller responses stay as they are. Default: 1KiB.
    pub min_size: Size,
    /// Content types, `type/subtype` or `type/*`. Default: text, JSON, JavaScript, XML, SVG, WebAssembly.
    pub types: Vec<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            encodings: vec![Encoding::Zstd, Encoding::Br, Encoding::Gzip],
            min_size: Size(1024),
            types: TYPES.map(String::from).into(),
        }
    }
}

const TYPES: [&str; 11] = [
    "text/*",
    "application/json",
    "application/ld+json",
    "application/problem+json",
    "application/javascript",
    "application/xml",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/manifest+json",
    "application/wasm",
    "image/svg+xml",
];

/// See the module.
pub struct Compress {
    encodings: Vec<Encoding>,
    min_size: u64,
    types: Vec<String>,
}

impl Compress {
    /// A response that shrinks, whoever asks for it.
    fn shrinks(&self, head: &ResponseHead) -> bool {
        let headers = &head.headers;
        let text = |name| {
            headers
                .get(name)
                .and_then(|v: &HeaderValue| v.to_str().ok())
        };
        let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let encoded = text(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
        let fixed = text(CACHE_CONTROL).is_some_and(|control| control.contains("no-transform"));
        let partial =
            head.status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE);
        let bodiless = head.status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
        !encoded
            && !fixed
            && !partial
            && !bodiless
            && length.is_none_or(|length| length >= self.min_size)
            && text(CONTENT_TYPE).is_some_and(|kind| self.is_type(kind))
    }

    fn is_type(&self, kind: &str) -> bool {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        self.types
            .iter()
            .any(|wanted| match wanted.strip_suffix('*') {
                Some(prefix) => kind
                    .get(..prefix.len())
                    .is_some_and(|k| k.eq_ignore_ascii_case(prefix)),
                None => kind.eq_ignore_ascii_case(wanted),
            })
    }
}

/// Headers of a response that is compressed on its way (RFC 9110 sections 8.4, 8.8.1 and 12.5.5).
fn rewrite_head(headers: &mut HeaderMap, encoding: Encoding) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    // Other bytes, same meaning: a strong tag becomes a weak one.
    let tag = headers
        .get(ETAG)
        .filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = tag.map(|tag| [b"W/", tag.as_bytes()].concat());
    if let Some(weak) = weak.and_then(|weak| HeaderValue::from_bytes(&weak).ok()) {
        headers.insert(ETAG, weak);
    }
}

#[async_trait]
impl Filter for Compress {
    fn hooks(&self) -> Hooks {
        Hooks::RESPONSE | Hooks::RESPONSE_BODY
    }

    async fn on_response(&self, exchange: &mut Exchange, head: &mut ResponseHead) -> Verdict {
        if !self.shrinks(head) {
            return Verdict::Continue;
        }
        head.headers
            .append(VARY, HeaderValue::from_static("accept-encoding"));
        let accepted = exchange.header(&ACCEPT_ENCODING).unwrap_or_default();
        let chosen = negotiate::choose(accepted, &self.encodings);
        let live = !head.headers.contains_key(CONTENT_LENGTH);
        if let Some(encoding) = chosen.filter(|_| exchange.request.method != Method::HEAD)
            && let Ok(encoder) = Encoder::new(encoding, live)
        {
            rewrite_head(&mut head.headers, encoding);
            exchange.set_state(encoder);
        }
        Verdict::Continue
    }

    fn on_response_body(&self, exchange: &mut Exchange, chunk: &mut Option<Bytes>, end: bool) {
        let Some(encoder) = exchange.state::<Encoder>() else {
            return;
        };
        // The encoders write to memory, which does not fail.
        let encoded = encoder.write(chunk.as_deref().unwrap_or_default(), end);
        *chunk = encoded
            .ok()
            .filter(|encoded| !encoded.is_empty())
            .map(Bytes::from);
        if end {
            drop(exchange.take_state::<Encoder>());
        }
    }
}

impl Build for Compress {
    const NAME: &'static str = "compress";
    type Config = Config;

    fn build(config: Config) -> Result<Compress, BuildError> {
        if config.encodings.is_empty() {
            return Err(BuildError::at(
                "encodings",
                "write at least one of zstd, br and gzip",
            ));
        }
        for (at, kind) in config.types.iter().enumerate() {
            let sound = kind
                .split_once('/')
                .is_some_and(|(t, s)| !t.is_empty() && !s.is_empty());
            if !sound || kind.trim_end_matches("/*").contains('*') {
                let say = "write type/subtype or type/*";
                return Err(BuildError::at(format!("types[{at}]"), say));
            }
        }
        Ok(Compress {
            encodings: config.encodings,
            min_size: config.min_size.0,
            types: config.types,
        })
    }
}

#[cfg(test)]
mod tests;
