use std::time::Duration;

use serde_json::json;

use super::units::{Percent, Size, Span};
use super::*;
use crate::testing::Call;

#[test]
fn the_path_is_normal_and_follows_what_filters_write() {
    let mut exchange = Call::get("/%61//./c?q=//x").exchange();
    assert!(exchange.path() == "/a/c" && exchange.request.uri.path() == "/%61//./c");
    assert!(exchange.set_path_and_query("//new//./%70?r=;"));
    assert_eq!(exchange.path(), "/new/p");
    assert_eq!(exchange.request.uri, "/new/p?r=;");
    for bad in ["/a%2Fb", "/a;b", "/..", "/a b", "/%252e"] {
        assert!(!exchange.set_path_and_query(bad), "{bad}");
    }
    assert_eq!(exchange.request.uri, "/new/p?r=;");
}

#[test]
fn a_full_map_keeps_what_it_has_and_refuses_more() {
    let mut attributes = Attributes::default();
    for n in 0..32 {
        assert!(attributes.set(format!("a{n}"), n));
    }
    assert!(!attributes.set("one_more", 1));
    assert!(attributes.set("a0", "replaced"));
    assert_eq!(attributes.text("a0"), Some("replaced"));
    assert_eq!(attributes.iter().count(), 32);
}

#[test]
fn a_text_that_is_too_long_is_dropped_not_cut() {
    let mut attributes = Attributes::default();
    assert!(attributes.set("jwt.sub", "x".repeat(1024)));
    assert!(!attributes.set("jwt.sub", "x".repeat(1025)));
    assert_eq!(attributes.get("jwt.sub"), None);
}

#[test]
fn hosts_come_without_port() {
    let host = |host: &str| {
        let exchange = Call::get("/").header("host", host).exchange();
        exchange.host().map(str::to_string)
    };
    assert_eq!(host("a.example:8443").as_deref(), Some("a.example"));
    assert_eq!(host("[2001:db8::1]:80").as_deref(), Some("[2001:db8::1]"));
    assert_eq!(host("[2001:db8::1]").as_deref(), Some("[2001:db8::1]"));
    assert_eq!(
        Call::get("http://b.example:1/").exchange().host(),
        Some("b.example")
    );
}

#[test]
fn cookies_and_query_are_found() {
    let call = Call::get("/?a=1&b=x%20y")
        .header("cookie", "a=1; sid = abc ")
        .header("cookie", "late=2");
    let exchange = call.exchange();
    assert_eq!(exchange.cookie("sid"), Some("abc"));
    assert_eq!(exchange.cookie("late"), Some("2"));
    assert_eq!(exchange.cookie("si"), None);
    assert_eq!(exchange.query("b").as_deref(), Some("x y"));
    assert_eq!(exchange.query("c"), None);
}

#[test]
fn a_target_that_cannot_be_is_refused_and_changes_nothing() {
    let mut exchange = Call::get("/old?q=1").exchange();
    assert!(!exchange.set_path_and_query("/with space"));
    assert_eq!(exchange.request.uri, "/old?q=1");
    assert!(exchange.set_path_and_query("/new"));
    assert_eq!(exchange.request.uri, "/new");
}

#[test]
fn state_belongs_to_a_place_in_the_chain() {
    let mut exchange = Call::get("/").exchange();
    exchange.enter(0);
    exchange.set_state(1_u32);
    exchange.enter(1);
    assert_eq!(exchange.state::<u32>(), None);
    exchange.set_state(2_u32);
    exchange.enter(0);
    assert_eq!(exchange.state::<u32>(), Some(&mut 1));
    assert_eq!(exchange.take_state::<u32>(), Some(1));
    exchange.enter(1);
    assert_eq!(exchange.take_state::<u32>(), Some(2));
}

#[test]
fn the_first_reason_stays() {
    let mut exchange = Call::get("/").exchange();
    exchange.set_reason("jwt: expired");
    exchange.set_reason("later");
    assert_eq!(exchange.reason(), Some("jwt: expired"));
}

#[test]
fn spans_and_sizes() {
    assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
    assert_eq!("2h".parse(), Ok(Span(Duration::from_secs(7200))));
    for bad in ["", "5", "s", "1.5s", "-1s", "5 s", "99999999999999999d"] {
        assert!(bad.parse::<Span>().is_err(), "{bad}");
    }
    assert_eq!("64KiB".parse(), Ok(Size(65536)));
    assert_eq!(serde_json::from_value::<Size>(json!(12)).unwrap(), Size(12));
    for bad in ["64kb", "KiB", "-1", "99999999999GiB"] {
        assert!(bad.parse::<Size>().is_err(), "{bad}");
    }
    for bad in [json!(-1), json!(1.5), json!(1e300)] {
        assert!(serde_json::from_value::<Size>(bad).is_err());
    }
}

#[test]
fn percents_are_shares() {
    assert!(Percent::new(100.1).is_none() && Percent::new(f64::NAN).is_none());
    assert!((0..1000).all(|_| Percent::new(100.0).unwrap().hit()));
    assert!((0..1000).all(|_| !Percent::new(0.0).unwrap().hit()));
}

#[test]
fn statuses_and_headers_are_checked_when_read() {
    let status = |n: serde_json::Value| serde_json::from_value::<units::Status>(n).is_ok();
    assert!(
        status(json!(429)) && !status(json!(600)) && !status(json!(99)) && !status(json!("429"))
    );
    assert!(serde_json::from_value::<units::Header>(json!("x bad")).is_err());
    assert!(serde_json::from_value::<units::Value>(json!("a\nb")).is_err());
}

#[test]
fn a_cache_is_bounded_and_forgets_in_time() {
    let cache = cache::Cache::new(64);
    let now = std::time::SystemTime::UNIX_EPOCH;
    let until = now + Duration::from_secs(10);
    for n in 0_u32..10_000 {
        cache.insert(cache::key(&[&n.to_be_bytes()]), n, until, now);
    }
    assert!(cache.len() <= 64);
    let last = cache::key(&[&9_999_u32.to_be_bytes()]);
    assert_eq!(cache.get(&last, now), Some(9_999));
    assert_eq!(cache.get(&last, until), None);
    cache.clear();
    assert!(cache.is_empty());
    let none = cache::Cache::new(0);
    none.insert(last, 1, until, now);
    assert!(none.is_empty());
}

#[test]
fn cache_keys_tell_parts_apart() {
    assert_ne!(cache::key(&[b"ab", b"c"]), cache::key(&[b"a", b"bc"]));
}

#[test]
fn keys_of_requests() {
    let key = |json| serde_json::from_value::<Key>(json).unwrap().compiled();
    let mut exchange = Call::get("/")
        .client("2001:db8::1:2:3:4")
        .header("x-k", "v")
        .exchange();
    exchange.attributes.set("jwt.sub", "ann".to_string());
    let network = KeyBytes::Address("2001:db8::".parse().unwrap());
    assert_eq!(key(json!("client_ip")).of(&exchange), network);
    assert_eq!(
        key(json!({ "header": "x-k" })).of(&exchange),
        KeyBytes::Text("v")
    );
    assert_eq!(
        key(json!({ "claim": "sub" })).of(&exchange),
        KeyBytes::Text("ann")
    );
    assert_eq!(key(json!({ "claim": "other" })).of(&exchange), network);
    assert_eq!(key(json!("route")).of(&exchange), KeyBytes::Text("test"));
}

#[test]
fn unknown_clients_are_counted_together_and_apart_from_their_proxy() {
    let key = |call: Call| {
        let exchange = call.exchange();
        match Key::ClientIp.of(&exchange) {
            KeyBytes::Text(text) => panic!("{text}"),
            KeyBytes::Address(address) => ("known", address),
            KeyBytes::UnknownBy(address) => ("unknown", address),
        }
    };
    let proxy = "192.0.2.1".parse().unwrap();
    assert_eq!(key(Call::get("/").unknown_client()), ("unknown", proxy));
    assert_eq!(key(Call::get("/")), ("known", proxy));
    let header = serde_json::from_value::<Key>(json!({ "header": "x-k" })).unwrap();
    let exchange = Call::get("/").unknown_client().exchange();
    assert_eq!(header.of(&exchange), KeyBytes::UnknownBy(proxy));
}
