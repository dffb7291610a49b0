//! Clients, instances and virtual time: what bounded load does to whole populations.
use std::collections::BTreeMap;

use super::fixture::{Instance, START, settings};
use super::*;

struct Client {
    /// Milliseconds between two requests, moved by up to a fifth either way.
    period: f64,
    next: f64,
    ticket: Ticket,
    backend: String,
    moves: usize,
    results: Vec<StickyResult>,
}

struct World {
    instances: Vec<Instance>,
    clients: Vec<Client>,
    chance: fastrand::Rng,
    /// Milliseconds.
    time: f64,
    turn: usize,
}

impl World {
    /// Clients by requests a second and backend, all of them with a ticket for it.
    fn new(seed: u64, instances: Vec<Instance>, clients: &[(f64, &str)]) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let make = |(rate, backend): &(f64, &str)| {
            let ticket = instances[0].ticket(backend, chance.u64(..), START);
            let period = 1_000.0 / rate;
            Client {
                period,
                next: chance.f64() * period,
                ticket,
                backend: (*backend).to_owned(),
                moves: 0,
                results: vec![],
            }
        };
        let clients = clients.iter().map(make).collect();
        Self {
            instances,
            clients,
            chance,
            time: 0.0,
            turn: 0,
        }
    }

    /// Runs until so many seconds after the start; the moves made meanwhile.
    fn run_until(&mut self, seconds: u64) -> usize {
        let (end, mut moves, mut tick) = (seconds as f64 * 1_000.0, 0, self.time);
        loop {
            let (i, next) = self
                .clients
                .iter()
                .map(|client| client.next)
                .enumerate()
                .min_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap();
            if next >= end {
                self.time = end;
                return moves;
            }
            while tick < next {
                self.instances
                    .iter()
                    .for_each(|one| one.sticky.refresh(&one.pool, one.clock(tick as u64)));
                tick += 1_000.0;
            }
            self.time = next;
            moves += usize::from(self.request(i));
        }
    }

    fn request(&mut self, i: usize) -> bool {
        self.turn += 1;
        let (one, client) = (
            &self.instances[self.turn % self.instances.len()],
            &mut self.clients[i],
        );
        let (result, picked, set) = one.ask_unsealed(client.ticket, one.clock(self.time as u64));
        client.next += client.period * (0.8 + 0.4 * self.chance.f64());
        client.results.push(result);
        let Some(set) = set else { return false };
        client.ticket = set;
        let moved = client.backend != picked.backend.id();
        client.moves += usize::from(moved);
        client.backend = picked.backend.id().to_owned();
        moved
    }

    /// Requests a second by backend, as the clients are bound to them.
    fn rates(&self, backends: &[&str]) -> BTreeMap<String, f64> {
        let mut rates: BTreeMap<String, f64> =
            backends.iter().map(|id| ((*id).to_owned(), 0.0)).collect();
        for client in &self.clients {
            *rates.get_mut(&client.backend).unwrap() += 1_000.0 / client.period;
        }
        rates
    }

    fn ratio(&self, backends: &[&str]) -> f64 {
        let rates = self.rates(backends);
        let mean = rates.values().sum::<f64>() / rates.len() as f64;
        rates.values().copied().fold(0.0, f64::max) / mean
    }
}

const FOUR: [&str; 4] = ["b0", "b1", "b2", "b3"];

#[test]
fn forty_sessions_on_one_of_four_spread_within_ten_seconds() {
    for (seed, rate) in
        (0..8).flat_map(|seed| [(seed, 0.5), (seed, 1.0), (seed, 4.0), (seed, 10.0)])
    {
        let mut world = World::new(seed, vec![Instance::of(4, settings())], &[(rate, "b1"); 40]);
        world.run_until(10);
        let (ratio, moved_twice) = (
            world.ratio(&FOUR),
            world
                .clients
                .iter()
                .filter(|client| client.moves > 1)
                .count(),
        );
        assert!(
            ratio <= 1.25,
            "seed {seed}, rate {rate}: {:?}",
            world.rates(&FOUR)
        );
        assert!(moved_twice <= 2, "seed {seed}, rate {rate}: {moved_twice}");
        let later = world.run_until(190);
        assert_eq!(later, 0, "seed {seed}, rate {rate}");
    }
}

/// The seed's figure, sixty times as fast.
#[test]
fn the_figure_of_two_backends_ends_under_the_cap() {
    for seed in 0..20 {
        let clients = [(30.0, "b1"), (2.0, "b0"), (5.0, "b1"), (40.0, "b1")];
        let mut world = World::new(seed, vec![Instance::of(2, settings())], &clients);
        world.run_until(120);
        let rates = world.rates(&["b0", "b1"]);
        assert!(
            rates["b1"] <= 48.0 && rates["b0"] <= 48.2,
            "seed {seed}: {rates:?}"
        );
        let moved = world
            .clients
            .iter()
            .filter(|client| client.moves > 0)
            .count();
        assert!(moved <= 2, "seed {seed}: {moved}");
    }
}

#[test]
fn three_equal_heavy_users_get_a_backend_each() {
    for seed in 0..20 {
        let mut world = World::new(seed, vec![Instance::of(3, settings())], &[(20.0, "b1"); 3]);
        let moves = world.run_until(120);
        assert_eq!((moves, world.ratio(&FOUR[..3])), (2, 1.0), "seed {seed}");
    }
}

/// Dave alone is more than the cap: he stays, the others leave.
#[test]
fn one_too_heavy_user_is_pinned_and_the_light_ones_leave() {
    for seed in 0..20 {
        let clients = [(30.0, "b1"), (2.0, "b0"), (5.0, "b1"), (40.0, "b1")];
        let mut world = World::new(seed, vec![Instance::of(3, settings())], &clients);
        world.run_until(30);
        let rates = world.rates(&FOUR[..3]);
        let early = world.clients[3].moves;
        assert!(early <= 1, "seed {seed}: {early}");
        let alone = world.clients[3].backend.clone();
        assert_eq!(rates[&alone], 40.0, "seed {seed}: {rates:?}");
        let others = world.run_until(630);
        assert_eq!((others, world.clients[3].moves), (0, early), "seed {seed}");
        assert_eq!(world.clients[3].results.last(), Some(&StickyResult::Pinned));
    }
}

#[test]
fn after_the_ttl_a_user_is_placed_anew() {
    let clients = [(1.0, "b1"); 12];
    let mut world = World::new(1, vec![Instance::of(4, settings())], &clients);
    world.run_until(3_590);
    assert!(
        world
            .clients
            .iter()
            .all(|client| !client.results.contains(&StickyResult::Expired))
    );
    world.run_until(3_610);
    for client in &world.clients {
        assert_eq!(
            client
                .results
                .iter()
                .filter(|result| **result == StickyResult::Expired)
                .count(),
            1
        );
    }
}

#[test]
fn two_instances_share_clients_and_one_may_die() {
    for seed in 0..10 {
        let pair = || vec![Instance::of(4, settings()), Instance::of(4, settings())];
        let mut world = World::new(seed, pair(), &[(4.0, "b1"); 40]);
        world.run_until(20);
        assert!(
            world.ratio(&FOUR) <= 1.25,
            "seed {seed}: {:?}",
            world.rates(&FOUR)
        );
        world.instances.pop();
        // Each client's next requests; later, this one sees all the load where it had seen half, and may correct a little.
        assert_eq!(world.run_until(21), 0, "seed {seed}");
        let moves = world.run_until(300);
        assert!(moves <= 1, "seed {seed}: {moves}");
        let results = world.clients.iter().flat_map(|client| &client.results);
        assert!(
            results
                .into_iter()
                .all(|result| matches!(result, StickyResult::Hit | StickyResult::Rehomed))
        );
    }
}

#[test]
fn spilling_keeps_sessions_and_bounds_the_load() {
    let spill = model::Sticky {
        on_overload: model::OnOverload::Spill,
        ..settings()
    };
    let mut world = World::new(5, vec![Instance::of(4, spill)], &[(4.0, "b1"); 40]);
    assert_eq!(world.run_until(60), 0);
    let skew = world.instances[0]
        .sticky
        .skew(world.instances[0].at(60).now);
    assert!(skew <= 1.27, "{skew}");
    assert!(
        world
            .clients
            .iter()
            .all(|client| client.results.contains(&StickyResult::Spilled))
    );
}

#[test]
fn weights_are_respected() {
    let mut pool = crate::pool::fixture::settings(model::Policy::RoundRobin, 2);
    pool.backends[1].weight = 3;
    pool.sticky = Some(settings());
    let one = Instance::new(pool, &super::fixture::keys(super::fixture::SECRET, START));
    let mut world = World::new(6, vec![one], &[(2.0, "b0"); 40]);
    world.run_until(30);
    let rates = world.rates(&["b0", "b1"]);
    assert!(rates["b0"] <= 25.0 && rates["b1"] >= 55.0, "{rates:?}");
}

#[test]
fn slow_requests_count_before_they_end() {
    let one = Instance::of(4, settings());
    let held: Vec<_> = (0..12)
        .map(|n| one.ask_unsealed(one.ticket("b1", n, START), one.at(1)))
        .collect();
    assert_eq!(
        held.iter()
            .filter(|(_, picked, _)| picked.backend.id() == "b1")
            .count(),
        5
    );
    // `ceil(1.25 * 12 / 4)` and the one that makes it over.
    assert!(one.pool.backends().all(|backend| backend.in_flight() <= 5));
}
