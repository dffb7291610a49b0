//! Cost of one lookup in tables of 1 to 1,000 routes, of regexes 10,000; it should hardly grow.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use regex::Regex;
use tidegate::config::model::{HostMatch, PathMatch, RouteMatch};
use tidegate::route::{Head, Path, PathMode, RouteTable};

type Make = fn(usize) -> RouteMatch;

fn by_prefix(n: usize) -> RouteMatch {
    RouteMatch {
        path: Some(PathMatch::Prefix(format!("/api/service-{n}"))),
        ..RouteMatch::default()
    }
}

fn by_host(n: usize) -> RouteMatch {
    RouteMatch {
        host: Some(HostMatch::Exact(format!("s{n}.example.com"))),
        ..by_prefix(n)
    }
}

fn by_wildcard(n: usize) -> RouteMatch {
    RouteMatch {
        host: Some(HostMatch::Wildcard(format!(".s{n}.example.com"))),
        ..RouteMatch::default()
    }
}

fn by_regex(n: usize) -> RouteMatch {
    let regex = Regex::new(&format!("^(?:/api/service-{n}/[0-9]+/items)$")).unwrap();
    RouteMatch {
        path: Some(PathMatch::Regex(regex)),
        ..RouteMatch::default()
    }
}

fn lookups(criterion: &mut Criterion) {
    let kinds: [(&str, Make); 4] = [
        ("prefix", by_prefix),
        ("host", by_host),
        ("wildcard", by_wildcard),
        ("regex", by_regex),
    ];
    for (kind, make) in kinds {
        let mut group = criterion.benchmark_group(kind);
        let counts = match kind {
            "regex" => [1, 100, 1000, 10_000],
            _ => [1, 10, 100, 1000],
        };
        for count in counts {
            let matches: Vec<_> = (0..count).map(|n| [make(n)]).collect();
            let routes = matches
                .iter()
                .enumerate()
                .map(|(n, wanted)| ("r", wanted.as_slice(), n));
            let table = RouteTable::build(routes).unwrap();
            let host = format!(
                "{}s{}.example.com",
                if kind == "wildcard" { "www." } else { "" },
                count - 1
            );
            let raw = format!("/api/service-{}/42/items", count - 1);
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter(|| assert!(lookup(&table, black_box(&host), black_box(&raw))));
            });
        }
    }
}

fn lookup(table: &RouteTable<usize>, host: &str, raw: &str) -> bool {
    let path = Path::parse(raw, PathMode::Strict).unwrap();
    let headers = HeaderMap::new();
    let client = [192, 0, 2, 1].into();
    let (listener, method) = ("public", &Method::GET);
    table
        .find(&Head {
            listener,
            host,
            path: &path,
            query: None,
            method,
            headers: &headers,
            client: Some(client),
            certificate: None,
        })
        .is_some()
}

criterion_group!(benches, lookups);
criterion_main!(benches);
