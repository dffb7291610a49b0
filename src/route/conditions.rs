//! Everything a match asks for beside host and path.

use std::cmp::Reverse;
use std::net::IpAddr;

use ipnet::IpNet;

use super::head::{CertificateNames, Lazy};
use crate::config::model::{CertificateMatch, RouteMatch, ValueMatch};

/// Whether the conditions other than host and path hold.
pub(super) fn hold(wanted: &RouteMatch, lazy: &Lazy<'_>) -> bool {
    let head = lazy.head;
    (wanted.listeners.is_empty() || wanted.listeners.iter().any(|name| name == head.listener))
        && (wanted.methods.is_empty() || wanted.methods.contains(head.method))
        && wanted.headers.iter().all(|(name, want)| {
            head.headers
                .get_all(name)
                .into_iter()
                .any(|value| value_matches(want, value.as_bytes()))
        })
        && wanted.query.iter().all(|(name, want)| {
            lazy.query(name)
                .any(|value| value_matches(want, value.as_bytes()))
        })
        && wanted.cookies.iter().all(|(name, want)| {
            lazy.cookies(name)
                .any(|value| value_matches(want, value.as_bytes()))
        })
        && client_matches(&wanted.client_networks, lazy)
        && certificate_matches(wanted.certificate.as_ref(), head.certificate)
}

fn certificate_matches(
    wanted: Option<&CertificateMatch>,
    shown: Option<CertificateNames<'_>>,
) -> bool {
    let Some(wanted) = wanted else {
        return true;
    };
    let Some(shown) = shown else {
        return false;
    };
    let any = |want: &Option<ValueMatch>, mut names: &mut dyn Iterator<Item = &str>| {
        want.as_ref()
            .is_none_or(|want| (&mut names).any(|name| value_matches(want, name.as_bytes())))
    };
    any(&wanted.common_name, &mut shown.common_name.into_iter())
        && any(&wanted.dns, &mut shown.dns.iter().map(String::as_str))
        && any(&wanted.uri, &mut shown.uri.iter().map(String::as_str))
        && any(&wanted.sha256, &mut std::iter::once(shown.sha256))
}

/// A client that nobody knows is in no network.
fn client_matches(networks: &[IpNet], lazy: &Lazy<'_>) -> bool {
    if networks.is_empty() {
        return true;
    }
    let is_in = |client: IpAddr| networks.iter().any(|n| n.contains(&client.to_canonical()));
    lazy.head.client.is_some_and(is_in)
}

fn value_matches(want: &ValueMatch, value: &[u8]) -> bool {
    match want {
        ValueMatch::Present => true,
        ValueMatch::Exact(text) => value == text.as_bytes(),
        ValueMatch::Prefix(text) => value.starts_with(text.as_bytes()),
        ValueMatch::Regex(regex) => {
            std::str::from_utf8(value).is_ok_and(|text| regex.is_match(text))
        }
    }
}

/// Sorts the more specific first: method, number of headers, of query parameters, of cookies, then client networks.
/// The sort is stable, so what is equal here stays in file order.
pub(super) fn rank(wanted: &RouteMatch) -> impl Ord + use<> {
    Reverse((
        !wanted.methods.is_empty(),
        wanted.headers.len(),
        wanted.query.len(),
        wanted.cookies.len(),
        !wanted.client_networks.is_empty(),
        wanted.certificate.as_ref().map(certificate_tests),
    ))
}

fn certificate_tests(wanted: &CertificateMatch) -> usize {
    let tests = [
        &wanted.common_name,
        &wanted.dns,
        &wanted.uri,
        &wanted.sha256,
    ];
    tests.into_iter().flatten().count()
}

/// Whether every request that fulfils `narrow` fulfils `wide`, host and path apart. May say no where yes is true.
pub(super) fn covers(wide: &RouteMatch, narrow: &RouteMatch) -> bool {
    all_in(&wide.listeners, &narrow.listeners)
        && all_in(&wide.methods, &narrow.methods)
        && pairs_cover(&wide.headers, &narrow.headers)
        && pairs_cover(&wide.query, &narrow.query)
        && pairs_cover(&wide.cookies, &narrow.cookies)
        && networks_cover(&wide.client_networks, &narrow.client_networks)
        && certificate_covers(wide.certificate.as_ref(), narrow.certificate.as_ref())
}

/// Empty is all.
fn all_in<T: PartialEq>(wide: &[T], narrow: &[T]) -> bool {
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|item| wide.contains(item)))
}

fn networks_cover(wide: &[IpNet], narrow: &[IpNet]) -> bool {
    let inside = |network: &IpNet| wide.iter().any(|outer| outer.contains(network));
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(inside))
}

fn certificate_covers(wide: Option<&CertificateMatch>, narrow: Option<&CertificateMatch>) -> bool {
    let covers = |wide: &Option<ValueMatch>, narrow: &Option<ValueMatch>| match (wide, narrow) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => value_covers(wide, narrow),
        (Some(_), None) => false,
    };
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => {
            covers(&wide.common_name, &narrow.common_name)
                && covers(&wide.dns, &narrow.dns)
                && covers(&wide.uri, &narrow.uri)
                && covers(&wide.sha256, &narrow.sha256)
        }
    }
}

fn pairs_cover<N: PartialEq>(wide: &[(N, ValueMatch)], narrow: &[(N, ValueMatch)]) -> bool {
    wide.iter().all(|(name, outer)| {
        narrow
            .iter()
            .any(|(n, inner)| n == name && value_covers(outer, inner))
    })
}

fn value_covers(wide: &ValueMatch, narrow: &ValueMatch) -> bool {
    match (wide, narrow) {
        (ValueMatch::Present, _) => true,
        (ValueMatch::Exact(a), ValueMatch::Exact(b)) => a == b,
        (ValueMatch::Prefix(a), ValueMatch::Exact(b) | ValueMatch::Prefix(b)) => {
            b.starts_with(a.as_str())
        }
        (ValueMatch::Regex(a), ValueMatch::Regex(b)) => a.as_str() == b.as_str(),
        (ValueMatch::Regex(a), ValueMatch::Exact(b)) => a.is_match(b),
        _ => false,
    }
}
