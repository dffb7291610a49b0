//! What is loaded from files that are right.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::config::model::{Action, Address, PathMatch, Policy, Probe, Rewrite, ValueMatch};

fn load_conf(name: &str) -> Loaded {
    let filters = FilterCatalog::of(&tidegate_filters::table());
    load(&conf(name), &HashMap::new(), &filters).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_example_loads_without_a_warning() {
    let mut seen = 0;
    for entry in std::fs::read_dir(conf("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".yaml") {
            assert_eq!(load_conf(&name).warnings, [], "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 2);
}

/// Every key's path, lists as `[]`, entries of free mappings as `<>`.
fn schema_keys(root: &Value, schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    // Of a mapping of one key, one of the keys is enough.
    let alternatives = crate::config::schema::alternatives(root, schema);
    for schema in alternatives
        .into_iter()
        .filter(|s| s.get("maxProperties").is_none())
    {
        for (key, below) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let path = format!("{path}.{key}");
            schema_keys(root, below, &path, keys);
            keys.insert(path);
        }
        if let Some(items) = schema.get("items") {
            schema_keys(root, items, &format!("{path}[]"), keys);
        }
        if let Some(named @ Value::Object(_)) = schema.get("additionalProperties") {
            schema_keys(root, named, &format!("{path}.<>"), keys);
        }
    }
}

/// Takes away what `node` uses; both forms of a value that may be one or a list count for each other.
fn strike(node: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| {
            strike(item, path, keys);
            strike(item, &format!("{path}[]"), keys);
        }),
        Value::Object(map) => {
            for (key, below) in map {
                for path in [format!("{path}.{key}"), format!("{path}.<>")] {
                    keys.remove(&path);
                    strike(below, &path, keys);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_full_example_uses_every_key() {
    let root = schema(&FilterCatalog::default());
    let mut keys = BTreeSet::new();
    schema_keys(&root, &root, "", &mut keys);
    assert!(
        keys.len() > 100 && keys.contains(".pools.<>.backends[].weight"),
        "{keys:?}"
    );
    let text = std::fs::read_to_string(conf("full.yaml")).unwrap();
    let mut report = Report::new(&conf("full.yaml"));
    let env = HashMap::new();
    let mut substitution = substitute::Substitution::new(&env, std::path::Path::new(""));
    let tree = tree::parse(&text, &mut substitution, &mut report)
        .unwrap()
        .to_json();
    strike(&tree, "", &mut keys);
    // A route's match is shown as one and as a list, each with some of the keys; the same for conditions.
    let (one, many) = (".routes[].match.", ".routes[].match[].");
    let left: Vec<_> = keys
        .iter()
        .filter(|k| !k.starts_with(one) && !k.starts_with(many))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
    let left: Vec<_> = keys
        .iter()
        .filter(|k| {
            k.strip_prefix(one)
                .is_some_and(|rest| keys.contains(&format!("{many}{rest}")))
        })
        .collect();
    let forms = [
        ".headers[].",
        ".headers.<>.",
        ".query[].",
        ".query.<>.",
        ".cookies[].",
        ".cookies.<>.",
        ".client_certificate.common_name.",
        ".client_certificate.dns.",
        ".client_certificate.uri.",
        ".client_certificate.sha256.",
    ];
    let left: Vec<_> = left
        .into_iter()
        .filter(|k| !forms.iter().any(|f| k.contains(f)))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn the_least_has_the_documented_defaults() {
    let Loaded { config, files, .. } = load_conf("minimal.yaml");
    assert_eq!(files, [conf("minimal.yaml")]);
    assert_eq!(
        config.admin,
        Some(Address::Tcp("127.0.0.1:9901".parse().unwrap()))
    );
    assert_eq!(
        config.threads,
        std::thread::available_parallelism().unwrap().get()
    );
    assert_eq!(
        (config.drain.delay, config.drain.timeout),
        (Duration::from_secs(5), Duration::from_secs(30))
    );
    let limits = &config.listeners[0].limits;
    assert_eq!(
        (limits.max_header_bytes, limits.max_uri_bytes),
        (32 * 1024, 8 * 1024)
    );
    assert_eq!(limits.header_timeout, Duration::from_secs(10));
    let pool = &config.pools["web"];
    assert_eq!(
        (pool.name.as_str(), &pool.policy),
        ("web", &Policy::LeastRequest)
    );
    assert_eq!(
        (pool.backends[0].id.as_str(), pool.backends[0].weight),
        ("127.0.0.1:8081", 1)
    );
    assert_eq!(
        (pool.slow_start, pool.drain_timeout),
        (Duration::from_secs(10), Duration::from_secs(30))
    );
    assert_eq!(
        pool.retry
            .on_status
            .iter()
            .map(|s| s.as_u16())
            .collect::<Vec<_>>(),
        [502, 503, 504]
    );
    assert_eq!(pool.outlier_detection.consecutive_failures, Some(3));
    assert_eq!(pool.timeouts.per_try, None);
    let check = pool.health_check.as_ref().unwrap();
    assert_eq!(
        (check.fall, check.rise, check.interval),
        (3, 2, Duration::from_secs(5))
    );
    assert!(
        matches!(&check.probe, Probe::Http { http2: false, path, expected_status, .. }
        if path == "/healthz" && *expected_status == [(200, 299)])
    );
    assert_eq!(config.routes[0].name, "/");
}

#[test]
fn the_full_example_becomes_the_model() {
    let Loaded { config, files, .. } = load_conf("full.yaml");
    let certs = [
        "ca.crt",
        "client.crt",
        "client.key",
        "demo-rsa.crt",
        "demo-rsa.key",
        "demo.crt",
        "demo.key",
        "demo.ocsp",
        "ticket.key",
    ];
    let mut wanted: Vec<_> = certs.iter().map(|f| conf(&format!("certs/{f}"))).collect();
    wanted.push(conf("full.yaml"));
    assert_eq!(files, wanted);
    assert_eq!(
        config.listeners[0].tls.as_ref().unwrap().certificates[0].cert,
        conf("certs/demo.crt")
    );
    let names: Vec<_> = config.routes.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "to-https",
            "*.example.com/robots.txt",
            "api.example.com/api/orders",
            "/old*",
            "/legacy",
            "~/img/.*[.](png|jpg)",
            "/cart",
            "/api",
            "/search",
            "/"
        ]
    );
    let route = &config.routes[2];
    assert_eq!(route.matches.len(), 2);
    let first = &route.matches[0];
    assert!(matches!(&first.path, Some(PathMatch::Prefix(p)) if p == "/api/orders"));
    assert!(
        matches!(&first.headers[2].1, ValueMatch::Regex(r) if r.is_match("0123abcd") && !r.is_match("0123abcde"))
    );
    assert!(matches!(&first.headers[3].1, ValueMatch::Present));
    assert!(
        matches!(&route.action, Action::Split(s) if s.choices[1] == ("orders_canary".into(), 1))
    );
    assert_eq!(route.max_body_bytes, Some(10 << 20));
    assert!(
        matches!(&config.routes[3].rewrite, Some(Rewrite::Regex { replacement, .. }) if replacement == "/new$1")
    );
    let sticky = &config.pools["sticky"];
    assert!(
        matches!(&sticky.policy, Policy::ConsistentHash { bounded_load: Some(f), .. } if *f == 1.25)
    );
}

#[test]
fn made_names_are_distinct_also_from_given_ones() {
    let text = "version: 1\nlisteners: [{name: a, listen: \"127.0.0.1:${PORT}\"}]\nroutes:\n  - {match: {host: A.b}, respond: {}}\n\
                \x20 - {match: [{host: a.b, method: GET}], respond: {}}\n  - {name: a.b#2, match: {}, respond: {}}\n";
    let names: Vec<_> = load_text(text)
        .unwrap()
        .config
        .routes
        .into_iter()
        .map(|r| r.name)
        .collect();
    assert_eq!(names, ["a.b", "a.b#3", "a.b#2"]);
}

#[test]
fn filters_keep_their_place_and_their_words() {
    let text = "version: 1\nlisteners: [{name: a, listen: \"127.0.0.1:0\"}]\nroutes:\n\
                \x20 - match: {}\n    respond: {}\n    filters:\n      - rate_limit:\n          requests: ${PORT}\n\
                \x20     - rate_limit: { requests: 2 }\n";
    let uses = load_text(text).unwrap().config.routes.remove(0).filters;
    assert_eq!(uses[0].config, serde_json::json!({ "requests": 8080 }));
    assert_eq!(uses[1].path, "routes[0].filters[1].rate_limit");
}

#[test]
fn the_reference_tells_each_filter_once() {
    let text = reference(&filters());
    assert_eq!(text.matches("filters[].rate_limit`").count(), 1);
}

#[test]
fn a_pool_that_only_a_filter_chooses_is_used() {
    let text = "version: 1\nlisteners: [{name: a, listen: \"127.0.0.1:0\", filters: [{gate: {requests: 1}}]}]\n\
                routes: [{match: {}, pool: a, filters: [{detour: {requests: 1}}]}]\n\
                pools: {a: {backends: [\"127.0.0.1:1\"]}, detour: {backends: [\"127.0.0.1:2\"]}}\n";
    let loaded = load_text(text).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.listeners[0].filters[0].name, "gate");
}

#[test]
fn the_reference_tells_every_section() {
    let text = reference(&filters());
    for line in [
        "## `pools.<name>.health_check`",
        "## `routes[].match.headers[]`",
        "## `routes[].filters[].rate_limit`",
        "| `filters` | list of mapping | `[]` | Filters that are asked about each connection",
        "| `policy` | `round_robin`, `least_request`, `peak_ewma`, `random`, `ip_hash`, `consistent_hash` | `least_request` | How a",
        "| `requests` | whole number, 1 or more | required | Requests in each period. |",
        "| `consecutive_failures` | `off` or whole number, 1 to 1000 | `3` |",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(text, reference(&filters()));
}

#[test]
fn defaults_told_by_the_schema_are_taken_by_the_schema() {
    // Every default as it is shown must itself be valid: written out in full, it changes nothing.
    let Loaded { config, .. } = load_conf("minimal.yaml");
    let text = std::fs::read_to_string(conf("minimal.yaml")).unwrap();
    let pool = &schema(&FilterCatalog::default())["$defs"];
    let written = |def: &str| {
        let keys = pool[def]["properties"].as_object().unwrap();
        let pairs: Vec<_> = keys
            .iter()
            .filter_map(|(k, s)| Some(format!("{k}: {}", s.get("default")?)))
            .collect();
        format!("{{{}}}", pairs.join(", "))
    };
    let mut text = text;
    for (key, def) in [
        ("timeouts", "Timeouts"),
        ("retry", "Retry"),
        ("outlier_detection", "OutlierDetection"),
        ("failover", "Failover"),
        ("limits", "PoolLimits"),
        ("upstream", "Upstream"),
    ] {
        text.push_str(&format!("    {key}: {}\n", written(def)));
    }
    text.push_str(&format!(
        "drain: {}\nlog: {}\nadmin: {}\n",
        written("Drain"),
        written("Log"),
        written("Admin")
    ));
    let spelled = load_text(&text).unwrap().config;
    assert_eq!(
        format!("{:?}", spelled.pools),
        format!("{:?}", config.pools)
    );
    assert_eq!(
        (spelled.drain, spelled.log, spelled.admin),
        (config.drain, config.log, config.admin)
    );
}

fn read_text(text: &str) {
    let mut report = Report::new(std::path::Path::new("t"));
    let env = HashMap::new();
    let _ = read(
        text,
        std::path::Path::new("/nowhere"),
        &env,
        &filters(),
        &mut report,
        &mut vec![],
    );
    let _ = report.finish();
}

/// Pieces that mean something, so that chance gets past the first line.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "version: 1\n",
        "listeners:\n",
        "routes: ",
        "pools:\n",
        "  - ",
        "    ",
        "name: ",
        "match: {}",
        "pool: ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "\n",
        "\t",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "---\n",
        "${",
        "}",
        "$",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "? ",
        "# ",
        "~",
        "é",
        "1.5",
        "backends: ",
        "\u{feff}",
        "\r\n",
        "%YAML 1.2\n",
        "...\n",
    ];
    prop_oneof![
        proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        any::<String>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_without_a_panic(pieces in proptest::collection::vec(piece(), 0..40)) {
        read_text(&pieces.concat());
    }

    #[test]
    fn any_change_of_a_good_file_is_read_without_a_panic(at in any::<prop::sample::Index>(), with in piece(), cut in 0usize..30) {
        let text = std::fs::read_to_string(conf("full.yaml")).unwrap();
        let mut chars: Vec<char> = text.chars().collect();
        let from = at.index(chars.len());
        let to = (from + cut).min(chars.len());
        chars.splice(from..to, with.chars());
        read_text(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn any_bytes_in_the_file_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.yaml");
        std::fs::write(&path, bytes).unwrap();
        prop_assert!(load(&path, &HashMap::new(), &filters()).is_err());
    }
}
