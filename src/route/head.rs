//! What of a request is matched: a borrowed view, with the parts that few routes ask for parsed when first needed.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::IpAddr;

use http::{HeaderMap, Method, header};
use smallvec::SmallVec;

use super::Path;

/// The head of one request as the route table sees it.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Name of the listener it came in by.
    pub listener: &'a str,
    /// Host without port, in any case: see [`host_name`].
    pub host: &'a str,
    /// Normalised once per request.
    pub path: &'a Path<'a>,
    /// Without the `?`.
    pub query: Option<&'a str>,
    /// Compared as it is: methods are case sensitive.
    pub method: &'a Method,
    /// As the client sent them.
    pub headers: &'a HeaderMap,
    /// The true client, after PROXY protocol and trusted proxies; `None` where a trusted proxy named it in a way that can't be
    /// read.
    pub client: Option<IpAddr>,
    /// What the client's certificate says, where it showed one.
    pub certificate: Option<CertificateNames<'a>>,
}

/// Who a client's certificate was made out to.
#[derive(Debug, Clone, Copy)]
pub struct CertificateNames<'a> {
    /// The subject's.
    pub common_name: Option<&'a str>,
    /// DNS names (RFC 5280, section 4.2.1.6).
    pub dns: &'a [String],
    /// URIs.
    pub uri: &'a [String],
    /// Of the certificate in DER form; hexadecimal, lower case.
    pub sha256: &'a str,
}

/// The name in a `Host` value or an `:authority`: without the port, and without the dot of a fully qualified name.
pub fn host_name(authority: &str) -> &str {
    let end_of_name = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let name = &authority[..end_of_name];
    name.strip_suffix('.').unwrap_or(name)
}

type Pairs<'a> = SmallVec<[(Cow<'a, str>, Cow<'a, str>); 8]>;

/// Query and cookies of one lookup, parsed at most once.
pub(super) struct Lazy<'a> {
    pub(super) head: &'a Head<'a>,
    query: OnceCell<Pairs<'a>>,
    cookies: OnceCell<SmallVec<[(&'a str, &'a str); 8]>>,
}

impl<'a> Lazy<'a> {
    pub(super) fn new(head: &'a Head<'a>) -> Self {
        Self {
            head,
            query: OnceCell::new(),
            cookies: OnceCell::new(),
        }
    }

    /// Every value of a query parameter, percent-decoded, with `+` as space.
    pub(super) fn query(&self, name: &str) -> impl Iterator<Item = &str> {
        let pairs = self.query.get_or_init(|| query_pairs(self.head).collect());
        pairs
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_ref())
    }

    /// Every value of a cookie, as sent.
    pub(super) fn cookies(&self, name: &str) -> impl Iterator<Item = &str> {
        let pairs = self
            .cookies
            .get_or_init(|| cookie_pairs(self.head).collect());
        pairs
            .iter()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| *value)
    }
}

pub(super) fn query_pairs<'a>(
    head: &Head<'a>,
) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
    form_urlencoded::parse(head.query.unwrap_or_default().as_bytes())
}

/// Cookies of all `Cookie` fields: HTTP/2 may send one each (RFC 9113 8.2.3).
pub(super) fn cookie_pairs<'a>(head: &Head<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let fields = head.headers.get_all(header::COOKIE).into_iter();
    fields
        .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
}
