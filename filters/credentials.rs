//! How a request shows a secret: in a header, a cookie or a query parameter.
//!
//! One rule for every filter that asks for one: a secret that is there must be readable in one way only. One that stands
//! there twice, in two places with different values, or behind something that another reader may take for a separator
//! is [unusable](Shown::Unusable), never absent: the backend might read what the filter did not.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{COOKIE, HeaderName};

/// What a request shows in one place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown<'a> {
    /// The place is empty, or holds something of another kind.
    Nothing,
    /// One secret, as it was sent. It may be empty.
    One(Cow<'a, [u8]>),
    /// Something is there that cannot be read, or can be read in more than one way.
    Unusable,
}

impl<'a> Shown<'a> {
    /// Several places together: they may show the same secret, but not two different ones.
    pub fn and(self, other: Shown<'a>) -> Shown<'a> {
        match (self, other) {
            (Shown::Nothing, other) => other,
            (this, Shown::Nothing) => this,
            (Shown::One(this), Shown::One(other)) if this == other => Shown::One(this),
            _ => Shown::Unusable,
        }
    }

    /// The secret as text, where only visible ASCII is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Shown::One(bytes) if bytes.iter().all(u8::is_ascii_graphic) => {
                std::str::from_utf8(bytes).ok()
            }
            _ => None,
        }
    }
}

/// The secret in a header, behind a prefix such as `Bearer ` or behind none.
///
/// A field of another scheme shows [`Nothing`](Shown::Nothing). The scheme counts in any letter case; what stands between
/// it and the secret is one or more spaces (RFC 9110 section 11.4) and nothing else. A field in which no scheme can be
/// read, or in which the scheme stands behind another one, is unusable.
pub(crate) fn in_header<'a>(headers: &'a HeaderMap, name: &HeaderName, prefix: &str) -> Shown<'a> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Shown::Nothing,
        (Some(line), None) => behind(line.as_bytes(), prefix),
        (Some(_), Some(_)) => Shown::Unusable,
    }
}

fn behind<'a>(value: &'a [u8], prefix: &str) -> Shown<'a> {
    if prefix.is_empty() {
        return Shown::One(value.into());
    }
    let scheme = token(prefix.as_bytes());
    let given = token(value);
    if !given.eq_ignore_ascii_case(scheme) {
        return match given.is_empty() || stands_later(value, scheme) {
            true => Shown::Unusable,
            false => Shown::Nothing,
        };
    }
    let bare = prefix.trim_end_matches(' ');
    let Some((start, rest)) = value.split_at_checked(bare.len()) else {
        return Shown::Unusable;
    };
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let secret = &rest[spaces..];
    let separate = bare.len() == prefix.len() || spaces > 0;
    let sound = start.eq_ignore_ascii_case(bare.as_bytes())
        && separate
        && !secret.is_empty()
        && secret.iter().all(u8::is_ascii_graphic);
    match sound {
        true => Shown::One(secret.into()),
        false => Shown::Unusable,
    }
}

/// The token (RFC 9110 section 5.6.2) that the bytes begin with.
fn token(bytes: &[u8]) -> &[u8] {
    let is_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    &bytes[..bytes.iter().take_while(is_token).count()]
}

/// Whether the scheme begins anew within a field: two fields that were joined by a comma, say.
fn stands_later(value: &[u8], scheme: &[u8]) -> bool {
    let words = value.split(|byte| b", \t".contains(byte)).skip(1);
    let mut words = words.map(token);
    !scheme.is_empty() && words.any(|word| word.eq_ignore_ascii_case(scheme))
}

/// The secret in a cookie, over all `Cookie` lines.
///
/// Cookies are read as RFC 6265 section 5.4 joins them. One of that name behind a comma or a space, where some servers see
/// the next cookie, is unusable.
pub(crate) fn in_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Shown<'a> {
    let lines = headers.get_all(COOKIE).into_iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    only(pairs.map(|pair| cookie(pair.trim_ascii(), name.as_bytes())))
}

fn cookie<'a>(pair: &'a [u8], name: &[u8]) -> Shown<'a> {
    let end = pair.iter().position(|byte| *byte == b'=');
    let (key, value) = pair.split_at(end.unwrap_or(pair.len()));
    if key.trim_ascii_end() == name {
        let value = value.get(1..).unwrap_or_default();
        return Shown::One(value.trim_ascii().into());
    }
    match stands_behind_separator(pair, name) {
        true => Shown::Unusable,
        false => Shown::Nothing,
    }
}

/// Whether `name=` stands behind a comma or a space within a cookie.
fn stands_behind_separator(mut pair: &[u8], name: &[u8]) -> bool {
    let is_separator = |byte: &u8| b", \t".contains(byte);
    while let Some(at) = pair.iter().position(is_separator) {
        pair = &pair[at..];
        let start = pair.iter().position(|byte| !is_separator(byte));
        pair = &pair[start.unwrap_or(pair.len())..];
        let rest = pair.strip_prefix(name);
        if rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"=")) {
            return true;
        }
    }
    false
}

/// The secret in a query parameter, decoded; the name may be written with escapes.
///
/// Parameters are separated by `&`. One of that name behind a `;`, where some servers see the next one, is unusable.
pub(crate) fn in_query<'a>(query: Option<&'a str>, name: &str) -> Shown<'a> {
    let parameters = query.unwrap_or_default().split('&');
    only(parameters.map(|parameter| query_parameter(parameter, name)))
}

fn query_parameter<'a>(parameter: &'a str, name: &str) -> Shown<'a> {
    let pair = |text: &'a str| form_urlencoded::parse(text.as_bytes()).next();
    match pair(parameter) {
        Some((key, value)) if key == name => Shown::One(bytes(value)),
        _ => {
            let mut rest = parameter.split(';').skip(1).filter_map(pair);
            match rest.any(|(key, _)| key == name) {
                true => Shown::Unusable,
                false => Shown::Nothing,
            }
        }
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// All that one place shows: a secret that stands there twice is none, even if it is the same.
fn only<'a>(all: impl Iterator<Item = Shown<'a>>) -> Shown<'a> {
    let mut there = all.filter(|shown| *shown != Shown::Nothing);
    match (there.next(), there.next()) {
        (Some(one), None) => one,
        (None, _) => Shown::Nothing,
        _ => Shown::Unusable,
    }
}

#[cfg(test)]
mod tests;
