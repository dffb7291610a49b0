//! The event log: what happens to the instance, one JSON object a line. It is the process's `log` logger, and it writes
//! structured events of a few known types.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::observe::json::Object;
use crate::observe::timestamp;
use crate::observe::writer::LineWriter;

/// Lines of one target a second; what is over is counted and the count goes with the target's next line.
const LINES_PER_SECOND: u64 = 20;
/// Targets counted apart. Two that fall on one place share its limit: memory stays bounded.
const TARGETS: usize = 64;

static INSTALLED: OnceLock<EventLog> = OnceLock::new();

/// Types of structured events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A backend changed its state.
    BackendState,
    /// A backend was ejected, let back in, or would have been ejected.
    Ejection,
    /// Members of a pool came, went or have other settings.
    Members,
    /// A source of members failed, recovered or was not believed.
    Discovery,
    /// A config was loaded or refused.
    Config,
    /// A certificate was loaded, refused, or is about to expire.
    Cert,
    /// The instance or a backend drains.
    Drain,
    /// A listener was opened or closed.
    Listener,
    /// The instance starts, drains or ends.
    Lifecycle,
    /// The instance goes up or down a step of the overload ladder.
    Overload,
}

/// Writes `log` records and events to one [`LineWriter`].
pub struct EventLog {
    writer: LineWriter,
    limits: Vec<Limit>,
}

/// Makes this the process's logger, from `level` up. Fails when there is one already.
pub fn install(writer: LineWriter, level: LevelFilter) -> Result<(), log::SetLoggerError> {
    let log = INSTALLED.get_or_init(|| EventLog::new(writer));
    log::set_logger(log)?;
    set_level(level);
    Ok(())
}

/// Changes the level of `log` records, as a reload may. Events are always written.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Writes an event: `ts`, `level`, `type` and then the members of `fields`, an object as `json!({..})` makes it.
/// Nothing is written before `install`.
pub fn event(level: Level, kind: EventKind, fields: &serde_json::Value) {
    if let Some(log) = INSTALLED.get() {
        log.event(level, kind, fields);
    }
}

/// Waits until everything logged so far is written; false when that took longer than `timeout`. Blocks its thread.
#[must_use]
pub fn flush(timeout: Duration) -> bool {
    INSTALLED.get().is_none_or(|log| log.writer.flush(timeout))
}

impl EventKind {
    /// The value of `type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EventKind::BackendState => "backend_state",
            EventKind::Ejection => "ejection",
            EventKind::Members => "members",
            EventKind::Discovery => "discovery",
            EventKind::Config => "config",
            EventKind::Cert => "cert",
            EventKind::Drain => "drain",
            EventKind::Listener => "listener",
            EventKind::Lifecycle => "lifecycle",
            EventKind::Overload => "overload",
        }
    }
}

impl EventLog {
    /// A log that writes to `writer`.
    #[must_use]
    pub fn new(writer: LineWriter) -> Self {
        Self {
            writer,
            limits: (0..TARGETS).map(|_| Limit::default()).collect(),
        }
    }

    /// As the free function [`event`].
    pub fn event(&self, level: Level, kind: EventKind, fields: &serde_json::Value) {
        let mut line = self.writer.buffer();
        let mut object = begin(&mut line, timestamp::now_ms(), level);
        object.string("type", kind.name().as_bytes());
        for (name, value) in fields.as_object().into_iter().flatten() {
            // `Display` writes compact JSON; writing to a Vec can't fail.
            let out = object.escaped_member(name);
            drop(std::io::Write::write_fmt(out, format_args!("{value}")));
        }
        object.end();
        self.writer.write(line);
    }

    fn limit_of(&self, target: &str) -> Option<&Limit> {
        let mut hasher = DefaultHasher::new();
        target.hash(&mut hasher);
        self.limits.get((hasher.finish() % TARGETS as u64) as usize)
    }

    fn write(&self, record: &Record, unix_ms: u64) {
        let suppressed = match self
            .limit_of(record.target())
            .map(|limit| limit.admit(unix_ms / 1000))
        {
            Some(None) => return,
            admitted => admitted.flatten().unwrap_or(0),
        };
        let mut line = self.writer.buffer();
        let mut object = begin(&mut line, unix_ms, record.level());
        object.string("target", record.target().as_bytes());
        match record.args().as_str() {
            Some(text) => object.string("message", text.as_bytes()),
            None => object.string("message", record.args().to_string().as_bytes()),
        }
        if suppressed > 0 {
            object.integer("suppressed", suppressed);
        }
        object.end();
        self.writer.write(line);
    }
}

impl Log for EventLog {
    /// What the platform below says of its own start and end is for those who debug it.
    fn enabled(&self, metadata: &Metadata) -> bool {
        let below = metadata.target().starts_with("pingora") && metadata.level() == Level::Info;
        let least = if below {
            LevelFilter::Debug
        } else {
            LevelFilter::Error
        };
        metadata.level() <= log::max_level() && log::max_level() >= least
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            self.write(record, timestamp::now_ms());
        }
    }

    /// Does nothing: waiting needs a limit; see [`flush`].
    fn flush(&self) {}
}

fn begin(line: &mut Vec<u8>, unix_ms: u64, level: Level) -> Object<'_> {
    let mut object = Object::begin(line);
    let ts = object.member("ts");
    ts.push(b'"');
    timestamp::write(unix_ms, ts);
    ts.push(b'"');
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    object.string("level", level.as_bytes());
    object
}

/// Lines of one second, counted without a lock; threads that meet at the turn of a second may let a few more pass.
#[derive(Default)]
struct Limit {
    second: AtomicU64,
    lines: AtomicU64,
    suppressed: AtomicU64,
}

impl Limit {
    /// `Some` lets the line pass and says how many were left out before it.
    fn admit(&self, second: u64) -> Option<u64> {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) < LINES_PER_SECOND {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests;
