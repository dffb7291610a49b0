//! What one request pays for its log line and its metrics.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::observe::access_log::{AccessRecord, Attempt};
use tidegate::observe::metrics::{BuildInfo, Finished, Metrics, Protocol};
use tidegate::observe::writer::{LineWriter, Target};

fn record<'a>(attempts: &'a [Attempt<'a>]) -> AccessRecord<'a> {
    AccessRecord {
        unix_ms: 1_787_000_000_123,
        request_id: b"0198d3f2-0000-7000-8000-000000000001",
        trace_id: "0af7651916cd43dd8448eb211c80319c",
        client_ip: Some([203, 0, 113, 7].into()),
        client_port: Some(51234),
        peer_ip: Some([10, 0, 0, 1].into()),
        listener: "public",
        protocol: "HTTP/2",
        tls_version: "TLSv1.3",
        tls_cipher: "TLS_AES_128_GCM_SHA256",
        tls_key: "none",
        tls_resumed: true,
        early_data: false,
        sni: b"api.example.com",
        method: b"GET",
        scheme: "https",
        host: b"api.example.com",
        path: b"/api/orders/4711/positions",
        query: b"page=2&size=50",
        status: Some(200),
        bytes_out: 1024,
        duration: Duration::from_micros(12_045),
        t_connect: Some(Duration::from_micros(300)),
        t_first_byte: Some(Duration::from_micros(9_120)),
        t_total: Some(Duration::from_micros(12_100)),
        route: "orders",
        pool: "orders",
        backend: "10.0.1.11:8080",
        attempts,
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        referer: b"https://shop.example.com/cart",
        ..AccessRecord::default()
    }
}

fn log_line(criterion: &mut Criterion) {
    let attempts = [Attempt {
        backend: "10.0.1.11:8080",
        outcome: "ok",
        duration: Duration::from_micros(9_500),
    }];
    let record = record(&attempts);
    let mut out = Vec::with_capacity(2048);
    criterion.bench_function("format", |bench| {
        bench.iter(|| {
            out.clear();
            black_box(&record).format(&mut out);
        });
    });
    let Ok(writer) = LineWriter::spawn(Target::File("/dev/null".into())) else {
        return;
    };
    criterion.bench_function("format_and_queue", |bench| {
        bench.iter(|| {
            let mut line = writer.buffer();
            black_box(&record).format(&mut line);
            writer.write(line);
        });
    });
}

fn metrics(criterion: &mut Criterion) {
    let metrics = Metrics::new(BuildInfo::default());
    let listener = metrics.listener("public");
    let route = metrics.route("orders", "orders", std::slice::from_ref(&listener));
    let finished = Finished {
        status: Some(200),
        protocol: Protocol::Http2,
        duration: Duration::from_micros(12_045),
        bytes_in: 0,
        bytes_out: 1024,
    };
    criterion.bench_function("count_request", |bench| {
        bench.iter(|| route.record(&listener, black_box(&finished)));
    });
}

criterion_group!(benches, log_line, metrics);
criterion_main!(benches);
