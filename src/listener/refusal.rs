//! Why a request is refused before it is parsed: the status to answer and the word in logs and metrics.

use crate::observe::metrics::Label;

/// What is wrong with a request head or a chunked body. Over HTTP/1 the connection is closed after each of these: where the
/// request ends is no longer known for sure. Over HTTP/2 the
/// stream is. After `BadPath` and `AmbiguousPath`, which are about the path alone, the connection stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.reason())]
pub enum Refusal {
    /// LF without CR as the end of a line (RFC 9112 2.2).
    BareLf,
    /// CR without LF (RFC 9112 2.2).
    BareCr,
    /// NUL anywhere in the head (RFC 9110 5.5).
    Nul,
    /// The method is no token, is missing or is longer than 32 bytes.
    MethodBad,
    /// CONNECT: Tidegate is no forward proxy.
    Connect,
    /// The request target has none of the forms of RFC 9112 3.2, or holds bytes that none allows: beside control bytes and
    /// those above ASCII these are `#`, `<` and `>`, a backtick in a path and `"` in a query.
    TargetBad,
    /// The target is longer than the listener allows.
    UriTooLong,
    /// No `HTTP/x.y` at the end of the request line, as in HTTP/0.9.
    VersionBad,
    /// A version of HTTP other than 1.0 and 1.1.
    VersionUnsupported,
    /// The head is longer than the listener allows.
    HeaderTooLarge,
    /// More header fields than the listener allows.
    TooManyHeaders,
    /// A field name that is missing or no token, or that becomes a framing field when `_` and the like are read as `-`.
    NameBad,
    /// White space between a field name and its colon (RFC 9112 5.1).
    SpaceBeforeColon,
    /// A field line that begins with white space (RFC 9112 5.2).
    ObsFold,
    /// A control byte in a field value (RFC 9110 5.5); over HTTP/2 also white space around it (RFC 9113 8.2.1).
    ValueBad,
    /// Content-Length beside Transfer-Encoding (RFC 9112 6.1).
    ClAndTe,
    /// Two Content-Length fields that differ (RFC 9112 6.3).
    ClDiffer,
    /// Two Content-Length fields that are equal.
    ClRepeated,
    /// Content-Length that is no number below 2^63, or is a list.
    ClBad,
    /// A transfer coding other than chunked, or chunked with parameters.
    TeUnknown,
    /// Chunked before the last coding, or twice (RFC 9112 6.1).
    TeNotFinal,
    /// Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1).
    TeHttp10,
    /// HTTP/1.1 without Host (RFC 9112 3.2).
    HostMissing,
    /// Several Host fields (RFC 9112 3.2).
    HostDuplicate,
    /// Host is empty or no `host[:port]` (RFC 9112 3.2).
    HostBad,
    /// The host of an absolute target differs from Host.
    AbsoluteFormHostMismatch,
    /// `Connection` names a field that says where the body ends or whom it is for.
    ConnectionNamesFraming,
    /// A chunk size that is missing or no hexadecimal number (RFC 9112 7.1).
    ChunkSizeBad,
    /// A chunk size of more than 16 digits.
    ChunkSizeOverflow,
    /// Chunk extensions longer than is allowed in one chunk or in all.
    ChunkExtTooLong,
    /// A control byte in a chunk extension.
    ChunkExtBad,
    /// No CRLF after the data of a chunk.
    ChunkEndMissing,
    /// A trailer field that must not stand in a trailer (RFC 9110 6.5.1).
    TrailerForbidden,
    /// A trailer section longer than is allowed.
    TrailerTooLarge,
    /// The head was not whole in time (RFC 9110 15.5.9).
    HeaderTimeout,
    /// `Connection` names a field that backends rely on, such as X-Forwarded-For.
    ConnectionNamesProtected,
    /// `Connection` has more than nine options, or one that can be no field name.
    ConnectionBad,
    /// A field name with `_` or the like, on a listener with `underscores_in_headers: refuse`.
    NameUnderscore,
    /// Over HTTP/2: a `:scheme` other than http and https.
    SchemeBad,
    /// Over HTTP/2: no `:authority` and no Host, two that differ, several, a user in one, or a host in `:path` (RFC 9113 8.3.1).
    AuthorityBad,
    /// Over HTTP/2: the stream was reset, or the connection closed, because it was malformed (RFC 9113 8.1.1).
    Http2Malformed,
    /// The path leads above the root, or holds control bytes or broken escapes.
    BadPath,
    /// Two servers may read the path in two ways; see `tidegate_filters::path`.
    AmbiguousPath,
}

impl Refusal {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Connect => 405,
            Self::HeaderTimeout => 408,
            Self::UriTooLong => 414,
            Self::HeaderTooLarge | Self::TooManyHeaders | Self::TrailerTooLarge => 431,
            Self::VersionUnsupported => 505,
            _ => 400,
        }
    }

    /// A stable word for logs and metrics.
    pub fn reason(self) -> &'static str {
        self.name()
    }
}

/// In the order of the variants; a test holds that.
impl Label for Refusal {
    const NAMES: &'static [&'static str] = &[
        "bare_lf",
        "bare_cr",
        "nul",
        "method_bad",
        "connect",
        "target_bad",
        "uri_too_long",
        "version_bad",
        "version_unsupported",
        "header_too_large",
        "too_many_headers",
        "name_bad",
        "space_before_colon",
        "obs_fold",
        "value_bad",
        "cl_and_te",
        "cl_differ",
        "cl_repeated",
        "cl_bad",
        "te_unknown",
        "te_not_final",
        "te_http10",
        "host_missing",
        "host_duplicate",
        "host_bad",
        "absolute_form_host_mismatch",
        "connection_names_framing",
        "chunk_size_bad",
        "chunk_size_overflow",
        "chunk_ext_too_long",
        "chunk_ext_bad",
        "chunk_end_missing",
        "trailer_forbidden",
        "trailer_too_large",
        "header_timeout",
        "connection_names_protected",
        "connection_bad",
        "name_underscore",
        "scheme_bad",
        "authority_bad",
        "http2_malformed",
        "bad_path",
        "ambiguous_path",
    ];

    fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_word() {
        assert_eq!(Refusal::NAMES.len(), Refusal::AmbiguousPath.index() + 1);
        assert_eq!(Refusal::BareLf.reason(), "bare_lf");
        assert_eq!(Refusal::TeHttp10.reason(), "te_http10");
        assert_eq!(
            Refusal::ConnectionNamesFraming.reason(),
            "connection_names_framing"
        );
        assert_eq!(Refusal::TrailerTooLarge.reason(), "trailer_too_large");
        assert_eq!(Refusal::HeaderTimeout.reason(), "header_timeout");
        assert_eq!(Refusal::Http2Malformed.reason(), "http2_malformed");
        assert_eq!(Refusal::AmbiguousPath.reason(), "ambiguous_path");
    }
}
