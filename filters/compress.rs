//! Compresses responses: gzip, Brotli or Zstandard, as the client likes.
//! ```yaml
//! - compress: { encodings: [zstd, br, gzip], min_size: 1KiB }
//! ```
//! Left alone are responses that are small, encoded already, partial, or of a type that does not shrink, and those that
//! client or backend forbid to change (`Cache-Control: no-transform`). A response without `Content-Length` may be a live
//! stream: each of its pieces is flushed. A body that breaks off at the backend breaks off at the client, too.
//!
//! Clients of HTTP/1.0 get nothing compressed: they know no chunks, and without a length could not tell a whole body from
//! one that broke off.

mod encoder;
mod head;
pub(crate) mod negotiate;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap};
use http::{Method, StatusCode, Version};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::filter::units::Size;
use crate::filter::{
    Build, BuildError, Exchange, Filter, Hooks, RequestHead, ResponseHead, Verdict,
};
use encoder::Encoder;
pub use negotiate::Encoding;

/// Compresses responses: gzip, Brotli or Zstandard, as the client likes.
///
/// How long a compressed page is tells something of what is in it. Where a page over TLS holds both a secret (a CSRF token,
/// say) and what a stranger may put into the request, who sees the lengths of many responses can guess the secret (BREACH).
/// Don't compress such pages: leave the filter off their routes, let the backend send `Cache-Control: no-transform`, or
/// mask the secret anew in each response.
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
    /// Whether the representation that this head is of shrinks, whoever asks for it. What a 304 does not say of it, such as
    /// the type, may be so.
    fn shrinks(&self, head: &ResponseHead) -> bool {
        let headers = &head.headers;
        let partial =
            head.status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE);
        let bodiless = head.status.is_informational() || head.status == StatusCode::NO_CONTENT;
        let fits = match head.status {
            StatusCode::NOT_MODIFIED => {
                !headers.contains_key(CONTENT_TYPE) || self.is_of_type(headers)
            }
            _ => self.is_of_type(headers) && self.is_large(headers),
        };
        let fixed = head::forbids_changes(headers);
        fits && !partial && !bodiless && !fixed && !head::is_encoded(headers)
    }

    /// Without a length it may be.
    fn is_large(&self, headers: &HeaderMap) -> bool {
        let length = headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        length.is_none_or(|length| length >= self.min_size.max(1))
    }

    fn is_of_type(&self, headers: &HeaderMap) -> bool {
        let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next());
        kind.is_some_and(|kind| self.is_type(kind.trim()))
    }

    fn is_type(&self, kind: &str) -> bool {
        // Its parts were cut out of the plain representation (RFC 9110 section 14.6).
        let ranges = kind.eq_ignore_ascii_case("multipart/byteranges");
        let is = |wanted: &String| match wanted.strip_suffix('*') {
            Some(prefix) => kind
                .get(..prefix.len())
                .is_some_and(|k| k.eq_ignore_ascii_case(prefix)),
            None => kind.eq_ignore_ascii_case(wanted),
        };
        !ranges && self.types.iter().any(is)
    }

    /// What this client gets, if a response shrinks.
    fn choose(&self, request: &RequestHead) -> Option<Encoding> {
        if request.version <= Version::HTTP_10 || head::forbids_changes(&request.headers) {
            return None;
        }
        let lines = request.headers.get_all(ACCEPT_ENCODING).iter();
        let lines = lines.map(http::HeaderValue::as_bytes);
        negotiate::choose(lines, &self.encodings)
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
        // Caches must hear of it even when this client wants nothing compressed.
        head::vary(&mut head.headers);
        let Some(encoding) = self.choose(&exchange.request) else {
            return Verdict::Continue;
        };
        if head.status == StatusCode::NOT_MODIFIED {
            head::not_modified(&exchange.request.headers, &mut head.headers);
            return Verdict::Continue;
        }
        let live = !head.headers.contains_key(CONTENT_LENGTH);
        if let Ok(encoder) = Encoder::new(encoding, live) {
            // A response to HEAD says what that to GET would (RFC 9110 section 9.3.2).
            head::encoded(&mut head.headers, encoding);
            exchange.set_state(encoder);
        }
        Verdict::Continue
    }

    fn on_response_body(&self, exchange: &mut Exchange, chunk: &mut Option<Bytes>, end: bool) {
        let to_head = exchange.request.method == Method::HEAD;
        let Some(encoder) = exchange.state::<Encoder>() else {
            return;
        };
        let piece = chunk.as_deref().unwrap_or_default();
        if to_head && piece.is_empty() {
            return;
        }
        match encoder.write(piece, end) {
            Ok(encoded) => *chunk = (!encoded.is_empty()).then(|| encoded.into()),
            // Never a whole stream that lacks something.
            Err(_) => exchange.break_off(),
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
