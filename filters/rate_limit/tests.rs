use super::*;
use crate::filter::{KeyBytes, entry};
use crate::testing::{Call, Route, refusal};
use proptest::prelude::*;
use serde_json::json;
use std::time::Instant;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn a_burst_passes_then_429_then_the_rate() {
    let route = Route::of::<RateLimit>(json!({ "requests": 10, "per": "1s", "burst": 3 }));
    for left in ["2", "1", "0"] {
        let seen = route.send(Call::get("/"));
        assert_eq!(
            (seen.status(), seen.header("ratelimit-remaining")),
            (200, Some(left))
        );
        assert_eq!(seen.header("ratelimit-limit"), Some("3"));
    }
    let seen = route.send(Call::get("/"));
    assert_eq!((seen.status(), seen.reached_backend()), (429, false));
    assert_eq!(seen.header("retry-after"), Some("1"));
    assert_eq!(seen.header("ratelimit-remaining"), Some("0"));
    assert_eq!(seen.header("ratelimit-reset"), Some("1"));
    assert_eq!(seen.reason(), Some("rate_limit: over the limit"));
    assert_eq!(route.send(Call::get("/").after(ms(99))).status(), 429);
    assert_eq!(route.send(Call::get("/").after(ms(100))).status(), 200);
    assert_eq!(route.send(Call::get("/").after(ms(100))).status(), 429);
    assert_eq!(route.filters().counts(), [("rate_limit", "refused", 3)]);
}

#[test]
fn clients_do_not_share() {
    let route = Route::of::<RateLimit>(json!({ "requests": 1, "per": "1h" }));
    for client in [
        "192.0.2.1",
        "192.0.2.2",
        "2001:db8:0:1::1",
        "2001:db8:0:2::1",
    ] {
        assert_eq!(
            route.send(Call::get("/").client(client)).status(),
            200,
            "{client}"
        );
    }
    assert_eq!(
        route
            .send(Call::get("/").client("2001:db8:0:1::2"))
            .status(),
        429,
        "the same /64"
    );
    assert_eq!(
        route
            .send(Call::get("/").client("::ffff:192.0.2.1"))
            .status(),
        429
    );
}

#[test]
fn other_keys() {
    let route =
        Route::of::<RateLimit>(json!({ "key": { "header": "x-key" }, "requests": 1, "per": "1h" }));
    let call = |key: &str| Call::get("/").header("x-key", key);
    assert_eq!(route.send(call("a")).status(), 200);
    assert_eq!(route.send(call("a").client("192.0.2.9")).status(), 429);
    assert_eq!(route.send(call("b")).status(), 200);
    assert_eq!(
        route.send(Call::get("/")).status(),
        200,
        "without the header: by address"
    );
    assert_eq!(route.send(Call::get("/")).status(), 429);
}

#[test]
fn counts_survive_a_reload_that_keeps_the_key() {
    let config = |n: u32| (entry::<RateLimit>(), json!({ "requests": n, "per": "1h" }));
    let route = Route::chain(&[config(1)]);
    assert_eq!(route.send(Call::get("/")).status(), 200);
    assert_eq!(
        route.reloaded(&[config(1)]).send(Call::get("/")).status(),
        429
    );
    let other = json!({ "key": "route", "requests": 1, "per": "1h" });
    let reloaded = route.reloaded(&[(entry::<RateLimit>(), other)]);
    assert_eq!(reloaded.send(Call::get("/")).status(), 200);
}

#[test]
fn a_full_table_stays_as_large_as_it_is_and_keeps_whoever_is_over() {
    let local = Local::new(16);
    let quota = Quota::new(1, Duration::from_secs(1), 100);
    let now = Instant::now();
    for _ in 0..200 {
        local.take("", KeyBytes::Text("greedy"), &quota, now);
    }
    for n in 0..10_000 {
        let name = n.to_string();
        assert!(local.take("", KeyBytes::Text(&name), &quota, now).allowed);
    }
    assert!(
        !local
            .take("", KeyBytes::Text("greedy"), &quota, now)
            .allowed
    );
}

#[test]
fn bad_configs() {
    assert_eq!(
        refusal::<RateLimit>(&json!({ "requests": 0, "per": "1s" })).path,
        "requests"
    );
    assert_eq!(
        refusal::<RateLimit>(&json!({ "requests": 1, "per": 1 })).path,
        "per"
    );
    assert_eq!(
        refusal::<RateLimit>(&json!({ "requests": 1, "per": "0s" })).path,
        "per"
    );
    let key = json!({ "requests": 1, "per": "1s", "key": "ip" });
    assert_eq!(refusal::<RateLimit>(&key).path, "key");
    let keys = json!({ "requests": 1, "per": "1s", "max_keys": 1 });
    assert_eq!(refusal::<RateLimit>(&keys).path, "max_keys");
}

proptest! {
    /// In any window, no more pass than the burst and what the window earns.
    #[test]
    fn never_more_than_burst_and_rate(
        requests in 1_u32..1000, burst in 1_u32..50, gaps in prop::collection::vec(0_u64..5_000_000, 1..300),
    ) {
        let quota = Quota::new(requests, Duration::from_secs(1), burst);
        let (mut now, mut arrival, mut passed) = (1_u64, 0, 0_u64);
        for gap in gaps {
            now += gap;
            let (decision, next) = quota.decide(arrival, now);
            if decision.allowed {
                arrival = next;
                passed += 1;
            } else {
                let wait = u64::try_from(decision.retry_after.as_nanos()).unwrap();
                prop_assert!(wait > 0 && quota.decide(arrival, now + wait).0.allowed);
                prop_assert!(!quota.decide(arrival, now + wait - 1).0.allowed);
            }
            let earned = now / (1_000_000_000 / u64::from(requests));
            prop_assert!(passed <= u64::from(burst) + earned + 1);
        }
    }
}
