use std::net::SocketAddr;

use proptest::prelude::*;

use super::crc32c::crc32c;
use super::{Header, Parsed, Reason, encode_v2, parse};

fn header(consumed: usize, addresses: Option<(&str, &str)>) -> Parsed {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let (source, destination) = (
        addresses.map(|(from, _)| address(from)),
        addresses.map(|(_, to)| address(to)),
    );
    Parsed::Header(Header {
        consumed,
        source,
        destination,
    })
}

/// A version 2 header with this command byte, family byte and payload.
fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = encode_v2(None, payload);
    (out[12], out[13]) = (command, family);
    out
}

#[test]
fn version_1_table() {
    let v4 = Some(("192.0.2.1:56324", "198.51.100.2:443"));
    let v6 = Some(("[2001:db8::1]:1", "[::1]:65535"));
    for (line, want) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", v4),
        ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", v6),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff:f...f:ffff ffff 65535 65535\r\n", None),
    ] {
        assert_eq!(
            parse(format!("{line}GET /").as_bytes()),
            header(line.len(), want),
            "{line}"
        );
    }
}

#[test]
fn version_1_refusals() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.2 1 443\r\n",
        "PROXY TCP4 ::1 ::1 1 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 1 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 1 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 443\r\r\n",
    ] {
        assert_eq!(
            parse(line.as_bytes()),
            Parsed::Invalid(Reason::V1Malformed),
            "{line:?}"
        );
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(longest.len(), 107);
    assert_eq!(parse(longest.as_bytes()), header(107, None));
    let longer = longest.replace('\r', "x\r");
    assert_eq!(parse(longer.as_bytes()), Parsed::Invalid(Reason::V1TooLong));
}

#[test]
fn other_beginnings_are_no_proxy_header() {
    for other in [
        "GET / HTTP/1.1\r\n",
        "PROXX",
        "PROXY\r\n",
        "proxy ",
        "\r\n\r\n\0\r\nQUIT\r",
        "\x16\x03\x01",
        "\r\nG",
    ] {
        assert_eq!(parse(other.as_bytes()), Parsed::NotProxy, "{other:?}");
    }
    for start in ["", "P", "PROXY ", "\r\n", "\r\n\r\n\0\r\nQUIT\n"] {
        assert_eq!(parse(start.as_bytes()), Parsed::NeedMore, "{start:?}");
    }
}

#[test]
fn version_2_keeps_the_socket_address_where_there_is_none() {
    for bytes in [
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, &[1, 2, 3]),
        v2(0x20, 0xff, &[]),
        v2(0x21, 0x00, &[]),
        v2(0x21, 0x31, &[0; 216]),
        v2(0x21, 0x32, &[0; 216]),
    ] {
        assert_eq!(parse(&bytes), header(bytes.len(), None), "{bytes:?}");
    }
}

#[test]
fn version_2_refusals() {
    let twelve = [0; 12];
    for (bytes, want) in [
        (v2(0x11, 0x11, &twelve), Reason::V2Version),
        (v2(0x31, 0x11, &twelve), Reason::V2Version),
        (v2(0x22, 0x11, &twelve), Reason::V2Command),
        (v2(0x21, 0x41, &twelve), Reason::V2Family),
        (v2(0x21, 0x13, &twelve), Reason::V2Family),
        (v2(0x21, 0x10, &twelve), Reason::V2Family),
        (v2(0x21, 0x11, &twelve[1..]), Reason::V2TooShort),
        (v2(0x21, 0x21, &[0; 35]), Reason::V2TooShort),
        (v2(0x21, 0x31, &[0; 215]), Reason::V2TooShort),
        (v2(0x21, 0x11, &[0; 2049]), Reason::V2TooLong),
        (v2(0x21, 0x11, &[&twelve[..], &[4]].concat()), Reason::V2Tlv),
        (
            v2(0x21, 0x11, &[&twelve[..], &[4, 0, 2, 9]].concat()),
            Reason::V2Tlv,
        ),
        (
            v2(0x21, 0x11, &[&twelve[..], &[3, 0, 4, 0, 0, 0, 0]].concat()),
            Reason::V2Checksum,
        ),
        (
            v2(0x21, 0x11, &[&twelve[..], &[3, 0, 3, 0, 0, 0]].concat()),
            Reason::V2Checksum,
        ),
    ] {
        assert_eq!(parse(&bytes), Parsed::Invalid(want), "{bytes:?}");
    }
}

#[test]
fn a_right_checksum_passes_and_a_changed_byte_does_not() {
    let pair = Some((
        "192.0.2.1:1".parse().unwrap(),
        "192.0.2.2:2".parse().unwrap(),
    ));
    let mut bytes = encode_v2(pair, &[2, 0, 1, b'h', 3, 0, 4, 0, 0, 0, 0, 4, 0, 0]);
    let at = bytes.len() - 7;
    let sum = crc32c([&bytes, &[], &[]]);
    bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(
        parse(&bytes),
        header(bytes.len(), Some(("192.0.2.1:1", "192.0.2.2:2")))
    );
    bytes[16] ^= 1;
    assert_eq!(parse(&bytes), Parsed::Invalid(Reason::V2Checksum));
}

proptest! {
    #[test]
    fn what_was_written_is_read(from: SocketAddr, to: SocketAddr, rest in prop::collection::vec(any::<u8>(), 0..9)) {
        let to = if from.is_ipv4() == to.is_ipv4() { to } else { from };
        let bytes = encode_v2(Some((from, to)), &[4, 0, 0]);
        let Parsed::Header(read) = parse(&[bytes.clone(), rest].concat()) else { return Err(TestCaseError::fail("no header")) };
        prop_assert_eq!(read.consumed, bytes.len());
        let plain = |address: SocketAddr| SocketAddr::new(address.ip(), address.port());
        prop_assert_eq!((read.source, read.destination), (Some(plain(from)), Some(plain(to))));
    }
}
