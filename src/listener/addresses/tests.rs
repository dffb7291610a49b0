use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

const LIMITS: AddressLimits = AddressLimits {
    connections: Some(4),
    new: Some(10),
    unfinished: Some(2),
    unread: Some(100),
    except: Vec::new(),
};

struct Table(Arc<Addresses>, Instant);

impl Table {
    fn new() -> Table {
        let table = Arc::new(Addresses::default());
        let began = table.began;
        Table(table, began)
    }

    fn admit(&self, address: &str, at: u64) -> Result<Option<Place>, RejectReason> {
        let now = self.1 + Duration::from_millis(at);
        self.0.admit(address.parse().unwrap(), &LIMITS, now)
    }

    fn entries(&self) -> usize {
        let shards = self.0.shards.iter();
        shards.map(|s| s.lock().unwrap().entries.len()).sum()
    }
}

#[test]
fn an_address_has_so_many_and_no_more() {
    let table = Table::new();
    let mut held = Vec::new();
    for _ in 0..4 {
        let place = table.admit("192.0.2.1", 0).unwrap().unwrap();
        place.finished();
        held.push(place);
    }
    let refused = table.admit("192.0.2.1", 0).unwrap_err();
    assert_eq!(refused, RejectReason::MaxPerAddress);
    assert!(table.admit("192.0.2.2", 0).is_ok());
    held.pop();
    assert!(table.admit("192.0.2.1", 0).is_ok());
}

#[test]
fn a_64_of_ipv6_is_one_address_and_a_mapped_one_is_ipv4() {
    let table = Table::new();
    let _a = table.admit("2001:db8:0:1::1", 0).unwrap();
    let _b = table.admit("2001:db8:0:1:ffff::2", 0).unwrap();
    let refused = table.admit("2001:db8:0:1::3", 0).unwrap_err();
    assert_eq!(refused, RejectReason::MaxUnfinishedPerAddress);
    assert!(table.admit("2001:db8:0:2::1", 0).is_ok());
    let _c = table.admit("192.0.2.1", 0).unwrap();
    let _d = table.admit("::ffff:192.0.2.1", 0).unwrap();
    assert!(table.admit("192.0.2.1", 0).is_err());
}

#[test]
fn heads_that_are_not_whole_are_counted_apart() {
    let table = Table::new();
    let first = table.admit("192.0.2.1", 0).unwrap().unwrap();
    let second = table.admit("192.0.2.1", 0).unwrap().unwrap();
    assert!(table.admit("192.0.2.1", 0).is_err());
    first.finished();
    first.finished();
    let third = table.admit("192.0.2.1", 0).unwrap().unwrap();
    assert!(!first.begin(&LIMITS), "a further head counts, too");
    drop(second);
    assert!(first.begin(&LIMITS));
    drop(third);
}

#[test]
fn new_ones_come_at_a_rate_with_bursts() {
    let table = Table::new();
    let admitted = |at: u64| {
        let mut count = 0;
        // Each is closed at once.
        while let Ok(place) = table.admit("192.0.2.1", at) {
            drop(place);
            count += 1;
        }
        count
    };
    assert_eq!(admitted(0), 20);
    assert_eq!(admitted(50), 0);
    assert_eq!(admitted(1_000), 10);
    assert_eq!(
        table.admit("192.0.2.1", 1_000).unwrap_err(),
        RejectReason::MaxNewPerAddress
    );
    assert_eq!(admitted(60_000), 20);
}

#[test]
fn balancers_in_front_and_no_limits_take_no_place() {
    let table = Table::new();
    let limits = AddressLimits {
        except: vec!["192.0.2.0/24".parse().unwrap()],
        ..LIMITS
    };
    let address: IpAddr = Ipv4Addr::new(192, 0, 2, 9).into();
    assert!(table.0.admit(address, &limits, table.1).unwrap().is_none());
    let none = AddressLimits {
        connections: None,
        new: None,
        unfinished: None,
        unread: None,
        except: Vec::new(),
    };
    assert!(table.0.admit(address, &none, table.1).unwrap().is_none());
    assert_eq!(table.entries(), 0);
}

#[test]
fn what_is_gone_is_forgotten_and_memory_is_bounded() {
    let table = Table::new();
    for n in 0..600_000_u32 {
        let address = Ipv4Addr::from(n).to_string();
        drop(table.admit(&address, 0));
    }
    assert!(
        table.entries() <= SHARDS * (REMEMBERED + 1),
        "{}",
        table.entries()
    );
    let shards = table.0.shards.iter();
    for shard in shards {
        let shard = shard.lock().unwrap();
        let empty = shard.entries.values().filter(|e| e.connections == 0);
        assert_eq!(empty.count(), shard.remembered);
    }
}

#[test]
fn what_the_connections_of_an_address_keep_waiting_is_added_up() {
    let table = Table::new();
    let (one, two) = (
        table.admit("192.0.2.1", 0).unwrap().unwrap(),
        table.admit("192.0.2.1", 0).unwrap().unwrap(),
    );
    let other = table.admit("192.0.2.2", 0).unwrap().unwrap();
    let mut over = Vec::new();
    for (place, bytes) in [
        (&one, 60),
        (&two, 40),
        (&other, 90),
        (&two, 70),
        (&one, 50),
        (&one, 0),
    ] {
        over.push(place.keep_unread(bytes, &LIMITS));
    }
    assert_eq!(over, [0, 0, 0, 30, 20, 0]);
    assert_eq!(one.keep_unread(31, &LIMITS), 1);
    drop(two);
    assert_eq!(one.keep_unread(100, &LIMITS), 0);
    let none = AddressLimits {
        unread: None,
        ..LIMITS
    };
    assert_eq!(one.keep_unread(1 << 40, &none), 0);
}
