//! Backends that come and go: by DNS, with a real server, and by files.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use http::Method;
use serde_json::Value;
use tidegate::demo_backends::DemoBackend;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::client::{Http1, Http2, get, request, send};
use crate::dns::{Dns, named};
use crate::harness::{Tidegate, eventually, run, write};

/// Backends `b0`, `b1`, ... on addresses of their own and one port, as the members of one name are.
async fn on_one_port(n: usize) -> (Vec<DemoBackend>, u16) {
    'port: loop {
        let first = SocketAddr::from(([127, 0, 1, 1], 0));
        let mut all = vec![DemoBackend::start_named("b0", first).await.unwrap()];
        let port = all[0].address.port();
        for i in 1..n {
            let address = SocketAddr::from(([127, 0, 1, i as u8 + 1], port));
            match DemoBackend::start_named(&format!("b{i}"), address).await {
                Ok(backend) => all.push(backend),
                Err(_) => continue 'port,
            }
        }
        return (all, port);
    }
}

fn hosts(backends: &[DemoBackend]) -> String {
    named("app.test", backends.iter().map(|one| one.address))
}

/// The pool `web` with these lines, and this server for DNS.
fn config(dns: &Dns, pool: &str) -> String {
    config_with(dns, "", pool)
}

fn config_with(dns: &Dns, discovery: &str, pool: &str) -> String {
    format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
discovery: {{ resolvers: ["{}"], {discovery} }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools:
  web:
    slow_start: 0s
{pool}
"#,
        dns.address
    )
}

async fn pool(tidegate: &Tidegate) -> Value {
    let status = tidegate.status().await;
    status["pools"][0].clone()
}

/// Ids of those that are not leaving.
async fn members(tidegate: &Tidegate) -> Vec<String> {
    let pool = pool(tidegate).await;
    let backends = pool["backends"].as_array().unwrap();
    let staying = backends.iter().filter(|one| one.get("leaving").is_none());
    staying
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn wait_members(tidegate: &Tidegate, n: usize) {
    eventually(&format!("{n} members"), || async {
        members(tidegate).await.len() == n
    })
    .await;
}

/// Waits until one answer after now has come, good or not.
async fn wait_failures(tidegate: &Tidegate, kind: &str) {
    let series = format!("tidegate_discovery_failures_total{{pool=\"web\",kind=\"{kind}\"");
    let before = tidegate.metric(&series).await;
    tidegate.wait_metric(&series, before + 2.0).await;
}

/// Clients that ask without pause until they are told to stop, and count what was no 200.
struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<(usize, usize)>,
}

impl Load {
    fn on(address: SocketAddr) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for i in 0..4 {
            let stop = stop.clone();
            clients.spawn(async move {
                let (mut good, mut bad) = (0, 0);
                let mut h1 = Http1::connect(address).await.unwrap();
                let mut h2 = Http2::connect(address).await;
                while !stop.load(Ordering::Relaxed) {
                    let reply = match i % 2 {
                        0 => h1.send(request(Method::GET, "/slow?ms=2")).await,
                        _ => h2.send(request(Method::GET, "/slow?ms=2")).await,
                    };
                    match reply {
                        Ok(reply) if reply.status == 200 => good += 1,
                        _ => bad += 1,
                    }
                }
                (good, bad)
            });
        }
        Load { stop, clients }
    }

    /// Good and bad answers.
    async fn stop(self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let all = self.clients.join_all().await;
        all.into_iter()
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

#[tokio::test]
async fn each_address_of_a_name_is_a_backend_for_as_long_as_the_name_has_it() {
    let (backends, port) = on_one_port(5).await;
    let dns = Dns::start(&hosts(&backends[..1])).await;
    let pool = format!(
        "    backends: [{{ address: \"app.test:{port}\", weight: 7, priority: 2, zone: a }}]"
    );
    let tidegate = Tidegate::start(&config(&dns, &pool)).await;
    let address = tidegate.address("public");
    assert_eq!(members(&tidegate).await, [format!("127.0.1.1:{port}")]);
    let one = tidegate.backend("web", &format!("127.0.1.1:{port}")).await;
    assert_eq!(
        (&one["weight"], &one["priority"], &one["zone"]),
        (&7.into(), &2.into(), &"a".into())
    );
    let load = Load::on(address);
    let loaded_at = tidegate.status().await["config"].clone();

    dns.set(&hosts(&backends));
    wait_members(&tidegate, 5).await;
    let before: Vec<u64> = backends.iter().map(DemoBackend::requests).collect();
    eventually("all five get requests", || async {
        let now = backends.iter().map(DemoBackend::requests);
        now.zip(&before).all(|(now, before)| now > *before)
    })
    .await;

    dns.set(&hosts(&backends[3..]));
    wait_members(&tidegate, 2).await;
    let told = tidegate
        .events
        .wait("the leaves", |l| {
            l["type"] == "members" && l["left"]["count"] == 3
        })
        .await;
    assert_eq!(told["members"], 2, "{told}");
    let gone: Vec<u64> = backends[..3].iter().map(DemoBackend::requests).collect();
    let kept = backends[3].requests();
    eventually("the two that stay get requests", || async {
        backends[3].requests() > kept + 50
    })
    .await;
    let since: u64 = backends[..3]
        .iter()
        .map(DemoBackend::requests)
        .zip(&gone)
        .map(|(now, before)| now - before)
        .sum();
    assert!(since <= 4, "{since} requests to backends that left");

    let (good, bad) = load.stop().await;
    assert_eq!(bad, 0, "of {good}");
    assert!(good > 100);
    assert_eq!(
        tidegate.status().await["config"],
        loaded_at,
        "nothing was reloaded"
    );
}

#[tokio::test]
async fn a_dead_server_an_unknown_name_and_an_empty_answer_change_nothing() {
    let (backends, port) = on_one_port(2).await;
    let mut dns = Dns::start(&hosts(&backends)).await;
    let tidegate = Tidegate::start(&config(
        &dns,
        &format!("    backends: [\"app.test:{port}\"]"),
    ))
    .await;
    wait_members(&tidegate, 2).await;
    let load = Load::on(tidegate.address("public"));

    dns.kill().await;
    tidegate
        .events
        .wait("it is said once", |l| {
            l["type"] == "discovery" && l["result"] == "failed" && l["keeps"] == 2
        })
        .await;
    tidegate
        .wait_metric("tidegate_discovery_sources_failing{pool=\"web\"", 1.0)
        .await;
    assert_eq!(members(&tidegate).await.len(), 2);

    dns.revive(&["--addn-hosts=/dev/null", "--txt-record=app.test,x"])
        .await;
    dns.set("");
    wait_failures(&tidegate, "no_records").await;
    assert_eq!(members(&tidegate).await.len(), 2);

    dns.kill().await;
    dns.revive(&[]).await;
    wait_failures(&tidegate, "no_such_name").await;
    let source = pool(&tidegate).await["discovery"]["sources"][0].clone();
    assert_eq!(
        (&source["state"], &source["members"]),
        (&"stale".into(), &2.into()),
        "{source}"
    );
    assert_eq!(source["failure"]["kind"], "no_such_name", "{source}");

    dns.set(&hosts(&backends[..1]));
    wait_members(&tidegate, 1).await;
    tidegate
        .events
        .wait("it recovers", |l| {
            l["type"] == "discovery" && l["result"] == "recovered"
        })
        .await;
    let (good, bad) = load.stop().await;
    assert_eq!(bad, 0, "of {good}");
}

#[tokio::test]
async fn more_than_half_of_a_pool_goes_only_after_a_second_answer() {
    let (backends, port) = on_one_port(4).await;
    let dns = Dns::start(&hosts(&backends)).await;
    let tidegate = Tidegate::start(&config(
        &dns,
        &format!("    backends: [\"app.test:{port}\"]"),
    ))
    .await;
    wait_members(&tidegate, 4).await;
    dns.set(&hosts(&backends[..1]));
    let held = tidegate
        .events
        .wait("held", |l| {
            l["type"] == "discovery" && l["result"] == "held"
        })
        .await;
    assert_eq!(
        (&held["removals"], &held["members"]),
        (&3.into(), &4.into()),
        "{held}"
    );
    wait_members(&tidegate, 1).await;
    assert_eq!(
        tidegate
            .metric("tidegate_discovery_holds_total{pool=\"web\"")
            .await,
        1.0
    );
    assert_eq!(pool(&tidegate).await["discovery"]["held_removals"], 0);
}

#[tokio::test]
async fn a_pool_that_scales_to_zero_may_be_empty() {
    let (backends, port) = on_one_port(2).await;
    let dns = Dns::start(&hosts(&backends)).await;
    let pool = format!("    backends: [\"app.test:{port}\"]\n    scale_to_zero: true");
    let tidegate = Tidegate::start(&config(&dns, &pool)).await;
    wait_members(&tidegate, 2).await;
    dns.set("");
    wait_members(&tidegate, 0).await;
    assert_eq!(get(tidegate.address("public"), "/").await.status, 503);
    tidegate
        .access
        .wait("why", |l| {
            l["reason"] == "no_backends"
                || l["failure"] == "no_backends"
                || l.to_string().contains("no_backends")
        })
        .await;
    dns.set(&hosts(&backends));
    wait_members(&tidegate, 2).await;
    assert_eq!(get(tidegate.address("public"), "/").await.status, 200);
}

#[tokio::test]
async fn a_name_that_never_resolved_holds_up_the_start_for_a_time_and_is_named() {
    let (backends, port) = on_one_port(1).await;
    let dns = Dns::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let admin = format!("listen: \"unix:{}\"", socket.display());
    let pool = format!("    backends: [\"app.test:{port}\"]");
    let text = config_with(&dns, "start_timeout: 60s", &pool).replace(
        "listen: \"127.0.0.1:0\" }\ndiscovery",
        &format!("{admin} }}\ndiscovery"),
    );
    let starting = tokio::spawn(Tidegate::start_in(dir, &text.clone().leak()[..]));
    eventually("/readyz names it", || async {
        let Ok(stream) = tokio::net::UnixStream::connect(&socket).await else {
            return false;
        };
        let mut client = Http1::over(stream).await.unwrap();
        let reply = client.get("/readyz").await;
        reply.status == 503
            && reply
                .text()
                .contains(&format!("pools.web: dns app.test:{port}"))
    })
    .await;
    dns.set(&hosts(&backends));
    let tidegate = starting.await.unwrap();
    assert_eq!(get(tidegate.address("public"), "/").await.status, 200);

    dns.set("");
    let other = Tidegate::start(&config_with(&dns, "start_timeout: 100ms", &pool)).await;
    assert_eq!(get(other.address("admin"), "/readyz").await.status, 200);
    assert_eq!(get(other.address("public"), "/").await.status, 503);
    other
        .access
        .wait("why", |l| l.to_string().contains("backends_not_found_yet"))
        .await;
    dns.set(&hosts(&backends));
    wait_members(&other, 1).await;
    assert_eq!(get(other.address("public"), "/").await.status, 200);
}

#[tokio::test]
async fn long_answers_come_over_tcp_and_useless_addresses_are_left_out() {
    let many = (0..=255).map(|i| SocketAddr::from(([127, 0, 2, i], 0)));
    let mut hosts = named("app.test", many);
    hosts.push_str("0.0.0.0 app.test\n255.255.255.255 app.test\n::1 app.test\n");
    let dns = Dns::start(&hosts).await;
    let tidegate = Tidegate::start(&config_with(
        &dns,
        "max_backends: 200",
        "    backends: [\"app.test:81\"]",
    ))
    .await;
    wait_members(&tidegate, 200).await;
    let told = tidegate
        .events
        .wait("left out", |l| {
            l["type"] == "discovery" && l["result"] == "left_out"
        })
        .await;
    assert_eq!(
        (&told["unusable"], &told["beyond_max_backends"]),
        (&2.into(), &57.into()),
        "{told}"
    );
    let only_v6 = config_with(
        &dns,
        "start_timeout: 60s, addresses: ipv6",
        "    backends: [\"app.test:81\"]",
    );
    let other = Tidegate::start(&only_v6).await;
    assert_eq!(members(&other).await, ["[::1]:81"]);
}

#[tokio::test]
async fn service_records_say_ports_priorities_and_weights() {
    let (backends, port) = on_one_port(3).await;
    let list = |name: &str, i: usize| named(name, [backends[i].address]);
    let hosts = [list("a.test", 0), list("b.test", 1), list("c.test", 2)].concat();
    let record = |target: &str, priority: u16, weight: u16| {
        format!("--srv-host=_http._tcp.app.test,{target},{port},{priority},{weight}")
    };
    let records = [
        record("a.test", 10, 10),
        record("b.test", 10, 30),
        record("c.test", 20, 5),
    ];
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let dns = Dns::start_with(&hosts, &records).await;
    let pool = "    policy: round_robin\n    discover: { dns: { name: _http._tcp.app.test } }";
    let tidegate = Tidegate::start(&config(&dns, pool)).await;
    wait_members(&tidegate, 3).await;
    for _ in 0..400 {
        assert_eq!(get(tidegate.address("public"), "/").await.status, 200);
    }
    let seen: Vec<u64> = backends.iter().map(DemoBackend::requests).collect();
    assert!(
        (95..=105).contains(&seen[0]) && (285..=315).contains(&seen[1]),
        "{seen:?}"
    );
    assert_eq!(seen[2], 0);
}

#[tokio::test]
async fn sessions_and_requests_go_on_at_a_backend_that_leaves() {
    let (backends, port) = on_one_port(2).await;
    let dns = Dns::start(&hosts(&backends)).await;
    let pool = format!(
        "    backends: [\"app.test:{port}\"]\n    sticky: {{ cookie: srv, keys: [\"a secret of the tests, long enough to be one\"] }}"
    );
    let tidegate = Tidegate::start(&config(&dns, &pool)).await;
    wait_members(&tidegate, 2).await;
    let address = tidegate.address("public");
    let first = get(address, "/").await;
    let cookie = first
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let home = first.header("x-backend").to_owned();
    let index = backends.iter().position(|one| one.name == home).unwrap();
    let slow = tokio::spawn({
        let mut slow = request(Method::GET, "/slow?ms=3000");
        slow.headers_mut().insert("cookie", cookie.parse().unwrap());
        send(address, slow)
    });
    eventually("it is under way", || async {
        pool_in_flight(&tidegate).await == 1
    })
    .await;
    let url = format!("ws://{address}/ws");
    let mut upgrade = url.into_client_request().unwrap();
    upgrade
        .headers_mut()
        .insert("cookie", cookie.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(upgrade).await.unwrap();
    dns.set(&hosts(&backends[1 - index..2 - index]));
    wait_members(&tidegate, 1).await;
    for _ in 0..3 {
        socket.send(Message::text("still there")).await.unwrap();
        let heard = socket.next().await.unwrap().unwrap();
        assert!(heard.to_text().unwrap().contains("still there"), "{heard}");
    }
    for _ in 0..10 {
        let mut again = request(Method::GET, "/");
        again
            .headers_mut()
            .insert("cookie", cookie.parse().unwrap());
        assert_eq!(send(address, again).await.header("x-backend"), home);
        let other = get(address, "/").await;
        assert_ne!(other.header("x-backend"), home);
    }
    let reply = slow.await.unwrap();
    assert_eq!(
        (reply.status, reply.header("x-backend")),
        (200, home.as_str())
    );
}

#[tokio::test]
async fn a_reload_keeps_who_was_found_and_what_is_known_of_them() {
    let (backends, port) = on_one_port(1).await;
    let mut dns = Dns::start(&hosts(&backends)).await;
    let pool = format!("    backends: [\"app.test:{port}\"]");
    let mut tidegate = Tidegate::start(&config(&dns, &pool)).await;
    for _ in 0..10 {
        assert_eq!(get(tidegate.address("public"), "/").await.status, 200);
    }
    dns.kill().await;
    let changed = config(&dns, &format!("{pool}\n    drain_timeout: 20s"));
    assert_eq!(tidegate.reload(&changed).await["result"], "taken");
    let one = tidegate.backend("web", &format!("127.0.1.1:{port}")).await;
    assert!(one["good"].as_u64().unwrap() >= 10, "{one}");
    assert_eq!(get(tidegate.address("public"), "/").await.status, 200);
}

async fn pool_in_flight(tidegate: &Tidegate) -> u64 {
    pool(tidegate).await["in_flight"].as_u64().unwrap()
}

#[tokio::test]
async fn a_file_is_a_source_and_a_broken_one_changes_nothing() {
    let (backends, _) = on_one_port(3).await;
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("backends.json");
    let json = |backends: &[DemoBackend]| {
        let all: Vec<String> = backends
            .iter()
            .map(|one| format!("\"{}\"", one.address))
            .collect();
        format!("[{}]", all.join(", "))
    };
    write(&list, &json(&backends[..1]));
    let text = r#"
version: 1
admin: { listen: "127.0.0.1:0" }
listeners: [{ name: public, listen: "127.0.0.1:0" }]
routes: [{ match: { path_prefix: / }, pool: web }]
pools: { web: { slow_start: 0s, discover: { file: { path: backends.json } } } }
"#;
    let tidegate = Tidegate::start_in(dir, text).await;
    wait_members(&tidegate, 1).await;
    let load = Load::on(tidegate.address("public"));
    write(&list, &json(&backends));
    wait_members(&tidegate, 3).await;
    write(&list, "- { address: \"127.0.0.1:81\", wieght: 2 }\n");
    let told = tidegate
        .events
        .wait("broken", |l| {
            l["type"] == "discovery" && l["result"] == "failed"
        })
        .await;
    assert!(
        told["detail"].as_str().unwrap().contains("wieght"),
        "{told}"
    );
    assert_eq!(members(&tidegate).await.len(), 3);
    // YAML with more than an address; two of three leave, which has to be seen twice.
    let one = format!(
        "- {{ address: \"{}\", id: last, weight: 5 }}\n",
        backends[2].address
    );
    write(&list, &one);
    wait_members(&tidegate, 1).await;
    assert_eq!(tidegate.backend("web", "last").await["weight"], 5);
    let (good, bad) = load.stop().await;
    assert_eq!(bad, 0, "of {good}");
}

#[tokio::test]
async fn check_asks_nobody() {
    let asked = Arc::new(AtomicUsize::new(0));
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let counted = asked.clone();
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while socket.recv(&mut packet).await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidegate.yaml");
    let text = format!(
        "version: 1\ndiscovery: {{ resolvers: [\"{address}\"] }}\nlisteners: [{{ name: a, listen: \"127.0.0.1:0\" }}]\nroutes: [{{ match: {{}}, pool: web }}]\npools: {{ web: {{ backends: [\"nowhere.test:80\"] }} }}\n"
    );
    write(&path, &text);
    let out = run(&["check", "-c", path.to_str().unwrap()]).await;
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

/// What a registry answers now: a status line, an ETag and a body. Questions so far, and those with the ETag.
#[derive(Clone, Default)]
struct Registry {
    says: Arc<std::sync::Mutex<(u16, String, String)>>,
    asked: Arc<AtomicUsize>,
    unchanged: Arc<AtomicUsize>,
}

impl Registry {
    fn say(&self, status: u16, tag: &str, body: &str) {
        *self.says.lock().unwrap() = (status, tag.to_owned(), body.to_owned());
    }

    async fn start(&self) -> SocketAddr {
        let this = self.clone();
        let server = crate::backend::Raw::start(move |mut stream, seen, index| {
            let this = this.clone();
            async move {
                crate::backend::read_head(&mut stream, &seen, index).await;
                let head = String::from_utf8_lossy(&seen.lock().unwrap()[index]).into_owned();
                let (status, tag, body) = this.says.lock().unwrap().clone();
                let knows = head
                    .to_lowercase()
                    .contains(&format!("if-none-match: {tag}"));
                let answer = match knows && status == 200 {
                    true => "HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n".to_owned(),
                    false => format!(
                        "HTTP/1.1 {status} X\r\netag: {tag}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    ),
                };
                this.unchanged.fetch_add(knows.into(), Ordering::Relaxed);
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await;
                this.asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        server.await.address
    }
}

#[tokio::test]
async fn a_registry_is_asked_over_http_and_what_is_wrong_with_it_changes_nothing() {
    let (backends, _) = on_one_port(2).await;
    let list = |n: usize| {
        let all: Vec<String> = backends[..n]
            .iter()
            .map(|one| {
                format!(
                    "{{\"address\": \"{}\", \"id\": \"{}\"}}",
                    one.address, one.name
                )
            })
            .collect();
        format!("[{}]", all.join(","))
    };
    let registry = Registry::default();
    registry.say(200, "\"one\"", &list(1));
    let address = registry.start().await;
    let text = format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools: {{ web: {{ slow_start: 0s, discover: {{ http: {{ url: "http://{address}/web", interval: 50ms, timeout: 500ms }} }} }} }}
"#
    );
    let tidegate = Tidegate::start(&text).await;
    assert_eq!(members(&tidegate).await, ["b0"]);
    eventually("it is not sent again", || async {
        registry.unchanged.load(Ordering::Relaxed) >= 2
    })
    .await;
    registry.say(200, "\"two\"", &list(2));
    wait_members(&tidegate, 2).await;
    for (status, body, kind) in [
        (503, String::new(), "server_failure"),
        (200, "[{\"address\": ".to_owned(), "invalid"),
        (
            200,
            format!("[\"127.0.0.1:81\"{}]", " ".repeat(5 << 20)),
            "invalid",
        ),
        (200, "[\"app.test:80\"]".to_owned(), "invalid"),
    ] {
        registry.say(status, "\"bad\"", &body);
        wait_failures(&tidegate, kind).await;
        assert_eq!(members(&tidegate).await.len(), 2, "{status} {kind}");
    }
    // A valid list without anybody empties, as soon as it was said twice.
    registry.say(200, "\"none\"", "[]");
    tidegate
        .events
        .wait("held", |l| {
            l["type"] == "discovery" && l["result"] == "held"
        })
        .await;
    wait_members(&tidegate, 0).await;
    registry.say(200, "\"one\"", &list(1));
    wait_members(&tidegate, 1).await;
    assert_eq!(get(tidegate.address("public"), "/").await.status, 200);
}

/// Answers every question with SERVFAIL (RFC 1035, section 4.1.1).
async fn failing_server(address: SocketAddr) -> tokio::task::JoinHandle<()> {
    let socket = tokio::net::UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut packet).await {
            let labels = packet[12..n].iter().position(|byte| *byte == 0).unwrap();
            let mut answer = packet[..12 + labels + 5].to_vec();
            (answer[2], answer[3]) = (0x81, 0x82);
            answer[6..12].fill(0);
            let _ = socket.send_to(&answer, from).await;
        }
    })
}

#[tokio::test]
async fn a_silent_server_is_passed_over_and_one_that_fails_changes_nothing() {
    let (backends, port) = on_one_port(2).await;
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut dns = Dns::start(&hosts(&backends)).await;
    let two = format!("resolvers: [\"{}\", ", silent.local_addr().unwrap());
    let text = config_with(
        &dns,
        "start_timeout: 60s",
        &format!("    backends: [\"app.test:{port}\"]"),
    );
    let tidegate = Tidegate::start(&text.replace("resolvers: [", &two)).await;
    assert_eq!(members(&tidegate).await.len(), 2);

    let one = Tidegate::start(&text).await;
    dns.kill().await;
    let failing = failing_server(dns.address).await;
    wait_failures(&one, "server_failure").await;
    assert_eq!(members(&one).await.len(), 2);
    assert_eq!(get(one.address("public"), "/").await.status, 200);
    failing.abort();
    let _ = failing.await;
    dns.revive(&[]).await;
    dns.set(&hosts(&backends[..1]));
    wait_members(&one, 1).await;
}

#[tokio::test]
async fn the_shortest_ttl_of_a_chain_of_aliases_counts() {
    let (backends, port) = on_one_port(2).await;
    let chain = ["--local-ttl=30", "--cname=alias.test,app.test,2"];
    let dns = Dns::start_with(&hosts(&backends[..1]), &chain).await;
    let tidegate = Tidegate::start(&config(
        &dns,
        &format!("    backends: [\"alias.test:{port}\"]"),
    ))
    .await;
    let source = pool(&tidegate).await["discovery"]["sources"][0].clone();
    assert_eq!(source["ttl_seconds"], 2.0, "{source}");
    dns.set(&hosts(&backends));
    wait_members(&tidegate, 2).await;
}
