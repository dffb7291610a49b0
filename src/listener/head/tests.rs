use super::{Framing, HeadFacts, HeadLimits, HeadScanner, Progress, Refusal, Version};

const LIMITS: HeadLimits = HeadLimits {
    max_header_bytes: 512,
    max_headers: 4,
    max_uri_bytes: 64,
};

fn scan(head: &str) -> Progress {
    HeadScanner::new(LIMITS).feed(head.as_bytes())
}

fn facts(head: &str) -> HeadFacts {
    match scan(head) {
        Progress::Complete(facts) => facts,
        other => panic!("{head:?}: {other:?}"),
    }
}

#[test]
fn tells_what_framing_needs() {
    let head =
        "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n";
    let want = HeadFacts {
        len: head.len(),
        version: Version::Http11,
        framing: Framing::Length(5),
        keep_alive: true,
        expect_continue: true,
        upgrade: false,
        absolute: false,
        headers: 3,
        odd_names: false,
        unusual: false,
    };
    assert_eq!(facts(&format!("{head}hello")), want);
}

#[test]
fn tells_whether_to_keep_the_connection() {
    for (version, connection, keep) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Keep-Alive, Close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: foo, KEEP-ALIVE\r\n", true),
        (
            "1.0",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
    ] {
        let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        assert_eq!(facts(&head).keep_alive, keep, "{head:?}");
    }
}

#[test]
fn an_upgrade_needs_both_fields() {
    let head = |fields: &str| facts(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).upgrade;
    assert!(head(
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    ));
    assert!(!head("Upgrade: websocket\r\n"));
    assert!(!head("Connection: upgrade\r\n"));
}

#[test]
fn tells_what_must_be_cleaned() {
    for (fields, odd_names, unusual) in [
        (
            "Connection: close, TE, Upgrade, keep-alive\r\nCookie: a\r\n",
            false,
            false,
        ),
        ("Connection: close, Trailer\r\n", false, true),
        ("Cookie: a\r\ncookie: b\r\n", false, true),
        ("X_A: b\r\n", true, true),
        ("X.A: b\r\n", true, true),
        ("X-9: _\r\n", false, false),
    ] {
        let facts = facts(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(
            (facts.odd_names, facts.unusual),
            (odd_names, unusual),
            "{fields}"
        );
    }
}

#[test]
fn waits_for_a_whole_head() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut scanner = HeadScanner::new(LIMITS);
    for end in 0..head.len() {
        assert_eq!(
            scanner.feed(&head.as_bytes()[..end]),
            Progress::NeedMore,
            "{end}"
        );
    }
    assert!(
        matches!(scanner.feed(head.as_bytes()), Progress::Complete(facts) if facts.len == head.len())
    );
}

#[test]
fn limits_hold_to_the_byte() {
    let uri = |length: usize| {
        scan(&format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
            "x".repeat(length - 1)
        ))
    };
    assert!(matches!(uri(64), Progress::Complete(_)));
    assert_eq!(uri(65), Progress::Refuse(Refusal::UriTooLong));
    let around = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    let size = |total: usize| {
        scan(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(total - around)
        ))
    };
    assert!(matches!(size(512), Progress::Complete(_)));
    assert_eq!(size(513), Progress::Refuse(Refusal::HeaderTooLarge));
    let count = |fields: usize| {
        scan(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(fields)
        ))
    };
    assert!(matches!(count(3), Progress::Complete(_)));
    assert_eq!(count(4), Progress::Refuse(Refusal::TooManyHeaders));
}

#[test]
fn does_not_wait_for_the_end_of_what_is_too_long() {
    assert_eq!(
        scan(&format!("GET /{}", "x".repeat(200))),
        Progress::Refuse(Refusal::UriTooLong)
    );
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(600));
    assert_eq!(scan(&endless), Progress::Refuse(Refusal::HeaderTooLarge));
    assert_eq!(scan(&"X".repeat(33)), Progress::Refuse(Refusal::MethodBad));
}

#[test]
fn refuses_what_is_no_http_with_its_first_bytes() {
    assert_eq!(scan("\x16\x03\x01"), Progress::Refuse(Refusal::MethodBad));
    assert_eq!(scan("\0"), Progress::Refuse(Refusal::Nul));
    assert_eq!(
        scan("PRI * HTTP/2.0\r\n"),
        Progress::Refuse(Refusal::VersionUnsupported)
    );
}
