//! Pools: backends, policy and hash, timeouts and limits that depend on each other.

use std::time::Duration;

use super::discovery::entry;
use super::{Checker, Taken};
use crate::config::model::{self, Endpoint, Policy, Source, TtlBounds};
use crate::config::path::Path;
use crate::config::raw::{self, text};

/// "Loop Detected" (RFC 5842, section 7.2). A range of statuses leaves it out.
const LOOP: u16 = 508;

impl Checker<'_> {
    pub(super) fn pool(
        &mut self,
        name: String,
        raw: raw::Pool,
        cluster: &model::Cluster,
        ttl: TtlBounds,
        path: &Path<'_>,
    ) -> model::Pool {
        let policy = self.policy(raw.policy, raw.hash.as_ref(), path);
        let given = raw.backends.is_some();
        let listed = raw.backends.unwrap_or_default();
        let more = raw.discover.is_some() || raw.backends_file.is_some();
        let sources = ["backends", "discover", "backends_file"];
        if !(given || more || self.unclear(path, &sources)) {
            self.error(
                path,
                "needs \"backends\", or a source of them: \"discover\"",
            );
        }
        let (backends, mut sources) = self.backends(listed, ttl, &path.key("backends"));
        sources.extend(self.discover(raw.discover, raw.backends_file.as_deref(), ttl, path));
        model::Pool {
            name,
            sticky: raw
                .sticky
                .and_then(|s| self.sticky(s, &policy, cluster, &path.key("sticky"))),
            policy,
            backends,
            sources,
            scale_to_zero: raw.scale_to_zero,
            upstream: self.upstream(raw.upstream, &path.key("upstream")),
            timeouts: self.timeouts(&raw.timeouts, &path.key("timeouts")),
            retry: self.retry(&raw.retry, &path.key("retry")),
            health_check: raw
                .health_check
                .map(|h| self.health_check(h, &path.key("health_check"))),
            outlier_detection: self
                .outlier_detection(raw.outlier_detection, &path.key("outlier_detection")),
            slow_start: raw.slow_start.0,
            limits: self.pool_limits(&raw.limits, &path.key("limits")),
            failover: failover(raw.failover),
            drain_timeout: raw.drain_timeout.0,
        }
    }

    fn policy(&mut self, policy: raw::Policy, hash: Option<&raw::Hash>, path: &Path<'_>) -> Policy {
        match (policy, hash) {
            _ if self.unclear(path, &["policy", "hash"]) => {}
            (raw::Policy::ConsistentHash, None) => {
                self.error(
                    &path.key("policy"),
                    "needs \"hash\", such as hash: { key: client_ip }",
                );
            }
            (raw::Policy::ConsistentHash, Some(_)) | (_, None) => {}
            (_, Some(_)) => self.error(
                &path.key("hash"),
                "is only for the policy \"consistent_hash\"",
            ),
        }
        match policy {
            raw::Policy::RoundRobin => Policy::RoundRobin,
            raw::Policy::LeastRequest => Policy::LeastRequest,
            raw::Policy::PeakEwma => Policy::PeakEwma,
            raw::Policy::Random => Policy::Random,
            raw::Policy::IpHash => Policy::IpHash,
            raw::Policy::ConsistentHash => Policy::ConsistentHash {
                key: hash.map_or(model::HashKey::ClientIp, |h| {
                    self.hash_key(&h.key, &path.key("hash").key("key"))
                }),
                bounded_load: hash.and_then(|h| h.bounded_load.on()).map(|f| f.0),
            },
        }
    }

    /// Those whose address is in the file, and the names.
    fn backends(
        &mut self,
        raw: Vec<raw::BackendEntry>,
        ttl: TtlBounds,
        path: &Path<'_>,
    ) -> (Vec<model::Backend>, Vec<Source>) {
        let (mut ids, mut names) = (Taken::default(), Taken::default());
        let (mut fixed, mut sources) = (Vec::with_capacity(raw.len()), Vec::new());
        // Weight, and whether it is down.
        let mut all = Vec::with_capacity(raw.len());
        for (i, one) in raw.into_iter().enumerate() {
            let path = path.index(i);
            let (endpoint, raw) = entry(one);
            all.push((raw.weight, raw.down));
            match endpoint {
                Endpoint::Address(address) => {
                    let backend = backend(address, raw);
                    if let Err(message) = ids.take(&backend.id, &path) {
                        self.error(
                            &path,
                            format!("the id {message}; give one of them another \"id\""),
                        );
                    }
                    fixed.push(backend);
                }
                Endpoint::Name(name, port) => {
                    if let Err(message) = names.take(&format!("{name}:{port}"), &path) {
                        self.error(&path, format!("the name {message}"));
                    }
                    sources.push(self.named_backend((name, port), raw, ttl, &path));
                }
            }
        }
        if all.is_empty() {
        } else if all.iter().all(|(weight, _)| *weight == 0) {
            self.error(path, "all weights are 0; at least one must be more");
        } else if all.iter().all(|(weight, down)| *down || *weight == 0) {
            self.warning(
                path,
                "no backend takes requests: each one is down or has weight 0",
            );
        }
        (fixed, sources)
    }

    fn upstream(&mut self, raw: raw::Upstream, path: &Path<'_>) -> model::Upstream {
        if raw.protocol == raw::UpstreamProtocol::Auto
            && raw.tls.is_none()
            && !self.unclear(path, &["tls"])
        {
            self.error(
                &path.key("protocol"),
                "\"auto\" needs \"tls\"; write \"http1\" or \"http2\" for clear text",
            );
        }
        let tls = raw.tls.map(|tls| self.upstream_tls(tls, &path.key("tls")));
        model::Upstream {
            protocol: match raw.protocol {
                raw::UpstreamProtocol::Http1 => model::UpstreamProtocol::Http1,
                raw::UpstreamProtocol::Http2 => model::UpstreamProtocol::Http2,
                raw::UpstreamProtocol::Auto => model::UpstreamProtocol::Auto,
            },
            tls,
            idle_timeout: raw.idle_timeout.0,
            max_streams: raw.max_streams as usize,
            host: raw.host.map(|h| h.0),
            streaming: raw.streaming,
        }
    }

    fn timeouts(&mut self, raw: &raw::Timeouts, path: &Path<'_>) -> model::Timeouts {
        let timeouts = model::Timeouts {
            connect: raw.connect.0,
            first_byte: raw.first_byte.0,
            read: raw.read.0,
            write: raw.write.0,
            per_try: raw.per_try.as_ref().map(|t| t.0),
            total: raw.total.0,
            tunnel_idle: raw.tunnel_idle_timeout.0,
        };
        if let Some(per_try) = timeouts.per_try {
            self.at_most(("per_try", per_try), ("total", timeouts.total), path);
        }
        self.at_most(
            ("connect", timeouts.connect),
            ("total", timeouts.total),
            path,
        );
        timeouts
    }

    fn retry(&mut self, raw: &raw::Retry, path: &Path<'_>) -> model::Retry {
        let (min, max) = (raw.backoff_min.0, raw.backoff_max.0);
        self.at_most(("backoff_min", min), ("backoff_max", max), path);
        for (i, range) in raw
            .on_status
            .iter()
            .enumerate()
            .filter(|(_, r)| r.0.0 < 400)
        {
            let message = format!(
                "{} is no failure; write statuses from 400 to 599",
                range.0.0
            );
            self.error(&path.key("on_status").index(i), message);
        }
        for (i, _) in raw
            .on_status
            .iter()
            .enumerate()
            .filter(|(_, r)| r.0 == (LOOP, LOOP))
        {
            let message = "508 says that the request goes in a circle: it is never tried again";
            self.error(&path.key("on_status").index(i), message);
        }
        let statuses = raw.on_status.iter().flat_map(|r| r.0.0..=r.0.1);
        let statuses = statuses.filter(|status| *status != LOOP);
        let mut on_status: Vec<_> = statuses
            .filter_map(|s| http::StatusCode::from_u16(s).ok())
            .collect();
        on_status.sort();
        on_status.dedup();
        model::Retry {
            attempts: raw.attempts,
            on_status,
            budget_percent: raw.budget_percent.0,
            budget_min: raw.budget_min,
            budget_min_per_second: raw.budget_min_per_second,
            backoff_min: min,
            backoff_max: max,
            buffer: usize::try_from(raw.buffer.0).unwrap_or(usize::MAX),
        }
    }

    fn pool_limits(&mut self, raw: &raw::PoolLimits, path: &Path<'_>) -> model::PoolLimits {
        let limits = ["max_in_flight", "max_in_flight_per_backend"];
        if raw.queue > 0
            && raw.max_in_flight.is_none()
            && raw.max_in_flight_per_backend.is_none()
            && !self.unclear(path, &limits)
        {
            self.warning(
                &path.key("queue"),
                "has no effect without max_in_flight or max_in_flight_per_backend",
            );
        }
        model::PoolLimits {
            max_in_flight_per_backend: raw.max_in_flight_per_backend,
            max_in_flight: raw.max_in_flight,
            queue: raw.queue,
            queue_timeout: raw.queue_timeout.0,
        }
    }

    /// Points at the key that is in the file: the other one may be a default.
    pub(super) fn at_most(
        &mut self,
        lower: (&str, Duration),
        upper: (&str, Duration),
        path: &Path<'_>,
    ) {
        let (low, high) = (text::show_duration(&lower.1), text::show_duration(&upper.1));
        if lower.1 <= upper.1 || self.unclear(path, &[lower.0, upper.0]) {
        } else if self.is_given(&path.key(lower.0)) {
            self.error(
                &path.key(lower.0),
                format!("{low} is longer than {:?}, which is {high}", upper.0),
            );
        } else {
            self.error(
                &path.key(upper.0),
                format!("{high} is shorter than {:?}, which is {low}", lower.0),
            );
        }
    }
}

pub(super) fn backend(address: model::Address, raw: raw::Backend) -> model::Backend {
    model::Backend {
        id: raw
            .id
            .map_or_else(|| text::show_address(&address), |id| id.0),
        address,
        weight: raw.weight,
        priority: raw.priority,
        zone: raw.zone.map(|z| z.0),
        down: raw.down,
    }
}

fn failover(raw: raw::Failover) -> model::Failover {
    model::Failover {
        overprovisioning: raw.overprovisioning,
        failback_delay: raw.failback_delay.0,
        failback_ramp: raw.failback_ramp.0,
        zone: raw.zone.map(|z| z.0),
    }
}
