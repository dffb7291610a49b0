//! Notices that the configuration's files changed. Directories are watched, not files: editors replace a file by
//! renaming another one, and Kubernetes swaps a symlink two levels up.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::config::{self, FilterCatalog, Loaded, Problems, ProcessEnv};

/// Changes come in bursts: wait until it is quiet for this long.
const QUIET: Duration = Duration::from_millis(200);
/// Where inotify can't be had, or misses something (network file systems), the files are looked at this often.
const POLL: Duration = Duration::from_secs(10);

/// Files and what was in them when they were loaded: a change after that is never missed.
pub struct Seen {
    files: Vec<PathBuf>,
    content: u64,
}

impl Seen {
    /// Loads the configuration at `path`, again if it changes meanwhile.
    pub fn load(path: &Path, catalog: &FilterCatalog) -> Result<(Loaded, Seen), Problems> {
        loop {
            let before = fingerprint(&[path.to_owned()]);
            let loaded = config::load(path, &ProcessEnv, catalog)?;
            let content = fingerprint(&loaded.files);
            if before == fingerprint(&[path.to_owned()]) {
                let files = loaded.files.clone();
                return Ok((loaded, Seen { files, content }));
            }
        }
    }
}

/// Watches the directories of a set of files.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    changed: Arc<Notify>,
    files: Vec<PathBuf>,
    directories: BTreeSet<PathBuf>,
    seen: u64,
}

impl Watch {
    /// Watches nothing yet.
    pub fn start() -> Watch {
        let changed = Arc::new(Notify::new());
        let notify = changed.clone();
        let watcher = notify::recommended_watcher(move |_| notify.notify_one());
        if let Err(error) = &watcher {
            log::warn!("no notification of file changes ({error}); looking every {POLL:?}");
        }
        Watch {
            watcher: watcher.ok(),
            changed,
            files: Vec::new(),
            directories: BTreeSet::new(),
            seen: 0,
        }
    }

    /// From now on these files count, as they were when they were loaded.
    pub fn follow(&mut self, seen: Seen) {
        let files = seen.files;
        let directories = files.iter().flat_map(|f| directories_of(f)).collect();
        if let Some(watcher) = &mut self.watcher {
            for gone in self.directories.difference(&directories) {
                let _ = watcher.unwatch(gone);
            }
            for new in directories.difference(&self.directories) {
                if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                    log::warn!("{}: can't be watched: {error}", new.display());
                }
            }
        }
        self.directories = directories;
        self.files = files;
        self.seen = seen.content;
        // What changed before the directories were watched was announced to nobody.
        self.changed.notify_one();
    }

    /// Returns when the content of a file is another than before, and has stayed so for a moment.
    pub async fn changed(&mut self) {
        loop {
            let _ = tokio::time::timeout(POLL, self.changed.notified()).await;
            while tokio::time::timeout(QUIET, self.changed.notified())
                .await
                .is_ok()
            {}
            let now = fingerprint(&self.files);
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

/// The directory that a path names and, where symlinks lead elsewhere, the one it ends up in.
fn directories_of(file: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => PathBuf::from("/"),
    };
    let mut directories = vec![parent(file)];
    if let Ok(real) = fs::canonicalize(file) {
        directories.push(parent(&real));
    }
    directories
}

fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}
