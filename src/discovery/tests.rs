//! What sources say and what becomes of it, on plain values and with time as an argument.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::addresses::{self, Heard};
use super::guard::{self, Verdict};
use super::services::{self, Service};
use super::*;
use crate::config::model::{Backend, DnsName, Family, Source, TtlBounds};

const SECOND: Duration = Duration::from_secs(1);
const BOUNDS: TtlBounds = TtlBounds {
    min: SECOND,
    max: Duration::from_secs(60),
};

fn name(host: &str) -> DnsName {
    DnsName {
        name: host.to_owned(),
        port: 80,
        weight: 3,
        priority: 1,
        zone: Some("a".to_owned()),
        down: false,
        ttl: BOUNDS,
    }
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn members(list: &[&str]) -> Vec<Backend> {
    addresses::members(&name("app"), &ips(list))
}

fn ids(list: &[Backend]) -> Vec<&str> {
    list.iter().map(|one| one.id.as_str()).collect()
}

fn answer(list: &[&str]) -> Answer {
    Answer {
        members: members(list),
        ttl: 2 * SECOND,
        unusable: 0,
    }
}

fn timeout() -> Failure {
    Failure {
        kind: FailureKind::Timeout,
        detail: "no answer".into(),
    }
}

#[test]
fn search_lists_and_ndots() {
    let search = ["shop.svc.cluster.local".to_owned(), "corp.".to_owned()];
    let cases: &[(&str, usize, &[&str])] = &[
        (
            "app",
            1,
            &["app.shop.svc.cluster.local.", "app.corp.", "app."],
        ),
        (
            "app.shop",
            1,
            &[
                "app.shop.",
                "app.shop.shop.svc.cluster.local.",
                "app.shop.corp.",
            ],
        ),
        (
            "app.shop",
            5,
            &[
                "app.shop.shop.svc.cluster.local.",
                "app.shop.corp.",
                "app.shop.",
            ],
        ),
        ("app.shop.", 5, &["app.shop."]),
    ];
    for (name, ndots, expected) in cases {
        assert_eq!(
            candidates(name, &search, *ndots),
            *expected,
            "{name} {ndots}"
        );
    }
    assert_eq!(candidates("app", &[], 1), ["app."]);
    assert_eq!(
        candidates("app", &["X".into(), "x.".into()], 1),
        ["app.X.", "app."]
    );
}

#[test]
fn names_in_a_hosts_file() {
    let text = "127.0.0.1 localhost\n# 10.0.0.9 app\n10.0.0.1\tapp app.local # the first\n10.0.0.2 App.\n::1 app\nnonsense app\n10.0.0.1 app\n";
    assert_eq!(
        hosts(text, "app."),
        (ips(&["10.0.0.1", "10.0.0.2"]), ips(&["::1"]))
    );
    assert_eq!(hosts(text, "app.loca"), (vec![], vec![]));
}

/// What both families say, and what comes of it with the last good addresses 10.0.0.1 and fd00::1.
#[test]
fn two_families_make_one_answer() {
    let v4 = || Heard::Records(ips(&["10.0.0.3", "10.0.0.2", "10.0.0.3"]), 9 * SECOND);
    let v6 = || Heard::Records(ips(&["fd00::2"]), 4 * SECOND);
    let failed = || Heard::Failed(timeout());
    let none = || Heard::Denied(FailureKind::NoRecords);
    let gone = || Heard::Denied(FailureKind::NoSuchName);
    let both = ["10.0.0.2", "10.0.0.3", "fd00::2"];
    type Expected<'a> = Result<(&'a [&'a str], u64), FailureKind>;
    let cases: Vec<(Heard, Heard, Family, Expected<'_>)> = vec![
        (v4(), v6(), Family::Any, Ok((&both, 4))),
        (v4(), v6(), Family::PreferIpv4, Ok((&both[..2], 4))),
        (v4(), v6(), Family::PreferIpv6, Ok((&both[2..], 4))),
        (none(), v6(), Family::PreferIpv4, Ok((&both[2..], 4))),
        (v4(), Heard::Skipped, Family::Ipv4, Ok((&both[..2], 9))),
        (Heard::Skipped, v6(), Family::Ipv6, Ok((&both[2..], 4))),
        (v4(), none(), Family::Any, Ok((&both[..2], 9))),
        (
            v4(),
            failed(),
            Family::Any,
            Ok((&["10.0.0.2", "10.0.0.3", "fd00::1"], 9)),
        ),
        (
            failed(),
            v6(),
            Family::Any,
            Ok((&["10.0.0.1", "fd00::2"], 4)),
        ),
        (failed(), none(), Family::Any, Err(FailureKind::Timeout)),
        (none(), failed(), Family::Any, Err(FailureKind::Timeout)),
        (none(), none(), Family::Any, Err(FailureKind::NoRecords)),
        (gone(), gone(), Family::Any, Err(FailureKind::NoSuchName)),
        (
            gone(),
            Heard::Skipped,
            Family::Ipv4,
            Err(FailureKind::NoSuchName),
        ),
    ];
    let last = ips(&["10.0.0.1", "fd00::1"]);
    for (i, (v4, v6, family, expected)) in cases.into_iter().enumerate() {
        let found = addresses::join(v4, v6, &last, family).map_err(|failure| failure.kind);
        let expected = expected.map(|(list, ttl)| (ips(list), ttl as u32 * SECOND));
        assert_eq!(found, expected, "case {i}");
    }
}

#[test]
fn addresses_where_nobody_can_listen_are_left_out() {
    let list = [
        "0.0.0.0",
        "10.0.0.1",
        "255.255.255.255",
        "224.0.0.1",
        "::",
        "ff02::1",
        "::ffff:0.0.0.0",
        "::ffff:224.0.0.1",
        "fd00::1",
    ];
    let answer = addresses::answer(&name("app"), &ips(&list), SECOND);
    assert_eq!(ids(&answer.members), ["10.0.0.1:80", "[fd00::1]:80"]);
    assert_eq!(answer.unusable, 7);
    let one = &answer.members[0];
    assert_eq!(
        (one.weight, one.priority, one.zone.as_deref()),
        (3, 1, Some("a"))
    );
}

#[test]
fn ttls_keep_to_their_bounds_and_failures_back_off() {
    for (ttl, expected) in [(0, 1), (1, 1), (30, 30), (60, 60), (86_400, 60)] {
        assert_eq!(clamp(ttl * SECOND, BOUNDS), expected * SECOND);
    }
    let mut clock = Clock::default();
    assert_eq!(clock.after_answer(20 * SECOND, BOUNDS, 0.0), 20 * SECOND);
    assert_eq!(clock.after_answer(20 * SECOND, BOUNDS, 1.0), 18 * SECOND);
    assert_eq!(clock.after_answer(Duration::ZERO, BOUNDS, 1.0), SECOND);
    let waits: Vec<u128> = (0..6)
        .map(|_| clock.after_failure(0.0).as_millis())
        .collect();
    assert_eq!(waits, [500, 1000, 2000, 4000, 5000, 5000]);
    assert_eq!(clock.after_failure(1.0).as_millis(), 3750);
    clock.after_answer(SECOND, BOUNDS, 0.0);
    assert_eq!(clock.after_failure(0.0).as_millis(), 500);
}

#[test]
fn changes_are_made_together_and_a_second_apart() {
    let now = Instant::now();
    let mut pace = Pace::default();
    assert_eq!(pace.due(), None);
    pace.note(now);
    pace.note(now + SECOND / 20);
    assert_eq!(pace.due(), Some(now + SECOND / 10));
    pace.made(true, now + SECOND / 10);
    assert_eq!(pace.due(), None);
    pace.note(now + SECOND / 5);
    assert_eq!(pace.due(), Some(now + SECOND / 10 + SECOND));
    // What turned out to be no change holds up none.
    pace.made(false, now + 3 * SECOND);
    pace.note(now + 3 * SECOND);
    assert_eq!(pace.due(), Some(now + 3 * SECOND + SECOND / 10));
}

#[test]
fn a_source_keeps_its_last_good_answer_for_as_long_as_it_is_not_too_old() {
    let start = Instant::now();
    let stale = 60 * SECOND;
    let feed = Feed::new(&Source::Dns(name("app")));
    assert_eq!(feed.fail(timeout(), stale, start), Taken::Same);
    assert!(!feed.has_answered());
    assert_eq!(
        feed.take(answer(&["10.0.0.1", "10.0.0.2"]), 10, start),
        Taken::Changed
    );
    assert_eq!(
        feed.take(answer(&["10.0.0.1", "10.0.0.2"]), 10, start),
        Taken::Same
    );
    for kind in FailureKind::ALL {
        let failure = Failure {
            kind,
            detail: String::new(),
        };
        assert_eq!(feed.fail(failure, stale, start + 59 * SECOND), Taken::Same);
        assert_eq!(feed.members().len(), 2);
    }
    assert_eq!(feed.failures_of(FailureKind::Timeout), 2);
    assert_eq!(
        feed.fail(timeout(), stale, start + 60 * SECOND),
        Taken::Expired
    );
    assert_eq!(
        feed.fail(timeout(), stale, start + 61 * SECOND),
        Taken::Same
    );
    assert!(feed.members().is_empty() && feed.is_failing() && feed.has_answered());
    assert_eq!(
        feed.take(answer(&["10.0.0.1"]), 10, start + 62 * SECOND),
        Taken::Changed
    );
    assert!(!feed.is_failing());
}

#[test]
fn a_source_brings_no_more_than_its_bound() {
    let feed = Feed::new(&Source::Dns(name("app")));
    let all: Vec<String> = (0..=255).map(|i| format!("10.0.0.{i}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    feed.take(answer(&all), 100, Instant::now());
    assert_eq!((feed.members().len(), feed.refused()), (100, (0, 156)));
}

#[test]
fn sources_are_merged_and_the_first_to_name_one_says_what_it_is() {
    let sources = [Source::Dns(name("one")), Source::Dns(name("two"))];
    let feeds = Feeds::new(&sources, None);
    assert!(!feeds.are_in_force());
    let now = Instant::now();
    feeds.list()[1].take(answer(&["10.0.0.2", "10.0.0.3"]), 10, now);
    assert_eq!(feeds.missing().count(), 1);
    feeds.put_in_force();
    assert!(!feeds.are_in_force());
    feeds.list()[0].take(answer(&["10.0.0.1", "10.0.0.2"]), 10, now);
    assert_eq!(feeds.missing().count(), 2, "the pool does not have it yet");
    feeds.put_in_force();
    assert_eq!(feeds.missing().count(), 0);
    let mut fixed = members(&["10.0.0.3"]);
    fixed[0].weight = 9;
    let merged = feeds.merge(&fixed);
    assert_eq!(ids(&merged), ["10.0.0.3:80", "10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(merged[0].weight, 9);
    // A reload keeps what is known of the sources that stay.
    let after = Feeds::new(&sources[1..], Some(&feeds));
    assert_eq!(ids(&after.merge(&[])), ["10.0.0.2:80", "10.0.0.3:80"]);
}

#[test]
fn most_of_a_pool_goes_only_if_it_is_said_twice() {
    let four = members(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    let judge = |wanted: &[Backend], hold, confirmed| guard::judge(&four, wanted, hold, confirmed);
    assert_eq!(
        judge(&four[..2], None, false),
        Verdict::Apply,
        "half is not more than half"
    );
    let Verdict::Hold(hold) = judge(&four[..1], None, false) else {
        panic!("three of four go at once");
    };
    assert_eq!(
        judge(&four[..1], Some(&hold), false),
        Verdict::Hold(hold.clone())
    );
    assert_eq!(judge(&four[..1], Some(&hold), true), Verdict::Apply);
    assert_eq!(
        judge(&four[..], Some(&hold), false),
        Verdict::Apply,
        "it was a mistake"
    );
    // The second answer takes others away: it says something else, and waits for one that agrees.
    assert_eq!(
        judge(&four[1..2], Some(&hold), true),
        Verdict::Apply,
        "two of three were said before"
    );
    let Verdict::Hold(all) = judge(&[], None, false) else {
        panic!("all go at once");
    };
    assert_eq!(judge(&[], Some(&all), true), Verdict::Apply);
    // A replacement is a removal, too; what it brings is not held up.
    let new = members(&["10.0.0.9"]);
    assert!(matches!(judge(&new, None, false), Verdict::Hold(_)));
    assert_eq!(guard::removals(&four, &new), 4);
    assert_eq!(guard::meanwhile(&four, &new).len(), 5);
}

fn service(priority: u16, weight: u16, list: &[&str]) -> Service {
    Service {
        priority,
        weight,
        port: 8080,
        addresses: ips(list),
    }
}

/// Records (priority, weight, addresses), and what they become (address, priority, weight).
#[test]
fn service_records_become_members() {
    let found = |services: &[Service]| -> Vec<(String, u32, u32)> {
        services::members(services, None)
            .into_iter()
            .map(|one| (one.id, one.priority, one.weight))
            .collect()
    };
    let is = |ip: &str, priority, weight| (format!("{ip}:8080"), priority, weight);
    assert_eq!(
        found(&[
            service(20, 1, &["10.0.0.3"]),
            service(10, 30, &["10.0.0.1"]),
            service(10, 70, &["10.0.0.2"])
        ]),
        [
            is("10.0.0.1", 0, 30),
            is("10.0.0.2", 0, 70),
            is("10.0.0.3", 1, 1)
        ]
    );
    // A record's weight is that of its addresses together.
    assert_eq!(
        found(&[
            service(0, 10, &["10.0.0.1", "10.0.0.2"]),
            service(0, 10, &["10.0.0.3"])
        ]),
        [
            is("10.0.0.1", 0, 5),
            is("10.0.0.2", 0, 5),
            is("10.0.0.3", 0, 10)
        ]
    );
    assert_eq!(
        found(&[
            service(0, 0, &["10.0.0.1"]),
            service(0, 60_000, &["10.0.0.2"]),
            service(0, 30_000, &["10.0.0.3"])
        ]),
        [
            is("10.0.0.1", 0, 1),
            is("10.0.0.2", 0, 1000),
            is("10.0.0.3", 0, 500)
        ]
    );
    assert_eq!(
        found(&[service(0, 0, &["10.0.0.1"]), service(0, 0, &["10.0.0.2"])]).len(),
        2
    );
    let (usable, unusable) = services::usable(vec![service(0, 1, &["0.0.0.0", "10.0.0.1"])]);
    assert_eq!((usable[0].addresses.len(), unusable), (1, 1));
}

proptest! {
    /// Whatever a source says and however it fails: a pool that had members and did not hear twice, or wait for `stale`,
    /// keeps at least half of them.
    #[test]
    fn no_single_answer_takes_most_of_a_pool(answers in proptest::collection::vec(proptest::collection::btree_set(0u8..12, 0..12), 1..30)) {
        let mut current: Vec<Backend> = Vec::new();
        let mut hold: Option<guard::Hold> = None;
        for said in answers {
            let said: Vec<String> = said.iter().map(|i| format!("10.0.0.{i}")).collect();
            let said: Vec<&str> = said.iter().map(String::as_str).collect();
            let wanted = members(&said);
            let removed = guard::removals(&current, &wanted);
            let told_before = hold.is_some();
            match guard::judge(&current, &wanted, hold.as_ref(), told_before) {
                Verdict::Apply => {
                    prop_assert!(told_before || removed * 2 <= current.len());
                    hold = None;
                    current = wanted;
                }
                Verdict::Hold(held) => {
                    let kept = guard::meanwhile(&current, &wanted);
                    prop_assert_eq!(guard::removals(&current, &kept), 0);
                    prop_assert_eq!(guard::removals(&wanted, &kept), 0);
                    hold = Some(held);
                    current = kept;
                }
            }
        }
    }

    #[test]
    fn service_weights_stay_within_bounds(records in proptest::collection::vec((any::<u16>(), any::<u16>(), 0usize..4), 0..40)) {
        let services: Vec<Service> = records.iter().enumerate().map(|(i, (priority, weight, n))| Service {
            priority: *priority,
            weight: *weight,
            port: 80,
            addresses: (0..*n).map(|k| IpAddr::from([10, 0, i as u8, k as u8])).collect(),
        }).collect();
        let members = services::members(&services, None);
        prop_assert_eq!(members.len(), records.iter().map(|(_, _, n)| n).sum::<usize>());
        prop_assert!(members.iter().all(|one| (1..=1000).contains(&one.weight) && one.priority <= 15));
    }

    #[test]
    fn any_text_can_be_a_hosts_file(text in ".*", name in "[a-z.]{0,20}") {
        hosts(&text, &name);
    }
}
