use super::*;

/// A slip, and what must be in the message for a listener and for a backend; `Ok` where it is none.
type Case = (&'static str, Told, Told);
type Told = Result<(), &'static str>;

const CASES: &[Case] = &[
    ("127.0.0.1:80", Ok(()), Ok(())),
    ("[::1]:80", Ok(()), Ok(())),
    ("unix:/run/x", Ok(()), Ok(())),
    ("0.0.0.0:80", Ok(()), Err("write the backend's own")),
    ("[::]:80", Ok(()), Err("write the backend's own")),
    ("224.0.0.1:80", Ok(()), Err("write the backend's own")),
    ("255.255.255.255:80", Ok(()), Err("write the backend's own")),
    ("10.0.0.1:0", Ok(()), Err("write the backend's port")),
    (
        "::1:21001",
        Err("write \"[::1]:21001\""),
        Err("write \"[::1]:21001\""),
    ),
    (
        "fd00::1:80",
        Err("write \"[fd00::1]:80\", or \"[fd00::1:80]:8080\""),
        Err("write \"[fd00::1]:80\", or \"[fd00::1:80]:8080\""),
    ),
    (
        "::1:99999",
        Err("no port from 1 to 65535; write \"[::1]:8080\""),
        Err("no port from 1 to 65535; write \"[::1]:8080\""),
    ),
    (
        "::1",
        Err("write \"[::1]:8080\""),
        Err("write \"[::1]:8080\""),
    ),
    (
        "::",
        Err("write \"[::]:8080\""),
        Err("write the backend's own"),
    ),
    (
        ":::80",
        Err("write \"[::]:80\""),
        Err("write the backend's own"),
    ),
    (
        "[ff02::1]",
        Err("such as \"[ff02::1]:8080\""),
        Err("write the backend's own"),
    ),
    (
        "[0.0.0.0]:80",
        Err("write \"0.0.0.0:80\""),
        Err("write the backend's own"),
    ),
    (
        "0.0.0.0",
        Err("such as \"0.0.0.0:8080\""),
        Err("write the backend's own"),
    ),
    (
        "0.0.0.0:http",
        Err("write \"0.0.0.0:8080\""),
        Err("write the backend's own"),
    ),
    (
        "[::1]",
        Err("such as \"[::1]:8080\""),
        Err("such as \"[::1]:8080\""),
    ),
    (
        "[::1]:",
        Err("such as \"[::1]:8080\""),
        Err("such as \"[::1]:8080\""),
    ),
    (
        "[::1]80",
        Err("write \"[::1]:8080\""),
        Err("write \"[::1]:8080\""),
    ),
    ("[::1", Err("without \"]\""), Err("without \"]\"")),
    (
        "[::1]:65536",
        Err("write 0 to 65535 behind \"[::1]:\""),
        Err("write 1 to 65535 behind \"[::1]:\""),
    ),
    (
        "[10.0.0.1]:80",
        Err("write \"10.0.0.1:80\""),
        Err("write \"10.0.0.1:80\""),
    ),
    (
        "[fe80::1%eth0]:80",
        Err("a zone that is no number"),
        Err("a zone that is no number"),
    ),
    (
        "[a.example]:80",
        Err("no IPv6 address"),
        Err("around a name; write \"a.example:80\""),
    ),
    (
        "[a.example]",
        Err("no IPv6 address"),
        Err("no IPv6 address"),
    ),
    ("1:2:3", Err("\"[::1]:8080\""), Err("\"[::1]:8080\"")),
    (
        "a.example:80:81",
        Err("\"[::1]:8080\""),
        Err("write one port behind the name: \"a.example:8080\""),
    ),
    (
        "10.0.0.1",
        Err("such as \"10.0.0.1:8080\""),
        Err("such as \"10.0.0.1:8080\""),
    ),
    (
        "10.0.0.1:",
        Err("such as \"10.0.0.1:8080\""),
        Err("such as \"10.0.0.1:8080\""),
    ),
    (
        "10.0.0.1:65536",
        Err("write 0 to 65535 behind \"10.0.0.1:\""),
        Err("write 1 to 65535"),
    ),
    (
        "10.0.0.1:http",
        Err("no number; write \"10.0.0.1:8080\""),
        Err("no number; write \"10.0.0.1:8080\""),
    ),
    ("10.0.0.1:-1", Err("no number"), Err("no number")),
    (
        "10.0.0.256:80",
        Err("numbers from 0 to 255"),
        Err("numbers from 0 to 255"),
    ),
    (
        "10.0.1:80",
        Err("numbers from 0 to 255"),
        Err("numbers from 0 to 255"),
    ),
    ("010.0.0.1:80", Err("zeros in front"), Err("zeros in front")),
    (
        "http://10.0.0.1:80",
        Err("write the address alone, \"10.0.0.1:80\""),
        Err("write the address alone, \"10.0.0.1:80\""),
    ),
    (
        "http://10.0.0.1/x?y",
        Err("write the address alone, \"10.0.0.1:80\""),
        Err("write the address alone, \"10.0.0.1:80\""),
    ),
    (
        "https://[::1]",
        Err("\"[::1]:443\", and \"tls\" in the listener"),
        Err("\"[::1]:443\", and \"upstream: { tls: .. }\" in the pool"),
    ),
    (
        "http://a.example",
        Err("write an IP address and a port, such as \"10.0.1.10:80\""),
        Err("write the address alone, \"a.example:80\""),
    ),
    (
        "HTTPS://a.example:8443/x",
        Err("such as \"10.0.1.10:443\", and \"tls\" in the listener"),
        Err("\"a.example:8443\", and \"upstream: { tls: .. }\" in the pool"),
    ),
    (
        "http://a.example:0",
        Err("such as \"10.0.1.10:80\""),
        Err("write a host and a port, such as \"10.0.1.10:80\""),
    ),
    (
        "http://me@a.example",
        Err("such as \"10.0.1.10:80\""),
        Err("such as \"10.0.1.10:80\""),
    ),
    (
        "http://0.0.0.0:80",
        Err("write the address alone, \"0.0.0.0:80\""),
        Err("such as \"10.0.1.10:80\""),
    ),
    (
        "10.0.0.1:80/x",
        Err("write \"10.0.0.1:80\""),
        Err("write \"10.0.0.1:80\""),
    ),
    (
        "[::1]:80/",
        Err("write \"[::1]:80\""),
        Err("write \"[::1]:80\""),
    ),
    (
        "10.0.0.1/x",
        Err("without that has no port; write one behind it, such as \"10.0.0.1:8080\""),
        Err("without that has no port; write one behind it, such as \"10.0.0.1:8080\""),
    ),
    (
        "a.example:80/x",
        Err("without that is not an IP address"),
        Err("write \"a.example:80\""),
    ),
    (
        "a.example/x",
        Err("without that is not an IP address"),
        Err("without that has no port; write one behind it, such as \"a.example:8080\""),
    ),
    (
        " a.example:80 ",
        Err("without them is not an IP address"),
        Err("write \"a.example:80\""),
    ),
    (
        " 0.0.0.0:80",
        Err("write \"0.0.0.0:80\""),
        Err("without them is no address to connect to"),
    ),
    (
        " 10.0.0.1:80",
        Err("write \"10.0.0.1:80\""),
        Err("write \"10.0.0.1:80\""),
    ),
    (
        "10.0.0.1 ",
        Err("without them has no port"),
        Err("without them has no port"),
    ),
    ("10.0.0.1: 80", Err("no number"), Err("no number")),
    (
        "localhost:80",
        Err("write \"127.0.0.1:80\" or \"[::1]:80\""),
        Ok(()),
    ),
    (
        "Localhost",
        Err("\"127.0.0.1:8080\""),
        Err("has no port; write one behind it, such as \"Localhost:8080\""),
    ),
    ("a.example:80", Err("such as \"0.0.0.0:80\""), Ok(())),
    ("my_app-1.:80", Err("such as \"0.0.0.0:80\""), Ok(())),
    (
        "a.example",
        Err("such as \"0.0.0.0:8080\""),
        Err("has no port; write one behind it, such as \"a.example:8080\""),
    ),
    (
        "a.example:",
        Err("\"IP:PORT\""),
        Err("has no port; write one behind it, such as \"a.example:8080\""),
    ),
    (
        "a.example:0",
        Err("such as \"0.0.0.0:0\""),
        Err("has port 0; write the backend's port"),
    ),
    (
        "a.example:65536",
        Err("\"IP:PORT\""),
        Err("write 1 to 65535 behind \"a.example:\""),
    ),
    (
        "a.example:http",
        Err("\"IP:PORT\""),
        Err("no number; write \"a.example:8080\""),
    ),
    (
        "a.example:+80",
        Err("\"IP:PORT\""),
        Err("no number; write \"a.example:8080\""),
    ),
    ("a..example:80", Err("\"IP:PORT\""), Err("\"NAME:PORT\"")),
    ("-a.example:80", Err("\"IP:PORT\""), Err("\"NAME:PORT\"")),
    ("*.example:80", Err("\"IP:PORT\""), Err("\"NAME:PORT\"")),
    ("me@a.example:80", Err("\"IP:PORT\""), Err("\"NAME:PORT\"")),
    ("0x7f.1:80", Err("\"IP:PORT\""), Err("\"NAME:PORT\"")),
    ("é.example:80", Err("\"IP:PORT\""), Err("\"NAME:PORT\"")),
    (
        "[::ffff:0.0.0.0]:80",
        Ok(()),
        Err("write the backend's own"),
    ),
    (
        "*:80",
        Err("write \"0.0.0.0:80\" or \"[::]:80\""),
        Err("such as \"10.0.1.10:80\""),
    ),
    (
        ":80",
        Err("write \"0.0.0.0:80\" or \"[::]:80\""),
        Err("such as \"10.0.1.10:80\""),
    ),
    (
        "80",
        Err("write \"0.0.0.0:80\" or \"[::]:80\""),
        Err("such as \"10.0.1.10:80\""),
    ),
    (
        "/run/x",
        Err("write \"unix:/run/x\""),
        Err("write \"unix:/run/x\""),
    ),
    ("unix:x", Err("\"unix:/path\""), Err("\"unix:/path\"")),
    ("unix:", Err("\"unix:/path\""), Err("\"unix:/path\"")),
    ("", Err("\"IP:PORT\""), Err("\"IP:PORT\"")),
    (":", Err("\"IP:PORT\""), Err("\"IP:PORT\"")),
    ("a b:80", Err("\"IP:PORT\""), Err("\"IP:PORT\"")),
    ("*", Err("\"IP:PORT\""), Err("\"IP:PORT\"")),
    ("*:0", Err("write \"0.0.0.0:0\""), Err("\"IP:PORT\"")),
];

fn holds<T: std::fmt::Debug>(text: &str, result: Result<T, String>, told: Told) {
    match (result, told) {
        (Ok(_), Ok(())) => {}
        (Err(message), Err(part)) => assert!(message.contains(part), "{text:?} {message}"),
        (result, told) => panic!("{text:?}: {result:?}, not {told:?}"),
    }
}

#[test]
fn each_slip_is_told_by_what_it_looks_like() {
    for (text, listening, connecting) in CASES {
        holds(text, listen(text), *listening);
        holds(text, backend(text), *connecting);
        let admin = admin(text).map(|address| address.unwrap());
        holds(text, admin, *listening);
    }
    assert_eq!(admin("none"), Ok(None));
    assert!(admin("off").unwrap_err().contains("write \"none\""));
}

#[test]
fn what_is_suggested_is_right() {
    for (text, ..) in CASES {
        for purpose in [For::Listening, For::Connecting] {
            let Err(message) = judge(text, purpose) else {
                continue;
            };
            let (_, suggested) = message.split_once("write ").unwrap_or_default();
            let quoted = suggested.split('"').skip(1).step_by(2);
            let mut addresses =
                quoted.filter(|q| q.contains(|c: char| c.is_ascii_digit()) && !q.contains("IPv6"));
            let bad = addresses.find(|q| !q.ends_with(':') && judge(q, purpose).is_err());
            assert_eq!(bad, None, "{text:?} {message}");
        }
    }
}

#[test]
fn resolvers_have_port_53_unless_they_say_another() {
    for (text, shown) in [
        ("10.0.0.2", "10.0.0.2:53"),
        ("::1", "[::1]:53"),
        ("[::1]:5353", "[::1]:5353"),
    ] {
        assert_eq!(resolver(text).unwrap().to_string(), shown);
    }
    for text in [
        "dns.internal",
        "10.0.0.2:0",
        "0.0.0.0",
        "[::1]",
        "255.255.255.255",
    ] {
        assert!(resolver(text).unwrap_err().contains("write "), "{text}");
    }
}

#[test]
fn networks() {
    for (text, told) in [
        ("10.0.0.0/8", None),
        ("10.0.0.1", None),
        ("fd00::/8", None),
        ("::1", None),
        (
            "10.0.0.1/8",
            Some("write \"10.0.0.0/8\" for the network or \"10.0.0.1/32\""),
        ),
        (
            "fd00::1/8",
            Some("write \"fd00::/8\" for the network or \"fd00::1/128\""),
        ),
        ("10.0.0.0/33", Some("no number from 0 to 32")),
        ("fd00::/129", Some("no number from 0 to 128")),
        ("10.0.0.0/", Some("no number from 0 to 32")),
        ("10.0.0.0/x", Some("no number from 0 to 32")),
        ("10.0.0.0/255.0.0.0", Some("\"10.0.0.0/8\"")),
        ("10.0.0.0/255.0.255.0", Some("no number from 0 to 32")),
        ("10.0.0.1:80", Some("write \"10.0.0.1\"")),
        ("[::1]:80", Some("write \"::1\"")),
        ("[::1]", Some("write \"::1\"")),
        ("[fd00::]/8", Some("write \"fd00::/8\"")),
        (" 10.0.0.0/8", Some("write \"10.0.0.0/8\"")),
        ("*", Some("\"0.0.0.0/0\"")),
        ("10.0.0", Some("such as \"10.0.0.0/8\"")),
        ("a.example", Some("such as \"10.0.0.0/8\"")),
        ("", Some("such as \"10.0.0.0/8\"")),
    ] {
        match (network(text), told) {
            (Ok(_), None) => {}
            (Err(message), Some(part)) => assert!(message.contains(part), "{text:?} {message}"),
            (result, told) => panic!("{text:?}: {result:?}, not {told:?}"),
        }
    }
}
