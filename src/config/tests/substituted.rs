//! Values out of variables: each is of the kind that its key wants, in every style of YAML.

use super::*;

const VARIABLES: [(&str, &str); 10] = [
    ("TWO", "2"),
    ("YES", "true"),
    ("SOON", "5s"),
    ("DIGITS", "123"),
    ("LEVEL", "debug"),
    ("OFF", "off"),
    ("EMPTY", ""),
    ("NULL", "null"),
    ("WORD", "abc"),
    ("HALF", "1.5"),
];

fn load_with_variables(text: &str) -> Result<Config, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("two"), "2\n").unwrap();
    std::fs::write(dir.path().join("t.yaml"), text).unwrap();
    let env = VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let loaded = load(&dir.path().join("t.yaml"), &HashMap::from(env), &filters());
    loaded.map(|loaded| loaded.config).map_err(|problems| {
        let lines = problems.iter();
        lines
            .map(|p| format!("{}: {}", p.path, p.message))
            .collect()
    })
}

/// A file in which this value stands at six keys that want different kinds.
fn file(key: &str, value: &str) -> String {
    let at = |name: &str, otherwise: &str| match name == key {
        true => value.to_owned(),
        false => otherwise.to_owned(),
    };
    format!(
        r#"
version: 1
threads: {threads}
drain:
  delay: {delay}
log: {{ level: {level} }}
listeners: [{{ name: web, listen: "127.0.0.1:8080" }}]
routes:
  - {{ name: {name}, match: {{}}, pool: api, max_body: {size} }}
  - match: {{ path: /b }}
    respond: {{ body: {body} }}
pools:
  api:
    backends: [{{ address: "127.0.0.1:1", weight: {weight}, down: {down} }}, "127.0.0.1:2"]
    outlier_detection: {{ consecutive_failures: {failures} }}
"#,
        threads = at("threads", "1"),
        delay = at("delay", "1s"),
        level = at("level", "info"),
        name = at("name", "a"),
        size = at("size", "1"),
        body = at("body", "x"),
        weight = at("weight", "1"),
        down = at("down", "false"),
        failures = at("failures", "3"),
    )
}

/// The value at a key, as it was understood.
fn understood(config: &Config, key: &str) -> String {
    let (pool, route) = (&config.pools["api"], &config.routes[0]);
    match key {
        "threads" => config.threads.to_string(),
        "delay" => format!("{:?}", config.drain.delay),
        "level" => config.log.level.to_string(),
        "name" => route.name.clone(),
        "size" => format!("{:?}", route.max_body_bytes),
        "body" => match &config.routes[1].action {
            model::Action::Respond(respond) => String::from_utf8_lossy(&respond.body).into_owned(),
            other => panic!("{other:?}"),
        },
        "weight" => pool.backends[0].weight.to_string(),
        "down" => pool.backends[0].down.to_string(),
        "failures" => format!("{:?}", pool.outlier_detection.consecutive_failures),
        other => panic!("{other}"),
    }
}

#[test]
fn every_kind_of_value_in_every_style() {
    for (key, value, wanted) in [
        ("threads", "${TWO}", "2"),
        ("threads", "${NONE:-2}", "2"),
        ("threads", "${EMPTY:-2}", "2"),
        ("threads", "${TWO:?say}", "2"),
        ("threads", "${file:two}", "2"),
        ("threads", "1${TWO}", "12"),
        ("weight", "${W:-2}", "2"),
        ("weight", "${TWO}", "2"),
        ("down", "${YES}", "true"),
        ("down", "${NO:-false}", "false"),
        ("delay", "${SOON}", "5s"),
        ("delay", "${TWO}00ms", "200ms"),
        ("level", "${LEVEL}", "DEBUG"),
        ("name", "${DIGITS}", "123"),
        ("name", "${YES}", "true"),
        ("name", "${HALF}", "1.5"),
        ("name", "${NULL}", "null"),
        ("name", "${NONE:-0x10}", "0x10"),
        ("body", "${EMPTY}", ""),
        ("body", "${NONE:-}", ""),
        ("body", "${NONE:-{a, [b]: c #d}", "{a, [b]: c #d"),
        ("body", "${DIGITS}", "123"),
        ("size", "${DIGITS}", "Some(123)"),
        ("size", "${NONE:-1KiB}", "Some(1024)"),
        ("failures", "${TWO}", "Some(2)"),
        ("failures", "${OFF}", "None"),
    ] {
        for written in [
            value.to_owned(),
            format!("\"{value}\""),
            format!("'{value}'"),
        ] {
            let config = load_with_variables(&file(key, &written));
            let config = config.unwrap_or_else(|e| panic!("{key}: {written}: {e:?}"));
            assert_eq!(understood(&config, key), wanted, "{key}: {written}");
        }
    }
}

#[test]
fn what_is_written_out_keeps_its_kind() {
    for (key, value, told) in [
        (
            "threads",
            "\"2\"",
            "threads: expected a whole number, found the text \"2\"",
        ),
        (
            "down",
            "\"true\"",
            "pools.api.backends[0].down: expected true or false, found the text \"true\"",
        ),
        (
            "name",
            "123",
            "routes[0].name: expected a name without spaces, found the number 123; put it in quotes",
        ),
    ] {
        assert_eq!(load_with_variables(&file(key, value)).unwrap_err(), [told]);
    }
    let config = load_with_variables(&file("name", "\"123\"")).unwrap();
    assert_eq!(understood(&config, "name"), "123");
}

#[test]
fn what_is_wrong_names_where_it_came_from() {
    for (key, value, told) in [
        (
            "threads",
            "${WORD}",
            "threads: expected a whole number, found the text \"abc\" (from the environment variable WORD)",
        ),
        (
            "threads",
            "${NONE:-many}",
            "threads: expected a whole number, found the text \"many\" (from the default in \"${NONE:-many}\")",
        ),
        (
            "threads",
            "${NONE:-0}",
            "threads: 0 is out of range; write 1 to 1024 (from the default in \"${NONE:-0}\")",
        ),
        (
            "threads",
            "${EMPTY}",
            "threads: has no value; write a whole number (from the environment variable EMPTY)",
        ),
        (
            "delay",
            "${TWO}",
            "drain.delay: \"2\" has no unit; write \"2s\" or \"2ms\" (from the environment variable TWO)",
        ),
        (
            "delay",
            "${TWO}${WORD}",
            "drain.delay: \"2abc\" has an unknown unit \"abc\"; the units are ms, s, m and h, with a whole number before (from the environment variable TWO and the environment variable WORD)",
        ),
        (
            "down",
            "${TWO}",
            "pools.api.backends[0].down: expected true or false, found the number 2 (from the environment variable TWO)",
        ),
        (
            "weight",
            "${NONE}",
            "pools.api.backends[0].weight: environment variable NONE is not set; set it or write \"${NONE:-default}\"",
        ),
    ] {
        assert_eq!(load_with_variables(&file(key, value)).unwrap_err(), [told]);
    }
}
