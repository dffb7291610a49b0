use std::time::Duration;

use super::*;

fn finished(status: u16, millis: u64) -> Finished {
    Finished {
        status: Some(status),
        protocol: Protocol::Http1,
        duration: Duration::from_millis(millis),
        bytes_in: 10,
        bytes_out: 1000,
    }
}

fn metrics() -> Metrics {
    Metrics::new(BuildInfo {
        version: "0.1.0",
        revision: "abc",
        pingora: "0.9.1",
    })
}

/// The value of the series whose name and labels are `series`.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.render();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|number| number.parse().unwrap())
}

fn names(listeners: &[&str], routes: &[(&str, &str)], backends: &[(&str, &str)]) -> Names {
    let pairs = |from: &[(&str, &str)]| {
        from.iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    };
    Names {
        listeners: listeners.iter().map(|name| (*name).to_owned()).collect(),
        routes: pairs(routes),
        pools: backends
            .iter()
            .map(|(pool, _)| (*pool).to_owned())
            .collect(),
        backends: pairs(backends),
        filters: BTreeSet::new(),
    }
}

const ORDERS: &str = r#"tidegate_requests_total{listener="public",route="orders",pool="web",protocol="http1",code="2xx"}"#;

#[test]
fn requests_are_counted_by_their_labels() {
    let metrics = metrics();
    let listener = metrics.listener("public");
    let route = metrics.route("orders", "web", std::slice::from_ref(&listener));
    route.record(&listener, &finished(200, 7));
    route.record(&listener, &finished(204, 400));
    route.record(&listener, &finished(503, 0));
    assert_eq!(value(&metrics, ORDERS), Some(2.0));
    assert_eq!(value(&metrics, &ORDERS.replace("2xx", "5xx")), Some(1.0));
    assert_eq!(value(&metrics, &ORDERS.replace("2xx", "4xx")), None);
    let bucket = |le: &str| {
        value(
            &metrics,
            &format!(
                r#"tidegate_request_duration_seconds_bucket{{route="orders",pool="web",le="{le}"}}"#
            ),
        )
    };
    assert_eq!(
        (bucket("0.001"), bucket("0.01"), bucket("0.5")),
        (Some(1.0), Some(2.0), Some(3.0))
    );
    assert_eq!(bucket("+Inf"), Some(3.0));
    let sum = value(
        &metrics,
        r#"tidegate_request_duration_seconds_sum{route="orders",pool="web"}"#,
    );
    assert!((sum.unwrap() - 0.407).abs() < 1e-9);
    assert_eq!(
        value(
            &metrics,
            r#"tidegate_response_bytes_total{route="orders",pool="web"}"#
        ),
        Some(3000.0)
    );
}

#[test]
fn handles_of_a_reload_go_on_counting() {
    let metrics = metrics();
    let listener = metrics.listener("public");
    let before = metrics.route("orders", "web", std::slice::from_ref(&listener));
    before.record(&listener, &finished(200, 1));

    let added = metrics.listener("internal");
    let after = metrics.route("orders", "web", &[added, metrics.listener("public")]);
    metrics.retain(&names(&["public", "internal"], &[("orders", "web")], &[]));
    after.record(&listener, &finished(200, 1));
    before.record(&listener, &finished(200, 1));
    assert_eq!(value(&metrics, ORDERS), Some(3.0));
}

#[test]
fn a_listener_that_is_gone_counts_under_other() {
    let metrics = metrics();
    let gone = metrics.listener("gone");
    let route = metrics.route("orders", "web", &[metrics.listener("public")]);
    route.record(&gone, &finished(200, 1));
    assert_eq!(
        value(&metrics, &ORDERS.replace("public", "_other")),
        Some(1.0)
    );
}

#[test]
fn what_goes_away_takes_its_series_with_it() {
    let metrics = metrics();
    let listener = metrics.listener("public");
    let route = metrics.route("orders", "web", std::slice::from_ref(&listener));
    route.record(&listener, &finished(200, 1));
    metrics.pool("web").retries.inc(RetryReason::Connect);
    let backend = metrics.backend("web", "a");
    backend.requests.inc(UpstreamOutcome::Ok);
    metrics.filter("jwt").errors.inc();
    metrics.retain(&Names::default());
    backend.requests.inc(UpstreamOutcome::Ok);
    let text = metrics.render();
    for word in ["public", "orders", "\"web\"", "jwt"] {
        assert!(!text.contains(word), "{word} is still in\n{text}");
    }
    assert!(
        text.contains(
            "tidegate_build_info{version=\"0.1.0\",revision=\"abc\",pingora=\"0.9.1\"} 1\n"
        )
    );
}

#[test]
fn backends_past_the_cap_share_series() {
    let metrics = metrics();
    for number in 0..MAX_BACKENDS + 5 {
        let backend = metrics.backend("web", &format!("b{number}"));
        backend.set_state(BackendState::Healthy);
        backend.requests.inc(UpstreamOutcome::Ok);
    }
    let requests = |backend: &str| {
        let labels = format!(r#"{{pool="web",backend="{backend}",outcome="ok"}}"#);
        value(
            &metrics,
            &format!("tidegate_upstream_requests_total{labels}"),
        )
    };
    assert_eq!(
        (requests("b999"), requests("b1000"), requests("_other")),
        (Some(1.0), None, Some(5.0))
    );
    assert_eq!(
        value(
            &metrics,
            r#"tidegate_backend_up{pool="web",backend="_other"}"#
        ),
        None
    );

    metrics.retain(&names(&[], &[], &[("web", "b1000")]));
    metrics
        .backend("web", "b1000")
        .requests
        .inc(UpstreamOutcome::Ok);
    assert_eq!((requests("b999"), requests("b1000")), (None, Some(1.0)));
}

#[test]
fn a_backend_is_in_one_state() {
    let metrics = metrics();
    let backend = metrics.backend("web", "a");
    let gauge = |state: &str| {
        value(
            &metrics,
            &format!(r#"tidegate_backend_state{{pool="web",backend="a",state="{state}"}}"#),
        )
    };
    let up = || value(&metrics, r#"tidegate_backend_up{pool="web",backend="a"}"#);
    assert_eq!(
        (gauge("healthy"), gauge("ejected"), up()),
        (Some(1.0), Some(0.0), Some(1.0))
    );
    backend.set_state(BackendState::Ejected);
    assert_eq!(
        (gauge("healthy"), gauge("ejected"), up()),
        (Some(0.0), Some(1.0), Some(0.0))
    );
}

#[test]
fn connections_shift_between_states() {
    let metrics = metrics();
    let listener = metrics.listener("public");
    listener
        .connections
        .cell(ConnectionState::Handshaking)
        .inc();
    listener
        .connections
        .shift(ConnectionState::Handshaking, ConnectionState::Active);
    listener.handshake(TlsVersion::Tls13, KeyType::None, true, true);
    listener
        .handshake_failures
        .inc(HandshakeFailure::Overloaded);
    listener.set_certificates(vec![CertificateExpiry {
        sni: "a.example".into(),
        key_type: "ecdsa",
        not_after: 2_000_000_000,
    }]);
    let state = |name: &str| {
        value(
            &metrics,
            &format!(r#"tidegate_connections{{listener="public",state="{name}"}}"#),
        )
    };
    assert_eq!(
        (state("handshaking"), state("active")),
        (Some(0.0), Some(1.0))
    );
    let handshakes = r#"tidegate_tls_handshakes_total{listener="public",version="TLSv1.3",resumed="true",early_data="true",key_type="none"}"#;
    assert_eq!(value(&metrics, handshakes), Some(1.0));
    let expiry = r#"tidegate_tls_cert_not_after_seconds{listener="public",sni="a.example",key_type="ecdsa"}"#;
    assert_eq!(value(&metrics, expiry), Some(2e9));
    let failures =
        r#"tidegate_tls_handshake_failures_total{listener="public",reason="overloaded"}"#;
    assert_eq!(value(&metrics, failures), Some(1.0));
}

#[test]
fn config_state() {
    let metrics = metrics();
    metrics.config_loaded("cafe", 1_787_000_000);
    assert_eq!(
        value(&metrics, "tidegate_config_last_reload_successful"),
        Some(1.0)
    );
    metrics.config_refused();
    assert_eq!(
        value(&metrics, "tidegate_config_last_reload_successful"),
        Some(0.0)
    );
    assert_eq!(
        value(&metrics, "tidegate_config_last_reload_timestamp_seconds"),
        Some(1_787_000_000.0)
    );
    assert_eq!(
        value(&metrics, r#"tidegate_config_hash_info{hash="cafe"}"#),
        Some(1.0)
    );
    assert_eq!(
        value(
            &metrics,
            r#"tidegate_config_reloads_total{result="refused"}"#
        ),
        Some(1.0)
    );
}

#[test]
fn odd_label_values_are_escaped() {
    let metrics = metrics();
    metrics.pool("a\"b\\c\nd").in_flight.set(3);
    assert_eq!(
        value(
            &metrics,
            r#"tidegate_requests_in_flight{pool="a\"b\\c\nd"}"#
        ),
        Some(3.0)
    );
}

/// Every line is a comment or a series, each series once, each family with its type before it.
#[test]
fn the_text_is_well_formed() {
    let metrics = metrics();
    let listener = metrics.listener("public");
    metrics
        .route("orders", "web", std::slice::from_ref(&listener))
        .record(&listener, &finished(200, 1));
    metrics
        .pool("web")
        .connect
        .observe(Duration::from_millis(2));
    metrics
        .pool("api")
        .connect
        .observe(Duration::from_millis(2));
    metrics
        .backend("web", "a")
        .ejections
        .inc(EjectReason::Latency);
    metrics
        .filter("jwt")
        .ran(FilterPhase::Request, Duration::from_micros(3));
    let text = metrics.render();
    let mut seen = BTreeSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
        } else if !line.starts_with("# HELP ") {
            let (series, number) = line.rsplit_once(' ').unwrap();
            assert!(
                series.starts_with(family) && number.parse::<f64>().is_ok(),
                "{line}"
            );
            assert!(
                family.starts_with("tidegate_") || family.starts_with("process_"),
                "{line}"
            );
            assert!(seen.insert(series), "twice: {series}");
        }
    }
    assert!(value(&metrics, "process_open_fds").unwrap() >= 3.0);
    assert!(value(&metrics, "process_resident_memory_bytes").unwrap() > 1e6);
}
