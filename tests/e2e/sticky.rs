//! Sticky sessions: the client keeps its backend, whichever instance it meets, and none drowns in clients.

use std::net::SocketAddr;

use http::Method;
use tidegate::demo_backends::Mode;

use crate::backend::Raw;
use crate::client::{Http1, Reply, request};
use crate::harness::{PATIENCE, Tidegate};
use crate::setup::{addresses, demos, one_pool};

const SECRET: &str = "a secret of the cluster, which has more than 32 bytes";

fn config(backends: &[SocketAddr], secret: &str, sticky: &str) -> String {
    let pool = format!(
        "    policy: round_robin
    health_check: {{ interval: 100ms, timeout: 100ms, fast_interval: 100ms }}
    outlier_detection: {{ mode: off }}
    sticky: {sticky}
"
    );
    let cluster = format!("cluster: {{ secret: \"{secret}\" }}\n");
    one_pool(backends, &pool) + &cluster
}

async fn ask(tidegate: &Tidegate, cookie: &str) -> Reply {
    let mut asked = request(Method::GET, "/");
    if !cookie.is_empty() {
        asked
            .headers_mut()
            .insert("cookie", cookie.parse().unwrap());
    }
    let mut connection = Http1::connect(tidegate.address("public")).await.unwrap();
    connection.send(asked).await.unwrap()
}

/// `name=value` of a Set-Cookie.
fn cookie_of(reply: &Reply) -> String {
    reply
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

fn backend_of(reply: &Reply) -> String {
    reply.header("x-backend").to_owned()
}

#[tokio::test]
async fn a_client_keeps_its_backend_and_the_backend_never_sees_the_cookie() {
    let backends = demos(4).await;
    let tidegate =
        Tidegate::start(&config(&addresses(&backends), SECRET, "{ cookie: srv_id }")).await;
    let first = ask(&tidegate, "theme=dark").await;
    let set = first.header("set-cookie");
    assert!(set.starts_with("srv_id="), "{set}");
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="] {
        assert!(set.contains(attribute), "{attribute} is not in {set}");
    }
    assert!(!set.contains("Secure"), "{set}");
    assert!(first.header("cache-control").contains("private"));
    let cookie = cookie_of(&first);
    for _ in 0..10 {
        let again = ask(&tidegate, &format!("theme=dark; {cookie}")).await;
        assert_eq!(backend_of(&again), backend_of(&first));
        assert!(
            again.headers.get("set-cookie").is_none(),
            "not set again and again"
        );
    }
    tidegate
        .wait_metric("tidegate_sticky_total{pool=\"web\",result=\"hit\"", 10.0)
        .await;
    tidegate
        .wait_metric("tidegate_sticky_total{pool=\"web\",result=\"new\"", 1.0)
        .await;
    assert!(tidegate.status().await["pools"][0]["sticky"]["skew_ratio"].is_number());
    tidegate
        .access
        .wait("the log says so", |l| l["sticky"] == "hit")
        .await;
    let raw = Raw::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let pool = config(&[raw.address], SECRET, "{ cookie: srv_id }").replace("health_check:", "# ");
    let tidegate = Tidegate::start(&pool).await;
    ask(&tidegate, &format!("a=1; {cookie}; b=2")).await;
    let seen = raw.seen()[0].to_lowercase();
    assert!(
        seen.contains("cookie: a=1; b=2\r\n") && !seen.contains("srv_id"),
        "{seen}"
    );
}

#[tokio::test]
async fn two_instances_honour_each_others_cookies() {
    let backends = demos(4).await;
    let config = config(&addresses(&backends), SECRET, "{ cookie: srv_id }");
    let one = Tidegate::start(&config).await;
    let two = Tidegate::start(&config).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let reply = ask(&one, "").await;
        clients.push((cookie_of(&reply), backend_of(&reply)));
    }
    // The death of the instance that wrote them moves nobody.
    drop(one);
    for (cookie, backend) in &clients {
        let reply = ask(&two, cookie).await;
        assert_eq!(&backend_of(&reply), backend);
        assert!(reply.headers.get("set-cookie").is_none());
    }
    two.wait_metric("tidegate_sticky_total{pool=\"web\",result=\"hit\"", 12.0)
        .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_cookie_makes_a_new_client_and_no_error() {
    let backends = demos(2).await;
    let addresses = addresses(&backends);
    let tidegate = Tidegate::start(&config(&addresses, SECRET, "{ cookie: srv_id }")).await;
    let good = cookie_of(&ask(&tidegate, "").await);
    let mut flipped = good.clone().into_bytes();
    let last = flipped.len() - 10;
    flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    let stranger = Tidegate::start(&config(
        &addresses,
        "another secret, of another cluster than ours",
        "{ cookie: srv_id }",
    ))
    .await;
    let foreign = cookie_of(&ask(&stranger, "").await);
    for (cookie, result) in [
        (flipped, "tampered"),
        (foreign, "unknown_key"),
        ("srv_id=garbage".to_owned(), "malformed"),
        (format!("srv_id={}", "A".repeat(5000)), "oversized"),
    ] {
        let reply = ask(&tidegate, &cookie).await;
        assert_eq!(reply.status, 200, "{result}");
        assert!(
            reply.header("set-cookie").starts_with("srv_id="),
            "{result}"
        );
        let counted = format!("tidegate_sticky_total{{pool=\"web\",result=\"{result}\"");
        tidegate.wait_metric(&counted, 1.0).await;
    }
}

#[tokio::test]
async fn a_backend_that_is_down_loses_its_clients_unless_strict() {
    for (sticky, status) in [
        ("{ cookie: srv_id }", 200),
        ("{ cookie: srv_id, strict: true, bounded_load: off }", 503),
    ] {
        let backends = demos(2).await;
        let tidegate = Tidegate::start(&config(&addresses(&backends), SECRET, sticky)).await;
        let first = ask(&tidegate, "").await;
        let home = backends
            .iter()
            .find(|b| b.name == backend_of(&first) || b.address.to_string() == backend_of(&first));
        let home = home.expect("the backend says its name");
        home.set_mode(Mode::Dead).await.unwrap();
        tidegate
            .wait_state("web", &home.address.to_string(), "down")
            .await;
        let reply = ask(&tidegate, &cookie_of(&first)).await;
        assert_eq!(reply.status, status, "{sticky}");
        if status == 200 {
            assert_ne!(backend_of(&reply), backend_of(&first));
            assert!(reply.header("set-cookie").starts_with("srv_id="));
        } else {
            assert_eq!(reply.header("retry-after"), "5");
        }
    }
}

#[tokio::test]
async fn a_header_carries_it_for_clients_without_cookies() {
    let backends = demos(3).await;
    let tidegate = Tidegate::start(&config(
        &addresses(&backends),
        SECRET,
        "{ header: x-session }",
    ))
    .await;
    let first = ask(&tidegate, "").await;
    let session = first.headers["x-session"].clone();
    for _ in 0..6 {
        let mut asked = request(Method::GET, "/");
        asked.headers_mut().insert("x-session", session.clone());
        let mut connection = Http1::connect(tidegate.address("public")).await.unwrap();
        assert_eq!(
            backend_of(&connection.send(asked).await.unwrap()),
            backend_of(&first)
        );
    }
}

#[tokio::test]
async fn sessions_that_all_sit_on_one_backend_spread_out() {
    let backends = demos(4).await;
    let all = addresses(&backends);
    // While only one backend is there, everybody gets it.
    let mut tidegate = Tidegate::start(&config(&all[..1], SECRET, "{ cookie: srv_id }")).await;
    let mut cookies = Vec::new();
    for _ in 0..40 {
        cookies.push(cookie_of(&ask(&tidegate, "").await));
    }
    let outcome = tidegate
        .reload(&config(&all, SECRET, "{ cookie: srv_id }"))
        .await;
    assert_eq!(outcome["result"], "taken", "{outcome}");
    for backend in &all {
        tidegate.wait_in_rotation("web", &backend.to_string()).await;
    }
    let spread = async {
        loop {
            let mut counts = std::collections::HashMap::new();
            for cookie in &mut cookies {
                let reply = ask(&tidegate, cookie).await;
                *counts.entry(backend_of(&reply)).or_insert(0) += 1;
                if reply.headers.contains_key("set-cookie") {
                    *cookie = cookie_of(&reply);
                }
            }
            if counts.len() == 4 && counts.values().all(|n| *n <= 13) {
                return;
            }
        }
    };
    let spread = tokio::time::timeout(PATIENCE, spread).await;
    assert!(spread.is_ok(), "somebody stays far above the mean");
    let rehomed = "tidegate_sticky_total{pool=\"web\",result=\"rehomed\"";
    tidegate.wait_metric(rehomed, 20.0).await;
}

#[tokio::test]
async fn one_cookie_holds_pool_and_backend_in_a_split() {
    let backends = demos(4).await;
    let tidegate = Tidegate::start(&format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
cluster: {{ secret: "{SECRET}" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes:
  - match: {{ path_prefix: / }}
    split: [{{ pool: stable, weight: 1 }}, {{ pool: canary, weight: 1 }}]
    split_by: {{ header: x-user }}
pools:
  stable: {{ backends: ["{}", "{}"], sticky: {{ cookie: srv_id, bounded_load: off }} }}
  canary: {{ backends: ["{}", "{}"], sticky: {{ cookie: srv_id, bounded_load: off }} }}
"#,
        backends[0].address, backends[1].address, backends[2].address, backends[3].address
    ))
    .await;
    let address = tidegate.address("public");
    let ask = |user: String, cookie: String| async move {
        let mut asked = request(Method::GET, "/");
        asked.headers_mut().insert("x-user", user.parse().unwrap());
        if !cookie.is_empty() {
            asked
                .headers_mut()
                .insert("cookie", cookie.parse().unwrap());
        }
        let mut connection = Http1::connect(address).await.unwrap();
        connection.send(asked).await.unwrap()
    };
    for user in 0..10 {
        let first = ask(format!("user-{user}"), String::new()).await;
        for other in 0..5 {
            // The cookie comes before what the split would say of another user.
            let again = ask(format!("other-{other}"), cookie_of(&first)).await;
            assert_eq!(backend_of(&again), backend_of(&first));
        }
    }
}

#[tokio::test]
async fn a_cookie_may_be_partitioned_and_is_secure_then() {
    let backends = demos(2).await;
    let sticky = "{ cookie: srv_id, same_site: none, partitioned: true }";
    let tidegate = Tidegate::start(&config(&addresses(&backends), SECRET, sticky)).await;
    let reply = ask(&tidegate, "").await;
    let set = reply.header("set-cookie");
    for attribute in ["; SameSite=None", "; Partitioned", "; Secure"] {
        assert!(set.contains(attribute), "{attribute} is not in {set}");
    }
}
