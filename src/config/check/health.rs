//! Probes and passive health.

use super::Checker;
use crate::config::model::{self, Probe};
use crate::config::path::Path;
use crate::config::raw::{self, ProbeType};

impl Checker<'_> {
    pub(super) fn health_check(
        &mut self,
        raw: raw::HealthCheck,
        path: &Path<'_>,
    ) -> model::HealthCheck {
        let interval = ("interval", raw.interval.0);
        self.at_most(("timeout", raw.timeout.0), interval, path);
        self.at_most(("fast_interval", raw.fast_interval.0), interval, path);
        self.at_most(interval, ("down_interval", raw.down_interval.0), path);
        self.probe_keys(raw.kind, path);
        model::HealthCheck {
            interval: raw.interval.0,
            timeout: raw.timeout.0,
            fall: raw.fall.0,
            rise: raw.rise.0,
            fast_interval: raw.fast_interval.0,
            down_interval: raw.down_interval.0,
            jitter_percent: raw.jitter_percent.0,
            piggyback: raw.piggyback,
            port: raw.port,
            probe: probe(raw),
        }
    }

    /// A key that the probe does not use is one that the operator believes to work.
    fn probe_keys(&mut self, kind: ProbeType, path: &Path<'_>) {
        let http = [
            "path",
            "host",
            "expected_status",
            "body_contains",
            "header",
            "drain_on_404",
        ];
        let (uses_http, uses_grpc) = (
            matches!(kind, ProbeType::Http | ProbeType::Http2),
            kind == ProbeType::Grpc,
        );
        let http = http.map(|key| (key, uses_http, "http and http2"));
        for (key, used, by) in http.into_iter().chain([("service", uses_grpc, "grpc")]) {
            let path = path.key(key);
            if !used && self.is_given(&path) && !self.unclear(&path.parent(), &["type"]) {
                self.error(&path, format!("is only used by probes of type {by}"));
            }
        }
    }

    pub(super) fn outlier_detection(
        &mut self,
        raw: raw::OutlierDetection,
        path: &Path<'_>,
    ) -> model::OutlierDetection {
        let (base, max) = (raw.base_ejection_time.0, raw.max_ejection_time.0);
        self.at_most(
            ("base_ejection_time", base),
            ("max_ejection_time", max),
            path,
        );
        model::OutlierDetection {
            mode: match raw.mode {
                raw::OutlierMode::Off => model::OutlierMode::Off,
                raw::OutlierMode::Observe => model::OutlierMode::Observe,
                raw::OutlierMode::Enforce => model::OutlierMode::Enforce,
            },
            consecutive_failures: raw.consecutive_failures.on().map(|c| c.0),
            failure_status: raw.failure_status.iter().map(|r| r.0).collect(),
            error_rate: raw.error_rate,
            latency_factor: raw.latency_factor.on().map(|f| f.0),
            latency_floor: raw.latency_floor.0,
            latency_window: raw.latency_window.0,
            base_ejection_time: base,
            max_ejection_time: max,
            max_ejection_percent: raw.max_ejection_percent.0,
        }
    }
}

fn probe(raw: raw::HealthCheck) -> Probe {
    match raw.kind {
        ProbeType::Tcp => Probe::Tcp,
        ProbeType::Tls => Probe::Tls,
        ProbeType::Grpc => Probe::Grpc {
            service: raw.service,
        },
        ProbeType::Http | ProbeType::Http2 => Probe::Http {
            http2: raw.kind == ProbeType::Http2,
            path: raw.path.0,
            host: raw.host.map(|h| h.0),
            expected_status: raw.expected_status.iter().map(|r| r.0).collect(),
            body_contains: raw.body_contains,
            header: raw.header.map(|h| {
                (
                    h.name.0,
                    h.value.and_then(|v| v.0.to_str().map(str::to_owned).ok()),
                )
            }),
            drain_on_404: raw.drain_on_404,
        },
    }
}
