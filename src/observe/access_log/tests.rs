use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn parsed(record: &AccessRecord) -> Value {
    let mut line = Vec::new();
    record.format(&mut line);
    assert!(!line.contains(&b'\n'));
    serde_json::from_slice(&line).unwrap()
}

const ATTEMPTS: [Attempt; 2] = [
    Attempt {
        backend: "10.0.1.10:8080",
        outcome: "connect_error",
        duration: Duration::from_millis(1),
    },
    Attempt {
        backend: "10.0.1.11:8080",
        outcome: "ok",
        duration: Duration::from_micros(9_500),
    },
];

fn full_record() -> AccessRecord<'static> {
    let ms = Duration::from_millis;
    AccessRecord {
        unix_ms: 1_787_000_000_123,
        request_id: b"0198d3f2-0000-7000-8000-000000000001",
        trace_id: "0af7651916cd43dd8448eb211c80319c",
        span_id: "b7ad6b7169203331",
        client_ip: Some("203.0.113.7".parse().unwrap()),
        client_unknown: false,
        client_port: Some(51234),
        peer_ip: Some("2001:db8::1".parse().unwrap()),
        listener: "public",
        protocol: "HTTP/2",
        tls_version: "TLSv1.3",
        tls_cipher: "TLS_AES_128_GCM_SHA256",
        tls_key: "none",
        tls_resumed: true,
        early_data: true,
        sni: b"api.example.com",
        method: b"GET",
        scheme: "https",
        host: b"api.example.com",
        path: b"/orders/\"1\"",
        query: b"a=1",
        status: Some(200),
        bytes_in: 5,
        bytes_out: 1024,
        duration: Duration::from_micros(12_045),
        t_header: Some(ms(0)),
        t_queue: Some(ms(2)),
        t_connect: Some(Duration::from_micros(300)),
        t_first_byte: Some(ms(9)),
        t_total: Some(ms(12)),
        route: "orders",
        pool: "orders",
        backend: "10.0.1.11:8080",
        sticky: "hit",
        attempts: &ATTEMPTS,
        flags: &["UF", "URX"],
        reason: "retried",
        user_agent: b"curl/8",
        referer: b"https://example.com/",
        attributes: &[
            ("user", Note::Text("anna\n")),
            ("we\"ird", Note::Flag(true)),
            ("n", Note::Number(-7)),
        ],
    }
}

#[test]
fn a_full_line() {
    let expected = r#"{
        "ts": "2026-08-17T20:53:20.123Z", "request_id": "0198d3f2-0000-7000-8000-000000000001",
        "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
        "client_ip": "203.0.113.7", "client_port": 51234, "peer_ip": "2001:db8::1", "listener": "public",
        "protocol": "HTTP/2", "tls_version": "TLSv1.3", "tls_cipher": "TLS_AES_128_GCM_SHA256",
        "tls_key": "none", "tls_resumed": true, "early_data": true,
        "sni": "api.example.com", "method": "GET", "scheme": "https", "host": "api.example.com",
        "path": "/orders/\"1\"", "query": "a=1", "status": 200, "bytes_in": 5, "bytes_out": 1024,
        "duration_ms": 12.045, "t_header": 0, "t_queue": 2, "t_connect": 0.3, "t_first_byte": 9, "t_total": 12,
        "route": "orders", "pool": "orders", "backend": "10.0.1.11:8080", "sticky": "hit",
        "attempts": [
            { "backend": "10.0.1.10:8080", "outcome": "connect_error", "ms": 1 },
            { "backend": "10.0.1.11:8080", "outcome": "ok", "ms": 9.5 }
        ],
        "flags": "UF,URX", "reason": "retried", "user_agent": "curl/8", "referer": "https://example.com/",
        "attributes": { "user": "anna\n", "we\"ird": true, "n": -7 }
    }"#;
    let expected: Value = serde_json::from_str(expected).unwrap();
    assert_eq!(parsed(&full_record()), expected);
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        keys(&parsed(&full_record())),
        keys(&expected),
        "order of the keys"
    );
}

#[test]
fn absent_values_are_left_out() {
    let expected = json!({ "ts": "1970-01-01T00:00:00.000Z", "bytes_in": 0, "bytes_out": 0, "duration_ms": 0 });
    assert_eq!(parsed(&AccessRecord::default()), expected);
}

#[test]
fn traceparent() {
    let good = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(
        trace_ids(good),
        Some(("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"))
    );
    let later = b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
    assert!(trace_ids(later).is_some());
    for bad in [
        "",
        "00",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    ] {
        assert_eq!(trace_ids(bad.as_bytes()), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn any_record_is_one_line_that_reads_back(
        path: Vec<u8>, host: Vec<u8>, agent: Vec<u8>, route: String, backend: String, name: String, value: String,
        status: u16, bytes_out: u64, micros in 0u64..1 << 52, v4: [u8; 4], v6: [u8; 16],
    ) {
        let attempts = [Attempt { backend: &backend, outcome: "ok", duration: Duration::from_micros(micros) }];
        let record = AccessRecord {
            path: &path, host: &host, user_agent: &agent, route: &route, backend: &backend, bytes_out,
            status: Some(status), duration: Duration::from_micros(micros), attempts: &attempts,
            client_ip: Some(v4.into()), peer_ip: Some(v6.into()), attributes: &[(&name, Note::Text(&value))],
            ..AccessRecord::default()
        };
        let read = parsed(&record);
        let text = |key: &str| read.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        prop_assert_eq!(text("path"), String::from_utf8_lossy(&path));
        prop_assert_eq!(text("host"), String::from_utf8_lossy(&host));
        prop_assert_eq!(text("user_agent"), String::from_utf8_lossy(&agent));
        prop_assert_eq!(text("route"), route.as_str());
        prop_assert_eq!(text("client_ip"), IpAddr::from(v4).to_string());
        prop_assert_eq!(text("peer_ip"), IpAddr::from(v6).to_string());
        prop_assert_eq!(&read["status"], &json!(status));
        prop_assert_eq!(&read["bytes_out"], &json!(bytes_out));
        prop_assert!((read["duration_ms"].as_f64().unwrap() * 1000.0 - micros as f64).abs() < 0.6);
        prop_assert_eq!(read["attempts"][0]["backend"].as_str().unwrap(), backend.as_str());
        prop_assert_eq!(read["attributes"][name.as_str()].as_str().unwrap(), value.as_str());
    }
}
