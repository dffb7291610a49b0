//! `tidegate doctor` as an operator and as a script see it, and the kernel's counters in `/metrics`.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Tidegate, run};
use crate::setup::{demo, one_pool};

const CONFIG: &str = r#"
version: 1
listeners: [{ name: a, listen: "127.0.0.1:8080", limits: { max_connections: 10000 } }]
routes: [{ match: {}, pool: web }]
pools: { web: { backends: ["10.0.0.1:80"] } }
"#;

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Runs it on a made machine with this limit of open files; gives the exit code and the JSON.
async fn doctor(root: &Path, nofile: u64) -> (i32, Value) {
    put(root, "tidegate.yaml", CONFIG);
    let limits = format!("Max open files {nofile} {nofile} files\n");
    put(root, "proc/42/limits", &limits);
    put(root, "proc/sys/net/ipv4/tcp_syncookies", "0\n");
    let config = root.join("tidegate.yaml");
    let (root, config) = (root.to_str().unwrap(), config.to_str().unwrap());
    let args = [
        "doctor", "-c", config, "--json", "--root", root, "--pid", "42",
    ];
    let output = run(&args).await;
    let json = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code().unwrap(), json)
}

fn status(report: &Value, check: &str) -> String {
    let findings = report["findings"].as_array().unwrap().iter();
    let found = findings.into_iter().find(|f| f["check"] == check);
    found.unwrap()["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn warnings_and_what_is_hidden_are_exit_code_0_and_a_break_is_2() {
    let root = tempfile::tempdir().unwrap();
    let (code, report) = doctor(root.path(), 4096).await;
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(status(&report, "tcp_syncookies"), "warn");
    assert_eq!(status(&report, "nofile"), "warn");
    assert_eq!(status(&report, "listen_backlog"), "unknown");
    assert_eq!(report["demand"]["descriptors"], 20_064);
    let (code, report) = doctor(root.path(), 64).await;
    assert_eq!((code, status(&report, "nofile").as_str()), (2, "fail"));
}

#[tokio::test]
async fn it_runs_here_and_a_bad_configuration_is_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "good.yaml", CONFIG);
    put(dir.path(), "bad.yaml", "version: 2\n");
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let output = run(&["doctor", "-c", &path("good.yaml")]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("nofile: soft "), "{text}");
    let output = run(&["doctor", "-c", &path("bad.yaml")]).await;
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn the_kernels_counters_are_metrics() {
    let backend = demo().await;
    let tidegate = Tidegate::start(&one_pool(&[backend.address], "")).await;
    let reply = crate::client::get_admin(tidegate.address("admin"), "/metrics").await;
    for name in ["listen_overflows", "listen_drops", "syncookies_sent"] {
        let series = format!("\ntidegate_kernel_{name}_total ");
        assert!(reply.text().contains(&series), "{series}");
    }
}
