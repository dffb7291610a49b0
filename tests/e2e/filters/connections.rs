//! Filters of listeners: who is not even let in.

use super::own::start;
use super::*;
use crate::backend::Raw;
use crate::client::raw;
use crate::setup::demo;

fn listening(backend: SocketAddr, listener: &str, filters: &str) -> String {
    config(&[backend], "").replace(
        "listen: \"127.0.0.1:0\" }]",
        &format!("listen: \"127.0.0.1:0\"{listener}, filters: [{filters}] }}]"),
    )
}

const REJECTED: &str = "tidegate_connections_rejected_total{listener=\"public\",reason=\"filter\"}";
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_connection_is_closed_by_a_refusal_a_panic_and_a_filter_that_takes_too_long() {
    let backend = demo().await;
    for action in ["respond", "panic", "wait"] {
        let limits = ", limits: { header_timeout: 500ms }";
        let filters = format!(
            "{{ ip_access: {{ deny: [192.0.2.0/24] }} }}, {{ odd: {{ at: connection, do: {action} }} }}"
        );
        let mut tidegate = start(&listening(backend.address, limits, &filters)).await;
        let address = tidegate.address("public");
        assert_eq!(raw(address, GET).await, "", "{action}");
        tidegate.wait_metric(REJECTED, 1.0).await;
        let errors = "tidegate_filter_errors_total{filter=\"odd\"}";
        let expected = if action == "panic" { 1.0 } else { 0.0 };
        assert_eq!(tidegate.metric(errors).await, expected);
        let timed =
            "tidegate_filter_duration_seconds_count{filter=\"ip_access\",phase=\"connection\"}";
        assert_eq!(tidegate.metric(timed).await, 1.0);
        // Taken out by a reload, without a new socket.
        let without = listening(backend.address, "", "");
        assert_eq!(tidegate.reload(&without).await["result"], "taken");
        assert!(raw(address, GET).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn ip_access_on_a_listener_acts_on_the_true_client_before_tls() {
    let backend = Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let proxied = ", proxy_protocol: required, trusted: [127.0.0.0/8], health_path: /lb";
    let filters = "{ ip_access: { allow: [203.0.113.0/24], deny: [203.0.113.9/32] } }";
    let config = format!(
        "log: {{ level: debug }}\n{}",
        listening(backend.address, proxied, filters).trim_start()
    );
    let tidegate = Tidegate::start(&config).await;
    let address = tidegate.address("public");
    for (client, served) in [
        ("203.0.113.1", true),
        ("203.0.113.9", false),
        ("198.51.100.1", false),
    ] {
        let proxy = format!("PROXY TCP4 {client} 127.0.0.1 4321 80\r\n");
        let answer = raw(address, &[proxy.as_bytes(), GET].concat()).await;
        assert_eq!(answer.starts_with("HTTP/1.1 200"), served, "{client}");
        assert_eq!(answer.is_empty(), !served, "{client}: {answer}");
    }
    tidegate.wait_metric(REJECTED, 2.0).await;
    tidegate
        .events
        .wait("who and by what", |l| {
            l["message"] == "listener public: connection of 203.0.113.9 closed by ip_access"
                && l["level"] == "debug"
        })
        .await;
    // The balancer's own check brings no client.
    let check = b"GET /lb HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert!(raw(address, check).await.starts_with("HTTP/1.1 200"));
    assert_eq!(tidegate.metric(REJECTED).await, 2.0);
}

#[tokio::test]
async fn a_refused_client_gets_no_byte_of_tls() {
    let dir = tempfile::tempdir().unwrap();
    crate::listening::certificate(dir.path(), "test.example");
    let tls = ", tls: { certificates: [{ cert: cert.pem, key: key.pem }] }";
    let filters = "{ ip_access: { deny: [127.0.0.0/8] } }";
    let config = listening("127.0.0.1:1".parse().unwrap(), tls, filters);
    let tidegate = Tidegate::start_in(dir, &config).await;
    assert_eq!(raw(tidegate.address("public"), b"\x16\x03\x01").await, "");
    tidegate.wait_metric(REJECTED, 1.0).await;
    let handshakes = "tidegate_tls_handshakes_total{listener=\"public\"";
    assert_eq!(tidegate.metric(handshakes).await, 0.0);
}
