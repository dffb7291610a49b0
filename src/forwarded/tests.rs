use super::*;

const TRUSTED: [&str; 3] = ["10.0.0.0/8", "127.0.0.0/8", "fd00::/8"];

fn headers(lines: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap());
    }
    headers
}

fn walked(lines: &[&[u8]]) -> Walk {
    let trusted = TRUSTED.map(|net| net.parse::<IpNet>().unwrap());
    walk(&headers(lines), |ip| {
        trusted.iter().any(|net| net.contains(ip))
    })
}

fn client(text: &str) -> Walk {
    Walk::Client(text.parse().unwrap())
}

#[test]
fn an_address_is_read_however_proxies_write_it() {
    for (hop, wanted) in [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("203.0.113.7:0", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
        ("\"203.0.113.7\"", "203.0.113.7"),
        ("\"203.0.113.7:4711\"", "203.0.113.7"),
        ("\"[2001:db8::1]:443\"", "2001:db8::1"),
        (" \t203.0.113.7\t ", "203.0.113.7"),
        // Not known for what it is, but no more trusted for that.
        ("2001:db8::1:443", "2001:db8::1:443"),
    ] {
        assert_eq!(walked(&[hop.as_bytes()]), client(wanted), "{hop}");
        let chain = format!("192.0.2.9, {hop} ,10.1.1.1");
        assert_eq!(walked(&[chain.as_bytes()]), client(wanted), "{chain}");
    }
}

#[test]
fn what_can_not_be_read_is_nobody_and_nothing_takes_its_place() {
    for hop in [
        &b"\xe9"[..],
        b"unknown",
        b"_hidden",
        b"localhost",
        b"for=203.0.113.7",
        b"203.0.113",
        b"203.0.113.007",
        b"0xcb.0.113.7",
        b"203.0.113.7.1",
        b"203.0.113.7:",
        b"203.0.113.7:99999",
        b"203.0.113.7:+1",
        b"203.0.113.7:1:2",
        b"203.0.113.7 10.0.0.1",
        b"203.0.113.7;10.0.0.1",
        b"203.0.113.7/32",
        b"[203.0.113.7]",
        b"[2001:db8::1",
        b"2001:db8::1]",
        b"[2001:db8::1]443",
        b"[2001:db8::1]:",
        b"[2001:db8::1]:x",
        b"fe80::1%eth0",
        b"[fe80::1%25eth0]:443",
        b"\"203.0.113.7",
        b"203.0.113.7\"",
        b"\"\"",
        b"\"",
        b"[]",
        b":443",
        b"-",
    ] {
        let text = hop.escape_ascii();
        let line = |before: &[u8], after: &[u8]| [before, hop, after].concat();
        assert_eq!(walked(&[hop]), Walk::Unreadable, "{text}");
        for line in [
            line(b"10.0.0.9, ", b""),
            line(b"203.0.113.7, ", b""),
            line(b"", b", 10.1.1.1"),
            line(b"127.0.0.1,", b",10.1.1.1, [fd00::1]:9"),
        ] {
            assert_eq!(walked(&[&line]), Walk::Unreadable, "{text}");
        }
        // Left of the client anybody may write anything.
        assert_eq!(
            walked(&[&line(b"", b", 203.0.113.7, 10.1.1.1")]),
            client("203.0.113.7"),
            "{text}"
        );
    }
}

#[test]
fn lines_are_one_list_and_empty_elements_are_none() {
    assert_eq!(walked(&[]), Walk::Absent);
    let lines: &[&[u8]] = &[b"198.51.100.1", b"203.0.113.7, 10.0.0.1", b"10.0.0.2"];
    assert_eq!(walked(lines), client("203.0.113.7"));
    assert_eq!(walked(&[b"203.0.113.7", b"\xe9"]), Walk::Unreadable);
    assert_eq!(walked(&[b"203.0.113.7,"]), client("203.0.113.7"));
    assert_eq!(
        walked(&[b",203.0.113.7, ,\t,10.0.0.1, ,"]),
        client("203.0.113.7")
    );
    assert_eq!(walked(&[b"203.0.113.7", b""]), client("203.0.113.7"));
    for nothing in [&b""[..], b",", b" , ,", b"\t"] {
        assert_eq!(walked(&[nothing]), Walk::Unreadable);
        assert_eq!(walked(&[nothing, nothing]), Walk::Unreadable);
    }
}

#[test]
fn where_all_are_trusted_the_left_most_is_the_client_in_a_chain_of_proxies() {
    assert_eq!(walked(&[b"10.0.0.1, 10.0.0.2"]), client("10.0.0.1"));
    let chain = |hops: usize| vec!["10.0.0.1"; hops].join(",").into_bytes();
    assert_eq!(walked(&[&chain(MAX_HOPS)]), client("10.0.0.1"));
    assert_eq!(walked(&[&chain(MAX_HOPS + 1)]), Walk::Unreadable);
    let commas = [b"203.0.113.7", &b",".repeat(MAX_HOPS)[..]].concat();
    assert_eq!(walked(&[&commas]), Walk::Unreadable);
}

#[test]
fn backends_find_no_client_where_there_is_none() {
    let peer = HeaderValue::from_static("10.9.9.9");
    let told = |lines: &[&[u8]], client: Option<IpAddr>| {
        let origin = Origin {
            client,
            trusted: true,
        };
        joined_chain(&headers(lines), origin, &peer)
    };
    let known = "203.0.113.7".parse().ok();
    assert_eq!(
        told(&[b"\xe9, 203.0.113.7"], known),
        &b"\xe9, 203.0.113.7, 10.9.9.9"[..]
    );
    assert_eq!(
        told(&[b"203.0.113.7", b"10.0.0.1"], known),
        "203.0.113.7, 10.0.0.1, 10.9.9.9"
    );
    assert_eq!(told(&[b"203.0.113.7, \xe9"], None), "unknown, 10.9.9.9");
}
