use super::*;

#[test]
fn durations() {
    for (text, ms) in [
        ("0s", 0),
        ("500ms", 500),
        ("10s", 10_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("87600h", MAX_MILLIS),
    ] {
        assert_eq!(
            duration(text),
            Ok(std::time::Duration::from_millis(ms)),
            "{text}"
        );
    }
    for text in [
        "",
        "s",
        "10",
        "1.5s",
        "-1s",
        "1d",
        "10 s",
        "1s ",
        "87601h",
        "99999999999999999999h",
        "1h30m",
    ] {
        assert!(duration(text).is_err(), "{text}");
    }
    assert!(timeout("0ms").is_err());
}

#[test]
fn shown_as_they_would_be_written() {
    for text in ["0s", "500ms", "1500ms", "10s", "90s", "5m", "1h"] {
        assert_eq!(show_duration(&duration(text).unwrap()), text);
    }
    for text in ["0", "100", "64KiB", "1MiB", "2GiB", "1000000"] {
        assert_eq!(show_size(&size(text).unwrap()), text);
    }
    for text in ["404", "200-299"] {
        assert_eq!(show_range(&status_range(text).unwrap()), text);
    }
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("100", 100),
        ("7B", 7),
        ("64KiB", 65536),
        ("10MB", 10_000_000),
        ("1GiB", 1 << 30),
    ] {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
    for text in ["", "KiB", "1.5MiB", "-1", "64kib", "9999999999GiB"] {
        assert!(size(text).is_err(), "{text}");
    }
}

#[test]
fn networks_and_addresses() {
    assert_eq!(
        address::network("10.0.0.0/8").unwrap().to_string(),
        "10.0.0.0/8"
    );
    assert_eq!(
        address::network("10.0.0.1").unwrap().to_string(),
        "10.0.0.1/32"
    );
    assert_eq!(address::network("::1").unwrap().to_string(), "::1/128");
    assert!(
        address::network("10.0.0.1/8")
            .unwrap_err()
            .contains("\"10.0.0.0/8\" for the network or \"10.0.0.1/32\"")
    );
    for text in [
        "0.0.0.0:8080",
        "[::1]:80",
        "unix:/run/x.sock",
        "127.0.0.1:0",
    ] {
        assert_eq!(show_address(&address::listen(text).unwrap()), text);
    }
    for text in [
        ":80",
        "127.0.0.1",
        "::1",
        "/run/x",
        "unix:x",
        "localhost:80",
        "1.2.3.4:99999",
        "",
    ] {
        assert!(address::listen(text).is_err(), "{text}");
    }
    for text in [
        "127.0.0.1:0",
        "0.0.0.0:80",
        "224.0.0.1:80",
        "db.internal:0",
        "db.internal:",
        "db..internal:80",
        "db-.internal:80",
        "1.2.3:80",
        "localhost",
    ] {
        assert!(address::backend(text).is_err(), "{text}");
    }
    for (text, name) in [
        ("DB.internal:80", "db.internal"),
        ("app:80", "app"),
        ("my_app-1.:80", "my_app-1."),
        ("_http._tcp.x:80", "_http._tcp.x"),
    ] {
        let expected = model::Endpoint::Name(name.to_owned(), 80);
        assert_eq!(address::backend(text), Ok(expected), "{text}");
    }
}

#[test]
fn hosts_are_lower_case_and_wildcards_lead() {
    use model::HostMatch::{Exact, Wildcard};
    assert_eq!(
        host_pattern("API.example.com"),
        Ok(Exact("api.example.com".into()))
    );
    assert_eq!(
        host_pattern("*.Example.com"),
        Ok(Wildcard(".example.com".into()))
    );
    assert_eq!(host_pattern("[::1]"), Ok(Exact("[::1]".into())));
    for text in [
        "",
        "*",
        "a.*.com",
        "*a.com",
        "a.com:80",
        "http://a.com",
        "a..com",
        "a.com.",
        "a b",
        "[x]",
        "é.com",
    ] {
        assert!(host_pattern(text).is_err(), "{text}");
    }
}

#[test]
fn patterns_are_bounded_and_cannot_leave_their_anchors() {
    assert!(anchored("a|b").unwrap().is_match("b") && !anchored("a|b").unwrap().is_match("bc"));
    for text in ["(", "a)(b", "[a-", "\\w{1000}{1000}"] {
        assert!(pattern(text).is_err(), "{text}");
    }
}

#[test]
fn the_rest() {
    assert!(status_range("200").is_ok() && status_range("200-599").is_ok());
    for text in ["", "20", "099", "600", "299-200", "200-", "+20"] {
        assert!(status_range(text).is_err(), "{text}");
    }
    assert!(
        url_path("/a%20b").is_ok()
            && url_path("a").is_err()
            && url_path("/a?b").is_err()
            && url_path("/é").is_err()
    );
    assert!(method("PURGE").is_ok() && method("get").is_err() && method("A B").is_err());
    assert!(header_name("X-A").is_ok() && header_name("X A").is_err() && header_name("").is_err());
    assert!(
        header_value("a b").is_ok() && header_value("a\nb").is_err() && header_value(" a").is_err()
    );
    assert!(
        name("a.b-c_1").is_ok()
            && name("a/b").is_err()
            && name("").is_err()
            && label("a/b:1").is_ok()
    );
    assert!(address::admin("none") == Ok(None) && access_log("stdot").is_err());
}
