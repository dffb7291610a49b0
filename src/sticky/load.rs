//! Bounded load: which backends have more than their part, which sessions would help by leaving, and where to.
//!
//! A backend is over by its requests in flight, or by its request rate: fast backends have nothing in flight, and clients
//! that stick make rates uneven. Once over, it gives sessions away until it is half way back to its fair part, so that
//! chance alone does not push it over again. A session that moves takes its own share of the fading counts along: without
//! that, a backend would look busy long after everyone had left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::decayed::{self, Decayed};
use super::seal::Ticket;
use super::sketch::{KnownMoves, Sketch};
use crate::pool::{Backend, Pool, State};

/// With less than this, no backend is over: chance weighs too much.
const LEAST_IN_FLIGHT: u32 = 4;
const LEAST_COUNT: f32 = 20.0;
/// Backends looked at for a session that is to move, so that a large pool costs no more than a small one.
const LOOKS: usize = 64;
const TOLD_OVER: usize = 16;

/// The loads of one pool's backends, as far as this instance sees them.
pub struct Balance {
    origin: Instant,
    /// Over is more than this times the fair part; `None` measures only.
    factor: Option<f32>,
    /// Sorted by key.
    seats: Box<[Seat]>,
    shape: ArcSwap<Shape>,
    sketch: Arc<Sketch>,
    moves: Arc<KnownMoves>,
}

struct Seat {
    backend: Arc<Backend>,
    cell: Arc<Cell>,
}

/// Lives on over reloads.
#[derive(Default)]
struct Cell {
    count: Decayed,
    /// Was over, and is not yet half way back.
    shedding: AtomicBool,
    /// Tick at which it was first seen draining, plus one; 0 when it is not.
    draining: AtomicU32,
}

/// Who serves, and what part of the pool's requests is due to each.
#[derive(Default)]
struct Shape {
    /// As `seats`; 0 does not serve.
    parts: Box<[f32]>,
    largest: f32,
    /// Fading count of requests to those that serve.
    total: Decayed,
}

/// What load says of a session on its backend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pressure {
    /// It may stay.
    None,
    /// Too much, and nowhere to go.
    Full,
    /// Too much, by this very session: it would be too much anywhere.
    Heavy,
    /// There is a place for it.
    Move {
        /// Seat to go to.
        to: usize,
        /// What the session has counted for, without this request.
        weight: f32,
    },
}

impl Balance {
    /// Backends that `previous` has, too, keep their counts.
    pub fn new(pool: &Pool, factor: Option<f64>, previous: Option<&Self>, now: Instant) -> Self {
        let known = |backend: &Arc<Backend>| {
            let previous = previous?;
            let old = previous.seats.get(previous.find(backend.key())?)?;
            Arc::ptr_eq(&old.backend, backend).then(|| Arc::clone(&old.cell))
        };
        let seat = |backend: Arc<Backend>| Seat {
            cell: known(&backend).unwrap_or_default(),
            backend,
        };
        let mut seats: Vec<Seat> = pool.backends().map(seat).collect();
        seats.sort_by_key(|seat| seat.backend.key());
        let balance = Self {
            origin: previous.map_or(now, |previous| previous.origin),
            factor: factor.map(|factor| factor as f32),
            seats: seats.into(),
            shape: ArcSwap::default(),
            sketch: previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.sketch)),
            moves: previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.moves)),
        };
        balance.refresh(pool, now);
        balance
    }

    /// Looks again who serves and who drains. To be called about once a second.
    pub fn refresh(&self, pool: &Pool, now: Instant) {
        let tick = self.tick(now);
        let mut parts = vec![0.0; self.seats.len()];
        pool.for_each_serving(|backend, part| {
            if let Some(seen) = self
                .find(backend.key())
                .and_then(|seat| parts.get_mut(seat))
            {
                *seen = part as f32;
            }
        });
        for Seat { backend, cell } in &self.seats {
            match (
                backend.state() == State::Draining,
                cell.draining.load(Relaxed),
            ) {
                (true, 0) => cell.draining.store(tick.wrapping_add(1).max(1), Relaxed),
                (false, since) if since != 0 => cell.draining.store(0, Relaxed),
                _ => {}
            }
        }
        if *self.shape.load().parts != *parts {
            self.shape.store(Arc::new(self.shape_of(parts, tick)));
        }
    }

    fn shape_of(&self, parts: Vec<f32>, tick: u32) -> Shape {
        let total = Decayed::default();
        let serving = self
            .seats
            .iter()
            .zip(&parts)
            .filter(|(_, part)| **part > 0.0);
        total.add(
            serving.map(|(seat, _)| seat.cell.count.at(tick)).sum(),
            tick,
        );
        let largest = parts.iter().copied().fold(0.0, f32::max);
        Shape {
            parts: parts.into(),
            largest,
            total,
        }
    }

    /// The seat of the backend with this key.
    pub fn find(&self, key: u64) -> Option<usize> {
        self.seats
            .binary_search_by_key(&key, |seat| seat.backend.key())
            .ok()
    }

    /// The backend in a seat.
    pub fn backend(&self, seat: usize) -> Option<&Arc<Backend>> {
        self.seats.get(seat).map(|seat| &seat.backend)
    }

    /// It has been draining for longer than this.
    pub fn drained_out(&self, seat: usize, timeout: Duration, now: Instant) -> bool {
        let since = self
            .seats
            .get(seat)
            .map_or(0, |seat| seat.cell.draining.load(Relaxed));
        since != 0
            && self.tick(now).wrapping_add(1).wrapping_sub(since)
                > decayed::seconds(timeout.as_secs())
    }

    /// Counts one request to the backend with this key. No lock, no allocation.
    pub fn count(&self, key: u64, session: u64, now: Instant) {
        let tick = self.tick(now);
        let shape = self.shape.load();
        let seat = self.find(key).filter(|seat| shape.part(*seat) > 0.0);
        if let Some(seat) = seat.and_then(|seat| self.seats.get(seat)) {
            seat.cell.count.add(1.0, tick);
            shape.total.add(1.0, tick);
        }
        self.sketch.add(session, tick);
    }

    /// A session went from one backend to another: so does what it has counted for.
    pub fn transfer(&self, from: usize, to: usize, weight: f32, now: Instant) {
        let tick = self.tick(now);
        if let (Some(from), Some(to)) = (self.seats.get(from), self.seats.get(to)) {
            let weight = weight.min(from.cell.count.at(tick));
            from.cell.count.add(-weight, tick);
            to.cell.count.add(weight, tick);
        }
    }

    /// Notes a move that was made here. True when it was not known before.
    pub fn knows(&self, ticket: &Ticket, now: Instant) -> bool {
        self.moves
            .add(ticket.session, ticket.moved_at, self.tick(now))
    }

    /// Another instance may have moved this session: then what it has counted for here goes along, once.
    pub fn follow(&self, ticket: &Ticket, home: usize, now: Instant) {
        if let Some(from) = self
            .find(ticket.moved_from)
            .filter(|_| self.knows(ticket, now))
        {
            self.transfer(
                from,
                home,
                self.sketch.estimate(ticket.session, self.tick(now)),
                now,
            );
        }
    }

    /// Over by the rule alone. `in_flight` is of the whole pool.
    pub fn is_over(&self, seat: usize, in_flight: u32, now: Instant) -> bool {
        self.factor
            .is_some_and(|factor| self.view(now, in_flight).over(seat, factor))
    }

    /// What is to become of this session. `in_flight` is of the whole pool.
    pub fn pressure(&self, home: usize, session: u64, in_flight: u32, now: Instant) -> Pressure {
        let Some(factor) = self.factor else {
            return Pressure::None;
        };
        let view = self.view(now, in_flight);
        if !view.sheds(home, factor) {
            return Pressure::None;
        }
        let weight = self.sketch.estimate(session, view.tick);
        if weight >= LEAST_COUNT && weight > factor * view.total * view.shape.largest {
            return Pressure::Heavy;
        }
        view.place_for(weight, home, factor)
            .map_or(Pressure::Full, |to| Pressure::Move { to, weight })
    }

    /// Largest load of a backend against its fair part: 1 is even. 1 as long as there is too little to tell.
    pub fn skew(&self, now: Instant) -> f64 {
        let view = self.view(now, 0);
        if view.total < LEAST_COUNT {
            return 1.0;
        }
        let ratio = |seat: usize| view.count(seat) / view.fair(seat);
        (0..self.seats.len())
            .filter(|seat| view.shape.part(*seat) > 0.0)
            .map(ratio)
            .fold(0.0, f32::max)
            .into()
    }

    /// Ids of backends that are over or still giving sessions away, the first few of them: for `/status`.
    pub fn shedding(&self) -> impl Iterator<Item = &str> {
        let shedding = |seat: &&Seat| seat.cell.shedding.load(Relaxed);
        self.seats
            .iter()
            .filter(shedding)
            .take(TOLD_OVER)
            .map(|seat| seat.backend.id())
    }

    fn tick(&self, now: Instant) -> u32 {
        decayed::ticks(self.origin, now)
    }

    fn view(&self, now: Instant, in_flight: u32) -> View<'_> {
        let (shape, tick) = (self.shape.load(), self.tick(now));
        let total = shape.total.at(tick);
        View {
            seats: &self.seats,
            shape,
            tick,
            total,
            in_flight: in_flight as f32 + 1.0,
        }
    }
}

impl Shape {
    fn part(&self, seat: usize) -> f32 {
        self.parts.get(seat).copied().unwrap_or(0.0)
    }
}

/// One look at the pool.
struct View<'a> {
    seats: &'a [Seat],
    shape: arc_swap::Guard<Arc<Shape>>,
    tick: u32,
    total: f32,
    /// Of the pool, this request included.
    in_flight: f32,
}

impl View<'_> {
    fn count(&self, seat: usize) -> f32 {
        self.seats
            .get(seat)
            .map_or(0.0, |seat| seat.cell.count.at(self.tick))
    }

    /// The count it would have if all had what is due to them.
    fn fair(&self, seat: usize) -> f32 {
        self.total * self.shape.part(seat)
    }

    fn in_flight(&self, seat: usize) -> u32 {
        self.seats
            .get(seat)
            .map_or(0, |seat| seat.backend.in_flight())
    }

    fn over(&self, seat: usize, factor: f32) -> bool {
        let part = self.shape.part(seat);
        if part == 0.0 {
            return false;
        }
        let (in_flight, count) = (self.in_flight(seat), self.count(seat));
        let by_flight = in_flight >= LEAST_IN_FLIGHT
            && in_flight as f32 > (factor * self.in_flight * part).ceil();
        by_flight || (count >= LEAST_COUNT && count > factor * self.fair(seat))
    }

    fn sheds(&self, seat: usize, factor: f32) -> bool {
        let Some(Seat { cell, .. }) = self.seats.get(seat) else {
            return false;
        };
        let shedding = cell.shedding.load(Relaxed);
        let half_way = self.fair(seat) * (1.0 + factor) / 2.0;
        let count = self.count(seat);
        let sheds =
            self.over(seat, factor) || (shedding && count >= LEAST_COUNT && count > half_way);
        if sheds != shedding {
            cell.shedding.store(sheds, Relaxed);
        }
        sheds
    }

    /// The least loaded of those below their fair part that stay under the cap with this session.
    fn place_for(&self, weight: f32, home: usize, factor: f32) -> Option<usize> {
        let n = self.seats.len();
        let first = if n > LOOKS { fastrand::usize(..n) } else { 0 };
        let candidates = (0..n.min(LOOKS)).map(|step| (first + step) % n);
        let fits = candidates.filter(|seat| *seat != home && self.has_room(*seat, weight, factor));
        fits.min_by(|a, b| f32::total_cmp(&self.relative(*a), &self.relative(*b)))
    }

    fn relative(&self, seat: usize) -> f32 {
        self.count(seat) / self.shape.part(seat)
    }

    fn has_room(&self, seat: usize, weight: f32, factor: f32) -> bool {
        let Some(Seat { backend, .. }) = self.seats.get(seat) else {
            return false;
        };
        let (part, count, in_flight) =
            (self.shape.part(seat), self.count(seat), backend.in_flight());
        if part == 0.0 || !backend.state().in_rotation() {
            return false;
        }
        let (fair, then) = (self.fair(seat), count + weight.max(1.0));
        let fits = then < LEAST_COUNT || (count < fair && then <= factor * fair);
        fits && (in_flight < LEAST_IN_FLIGHT || (in_flight as f32) < self.in_flight * part)
    }
}
