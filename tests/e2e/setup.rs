//! What most tests begin with: demo backends, and the configuration of one listener in front of one pool.

use std::net::SocketAddr;

use tidegate::demo_backends::DemoBackend;

pub async fn demo() -> DemoBackend {
    named_demo("a").await
}

/// So many, whose answers name them: b0, b1, ...
pub async fn demos(n: usize) -> Vec<DemoBackend> {
    let mut all = Vec::new();
    for n in 0..n {
        all.push(named_demo(&format!("b{n}")).await);
    }
    all
}

async fn named_demo(name: &str) -> DemoBackend {
    let any = "127.0.0.1:0".parse().unwrap();
    DemoBackend::start_named(name, any).await.unwrap()
}

pub fn addresses(backends: &[DemoBackend]) -> Vec<SocketAddr> {
    backends.iter().map(|b| b.address).collect()
}

/// The listener `public` and the pool `web` with these backends and these further lines.
pub fn one_pool(backends: &[SocketAddr], pool: &str) -> String {
    let backends: Vec<String> = backends.iter().map(|b| format!("\"{b}\"")).collect();
    one_pool_of(&backends.join(", "), pool)
}

/// The same, with its backends as they stand in YAML.
pub fn one_pool_of(backends: &str, pool: &str) -> String {
    format!(
        r#"
version: 1
admin: {{ listen: "127.0.0.1:0" }}
listeners: [{{ name: public, listen: "127.0.0.1:0" }}]
routes: [{{ match: {{ path_prefix: / }}, pool: web }}]
pools:
  web:
    slow_start: 0s
    backends: [{backends}]
{pool}
"#
    )
}
