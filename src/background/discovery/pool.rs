//! The sources of one pool: each is asked when it is due, and what they say is made the pool's members.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::Level;
use serde_json::json;
use tokio::task::JoinSet;

use super::http::ListClient;
use super::resolver::Resolver;
use crate::config::model::{self, Address, DnsName, DnsService, Source, TtlBounds};
use crate::discovery::guard::{self, Hold, Verdict};
use crate::discovery::{
    Answer, Clock, Failure, FailureKind, Feed, Pace, Taken, addresses, services,
};
use crate::instance::Instance;
use crate::observe::event_log::{self, EventKind};
use crate::snapshot::PoolHandle;

/// How soon a source whose answer would take most of a pool away is asked for the second time.
const SECOND_ANSWER: Duration = Duration::from_millis(400);
/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// One pool's sources.
pub struct PoolSources {
    instance: Arc<Instance>,
    resolver: Arc<Resolver>,
    settings: model::Discovery,
    pool: String,
    scale_to_zero: bool,
    asked: Vec<Asked>,
    pace: Pace,
    hold: Option<Held>,
    /// All sources have answered once.
    settled: bool,
    /// A source has given up its members: there is no second answer to wait for.
    expired: bool,
}

/// One source and when it is asked next.
struct Asked {
    feed: Arc<Feed>,
    clock: Clock,
    /// `None` while it is being asked.
    due: Option<Instant>,
    /// Its last answer was another one, and the pool does not have it yet.
    news: bool,
    /// Of a file: what it looked like when it was read.
    seen: Option<Stamp>,
    /// Of an HTTP server.
    client: Option<Arc<ListClient>>,
}

/// A change that waits for a second answer of these sources: their places, and how many answers they had given.
struct Held {
    hold: Hold,
    waits_for: Vec<(usize, u64)>,
}

type Stamp = (SystemTime, u64, u64);

/// What one look at a source came to.
enum Found {
    Answer(Result<Answer, Failure>),
    /// A file, with its stamp; `None` when it is the one that was read before.
    File(Option<(Stamp, Result<Answer, Failure>)>),
}

impl PoolSources {
    pub fn new(
        instance: Arc<Instance>,
        resolver: Arc<Resolver>,
        settings: model::Discovery,
        pool: &PoolHandle,
    ) -> PoolSources {
        let now = Instant::now();
        let asked = |feed: &Arc<Feed>| Asked {
            feed: feed.clone(),
            clock: Clock::default(),
            due: Some(now),
            news: false,
            seen: None,
            client: match feed.source() {
                Source::Http(list) => Some(Arc::new(ListClient::new(list))),
                _ => None,
            },
        };
        PoolSources {
            instance,
            resolver,
            settings,
            pool: pool.config.name.clone(),
            scale_to_zero: pool.config.scale_to_zero,
            asked: pool.feeds.list().iter().map(asked).collect(),
            pace: Pace::default(),
            hold: None,
            settled: false,
            expired: false,
        }
    }

    /// Goes on until it is ended.
    pub async fn run(mut self) {
        let mut looks = JoinSet::new();
        loop {
            let now = Instant::now();
            for (place, asked) in self.asked.iter_mut().enumerate() {
                if asked.due.is_some_and(|due| due <= now) {
                    asked.due = None;
                    let look = look(asked, &self.resolver);
                    looks.spawn(async move { (place, look.await) });
                }
            }
            if self.pace.due().is_some_and(|due| due <= now) {
                self.apply(now);
            }
            let dues = self.asked.iter().filter_map(|asked| asked.due);
            let next = dues.chain(self.pace.due()).min();
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                Some(looked) = looks.join_next() => match looked {
                    Ok((place, found)) => self.take(place, found, Instant::now()),
                    Err(_) => self.ask_again(Instant::now()),
                },
            }
        }
    }

    /// A look panicked, and it is not known which: none may wait for its answer for ever.
    fn ask_again(&mut self, now: Instant) {
        for asked in self.asked.iter_mut().filter(|asked| asked.due.is_none()) {
            asked.due = Some(now + Duration::from_secs(1));
        }
    }

    fn take(&mut self, place: usize, found: Found, now: Instant) {
        let (settings, pool) = (&self.settings, self.pool.as_str());
        let Some(asked) = self.asked.get_mut(place) else {
            return;
        };
        let (answer, wait) = match found {
            Found::Answer(answer) => (answer, None),
            Found::File(None) => {
                asked.due = Some(now + LOOK);
                return;
            }
            Found::File(Some((stamp, answer))) => {
                asked.seen = Some(stamp);
                (answer, Some(LOOK))
            }
        };
        let ttl = ttl_of(asked.feed.source());
        let answer = answer.or_else(|failure| match failure.kind.is_denial() {
            true if self.scale_to_zero => Ok(Answer {
                ttl: ttl.map_or(LOOK, |ttl| ttl.min),
                ..Answer::default()
            }),
            _ => Err(failure),
        });
        let (taken, by_clock) = match answer {
            Ok(answer) => {
                let ttl = match ttl {
                    Some(bounds) => asked
                        .clock
                        .after_answer(answer.ttl, bounds, fastrand::f64()),
                    None => LOOK,
                };
                (good(pool, &asked.feed, answer, settings, now), ttl)
            }
            Err(failure) => {
                let taken = bad(pool, &asked.feed, failure, settings, now);
                (taken, asked.clock.after_failure(fastrand::f64()))
            }
        };
        asked.due = Some(now + wait.unwrap_or(by_clock));
        asked.news |= taken == Taken::Changed;
        self.expired |= taken == Taken::Expired;
        // Also where nothing is new: a reload may have been built with what was known before the last answer.
        self.pace.note(now);
        // The start waits for this: what all of them said first is not held up for more.
        if !self.settled && self.asked.iter().all(|asked| asked.feed.has_answered()) {
            self.settled = true;
            self.apply(now);
        }
    }

    /// Makes what the sources say now the pool's members, as far as the guard lets it.
    fn apply(&mut self, now: Instant) {
        let snapshot = self.instance.snapshot.load_full();
        let Some(pool) = snapshot.pools.get(&self.pool) else {
            self.pace.made(false, now);
            return;
        };
        let current = pool.pool.current_members();
        let wanted = pool.wanted();
        let confirmed = self
            .hold
            .as_ref()
            .is_some_and(|held| self.is_confirmed(held));
        let hold = self.hold.as_ref().map(|held| &held.hold);
        let verdict = match self.scale_to_zero || self.expired {
            true => Verdict::Apply,
            false => guard::judge(&current, &wanted, hold, confirmed),
        };
        let (members, removals) = match verdict {
            Verdict::Apply => {
                self.hold = None;
                self.expired = false;
                self.asked.iter_mut().for_each(|asked| asked.news = false);
                (wanted, 0)
            }
            Verdict::Hold(hold) => {
                let removals = guard::removals(&current, &wanted);
                let members = guard::meanwhile(&current, &wanted);
                self.hold(hold, removals, current.len(), now);
                (members, removals)
            }
        };
        pool.feeds.hold(removals, now);
        let changed = members != current && {
            pool.set_members(&members, now).unwrap_or_else(|error| {
                log::error!("pools.{}: {error}", self.pool);
                false
            })
        };
        pool.feeds.put_in_force();
        pool.pool.expect_members(!pool.feeds.are_in_force());
        self.pace.made(changed, now);
    }

    fn is_confirmed(&self, held: &Held) -> bool {
        held.waits_for.iter().all(|(place, answers)| {
            let asked = self.asked.get(*place);
            asked.is_none_or(|asked| asked.feed.answers() > *answers)
        })
    }

    /// Asks again soon those whose answer took members away.
    fn hold(&mut self, hold: Hold, removals: usize, of: usize, now: Instant) {
        if self.hold.as_ref().is_some_and(|held| held.hold == hold) {
            return;
        }
        let fields = json!({
            "pool": self.pool,
            "result": "held",
            "removals": removals,
            "members": of,
            "detail": "an answer takes away more than half of the members: they stay until a second one says the same",
        });
        event_log::event(Level::Warn, EventKind::Discovery, &fields);
        let mut waits_for = Vec::new();
        for (place, asked) in self.asked.iter_mut().enumerate() {
            if asked.news {
                waits_for.push((place, asked.feed.answers()));
                asked.seen = None;
                asked.due = asked.due.map(|due| due.min(now + SECOND_ANSWER));
            }
        }
        self.hold = Some(Held { hold, waits_for });
    }
}

fn look(asked: &Asked, resolver: &Arc<Resolver>) -> impl Future<Output = Found> + Send + 'static {
    // One that was broken is read again: it must grow stale.
    let seen = asked.seen.filter(|_| !asked.feed.is_failing());
    let source = asked.feed.source().clone();
    let (resolver, feed) = (resolver.clone(), asked.feed.clone());
    let client = asked.client.clone();
    async move {
        match source {
            Source::Dns(dns) => Found::Answer(ask_name(&resolver, &dns, &feed).await),
            Source::Srv(srv) => Found::Answer(ask_service(&resolver, &srv).await),
            Source::Http(_) => Found::Answer(match client {
                Some(client) => client.ask(&feed).await,
                None => Err(Failure::denied(FailureKind::NoRecords)),
            }),
            Source::File(path) => {
                let read = tokio::task::spawn_blocking(move || read_file(&path, seen));
                Found::File(read.await.unwrap_or(None))
            }
        }
    }
}

async fn ask_name(resolver: &Resolver, dns: &DnsName, feed: &Feed) -> Result<Answer, Failure> {
    let ip = |one: model::Backend| match one.address {
        Address::Tcp(address) => Some(address.ip()),
        Address::Unix(_) => None,
    };
    let last: Vec<IpAddr> = feed.members().into_iter().filter_map(ip).collect();
    let (found, ttl) = resolver.addresses(&dns.name, &last).await?;
    Ok(addresses::answer(dns, &found, ttl))
}

async fn ask_service(resolver: &Resolver, srv: &DnsService) -> Result<Answer, Failure> {
    let (found, ttl) = resolver.services(&srv.name).await?;
    let (usable, unusable) = services::usable(found);
    let members = services::members(&usable, srv.zone.as_deref());
    match members.is_empty() {
        true => Err(Failure::denied(FailureKind::NoRecords)),
        false => Ok(Answer {
            members,
            ttl,
            unusable,
        }),
    }
}

/// `None` when it is as it was `seen`.
fn read_file(path: &Path, seen: Option<Stamp>) -> Option<(Stamp, Result<Answer, Failure>)> {
    let failed = |kind, detail: String| Err(Failure { kind, detail });
    let stamp = match stamp_of(path) {
        Ok(stamp) => stamp,
        Err(error) => {
            let gone = (SystemTime::UNIX_EPOCH, 0, 0);
            let detail = format!("{}: {error}", path.display());
            return Some((gone, failed(FailureKind::Unreachable, detail)));
        }
    };
    if seen == Some(stamp) {
        return None;
    }
    let answer = match crate::config::read_backends(path) {
        Ok(members) => Ok(Answer {
            members,
            ttl: LOOK,
            unusable: 0,
        }),
        Err(detail) => failed(FailureKind::Invalid, detail),
    };
    Some((stamp, answer))
}

/// Renaming another file over it makes another inode, even where time and length are the same.
fn stamp_of(path: &Path) -> std::io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(path)?;
    Ok((meta.modified()?, meta.len(), meta.ino()))
}

fn ttl_of(source: &Source) -> Option<TtlBounds> {
    match source {
        Source::Dns(dns) => Some(dns.ttl),
        Source::Srv(srv) => Some(srv.ttl),
        Source::File(_) => None,
        Source::Http(list) => Some(TtlBounds {
            min: list.interval,
            max: list.interval,
        }),
    }
}

fn good(
    pool: &str,
    feed: &Feed,
    answer: Answer,
    settings: &model::Discovery,
    now: Instant,
) -> Taken {
    let (before, was_failing) = (feed.refused(), feed.is_failing());
    let taken = feed.take(answer, settings.max_backends, now);
    if was_failing {
        let fields = json!({
            "pool": pool,
            "source": feed.source().to_string(),
            "result": "recovered",
            "members": feed.members().len(),
        });
        event_log::event(Level::Info, EventKind::Discovery, &fields);
    }
    let (unusable, left_out) = feed.refused();
    if (unusable, left_out) != before && unusable + left_out > 0 {
        let fields = json!({
            "pool": pool,
            "source": feed.source().to_string(),
            "result": "left_out",
            "unusable": unusable,
            "beyond_max_backends": left_out,
            "max_backends": settings.max_backends,
        });
        event_log::event(Level::Warn, EventKind::Discovery, &fields);
    }
    taken
}

fn bad(
    pool: &str,
    feed: &Feed,
    failure: Failure,
    settings: &model::Discovery,
    now: Instant,
) -> Taken {
    let (was_failing, kept) = (feed.is_failing(), feed.members().len());
    let (kind, detail) = (failure.kind, failure.detail.clone());
    let taken = feed.fail(failure, settings.stale, now);
    // Once for each time that it begins to fail: each try would be a line.
    if !was_failing || taken == Taken::Expired {
        let expired = taken == Taken::Expired;
        let fields = json!({
            "pool": pool,
            "source": feed.source().to_string(),
            "result": if expired { "expired" } else { "failed" },
            "failure": kind,
            "detail": detail,
            "keeps": if expired { 0 } else { kept },
        });
        event_log::event(Level::Warn, EventKind::Discovery, &fields);
    }
    taken
}
