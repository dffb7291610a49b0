//! Configuration: checked as a whole, taken as a whole, without touching a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::client::{Http1, Http2, get};
use crate::harness::{Tidegate, run, write};

fn config(body: &str, more: &str) -> String {
    format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners:
  - {{ name: public, listen: "127.0.0.1:0" }}
{more}
routes:
  - match: {{ path_prefix: / }}
    respond: {{ status: 200, body: "{body}" }}
"#
    )
}

#[tokio::test]
async fn a_new_file_is_taken_and_open_connections_stay() {
    let mut tidegate = Tidegate::start(&config("one", "")).await;
    let mut h1 = Http1::connect(tidegate.address("public")).await.unwrap();
    let mut h2 = Http2::connect(tidegate.address("public")).await;
    assert_eq!(h1.get("/").await.text(), "one");
    assert_eq!(h2.get("/").await.text(), "one");
    let outcome = tidegate.reload(&config("two", "")).await;
    assert_eq!(outcome["result"], "taken", "{outcome}");
    assert_eq!(h1.get("/").await.text(), "two");
    assert_eq!(h2.get("/").await.text(), "two");
}

#[tokio::test]
async fn a_bad_file_is_refused_whole_and_the_old_one_serves_on() {
    let mut tidegate = Tidegate::start(&config("one", "")).await;
    let bad = config("two", "").replace("respond", "respnd");
    let outcome = tidegate.reload(&bad).await;
    assert_eq!(outcome["result"], "refused", "{outcome}");
    assert!(outcome.to_string().contains("respnd"), "{outcome}");
    assert_eq!(get(tidegate.address("public"), "/").await.text(), "one");
    assert_eq!(
        tidegate
            .metric("tidegate_config_last_reload_successful")
            .await,
        0.0
    );
    tidegate.reload(&config("three", "")).await;
    assert_eq!(
        tidegate
            .metric("tidegate_config_last_reload_successful")
            .await,
        1.0
    );
    assert_eq!(get(tidegate.address("public"), "/").await.text(), "three");
}

#[tokio::test]
async fn listeners_come_and_go() {
    let mut tidegate = Tidegate::start(&config("one", "")).await;
    let second = "  - { name: second, listen: \"127.0.0.2:0\" }";
    tidegate.reload(&config("two", second)).await;
    let address = tidegate.address("second");
    assert_eq!(get(address, "/").await.text(), "two");
    let mut kept = Http1::connect(tidegate.address("public")).await.unwrap();
    kept.get("/").await;
    tidegate.reload(&config("three", "")).await;
    crate::harness::eventually("the second listener is closed", || async {
        Http1::connect(address).await.is_err()
    })
    .await;
    assert_eq!(kept.get("/").await.text(), "three");
}

#[tokio::test]
async fn sighup_reloads_and_kubernetes_symlinks_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    for (version, body) in [("v1", "one"), ("v2", "two")] {
        std::fs::create_dir(dir.path().join(version)).unwrap();
        write(
            &dir.path().join(version).join("tidegate.yaml"),
            &config(body, ""),
        );
    }
    let mount = dir.path().to_owned();
    let point_to = |version: &str| {
        let new = mount.join("..data_tmp");
        std::os::unix::fs::symlink(version, &new).unwrap();
        std::fs::rename(&new, mount.join("..data")).unwrap();
    };
    point_to("v1");
    std::os::unix::fs::symlink("..data/tidegate.yaml", mount.join("mounted.yaml")).unwrap();
    let path = mount.join("mounted.yaml");
    let mut tidegate = Tidegate::start_at(dir, &path).await;
    assert_eq!(get(tidegate.address("public"), "/").await.text(), "one");
    let before = tidegate.reloads();
    point_to("v2");
    assert_eq!(tidegate.after_reload(before).await["result"], "taken");
    assert_eq!(get(tidegate.address("public"), "/").await.text(), "two");
    let before = tidegate.reloads();
    tidegate.signal("HUP");
    assert_eq!(tidegate.after_reload(before).await["result"], "taken");
}

#[tokio::test]
async fn a_hundred_reloads_under_load_fail_no_request_and_close_no_connection() {
    let mut tidegate = Tidegate::start(&config("0", "")).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for client in 0..4 {
        let (stop, address) = (stop.clone(), tidegate.address("public"));
        clients.push(tokio::spawn(async move {
            let mut sent = 0;
            if client % 2 == 0 {
                let mut connection = Http1::connect(address).await.unwrap();
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(connection.get("/").await.status, 200);
                    sent += 1;
                }
            } else {
                let mut connection = Http2::connect(address).await;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(connection.get("/").await.status, 200);
                    sent += 1;
                }
            }
            sent
        }));
    }
    for round in 1..=100 {
        write(&tidegate.config_path(), &config(&round.to_string(), ""));
        let before = tidegate.reloads();
        tidegate.signal("HUP");
        assert_eq!(tidegate.after_reload(before).await["result"], "taken");
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    assert_eq!(get(tidegate.address("public"), "/").await.text(), "100");
    assert_eq!(
        tidegate
            .metric("tidegate_connections_total{listener=\"public\"")
            .await,
        5.0
    );
}

#[tokio::test]
async fn check_names_every_problem_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.yaml");
    write(
        &path,
        "version: 1\nlisteners:\n  - name: public\n    listen: nowhere\n    limts: {}\nroutes:\n  - match: { path_prefix: / }\n    pool: wbe\npools:\n  web: { backends: [\"127.0.0.1:1\"], policy: least_requests }\n",
    );
    let output = run(&["check", "-c", path.to_str().unwrap()]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    for expected in [
        "bad.yaml:4:13: error: listeners[0].listen: ",
        "bad.yaml:5:5: error: listeners[0].limts: unknown key; did you mean \"limits\"?",
        "did you mean \"least_request\"?",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
    let good = dir.path().join("good.yaml");
    write(&good, &config("fine", ""));
    assert_eq!(
        run(&["check", "-c", good.to_str().unwrap()])
            .await
            .status
            .code(),
        Some(0)
    );
    let output = run(&["run", "-c", path.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(1));
    let schema = run(&["schema"]).await;
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert!(schema["properties"]["listeners"].is_object());
}

#[tokio::test]
async fn the_reference_in_the_repository_is_the_one_of_this_build() {
    let told = run(&["reference"]).await.stdout;
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/reference.md");
    let kept = std::fs::read(kept).unwrap();
    assert!(told == kept, "run: tidegate reference > conf/reference.md");
}
