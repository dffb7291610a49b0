//! Who gets traffic: probes, weights, in-flight, and what is said when nobody is left.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tidegate::demo_backends::Mode;
use tokio::sync::Semaphore;

use crate::client::{Http2, get};
use crate::harness::{Tidegate, eventually};
use crate::setup::{addresses, demos, one_pool, one_pool_of};

const QUICK: &str = "{ interval: 100ms, timeout: 100ms, fast_interval: 100ms, fall: 3, rise: 2 }";

/// Which backend answered each of `n` requests, by its log line.
async fn shares(tidegate: &Tidegate, n: usize) -> HashMap<String, usize> {
    let before = tidegate.access.all().len();
    for _ in 0..n {
        assert_eq!(get(tidegate.address("public"), "/").await.status, 200);
    }
    eventually("the log lines", || async {
        tidegate.access.all().len() >= before + n
    })
    .await;
    let mut shares = HashMap::new();
    for line in &tidegate.access.all()[before..] {
        *shares
            .entry(line["backend"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    shares
}

#[tokio::test]
async fn round_robin_keeps_to_the_weights() {
    let all = demos(2).await;
    let weighted = format!(
        "{{ address: \"{}\", weight: 3 }}, \"{}\"",
        all[0].address, all[1].address
    );
    let pool = "    policy: round_robin\n";
    let tidegate = Tidegate::start(&one_pool_of(&weighted, pool)).await;
    let shares = shares(&tidegate, 40).await;
    assert_eq!(shares[&all[0].address.to_string()], 30);
    assert_eq!(shares[&all[1].address.to_string()], 10);
}

#[tokio::test]
async fn a_dead_backend_is_out_by_probes_alone_and_comes_back() {
    let all = demos(4).await;
    let pool = format!(
        "    policy: round_robin\n    health_check: {QUICK}\n    outlier_detection: {{ mode: off }}\n"
    );
    let tidegate = Tidegate::start(&one_pool(&addresses(&all), &pool)).await;
    assert_eq!(shares(&tidegate, 40).await.len(), 4);
    let victim = all[0].address.to_string();
    all[0].set_mode(Mode::Dead).await.unwrap();
    tidegate.wait_state("web", &victim, "down").await;
    let after = shares(&tidegate, 40).await;
    assert!(!after.contains_key(&victim), "{after:?}");
    let told = tidegate.backend("web", &victim).await;
    assert_eq!(told["state"], "down");
    assert!(
        told["reason"].as_str().is_some_and(|r| !r.is_empty()),
        "{told}"
    );
    assert_eq!(
        tidegate
            .metric(&format!("tidegate_backend_up{{backend=\"{victim}\""))
            .await,
        0.0
    );
    all[0].set_mode(Mode::Healthy).await.unwrap();
    tidegate
        .events
        .wait("back from down", |l| {
            l["backend"] == victim && l["from"] == "down"
        })
        .await;
    tidegate.wait_in_rotation("web", &victim).await;
    assert!(shares(&tidegate, 40).await.contains_key(&victim));
}

#[tokio::test]
async fn with_no_backend_left_the_answer_is_503_with_a_reason() {
    let all = demos(1).await;
    let pool = format!("    health_check: {QUICK}\n");
    let tidegate = Tidegate::start(&one_pool(&addresses(&all), &pool)).await;
    all[0].set_mode(Mode::Dead).await.unwrap();
    tidegate
        .wait_state("web", &all[0].address.to_string(), "down")
        .await;
    let reply = get(tidegate.address("public"), "/").await;
    assert_eq!(reply.status, 503);
    let line = tidegate.access.wait("503", |l| l["status"] == 503).await;
    assert_eq!(line["flags"], "UH");
    assert!(
        line["reason"].as_str().is_some_and(|r| !r.is_empty()),
        "{line}"
    );
}

#[tokio::test]
async fn least_request_counts_streams_not_connections() {
    let gate = Arc::new(Semaphore::new(0));
    let mut backends = Vec::new();
    for _ in 0..4 {
        backends.push(holding(gate.clone()).await);
    }
    let pool = "    policy: least_request\n    upstream: { protocol: http2 }\n";
    let tidegate = Tidegate::start(&one_pool(&backends, pool)).await;
    let h2 = Http2::connect(tidegate.address("public")).await;
    let mut requests = Vec::new();
    for _ in 0..100 {
        let mut h2 = h2.clone();
        requests.push(tokio::spawn(async move { h2.get("/").await.status }));
    }
    eventually("100 in flight", || async {
        let pools = tidegate.status().await["pools"].clone();
        let counts: Vec<u64> = pools[0]["backends"]
            .as_array()
            .unwrap()
            .iter()
            .map(|b| b["in_flight"].as_u64().unwrap())
            .collect();
        counts.iter().sum::<u64>() == 100 && counts.iter().all(|c| (22..=28).contains(c))
    })
    .await;
    gate.add_permits(100);
    for request in requests {
        assert_eq!(request.await.unwrap(), 200);
    }
}

/// An HTTP/2 backend that answers when it is let.
async fn holding(gate: Arc<Semaphore>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let gate = gate.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let gate = gate.clone();
                    tokio::spawn(async move {
                        gate.acquire().await.unwrap().forget();
                        respond
                            .send_response(http::Response::new(()), true)
                            .unwrap();
                    });
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn in_flight_is_given_back_when_clients_go_away() {
    use tokio::io::AsyncWriteExt;
    let all = demos(1).await;
    let tidegate = Tidegate::start(&one_pool(&addresses(&all), "")).await;
    let id = all[0].address.to_string();
    let in_flight = || async {
        tidegate.backend("web", &id).await["in_flight"]
            .as_u64()
            .unwrap()
    };
    let mut h1 = tokio::net::TcpStream::connect(tidegate.address("public"))
        .await
        .unwrap();
    h1.write_all(b"GET /slow?ms=60000 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut h2 = Http2::connect(tidegate.address("public")).await;
    let stream = tokio::spawn(async move { h2.get("/slow?ms=60000").await });
    eventually("two in flight", || async { in_flight().await == 2 }).await;
    drop(h1);
    stream.abort();
    eventually("none in flight", || async { in_flight().await == 0 }).await;
    tidegate
        .access
        .wait("499", |l| l["status"] == 499 && l["flags"] == "DC")
        .await;
}
