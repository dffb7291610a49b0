use super::*;
use crate::outbound::loopback::Loopback;
use crate::testing::{Call, Route, refusal};
use serde_json::{Value, json};

struct Running {
    route: Route,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn new(config: Value) -> Running {
        let route = Route::of::<Mirror>(config);
        let task = route.filters().tasks().pop().unwrap();
        Running {
            route,
            task: tokio::spawn(task.run),
        }
    }

    fn count(&self, event: &str) -> u64 {
        let counts = self.route.filters().counts();
        counts.iter().find(|(_, name, _)| *name == event).unwrap().2
    }

    /// Waits until it has counted that many.
    async fn until(&self, event: &str, count: u64) {
        let reached = async {
            while self.count(event) < count {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(5), reached).await;
        reached.unwrap_or_else(|_| panic!("{event}: {:?}", self.route.filters().counts()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_copy_has_target_headers_and_body() {
    let shadow = Loopback::answering("200 OK", "", "");
    let running = Running::new(json!({ "url": shadow.url(""), "methods": ["POST"] }));
    let call = Call::post("/a?b=c", "one ").chunk("two").header("x-a", "1");
    assert_eq!(running.route.send_async(call).await.status(), 200);
    running.until("sent", 1).await;
    let heard = shadow.heard();
    assert!(heard.starts_with("POST /a?b=c HTTP/1.1\r\n"), "{heard}");
    assert!(heard.ends_with("\r\n\r\none two"), "{heard}");
    for line in ["x-a: 1", "host: example.com", "x-mirrored: 1"] {
        assert!(heard.contains(line), "{line} in {heard}");
    }
}

#[tokio::test]
async fn answers_are_compared() {
    for (status, body, event) in [
        ("200 OK", "hello", "same"),
        ("200 OK", "other", "body_differs"),
        ("404 Not Found", "hello", "status_differs"),
    ] {
        let shadow = Loopback::answering(status, "", body);
        let running = Running::new(json!({ "url": shadow.url("/"), "compare": true }));
        assert_eq!(
            running.route.send_async(Call::get("/")).await.text(),
            "hello"
        );
        running.until(event, 1).await;
        assert_eq!(running.count("sent"), 1);
    }
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_copied() {
    let shadow = Loopback::answering("200 OK", "", "");
    let running =
        Running::new(json!({ "url": shadow.url(""), "max_body": 5, "methods": ["GET", "PUT"] }));
    let route = &running.route;
    let _ = route.send_async(Call::post("/post", "x")).await;
    let _ = route
        .send_async(Call::new(Method::PUT, "/large").chunk("123").chunk("456"))
        .await;
    assert_eq!(running.count("too_large"), 1);
    let none = Running::new(json!({ "url": shadow.url(""), "percent": 0 }));
    let _ = none.route.send_async(Call::get("/none")).await;
    let _ = route.send_async(Call::get("/last")).await;
    running.until("sent", 1).await;
    assert!(
        shadow.heard().starts_with("GET /last "),
        "{}",
        shadow.heard()
    );
}

#[tokio::test]
async fn a_service_that_hangs_costs_a_bounded_queue_and_no_time() {
    let shadow = Loopback::silent();
    let running =
        Running::new(json!({ "url": shadow.url(""), "max_in_flight": 2, "timeout": "10s" }));
    for _ in 0..50 {
        assert_eq!(running.route.send_async(Call::get("/")).await.status(), 200);
        tokio::task::yield_now().await;
    }
    // Two under way, one held by the task, two in the queue.
    assert!(
        running.count("dropped") >= 45,
        "{:?}",
        running.route.filters().counts()
    );
}

#[tokio::test]
async fn one_that_is_gone_is_counted() {
    let running = Running::new(json!({ "url": "http://127.0.0.1:1" }));
    assert_eq!(running.route.send_async(Call::get("/")).await.status(), 200);
    running.until("failed", 1).await;
}

#[test]
fn bad_configs() {
    assert_eq!(
        refusal::<Mirror>(&json!({ "url": "shadow:80" })).path,
        "url"
    );
    assert_eq!(
        refusal::<Mirror>(&json!({ "url": "http://shadow/path" })).path,
        "url"
    );
    let large = json!({ "url": "http://shadow", "max_body": "17MiB" });
    assert_eq!(refusal::<Mirror>(&large).path, "max_body");
    let methods = json!({ "url": "http://shadow", "methods": ["G T"] });
    assert_eq!(refusal::<Mirror>(&methods).path, "methods[0]");
}
