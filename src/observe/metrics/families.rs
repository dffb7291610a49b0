//! Collects series under their names, in the form the registry takes.

use std::collections::BTreeMap;

use prometheus::proto::{self, Bucket, LabelPair, Metric, MetricFamily, MetricType};

use super::cells::{Counters, Histogram};
use super::labels::Label;

/// Names and values of a series' labels.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

#[derive(Default)]
pub struct Families {
    by_name: BTreeMap<&'static str, MetricFamily>,
    /// Series that have counted nothing are collected, too: for the reference, which names every metric.
    with_empty: bool,
}

impl Families {
    pub fn with_empty() -> Self {
        Self {
            with_empty: true,
            ..Self::default()
        }
    }

    pub fn into_vec(self) -> Vec<MetricFamily> {
        self.by_name.into_values().collect()
    }

    pub fn counter(&mut self, name: &'static str, help: &str, labels: Labels, value: u64) {
        self.counter_with_fraction(name, help, labels, value as f64);
    }

    pub fn counter_with_fraction(
        &mut self,
        name: &'static str,
        help: &str,
        labels: Labels,
        value: f64,
    ) {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_counter(counter);
        self.push(name, help, MetricType::COUNTER, metric);
    }

    pub fn gauge(&mut self, name: &'static str, help: &str, labels: Labels, value: f64) {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_gauge(gauge);
        self.push(name, help, MetricType::GAUGE, metric);
    }

    /// One series for each value of the label `key`, those at zero too: an alert sees the first count as a rise.
    pub fn counters<L: Label>(
        &mut self,
        name: &'static str,
        help: &str,
        labels: Labels,
        key: &str,
        of: &Counters<L>,
    ) {
        for (value, count) in of.iter() {
            self.counter(name, help, &[labels, &[(key, value)]].concat(), count);
        }
    }

    /// As `counters` without those at zero, for what there is of each route and backend.
    pub fn counters_seen<L: Label>(
        &mut self,
        name: &'static str,
        help: &str,
        labels: Labels,
        key: &str,
        of: &Counters<L>,
    ) {
        let with_empty = self.with_empty;
        for (value, count) in of.iter().filter(|(_, count)| with_empty || *count > 0) {
            self.counter(name, help, &[labels, &[(key, value)]].concat(), count);
        }
    }

    /// Left out while nothing was observed: a histogram is many lines.
    pub fn histogram(&mut self, name: &'static str, help: &str, labels: Labels, of: &Histogram) {
        let (cumulative, total) = of.cumulative();
        if total == 0 && !self.with_empty {
            return;
        }
        let buckets = cumulative.into_iter().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(total);
        histogram.set_sample_sum(of.sum_seconds());
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_histogram(histogram);
        self.push(name, help, MetricType::HISTOGRAM, metric);
    }

    fn push(&mut self, name: &'static str, help: &str, kind: MetricType, metric: Metric) {
        let family = self.by_name.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help(help.to_owned());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(metric);
    }
}

fn pairs(labels: Labels) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}
