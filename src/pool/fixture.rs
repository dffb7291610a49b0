//! Settings for tests and benchmarks, with the defaults of the configuration file.

use std::time::Duration;

use crate::config::model::*;

/// `n` backends of weight 1.
pub fn settings(policy: Policy, n: usize) -> Pool {
    let second = Duration::from_secs(1);
    Pool {
        name: "test".into(),
        policy,
        backends: (0..n).map(backend).collect(),
        sources: Vec::new(),
        scale_to_zero: false,
        upstream: Upstream {
            protocol: UpstreamProtocol::Http1,
            tls: None,
            idle_timeout: 60 * second,
            max_streams: 128,
            host: None,
            streaming: false,
        },
        timeouts: timeouts(),
        retry: Retry {
            attempts: 1,
            on_status: Vec::new(),
            budget_percent: 20,
            budget_min: 3,
            budget_min_per_second: 10,
            backoff_min: second / 40,
            backoff_max: second / 4,
            buffer: 64 * 1024,
        },
        health_check: None,
        outlier_detection: OutlierDetection {
            mode: OutlierMode::Enforce,
            consecutive_failures: Some(3),
            failure_status: vec![(500, 599)],
            error_rate: true,
            latency_factor: Some(3.0),
            latency_floor: second / 20,
            latency_window: 60 * second,
            base_ejection_time: 30 * second,
            max_ejection_time: 300 * second,
            max_ejection_percent: 50,
        },
        slow_start: Duration::ZERO,
        limits: PoolLimits {
            max_in_flight_per_backend: None,
            max_in_flight: None,
            queue: 0,
            queue_timeout: second,
        },
        failover: Failover {
            overprovisioning: 1.4,
            failback_delay: 60 * second,
            failback_ramp: 100 * second,
            zone: None,
        },
        drain_timeout: 30 * second,
        sticky: None,
    }
}

fn timeouts() -> Timeouts {
    let second = Duration::from_secs(1);
    Timeouts {
        connect: second,
        first_byte: 15 * second,
        read: 30 * second,
        write: 30 * second,
        per_try: None,
        total: 60 * second,
        tunnel_idle: 3600 * second,
    }
}

/// With the members that the pool has now.
#[cfg(test)]
pub fn settings_of(pool: &super::Pool) -> Pool {
    Pool {
        backends: pool.current_members(),
        ..pool.settings().clone()
    }
}

/// Named `b<i>`, with an address of its own.
pub fn backend(i: usize) -> Backend {
    Backend {
        id: format!("b{i}"),
        address: Address::Tcp(([10, 0, (i / 256) as u8, (i % 256) as u8], 80).into()),
        weight: 1,
        priority: 0,
        zone: None,
        down: false,
    }
}

/// The default probes: every 5 s, 2 s at most, down after 3, up after 2.
pub fn health_check() -> HealthCheck {
    let second = Duration::from_secs(1);
    HealthCheck {
        probe: Probe::Tcp,
        interval: 5 * second,
        timeout: 2 * second,
        fall: 3,
        rise: 2,
        fast_interval: second,
        down_interval: 30 * second,
        jitter_percent: 10,
        piggyback: true,
        port: None,
    }
}
