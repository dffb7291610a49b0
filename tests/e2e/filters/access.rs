//! Who gets in: keys, passwords, another service's word, addresses.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::*;
use crate::backend::Raw;
use crate::setup::demo;

#[tokio::test]
async fn api_key() {
    let backend = demo().await;
    let digest: String = Sha256::digest(b"the second key!!")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let keys = format!("{{ name: one, key: the-first-key-16 }}, {{ name: two, sha256: {digest} }}");
    let filters = format!("{{ api_key: {{ keys: [{keys}], name_header: x-who }} }}");
    let tidegate = behind(backend.address, &filters).await;
    for (key, who) in [("the-first-key-16", "one"), ("the second key!!", "two")] {
        let reply = ask(
            &tidegate,
            "/headers",
            &[("x-api-key", key), ("x-who", "admin")],
        )
        .await;
        assert_eq!(saw(&reply, "x-who").as_deref(), Some(who));
        assert_eq!(saw(&reply, "x-api-key"), None, "the key stays here");
    }
    let before = backend.requests();
    for (path, headers, reason) in [
        ("/none", &[][..], "api_key: no key"),
        (
            "/wrong",
            &[("x-api-key", "the-first-key-17")],
            "api_key: unknown key",
        ),
    ] {
        let reply = ask(&tidegate, path, headers).await;
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (401, "ApiKey")
        );
        assert_eq!(reply.text(), "401 Unauthorized\n");
        assert_eq!(logged(&tidegate, path).await["reason"], reason);
    }
    assert_eq!(backend.requests(), before);
}

#[tokio::test]
async fn basic_auth() {
    let backend = demo().await;
    // `htpasswd -nbB -C 4 ann secret`
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("htpasswd");
    let hash = "$2y$04$W3.FCRZYNePpMBkBDzeJhOJY6hY5WYuLlvF4vPcpRd97pOhsrCWSu";
    write(&file, &format!("ann:{hash}\n"));
    let filters = format!(
        "{{ basic_auth: {{ users_file: {}, realm: Staging, user_header: x-user }} }}",
        file.display()
    );
    let tidegate = behind(backend.address, &filters).await;
    let credentials = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let right = credentials("ann:secret");
    for _ in 0..2 {
        let headers = [("authorization", &*right), ("x-user", "root")];
        let reply = ask(&tidegate, "/headers", &headers).await;
        assert_eq!(saw(&reply, "x-user").as_deref(), Some("ann"));
        assert_eq!(saw(&reply, "authorization"), None);
    }
    let line = logged(&tidegate, "/headers").await;
    assert_eq!(line["attributes"]["basic_auth.user"], "ann");
    for wrong in [
        &*credentials("ann:Secret"),
        &credentials("bob:secret"),
        "Basic !!",
        "Bearer x",
    ] {
        let reply = ask(&tidegate, "/wrong", &[("authorization", wrong)]).await;
        assert_eq!(reply.status, 401, "{wrong}");
        let challenge = reply.header("www-authenticate");
        assert!(
            challenge.starts_with("Basic realm=\"Staging\""),
            "{challenge}"
        );
    }
    assert_eq!(
        logged(&tidegate, "/wrong").await["reason"],
        "basic_auth: wrong credentials"
    );
}

#[tokio::test]
async fn ext_auth_passes_refuses_and_fails_closed_or_open() {
    let backend = demo().await;
    let filter = |service: SocketAddr, more: &str| {
        format!(
            "{{ ext_auth: {{ url: \"http://{service}/check\", send_headers: [x-token], take_headers: [x-user]{more} }} }}"
        )
    };
    let passing =
        Raw::answering(b"HTTP/1.1 200 OK\r\nx-user: ann\r\ncontent-length: 0\r\n\r\n").await;
    let tidegate = behind(backend.address, &filter(passing.address, "")).await;
    let headers = [("x-token", "t1"), ("x-user", "root"), ("x-other", "o")];
    let reply = ask(&tidegate, "/headers?a=b", &headers).await;
    assert_eq!(saw(&reply, "x-user").as_deref(), Some("ann"));
    let question = passing.seen()[0].to_lowercase();
    assert!(
        question.starts_with("get /check http/1.1\r\n"),
        "{question}"
    );
    for line in [
        "x-token: t1\r\n",
        "x-forwarded-method: get\r\n",
        "x-forwarded-uri: /headers?a=b\r\n",
        "x-forwarded-host: test.example\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
    ] {
        assert!(question.contains(line), "{line} is not in {question}");
    }
    assert!(!question.contains("x-other"), "{question}");

    let refusing = Raw::answering(
        b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 6\r\n\r\nlog in",
    )
    .await;
    let tidegate = behind(backend.address, &filter(refusing.address, "")).await;
    let before = backend.requests();
    let reply = ask(&tidegate, "/headers", &[]).await;
    let told = (reply.status, reply.header("location"), reply.text());
    assert_eq!(told, (302, "/login", "log in".to_owned()));

    // A service that never answers.
    let silent = Raw::start(|stream, _, _| async move {
        tokio::time::sleep(Duration::from_secs(600)).await;
        drop(stream);
    })
    .await;
    let closed = filter(silent.address, ", timeout: 50ms");
    let tidegate = behind(backend.address, &closed).await;
    let reply = ask(&tidegate, "/headers", &[]).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "1"));
    let line = logged(&tidegate, "/headers").await;
    assert_eq!(line["reason"], "ext_auth: no answer");
    assert_eq!(backend.requests(), before);
    let events = "tidegate_filter_events_total{filter=\"ext_auth\",event=\"failed\"}";
    assert_eq!(tidegate.metric(events).await, 1.0);

    let open = filter(silent.address, ", timeout: 50ms, on_failure: open");
    let tidegate = behind(backend.address, &open).await;
    let reply = ask(&tidegate, "/headers", &[("x-user", "root")]).await;
    assert_eq!(saw(&reply, "x-user"), None, "a forged answer");
    let line = logged(&tidegate, "/headers").await;
    assert_eq!(line["attributes"]["ext_auth.failed_open"], true);
}

#[tokio::test]
async fn ip_access_on_a_route() {
    let backend = demo().await;
    let filters = "{ ip_access: { allow: [127.0.0.0/8, 203.0.113.0/24], deny: [203.0.113.7/32] } }";
    let trusting = format!(
        "trusted_proxies: [127.0.0.0/8]\n{}",
        config(&[backend.address], filters).trim_start()
    );
    let tidegate = Tidegate::start(&trusting).await;
    for (client, status) in [
        ("203.0.113.1", 200),
        ("203.0.113.7", 403),
        ("198.51.100.1", 403),
    ] {
        let reply = ask(&tidegate, "/headers", &[("x-forwarded-for", client)]).await;
        assert_eq!(reply.status, status, "{client}");
    }
    let line = tidegate
        .access
        .wait("the refused one", |l| l["client_ip"] == "203.0.113.7")
        .await;
    assert_eq!(line["reason"], "ip_access: address refused");
    assert_eq!(backend.requests(), 1);
}
