//! The end of the process: nothing that runs is cut, and it ends the moment nothing is left.

use tidegate::demo_backends::DemoBackend;

use crate::client::{Http1, Http2, get};
use crate::harness::{Tidegate, eventually};
use crate::setup::demo;

fn config(backend: &DemoBackend, drain: &str) -> String {
    format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
drain: {drain}
listeners: [{{ name: public, listen: "127.0.0.1:0", health_path: /lb }}]
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools: {{ web: {{ backends: ["{}"] }} }}
"#,
        backend.address
    )
}

#[tokio::test]
async fn sigterm_waits_for_requests_and_for_nothing_else() {
    let backend = demo().await;
    let drain = "{ delay: 500ms, timeout: 60s }";
    let mut tidegate = Tidegate::start(&config(&backend, drain)).await;
    let public = tidegate.address("public");
    assert_eq!(get(tidegate.address("admin"), "/readyz").await.status, 200);
    let mut idle = Http1::connect(public).await.unwrap();
    idle.get("/healthz").await;
    let running = tokio::spawn(async move { get(public, "/slow?ms=1500").await });
    let mut h2 = Http2::connect(public).await;
    let mut stream = h2.clone();
    let streaming = tokio::spawn(async move { stream.get("/slow?ms=1500").await });
    eventually("two in flight", || async {
        tidegate.backend("web", &backend.address.to_string()).await["in_flight"] == 2
    })
    .await;
    tidegate.signal("TERM");
    let admin = tidegate.address("admin");
    eventually("not ready", || async {
        get(admin, "/readyz").await.status == 503
    })
    .await;
    assert_eq!(get(public, "/lb").await.status, 503);
    assert_eq!(get(admin, "/healthz").await.status, 200);
    // Still accepting, for the balancer in front that has not noticed yet.
    assert_eq!(get(public, "/healthz").await.status, 200);
    eventually("no new connections", || async {
        Http1::connect(public).await.is_err()
    })
    .await;
    let reply = running.await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(streaming.await.unwrap().status, 200);
    assert!(
        h2.send(crate::client::request(http::Method::GET, "/"))
            .await
            .is_err()
    );
    // Well before drain.timeout, which the harness' patience is shorter than.
    assert_eq!(tidegate.exit_code().await, Some(0));
    tidegate
        .access
        .wait("the last log line", |l| {
            l["path"] == "/slow" && l["status"] == 200
        })
        .await;
}

#[tokio::test]
async fn a_response_during_the_drain_says_close() {
    let backend = demo().await;
    let mut tidegate = Tidegate::start(&config(&backend, "{ delay: 0s, timeout: 60s }")).await;
    let public = tidegate.address("public");
    let mut connection = Http1::connect(public).await.unwrap();
    let running = tokio::spawn(async move { connection.get("/slow?ms=1000").await });
    eventually("in flight", || async {
        tidegate.backend("web", &backend.address.to_string()).await["in_flight"] == 1
    })
    .await;
    tidegate.signal("TERM");
    assert_eq!(running.await.unwrap().header("connection"), "close");
    assert_eq!(tidegate.exit_code().await, Some(0));
}

#[tokio::test]
async fn what_outlasts_the_timeout_is_cut_and_a_second_signal_does_not_wait() {
    for second in [false, true] {
        let backend = demo().await;
        let drain = if second {
            "{ delay: 50s, timeout: 60s }"
        } else {
            "{ delay: 0s, timeout: 500ms }"
        };
        let mut tidegate = Tidegate::start(&config(&backend, drain)).await;
        let public = tidegate.address("public");
        let running = tokio::spawn(async move {
            let mut connection = Http1::connect(public).await.unwrap();
            connection
                .send(crate::client::request(http::Method::GET, "/slow?ms=60000"))
                .await
                .is_err()
        });
        eventually("in flight", || async {
            tidegate.backend("web", &backend.address.to_string()).await["in_flight"] == 1
        })
        .await;
        tidegate.signal("TERM");
        if second {
            tidegate
                .events
                .wait("the first signal", |l| {
                    l["message"].as_str().is_some_and(|m| m.contains("SIGTERM"))
                })
                .await;
            tidegate.signal("TERM");
        }
        assert_eq!(tidegate.exit_code().await, Some(3));
        assert!(running.await.unwrap());
    }
}
