//! Starts `tidegate run` with a configuration and reads what it says.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;

/// Long enough for a busy machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Lines of one output, as they come.
#[derive(Clone, Default)]
pub struct Lines {
    lines: Arc<Mutex<Vec<Value>>>,
    more: Arc<Notify>,
}

impl Lines {
    fn follow(source: impl AsyncRead + Unpin + Send + 'static) -> Lines {
        let all = Lines::default();
        let (lines, more) = (all.lines.clone(), all.more.clone());
        tokio::spawn(async move {
            let mut reader = BufReader::new(source).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                lines.lock().unwrap().push(value);
                more.notify_waiters();
            }
        });
        all
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// The first line that fits, waiting for it if need be.
    pub async fn wait(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.wait_nth(what, 0, fits).await
    }

    /// The one after `n` that fit, too.
    pub async fn wait_nth(&self, what: &str, n: usize, fits: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let more = self.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                if let Some(line) = self.lines.lock().unwrap().iter().filter(|l| fits(l)).nth(n) {
                    return line.clone();
                }
                more.await;
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(line) => line,
            Err(_) => panic!("no line: {what}; there are: {:#?}", self.all()),
        }
    }
}

/// A running instance. Killed when dropped.
pub struct Tidegate {
    pub child: Child,
    pub dir: TempDir,
    /// Its JSON events (stderr).
    pub events: Lines,
    /// Its access log (stdout).
    pub access: Lines,
    addresses: HashMap<String, SocketAddr>,
}

impl Tidegate {
    /// Starts with this configuration and waits until it is ready. `listen: "127.0.0.1:0"` takes any free port.
    pub async fn start(config: &str) -> Tidegate {
        let dir = tempfile::tempdir().unwrap();
        Tidegate::start_in(dir, config).await
    }

    /// The same, in a directory that holds other files of the configuration.
    pub async fn start_in(dir: TempDir, config: &str) -> Tidegate {
        let path = dir.path().join("tidegate.yaml");
        write(&path, config);
        Tidegate::start_at(dir, &path).await
    }

    /// With a configuration that is there already.
    pub async fn start_at(dir: TempDir, path: &Path) -> Tidegate {
        let mut command = Command::new(binary());
        command.arg("run").arg("-c").arg(path).stdin(Stdio::null());
        Tidegate::spawn(dir, command).await
    }

    /// With limits as `ulimit` takes them.
    pub async fn start_within(config: &str, limits: &str) -> Tidegate {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidegate.yaml");
        write(&path, config);
        let mut command = Command::new("sh");
        let script = format!("ulimit {limits} && exec \"$0\" run -c \"$1\"");
        command.arg("-c").arg(script).arg(binary()).arg(&path);
        Tidegate::spawn(dir, command).await
    }

    /// By a command of its own, in a directory that holds its configuration.
    pub async fn spawn(dir: TempDir, mut command: Command) -> Tidegate {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let access = Lines::follow(child.stdout.take().unwrap());
        let events = Lines::follow(child.stderr.take().unwrap());
        events
            .wait("ready", |l| {
                l["type"] == "lifecycle" && l["state"] == "ready"
            })
            .await;
        events
            .wait("admin listens", |l| {
                l["type"] == "listener" && l["listener"] == "admin"
            })
            .await;
        let mut tidegate = Tidegate {
            child,
            dir,
            events,
            access,
            addresses: HashMap::new(),
        };
        tidegate.learn_addresses();
        tidegate
    }

    fn learn_addresses(&mut self) {
        for line in self.events.all() {
            if line["type"] == "listener" && line["state"] == "listening" {
                let name = line["listener"].as_str().unwrap().to_owned();
                if let Ok(address) = line["address"].as_str().unwrap().parse() {
                    self.addresses.insert(name, address);
                }
            }
        }
    }

    /// Where this listener listens; `admin` is the admin listener.
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.addresses[listener]
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("tidegate.yaml")
    }

    /// Puts a new configuration in place and waits until it is taken or refused.
    pub async fn reload(&mut self, config: &str) -> Value {
        let before = self.reloads();
        write(&self.config_path(), config);
        self.after_reload(before).await
    }

    /// Reload outcomes so far.
    pub fn reloads(&self) -> usize {
        self.events.all().iter().filter(|l| is_reload(l)).count()
    }

    /// The first outcome after the `before` ones.
    pub async fn after_reload(&mut self, before: usize) -> Value {
        let outcome = self.events.wait_nth("reload", before, is_reload).await;
        self.learn_addresses();
        outcome
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        let done = std::process::Command::new("kill")
            .args(["-s", signal, &pid])
            .status();
        assert!(done.unwrap().success());
    }

    /// Waits for the end of the process.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("the process does not end").unwrap().code()
    }

    /// `/status` of the admin listener.
    pub async fn status(&self) -> Value {
        let reply = crate::client::get_admin(self.address("admin"), "/status").await;
        serde_json::from_slice(&reply.body).unwrap()
    }

    /// One backend of `/status`.
    pub async fn backend(&self, pool: &str, id: &str) -> Value {
        let status = self.status().await;
        let pools = status["pools"].as_array().unwrap().clone();
        let pool = pools.into_iter().find(|p| p["name"] == pool).unwrap();
        let backends = pool["backends"].as_array().unwrap().clone();
        backends.into_iter().find(|b| b["id"] == id).unwrap()
    }

    /// Waits until a backend is in a state.
    pub async fn wait_state(&self, pool: &str, id: &str, state: &str) {
        self.events
            .wait(&format!("{pool}/{id} {state}"), |l| {
                l["type"] == "backend_state"
                    && l["pool"] == pool
                    && l["backend"] == id
                    && l["to"] == state
            })
            .await;
    }

    /// Waits until a backend gets requests.
    pub async fn wait_in_rotation(&self, pool: &str, id: &str) {
        eventually("in rotation", || async {
            let state = self.backend(pool, id).await["state"].clone();
            state == "healthy" || state == "suspect"
        })
        .await;
    }

    /// Waits until a metric has a value: requests are counted just after they were answered.
    pub async fn wait_metric(&self, series: &str, at_least: f64) {
        eventually(series, || async { self.metric(series).await >= at_least }).await;
    }

    /// The value of a metric whose line starts with `series`, e.g. `tidegate_x_total{pool="a"`.
    pub async fn metric(&self, series: &str) -> f64 {
        let reply = crate::client::get_admin(self.address("admin"), "/metrics").await;
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        let line = text.lines().filter(|l| l.starts_with(series));
        line.map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

fn is_reload(line: &Value) -> bool {
    line["type"] == "config" && line.get("result").is_some()
}

/// The binary under test.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_tidegate")
}

/// Runs a subcommand to its end.
pub async fn run(args: &[&str]) -> std::process::Output {
    Command::new(binary()).args(args).output().await.unwrap()
}

/// Writes a file whole, by rename, as editors and deployment tools do.
pub fn write(path: &Path, text: &str) {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.persist(path).unwrap();
}

/// Waits until something observable is so: for what no event announces.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let tried = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, tried).await.is_err() {
        panic!("never so: {what}");
    }
}
