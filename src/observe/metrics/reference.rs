//! The page of the documentation that names every metric, made from the code that collects them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use prometheus::proto::{MetricFamily, MetricType};

use super::families::Families;
use super::filter_events::FilterEvents;
use super::{BuildInfo, CertificateExpiry, Discovered, Metrics, kernel, process};
use crate::kernel::{Conntrack, NetCounters};

const HEAD: &str = "\
# Metrics

`GET /metrics` of the admin listener answers in Prometheus's text format. This page is made by `tidegate reference metrics`.

Names of listeners, routes, pools, backends and filters are labels; nothing that a client sends is one. At most 1,000 backends have series
of their own, and those of further ones are added up under `_other`. Counters of routes and backends appear with their first count, the others
at zero from the start. Histograms are in seconds and appear with their first observation.

| metric | type | labels and their values | meaning |
|---|---|---|---|
";

/// Labels whose values the configuration names, and not the code.
const NAMED: [&str; 7] = [
    "listener", "route", "pool", "backend", "filter", "sni", "hash",
];
/// The other labels without a fixed set of values.
const OPEN: [&str; 4] = ["event", "version", "revision", "pingora"];

/// Every metric with its type, its labels and its meaning, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for family in families() {
        // Writing to a String can't fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            family.name(),
            kind(&family),
            labels(&family),
            family.help(),
        );
    }
    page
}

/// One of each thing that has metrics, with every series, counted or not.
fn families() -> Vec<MetricFamily> {
    let metrics = Metrics::new(BuildInfo::default());
    let listener = metrics.listener("");
    let certificate = |key_type| CertificateExpiry {
        sni: String::new(),
        key_type,
        not_after: 0,
    };
    listener.set_certificates(["ecdsa", "rsa"].map(certificate).to_vec());
    let _route = metrics.route("", "", &[listener]);
    metrics.pool("").sticky_skew.set(1.0);
    metrics.pool("").discovery.set(Discovered::nothing());
    let _backend = metrics.backend("", "");
    let _filter = metrics.filter("");
    metrics.watch_filters(Arc::new(OneEvent));
    let mut out = Families::with_empty();
    metrics.tables().collect(&mut out);
    process::collect(&mut out);
    let conntrack = Conntrack { entries: 0, max: 0 };
    kernel::collect_from(Some(NetCounters::default()), Some(conntrack), &mut out);
    out.into_vec()
}

struct OneEvent;

impl FilterEvents for OneEvent {
    fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        vec![("", "", 0)]
    }
}

fn kind(family: &MetricFamily) -> &'static str {
    match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::HISTOGRAM => "histogram",
        _ => "gauge",
    }
}

fn labels(family: &MetricFamily) -> String {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for metric in family.get_metric() {
        for label in metric.get_label() {
            values
                .entry(label.name())
                .or_default()
                .insert(label.value());
        }
    }
    let told = values.into_iter().map(|(name, values)| {
        let open = NAMED.contains(&name) || (OPEN.contains(&name) && values.contains(""));
        let values: Vec<&str> = values.into_iter().collect();
        match open {
            true => format!("`{name}`"),
            false => format!("`{name}`: {}", values.join(", ")),
        }
    });
    told.collect::<Vec<_>>().join("; ")
}
