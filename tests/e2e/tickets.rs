//! Session tickets: what one instance began, another resumes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::Tidegate;
use crate::pki::{Ca, Leaf, folder, s_client};

const SECRET: &str = "cluster: { secret: one-secret-of-the-cluster-0123456789abc }\n";
const OTHER: &str = "cluster: { secret: another-secret-of-others-9876543210xyz }\n";

fn config(cluster: &str, tls: &str) -> String {
    let certificates = "      certificates: [{ cert: a.crt, key: a.key }]\n";
    crate::tls::config(&format!("{certificates}{tls}")) + cluster
}

/// An instance with a certificate of its own.
async fn instance(ca: &Ca, text: &str) -> Tidegate {
    let dir = tempfile::tempdir().unwrap();
    issue(ca, dir.path());
    Tidegate::start_in(dir, text).await
}

fn issue(ca: &Ca, dir: &Path) {
    let leaf = Leaf {
        names: &["a.example"],
        ..Leaf::default()
    };
    ca.issue(dir, "a", &leaf);
}

/// A session that is kept in `file`.
async fn begin(address: SocketAddr, file: &str, version: &str) {
    let said = s_client(address, &[version, "-sess_out", file]).await;
    assert!(said.contains("\nNew, TLSv1."), "{said}");
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
}

/// Whether the session in `file` is resumed; the request is answered either way.
async fn resumes(address: SocketAddr, file: &str, version: &str) -> bool {
    let said = s_client(address, &[version, "-sess_in", file]).await;
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
    said.contains("\nReused, TLSv1.")
}

#[tokio::test]
async fn a_ticket_of_one_instance_resumes_on_another() {
    let (dir, ca) = folder();
    let (a, b) = (
        instance(&ca, &config(SECRET, "")).await,
        instance(&ca, &config(SECRET, "")).await,
    );
    let stranger = instance(&ca, &config(OTHER, "")).await;
    let alone = instance(&ca, &config("", "")).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let file = dir.path().join("session");
        let file = file.to_str().unwrap();
        begin(a.address("public"), file, version).await;
        assert!(
            resumes(a.address("public"), file, version).await,
            "{version}"
        );
        assert!(
            resumes(b.address("public"), file, version).await,
            "{version}"
        );
        assert!(
            !resumes(stranger.address("public"), file, version).await,
            "{version}"
        );
        assert!(
            !resumes(alone.address("public"), file, version).await,
            "{version}"
        );
    }
    let resumed = "tidegate_tls_handshakes_total{listener=\"public\",version=\"TLSv1.3\",resumed=\"true\",early_data=\"false\",key_type=\"none\"}";
    b.wait_metric(resumed, 1.0).await;
    assert_eq!(stranger.metric(resumed).await, 0.0);
    let line = b.access.wait("resumed", |l| l["tls_resumed"] == true).await;
    assert_eq!(line["tls_key"], "none");
}

#[tokio::test]
async fn sessions_outlive_new_certificates_and_new_secrets() {
    let (dir, ca) = folder();
    let mut tidegate = instance(&ca, &config("", "")).await;
    let address = tidegate.address("public");
    let file = dir.path().join("session");
    let file = file.to_str().unwrap();
    begin(address, file, "-tls1_3").await;
    let before = tidegate.reloads();
    let (cert, key) = ca.made(&Leaf {
        names: &["a.example"],
        ..Leaf::default()
    });
    // The key first: it belongs to no certificate for a moment, and that is refused.
    crate::harness::write(&tidegate.dir.path().join("a.key"), &key);
    assert_eq!(tidegate.after_reload(before).await["result"], "refused");
    crate::harness::write(&tidegate.dir.path().join("a.crt"), &cert);
    assert_eq!(tidegate.after_reload(before + 1).await["result"], "taken");
    assert!(resumes(address, file, "-tls1_3").await, "a new certificate");
    assert_eq!(
        tidegate.reload(&config(SECRET, "")).await["result"],
        "taken"
    );
    begin(address, file, "-tls1_3").await;
    let both = "cluster: { secret: [another-secret-of-others-9876543210xyz, one-secret-of-the-cluster-0123456789abc] }\n";
    assert_eq!(tidegate.reload(&config(both, "")).await["result"], "taken");
    assert!(
        resumes(address, file, "-tls1_3").await,
        "the old secret still opens"
    );
    assert_eq!(tidegate.reload(&config(OTHER, "")).await["result"], "taken");
    assert!(
        !resumes(address, file, "-tls1_3").await,
        "the old secret is gone"
    );
}

#[tokio::test]
async fn sessions_go_on_over_the_end_of_an_epoch() {
    let (dir, ca) = folder();
    let every = |n: u32| {
        format!(
            "cluster: {{ secret: one-secret-of-the-cluster-0123456789abc, key_rotation: {n}s }}\n"
        )
    };
    let (a, b) = (
        instance(&ca, &config(&every(20), "")).await,
        instance(&ca, &config(&every(20), "")).await,
    );
    let file = dir.path().join("session");
    let file = file.to_str().unwrap();
    begin(a.address("public"), file, "-tls1_3").await;
    let began = epoch(20);
    while epoch(20) == began {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(resumes(b.address("public"), file, "-tls1_3").await);
    assert!(resumes(a.address("public"), file, "-tls1_3").await);
}

fn epoch(seconds: u64) -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / seconds
}

#[tokio::test]
async fn key_files_are_shared_and_rotated_by_hand() {
    let (dir, ca) = folder();
    let text = config("", "      ticket_keys: [new.key, old.key]\n");
    let start = async |new: u8, old: u8| {
        let dir = tempfile::tempdir().unwrap();
        issue(&ca, dir.path());
        std::fs::write(dir.path().join("new.key"), [new; 48]).unwrap();
        std::fs::write(dir.path().join("old.key"), [old; 48]).unwrap();
        Tidegate::start_in(dir, &text).await
    };
    let (mut a, b) = (start(2, 1).await, start(3, 2).await);
    let file = dir.path().join("session");
    let file = file.to_str().unwrap();
    begin(a.address("public"), file, "-tls1_3").await;
    assert!(
        resumes(b.address("public"), file, "-tls1_3").await,
        "its old key opens"
    );
    begin(b.address("public"), file, "-tls1_3").await;
    assert!(
        !resumes(a.address("public"), file, "-tls1_3").await,
        "it has not got the new key"
    );
    let before = a.reloads();
    std::fs::write(a.dir.path().join("new.key"), [3; 48]).unwrap();
    assert_eq!(a.after_reload(before).await["result"], "taken");
    assert!(resumes(a.address("public"), file, "-tls1_3").await);
}

#[tokio::test]
async fn tickets_can_be_off() {
    let (dir, ca) = folder();
    let tidegate = instance(&ca, &config(SECRET, "      session_tickets: false\n")).await;
    let file = dir.path().join("session");
    for version in ["-tls1_2", "-tls1_3"] {
        let args = [version, "-sess_out", file.to_str().unwrap()];
        let said = s_client(tidegate.address("public"), &args).await;
        assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
        assert!(!said.contains("TLS session ticket:"), "{said}");
    }
}
