//! What keeps one bad backend from becoming everybody's trouble: timeouts, retries, ejection, limits, draining.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use tidegate::demo_backends::Mode;
use tokio::io::AsyncWriteExt;

use crate::backend::{Raw, read_head};
use crate::client::{Http2, admin_request, get, request, send, try_send};
use crate::harness::{Tidegate, eventually};
use crate::setup::{demo, one_pool};

/// Sends its head a byte at a time, for ever.
async fn dribbling() -> Raw {
    Raw::start(|mut stream, seen, index| async move {
        read_head(&mut stream, &seen, index).await;
        let head = b"HTTP/1.1 200 OK\r\nx-slow: ";
        for byte in head.iter().chain(std::iter::repeat(&b'a')) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test]
async fn the_total_time_is_a_real_504_even_for_a_head_that_dribbles() {
    let backend = dribbling().await;
    let pool = "    timeouts: { total: 1s }\n    retry: { attempts: 0 }\n";
    let tidegate = Tidegate::start(&one_pool(&[backend.address], pool)).await;
    let reply = get(tidegate.address("public"), "/h1").await;
    assert_eq!(reply.status, 504);
    let line = tidegate.access.wait("504", |l| l["path"] == "/h1").await;
    assert_eq!(
        (&line["flags"], &line["reason"]),
        (&"UT".into(), &"total_timeout".into())
    );
    let mut h2 = Http2::connect(tidegate.address("public")).await;
    // A reset if the stream's own deadline was first.
    let ended = h2.send(request(Method::GET, "/h2")).await;
    assert!(ended.is_err() || ended.is_ok_and(|reply| reply.status == 504));
    eventually("nothing in flight", || async {
        tidegate.backend("web", &backend.address.to_string()).await["in_flight"] == 0
    })
    .await;
}

#[tokio::test]
async fn a_silent_backend_is_a_504_over_http2_too() {
    let backend = demo().await;
    let pool = "    timeouts: { total: 1s }\n    retry: { attempts: 0 }\n";
    let tidegate = Tidegate::start(&one_pool(&[backend.address], pool)).await;
    let mut h2 = Http2::connect(tidegate.address("public")).await;
    assert_eq!(h2.get("/slow?ms=60000").await.status, 504);
}

#[tokio::test]
async fn routes_have_timeouts_and_retries_of_their_own() {
    let backend = demo().await;
    let tidegate = Tidegate::start(&format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes:
  - {{ match: {{ path_prefix: /slow }}, pool: web, timeouts: {{ first_byte: 300ms }}, retry: {{ attempts: 0 }} }}
  - {{ match: {{ path_prefix: / }}, pool: web }}
pools: {{ web: {{ backends: ["{}"] }} }}
"#,
        backend.address
    ))
    .await;
    assert_eq!(
        get(tidegate.address("public"), "/slow?ms=5000")
            .await
            .status,
        504
    );
    assert_eq!(get(tidegate.address("public"), "/").await.status, 200);
}

#[tokio::test]
async fn idempotent_requests_are_retried_elsewhere_and_others_are_not() {
    let bad =
        Raw::answering(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbad!").await;
    let good = demo().await;
    let pool = "    policy: round_robin\n    outlier_detection: { mode: off }\n";
    let tidegate = Tidegate::start(&one_pool(&[bad.address, good.address], pool)).await;
    let address = tidegate.address("public");
    for _ in 0..10 {
        assert_eq!(get(address, "/headers").await.status, 200);
    }
    let mut refused = 0;
    for _ in 0..10 {
        let mut post = request(Method::POST, "/echo");
        *post.body_mut() = Full::new(Bytes::from_static(b"once"));
        let reply = send(address, post).await;
        if reply.status == 503 {
            // The backend's own answer, not one of Tidegate's.
            assert_eq!(reply.text(), "bad!");
            refused += 1;
        }
    }
    assert_eq!(refused, 5);
    let seen = bad.seen();
    assert_eq!(seen.iter().filter(|s| s.starts_with("POST")).count(), 5);
    tidegate
        .wait_metric("tidegate_retries_total{pool=\"web\",reason=\"status\"", 5.0)
        .await;
    let line = tidegate
        .access
        .wait("a retried request", |l| {
            l["attempts"].as_array().is_some_and(|a| a.len() == 2)
        })
        .await;
    assert_eq!(line["attempts"][0]["outcome"], "5xx");
    assert_eq!(line["status"], 200);
}

#[tokio::test]
async fn retries_stay_within_their_budget() {
    let bad =
        Raw::answering(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let worse =
        Raw::answering(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let pool = "    retry: { budget_min: 1, budget_min_per_second: 1, backoff_min: 1ms, backoff_max: 1ms }\n    outlier_detection: { mode: off }\n";
    let tidegate = Tidegate::start(&one_pool(&[bad.address, worse.address], pool)).await;
    for _ in 0..100 {
        assert_eq!(get(tidegate.address("public"), "/").await.status, 503);
    }
    let upstream = bad.seen().len() + worse.seen().len();
    assert!(
        (101..=121).contains(&upstream),
        "{upstream} for 100 requests"
    );
    tidegate
        .wait_metric(
            "tidegate_retries_denied_total{pool=\"web\",reason=\"budget\"",
            1.0,
        )
        .await;
}

#[tokio::test]
async fn three_failures_in_a_row_eject_and_a_bad_deploy_ejects_no_more_than_half() {
    let backends = [demo().await, demo().await, demo().await, demo().await];
    let addresses: Vec<_> = backends.iter().map(|b| b.address).collect();
    let pool = "    policy: round_robin\n    retry: { attempts: 0 }\n";
    let tidegate = Tidegate::start(&one_pool(&addresses, pool)).await;
    for backend in &backends {
        backend.set_mode(Mode::Failing).await.unwrap();
    }
    for _ in 0..60 {
        // The backends' own 500, never a 503 of Tidegate.
        assert_eq!(get(tidegate.address("public"), "/").await.status, 500);
    }
    let pool = tidegate.status().await["pools"][0].clone();
    let states: Vec<_> = pool["backends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["state"].clone())
        .collect();
    assert_eq!(
        states.iter().filter(|s| *s == "ejected").count(),
        2,
        "{states:?}"
    );
    let event = tidegate
        .events
        .wait("an ejection", |l| {
            l["type"] == "backend_state" && l["to"] == "ejected"
        })
        .await;
    assert_eq!(event["reason"], "consecutive_failures");
    assert!(
        event["evidence"].as_str().unwrap().contains("3 failures"),
        "{event}"
    );
    tidegate
        .wait_metric("tidegate_ejections_blocked_total{pool=\"web\"", 1.0)
        .await;
    assert_eq!(
        tidegate
            .metric("tidegate_backend_ejections_total{pool=\"web\"")
            .await,
        2.0
    );
}

#[tokio::test]
async fn limits_queue_for_a_while_and_then_shed() {
    let backend = demo().await;
    let pool = "    limits: { max_in_flight: 1, queue: 1, queue_timeout: 500ms }\n";
    let tidegate = Tidegate::start(&one_pool(&[backend.address], pool)).await;
    let address = tidegate.address("public");
    let running = tokio::spawn(async move { get(address, "/slow?ms=250").await.status });
    eventually("one in flight", || async {
        tidegate.status().await["pools"][0]["in_flight"] == 1
    })
    .await;
    // Waits for the one that runs.
    assert_eq!(get(address, "/queued").await.status, 404);
    assert_eq!(running.await.unwrap(), 200);
    let running = tokio::spawn(async move { get(address, "/slow?ms=2000").await.status });
    eventually("one in flight", || async {
        tidegate.status().await["pools"][0]["in_flight"] == 1
    })
    .await;
    let waiting = tokio::spawn(async move { get(address, "/waits").await });
    eventually("one waits", || async {
        tidegate.status().await["pools"][0]["queued"] == 1
    })
    .await;
    let shed = get(address, "/shed").await;
    assert_eq!((shed.status, shed.header("retry-after")), (503, "1"));
    assert_eq!(waiting.await.unwrap().status, 503);
    assert_eq!(running.await.unwrap(), 200);
    for reason in ["queue_full", "queue_timeout"] {
        let line = tidegate
            .access
            .wait(reason, |l| l["reason"] == reason)
            .await;
        assert_eq!(line["flags"], "UO");
    }
}

#[tokio::test]
async fn a_draining_backend_gets_no_new_requests_and_keeps_its_own() {
    let (one, two) = (demo().await, demo().await);
    let pool = "    policy: round_robin\n    health_check: { interval: 100ms, timeout: 100ms, fast_interval: 100ms }\n";
    let tidegate = Tidegate::start(&one_pool(&[one.address, two.address], pool)).await;
    let address = tidegate.address("public");
    let slow: Vec<_> = (0..2)
        .map(|_| tokio::spawn(async move { get(address, "/slow?ms=1000").await.status }))
        .collect();
    eventually("one in flight on each", || async {
        let pools = tidegate.status().await["pools"].clone();
        pools[0]["backends"]
            .as_array()
            .unwrap()
            .iter()
            .all(|b| b["in_flight"] == 1)
    })
    .await;
    let id = one.address.to_string();
    let admin = tidegate.address("admin");
    let switch = |action: &str| {
        let path = format!("/pools/web/backends/{id}/{action}");
        admin_request(Method::POST, admin, &path)
    };
    assert_eq!(send(admin, switch("drain")).await.status, 200);
    eventually("it has its own", || async { one.requests() == 1 }).await;
    for _ in 0..10 {
        assert_eq!(get(address, "/").await.status, 200);
    }
    assert_eq!(one.requests(), 1);
    for request in slow {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(tidegate.backend("web", &id).await["state"], "draining");
    assert_eq!(send(admin, switch("undrain")).await.status, 200);
    eventually("back", || async {
        get(address, "/").await;
        one.requests() > 1
    })
    .await;
}

#[tokio::test]
async fn a_backend_can_ask_to_be_drained_in_any_response() {
    let leaving =
        Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-tidegate-drain: 1\r\n\r\n")
            .await;
    let staying = demo().await;
    let pool = "    policy: round_robin\n";
    let tidegate = Tidegate::start(&one_pool(&[leaving.address, staying.address], pool)).await;
    for _ in 0..10 {
        let reply = get(tidegate.address("public"), "/").await;
        assert_eq!(reply.status, 200);
        assert!(reply.headers.get("x-tidegate-drain").is_none());
    }
    assert_eq!(leaving.seen().len(), 1);
    tidegate
        .wait_state("web", &leaving.address.to_string(), "draining")
        .await;
}

#[tokio::test]
async fn another_group_takes_over_when_the_first_is_gone() {
    let (near, far) = (demo().await, demo().await);
    let tidegate = Tidegate::start(&format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools:
  web:
    slow_start: 0s
    backends:
      - {{ address: "{}", priority: 0 }}
      - {{ address: "{}", priority: 1 }}
    health_check: {{ interval: 100ms, timeout: 100ms, fast_interval: 100ms }}
    outlier_detection: {{ base_ejection_time: 1s }}
    failover: {{ failback_delay: 1s, failback_ramp: 1s }}
"#,
        near.address, far.address
    ))
    .await;
    let address = tidegate.address("public");
    for _ in 0..10 {
        assert_eq!(get(address, "/").await.status, 200);
    }
    assert_eq!(far.requests(), 0);
    near.set_mode(Mode::Dead).await.unwrap();
    for _ in 0..20 {
        assert_eq!(get(address, "/").await.status, 200);
    }
    assert!(far.requests() >= 20);
    near.set_mode(Mode::Healthy).await.unwrap();
    let before = near.requests();
    eventually("traffic returns", || async {
        get(address, "/").await;
        near.requests() > before
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_breaks_off_its_bodies_is_ejected() {
    let broken = Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbut").await;
    let good = demo().await;
    let pool = "    policy: round_robin\n    outlier_detection: { error_rate: false }\n";
    let tidegate = Tidegate::start(&one_pool(&[broken.address, good.address], pool)).await;
    let id = broken.address.to_string();
    for _ in 0..12 {
        let asked = request(Method::GET, "/");
        let _ = try_send(tidegate.address("public"), asked).await;
    }
    tidegate.wait_state("web", &id, "ejected").await;
    let told = tidegate.backend("web", &id).await;
    assert_eq!(told["reason"], "consecutive_failures", "{told}");
}
