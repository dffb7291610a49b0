//! What is taken out of a request, or put right, before routes and filters read it.
//!
//! Whatever a client says of its connection, or in a spelling that only some read, must not change what filters tell the
//! backend later. Connections on which nothing of the kind ever came are passed over at the cost of one look.

use http::HeaderMap;
use http::header::{CONNECTION, COOKIE, HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use smallvec::SmallVec;

use crate::config::model::UnderscoresInHeaders;
use crate::listener::Connection;
use crate::listener::head::{ConnectionOption, is_odd_name, joined_cookies};
use crate::snapshot::OwnedFields;

type Names = SmallVec<[HeaderName; 8]>;

/// Cleans the request of a connection, if there may be something to clean.
pub fn request(request: &mut RequestHeader, connection: &Connection, owned: &OwnedFields) {
    if !connection.has_unusual_heads() {
        return;
    }
    take_out_nominated(request);
    take_out_twins(request, connection.config.underscores_in_headers, owned);
    if let Some(cookies) = joined_cookies(&request.headers) {
        // It can't fail: the name is known, and there is room where several were.
        let _ = request.insert_header(COOKIE, cookies);
    }
}

/// Fields that `Connection` names go no further than here (RFC 9110 7.6.1), and from now on it names none: what filters add
/// under the same name is theirs. What else it says of the connection stays. The listener has refused those that name a field
/// which must stay.
fn take_out_nominated(request: &mut RequestHeader) {
    let (names, rest) = nominated(&request.headers);
    if names.is_empty() {
        return;
    }
    for name in &names {
        request.remove_header(name);
    }
    request.remove_header(&CONNECTION);
    if let Ok(rest) = HeaderValue::from_bytes(&rest)
        && !rest.is_empty()
    {
        let _ = request.insert_header(CONNECTION, rest);
    }
}

/// The fields that Connection names, and its other options.
fn nominated(headers: &HeaderMap) -> (Names, Vec<u8>) {
    let (mut names, mut rest) = (Names::new(), Vec::new());
    let lines = headers.get_all(CONNECTION).iter();
    let options = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    for option in options.map(<[u8]>::trim_ascii).filter(|o| !o.is_empty()) {
        match ConnectionOption::of(option) {
            ConnectionOption::Field => names.extend(HeaderName::from_bytes(option)),
            ConnectionOption::OfConnection => {
                if !rest.is_empty() {
                    rest.extend_from_slice(b", ");
                }
                rest.extend_from_slice(option);
            }
            ConnectionOption::Bad(_) => {}
        }
    }
    (names, rest)
}

/// Names with `_` and the like, as the listener wants it.
fn take_out_twins(request: &mut RequestHeader, policy: UnderscoresInHeaders, owned: &OwnedFields) {
    let goes = |name: &&HeaderName| {
        is_odd_name(name.as_str().as_bytes())
            && match policy {
                UnderscoresInHeaders::DropTwins => owned.has_twin_of(name.as_str()),
                UnderscoresInHeaders::Drop | UnderscoresInHeaders::Refuse => true,
                UnderscoresInHeaders::Keep => false,
            }
    };
    let names: Names = request.headers.keys().filter(goes).cloned().collect();
    for name in &names {
        request.remove_header(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forwarded;
    use crate::proxy::early_data;

    fn head(fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn left(request: &RequestHeader) -> Vec<String> {
        let fields = request.headers.iter();
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        fields
            .map(|(name, value)| format!("{name}: {}", text(value)))
            .collect()
    }

    #[test]
    fn what_connection_names_is_gone_and_it_names_nothing_any_more() {
        for (fields, wanted) in [
            (
                &[("Connection", "keep-alive, Upgrade"), ("Upgrade", "x")][..],
                &["connection: keep-alive, Upgrade", "upgrade: x"][..],
            ),
            (
                &[
                    ("Connection", "X-User"),
                    ("x-user", "me"),
                    ("X-User", "you"),
                    ("x", "y"),
                ],
                &["x: y"],
            ),
            (
                &[
                    ("Connection", "close ,X-USER"),
                    ("Connection", ",x-b"),
                    ("X-User", "me"),
                    ("x-b", "1"),
                ],
                &["connection: close"],
            ),
            (
                &[
                    ("Connection", "TE, Trailer"),
                    ("TE", "trailers"),
                    ("Trailer", "x"),
                ],
                &["connection: TE", "te: trailers"],
            ),
            (
                &[("Connection", "Keep-Alive"), ("Keep-Alive", "5")],
                &["connection: Keep-Alive", "keep-alive: 5"],
            ),
            (&[("Connection", "x-none"), ("x", "y")], &["x: y"]),
        ] {
            let mut request = head(fields);
            take_out_nominated(&mut request);
            let mut left = left(&request);
            left.sort();
            assert_eq!(left, wanted, "{fields:?}");
        }
    }

    #[test]
    fn twins_go_as_the_listener_wants_it() {
        use UnderscoresInHeaders::{Drop, DropTwins, Keep, Refuse};
        let fields = [
            ("X_Forwarded_For", "1"),
            ("x-forwarded_for", "1"),
            ("X.Real~IP", "1"),
            ("x_mine", "1"),
            ("x-forwarded-for", "1"),
        ];
        let owned = OwnedFields::new(std::iter::empty(), std::iter::empty());
        for (policy, wanted) in [
            (DropTwins, &["x-forwarded-for: 1", "x_mine: 1"][..]),
            (Drop, &["x-forwarded-for: 1"]),
            (Refuse, &["x-forwarded-for: 1"]),
        ] {
            let mut request = head(&fields);
            take_out_twins(&mut request, policy, &owned);
            let mut left = left(&request);
            left.sort();
            assert_eq!(left, wanted, "{policy:?}");
        }
        let mut request = head(&fields);
        take_out_twins(&mut request, Keep, &owned);
        assert_eq!(request.headers.len(), fields.len());
    }

    #[test]
    fn every_field_that_the_proxy_sets_is_owned() {
        let owned = OwnedFields::new(std::iter::empty(), std::iter::empty());
        for name in [
            forwarded::X_FORWARDED_FOR,
            forwarded::X_FORWARDED_PROTO,
            forwarded::X_FORWARDED_HOST,
            forwarded::X_FORWARDED_PORT,
            forwarded::X_REAL_IP,
            forwarded::X_FORWARDED_CLIENT_CERT,
            forwarded::CLIENT_CERT,
            forwarded::X_REQUEST_ID,
            early_data::EARLY_DATA,
        ] {
            let twin = name.as_str().replace('-', "_");
            assert!(owned.has_twin_of(&twin), "{name}");
        }
    }
}
