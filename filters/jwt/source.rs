//! Where keys come from, and how they stay fresh: by the clock, and when a token names a key that is not known.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Uri};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::keys::{self, KeySet, VerifyKey};
use crate::outbound::Outbound;

/// An unknown `kid` causes a fetch at most this often.
const MIN_REFETCH: Duration = Duration::from_secs(30);
/// How long a request waits for the keys it has asked for.
const PATIENCE: Duration = Duration::from_secs(2);
/// First pause after a fetch that failed; doubled up to the refresh interval.
const RETRY: Duration = Duration::from_secs(1);

/// Gets a JWK set.
#[async_trait]
pub(super) trait Fetch: Send + Sync {
    async fn fetch(&self) -> Result<Bytes, String>;
    /// What it is, to tell whether a reload has changed it.
    fn place(&self) -> String;
}

/// The keys in use and the way to newer ones. Keys that were good stay until there are others.
pub(super) struct Source {
    keys: ArcSwap<KeySet>,
    fetch: Option<Box<dyn Fetch>>,
    refresh: Duration,
    wanted: Notify,
    /// Fetches that are over, good or not.
    fetches: watch::Sender<Progress>,
    failures: AtomicU64,
}

#[derive(Clone, Copy)]
struct Progress {
    done: u64,
    under_way: bool,
    /// No fetch by an unknown `kid` before this.
    next: Option<Instant>,
}

/// Numbers of key sets, unique in the process, so that caches never mix two sets up.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

fn key_set(keys: Vec<VerifyKey>) -> Arc<KeySet> {
    let number = NUMBERS.fetch_add(1, Relaxed);
    Arc::new(KeySet { number, keys })
}

impl Source {
    pub fn fixed(keys: Vec<VerifyKey>) -> Source {
        Source::new(keys, None, Duration::MAX)
    }

    pub fn fetched(keys: Vec<VerifyKey>, fetch: Box<dyn Fetch>, refresh: Duration) -> Source {
        Source::new(keys, Some(fetch), refresh)
    }

    fn new(keys: Vec<VerifyKey>, fetch: Option<Box<dyn Fetch>>, refresh: Duration) -> Source {
        let progress = Progress {
            done: 0,
            // A set that has to be fetched first is about to be: requests wait for it.
            under_way: keys.is_empty(),
            next: None,
        };
        Source {
            keys: ArcSwap::new(key_set(keys)),
            fetch,
            refresh,
            wanted: Notify::new(),
            fetches: watch::channel(progress).0,
            failures: AtomicU64::new(0),
        }
    }

    pub fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    pub fn refreshes(&self) -> bool {
        self.fetch.is_some()
    }

    /// After a reload: keys fetched from the same place are good until newer ones come.
    pub fn adopt(&self, previous: &Source) {
        let place = |source: &Source| source.fetch.as_ref().map(|fetch| fetch.place());
        let kept = previous.keys();
        if place(self).is_some() && place(self) == place(previous) && !kept.keys.is_empty() {
            self.keys.store(kept);
            self.fetches
                .send_modify(|progress| progress.under_way = false);
        }
    }

    /// Asks for newer keys and waits for them, unless that was done just now. `true`: look again.
    pub async fn refetch(&self) -> bool {
        if self.fetch.is_none() {
            return false;
        }
        let mut progress = self.fetches.subscribe();
        let now = Instant::now();
        self.fetches.send_if_modified(|progress| {
            let due = progress.next.is_none_or(|next| now >= next);
            if due && !progress.under_way {
                progress.next = Some(now + MIN_REFETCH);
                progress.under_way = true;
                self.wanted.notify_one();
            }
            // Nobody waits for a beginning.
            false
        });
        let before = *progress.borrow();
        if !before.under_way {
            return false;
        }
        let over = progress.wait_for(|progress| progress.done > before.done);
        matches!(tokio::time::timeout(PATIENCE, over).await, Ok(Ok(_)))
    }

    /// Runs as the filter's task.
    pub async fn refresh_forever(&self) {
        let mut pause = if self.keys().keys.is_empty() {
            Duration::ZERO
        } else {
            self.refresh
        };
        let mut retry = RETRY;
        loop {
            let _ = tokio::time::timeout(pause, self.wanted.notified()).await;
            let fetched = self.refresh_once().await;
            self.fetches.send_modify(|progress| {
                progress.done += 1;
                progress.under_way = false;
            });
            if fetched {
                (pause, retry) = (self.refresh, RETRY);
            } else {
                pause = retry;
                retry = (retry * 2).min(self.refresh);
            }
        }
    }

    async fn refresh_once(&self) -> bool {
        let Some(fetch) = &self.fetch else {
            return false;
        };
        let fetched = fetch.fetch().await.and_then(|text| keys::jwks(&text));
        match fetched {
            Ok(keys) => self.keys.store(key_set(keys)),
            Err(error) => {
                self.failures.fetch_add(1, Relaxed);
                log::warn!("jwt: {}: {error}; the keys in use stay", fetch.place());
                return false;
            }
        }
        true
    }
}

pub(super) struct FromUrl {
    pub url: Uri,
    pub client: Outbound,
}

#[async_trait]
impl Fetch for FromUrl {
    async fn fetch(&self) -> Result<Bytes, String> {
        let request = Request::get(self.url.clone()).header("accept", "application/json");
        let request = request.body(Bytes::new()).map_err(|e| e.to_string())?;
        let answer = self.client.ask(request).await.map_err(|e| e.to_string())?;
        match answer.status().is_success() {
            true => Ok(answer.into_body()),
            false => Err(format!("answered {}", answer.status())),
        }
    }

    fn place(&self) -> String {
        self.url.to_string()
    }
}

pub(super) struct FromFile(pub PathBuf);

#[async_trait]
impl Fetch for FromFile {
    async fn fetch(&self) -> Result<Bytes, String> {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        let read = read.map_err(|e| e.to_string())?;
        read.map(Bytes::from).map_err(|e| e.to_string())
    }

    fn place(&self) -> String {
        self.0.display().to_string()
    }
}
