use serde_json::{Value, json};

use super::*;
use crate::observe::writer::Target;

/// Runs `act` on a log and gives back its lines.
fn lines_of(act: impl FnOnce(&EventLog)) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.log");
    let log = EventLog::new(LineWriter::spawn(Target::File(path.clone())).unwrap());
    act(&log);
    assert!(log.writer.flush(Duration::from_secs(20)));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn warn(log: &EventLog, target: &str, message: &str, unix_ms: u64) {
    let mut record = Record::builder();
    record.level(Level::Warn).target(target);
    log.write(&record.args(format_args!("{message}")).build(), unix_ms);
}

#[test]
fn a_record() {
    let lines = lines_of(|log| {
        warn(
            log,
            "pingora_core::listeners",
            "bad \"thing\"\nhappened",
            951_827_696_789,
        )
    });
    let expected = json!({
        "ts": "2000-02-29T12:34:56.789Z", "level": "warn",
        "target": "pingora_core::listeners", "message": "bad \"thing\"\nhappened",
    });
    assert_eq!(lines, [expected]);
}

#[test]
fn an_event_keeps_its_fields_in_order() {
    let fields = json!({ "pool": "orders", "backend": "a", "from": "healthy", "to": "ejected", "failures": 3 });
    let lines = lines_of(|log| log.event(Level::Info, EventKind::BackendState, &fields));
    let line = lines[0].as_object().unwrap();
    let keys: Vec<_> = line.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "ts", "level", "type", "pool", "backend", "from", "to", "failures"
        ]
    );
    assert_eq!(
        (&line["type"], &line["failures"]),
        (&json!("backend_state"), &json!(3))
    );
}

#[test]
fn a_flood_is_cut_and_counted_for_each_target() {
    let lines = lines_of(|log| {
        for _ in 0..100 {
            warn(log, "noisy", "again", 5_000);
        }
        warn(log, "quiet", "once", 5_000);
        warn(log, "noisy", "again", 6_000);
        warn(log, "noisy", "again", 6_001);
    });
    let of = |target: &str| {
        lines
            .iter()
            .filter(|line| line["target"] == target)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("noisy").len() as u64, LINES_PER_SECOND + 2);
    assert_eq!(of("quiet").len(), 1);
    let suppressed: Vec<_> = lines
        .iter()
        .filter_map(|line| line.get("suppressed"))
        .collect();
    assert_eq!(suppressed, [&json!(100 - LINES_PER_SECOND)]);
}
