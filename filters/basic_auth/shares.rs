//! Whose password is hashed next: a few at a time, each client address in its turn.
//!
//! Hashing is dear by design, so who guesses passwords must not keep others waiting. An address has half of the places at
//! most; places that come free go first to addresses that did not guess wrong lately, then to those that have fewest. A
//! full queue makes room for a newcomer at the cost of the address that waits most often. Nothing here is on the way of a
//! password that is remembered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::filter::{Exchange, Key, KeyBytes};

/// How long one waits for a turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Requests that wait, of all addresses and of one.
const MAX_WAITING: usize = 256;
const MAX_WAITING_EACH: usize = 16;
/// From so many wrong passwords on, each within a minute of the one before, an address comes after all others.
const GUESSES: u32 = 4;
const FORGIVEN_AFTER: Duration = Duration::from_mins(1);
/// Addresses whose wrong passwords are counted.
const MAX_COUNTED: usize = 4096;

/// Who is counted as one: an address, a /64 of IPv6, or all unknown clients that come by one proxy (`false`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client(Option<IpAddr>, bool);

impl Client {
    pub fn of(exchange: &Exchange) -> Client {
        match Key::ClientIp.of(exchange) {
            KeyBytes::Address(network) => Client(Some(network), true),
            KeyBytes::UnknownBy(proxy) => Client(Some(proxy), false),
            KeyBytes::Text(_) => Client(None, false),
        }
    }
}

/// Who hashes and who waits.
pub(super) struct Shares {
    places: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// One entry for each place that is taken.
    hashing: Vec<Client>,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    wrong: HashMap<Client, Wrong>,
}

struct Waiting {
    client: Client,
    /// Dropped unsent when another takes its place in the queue.
    call: oneshot::Sender<Turn>,
}

struct Wrong {
    passwords: u32,
    last: Instant,
}

/// A place; given on when it is dropped.
pub(super) struct Turn {
    shares: Arc<Shares>,
    client: Client,
}

impl Shares {
    /// `places`: passwords hashed at a time.
    pub fn new(places: usize) -> Arc<Shares> {
        Arc::new(Shares {
            places,
            state: Mutex::default(),
        })
    }

    /// Waits for a turn; `None` when there is none to be had in time.
    pub async fn turn(self: &Arc<Shares>, client: Client) -> Option<Turn> {
        let called = {
            let mut state = self.lock();
            if state.hashing.len() < self.places && state.hashed_for(client) < self.share() {
                state.hashing.push(client);
                return Some(self.place(client));
            }
            state.join(client)?
        };
        let called = tokio::time::timeout(PATIENCE, called).await;
        called.ok()?.ok()
    }

    /// Counts against this client.
    pub fn guessed_wrong(&self, client: Client, now: Instant) {
        let mut state = self.lock();
        let wrong = &mut state.wrong;
        let recent = |wrong: &Wrong| now.saturating_duration_since(wrong.last) < FORGIVEN_AFTER;
        if wrong.len() >= MAX_COUNTED && !wrong.contains_key(&client) {
            wrong.retain(|_, wrong| recent(wrong));
            let any = wrong.keys().next().copied();
            if let Some(any) = any.filter(|_| wrong.len() >= MAX_COUNTED) {
                wrong.remove(&any);
            }
        }
        let none = Wrong {
            passwords: 0,
            last: now,
        };
        let counted = wrong.entry(client).or_insert(none);
        if !recent(counted) {
            counted.passwords = 0;
        }
        counted.passwords = counted.passwords.saturating_add(1);
        counted.last = now;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(self: &Arc<Shares>, client: Client) -> Turn {
        Turn {
            shares: Arc::clone(self),
            client,
        }
    }

    /// What one address has at most.
    fn share(&self) -> usize {
        self.places.div_ceil(2)
    }

    /// Gives a place back, and to the next who waits.
    fn give_on(self: &Arc<Shares>, client: Client) {
        let next = {
            let mut state = self.lock();
            if let Some(at) = state.hashing.iter().position(|other| *other == client) {
                state.hashing.swap_remove(at);
            }
            let next = state.next(self.share());
            if let Some(next) = &next {
                state.hashing.push(next.client);
            }
            next
        };
        if let Some(next) = next {
            // One that is gone drops its turn at once, which calls the one behind it.
            drop(next.call.send(self.place(next.client)));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shares.give_on(self.client);
    }
}

impl State {
    fn hashed_for(&self, client: Client) -> usize {
        self.hashing.iter().filter(|c| **c == client).count()
    }

    fn waiting_of(&self, client: Client) -> usize {
        let waiting = self.waiting.iter();
        waiting.filter(|waiting| waiting.client == client).count()
    }

    /// Counts that are older are as good as none: they are looked at only when a password was wrong.
    fn guesses(&self, client: Client, now: Instant) -> bool {
        self.wrong.get(&client).is_some_and(|wrong| {
            let since = now.saturating_duration_since(wrong.last);
            wrong.passwords >= GUESSES && since < FORGIVEN_AFTER
        })
    }

    fn join(&mut self, client: Client) -> Option<oneshot::Receiver<Turn>> {
        self.waiting.retain(|waiting| !waiting.call.is_closed());
        if self.waiting_of(client) >= MAX_WAITING_EACH {
            return None;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.make_room(client)?;
        }
        let (call, called) = oneshot::channel();
        self.waiting.push(Waiting { client, call });
        Some(called)
    }

    /// The newest request of the address that burdens the queue most goes, if that is not the newcomer's.
    fn make_room(&mut self, newcomer: Client) -> Option<()> {
        let now = Instant::now();
        let burden = |client| (self.guesses(client, now), self.waiting_of(client));
        let waiting = self.waiting.iter().enumerate();
        let (at, most) = waiting
            .map(|(at, waiting)| (at, burden(waiting.client)))
            .max_by_key(|(at, burden)| (*burden, *at))?;
        let (guesses, waits) = burden(newcomer);
        ((guesses, waits + 1) < most).then(|| drop(self.waiting.remove(at)))
    }

    /// Takes out who is next, among those whose share is not used up.
    fn next(&mut self, share: usize) -> Option<Waiting> {
        let now = Instant::now();
        let waiting = self.waiting.iter().enumerate();
        let (_, _, at) = waiting
            .map(|(at, waiting)| (self.hashed_for(waiting.client), waiting.client, at))
            .filter(|(hashed, ..)| *hashed < share)
            .map(|(hashed, client, at)| (self.guesses(client, now), hashed, at))
            .min()?;
        Some(self.waiting.remove(at))
    }
}

#[cfg(test)]
mod tests;
