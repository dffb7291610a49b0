//! Which requests for another protocol are passed on as such (RFC 9110 7.8).

use http::{Method, header};
use pingora_http::RequestHeader;

use crate::listener::head::Framing;

/// Whether a request that names `Upgrade` in `Connection` can become what it asks for. It can't where the protocol is another
/// version of HTTP or TLS, whose requests nobody would look at; where there is a body, whose end and the protocol's beginning
/// would be one; and where a WebSocket is asked for by another method than GET (RFC 6455 4.1). Such a request is passed on
/// without the wish, as any server may that does not grant it.
pub fn can_be_passed_on(request: &RequestHeader, framing: Framing) -> bool {
    let mut protocols = request.headers.get_all(header::UPGRADE).iter();
    let (Some(protocol), None) = (protocols.next(), protocols.next()) else {
        return false;
    };
    let name = protocol.as_bytes().to_ascii_lowercase();
    let name = name.split(|byte| *byte == b'/').next().unwrap_or_default();
    let bodiless = matches!(framing, Framing::None | Framing::Length(0));
    let passes = match name {
        b"websocket" => request.method == Method::GET,
        b"h2c" | b"h2" | b"http" | b"tls" | b"" => false,
        // A list is an offer of several: none of them is asked for in earnest.
        _ => !protocol.as_bytes().contains(&b','),
    };
    bodiless && passes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(method: Method, protocol: &str, framing: Framing) -> bool {
        let mut request = RequestHeader::build(method, b"/", None).unwrap();
        request.insert_header("upgrade", protocol).unwrap();
        can_be_passed_on(&request, framing)
    }

    #[test]
    fn only_what_can_become_another_protocol() {
        for (method, protocol, framing, expected) in [
            (Method::GET, "websocket", Framing::None, true),
            (Method::GET, "WebSocket", Framing::Length(0), true),
            (Method::POST, "websocket", Framing::None, false),
            (Method::GET, "websocket", Framing::Length(5), false),
            (Method::GET, "websocket", Framing::Chunked, false),
            (Method::POST, "SPDY/3.1", Framing::None, true),
            (Method::GET, "x-mine", Framing::None, true),
            (Method::GET, "h2c", Framing::None, false),
            (Method::GET, "H2C", Framing::None, false),
            (Method::GET, "HTTP/2.0", Framing::None, false),
            (Method::OPTIONS, "TLS/1.0", Framing::None, false),
            (Method::GET, "websocket, h2c", Framing::None, false),
            (Method::GET, "", Framing::None, false),
        ] {
            assert_eq!(
                passes(method.clone(), protocol, framing),
                expected,
                "{method} {protocol}"
            );
        }
    }
}
