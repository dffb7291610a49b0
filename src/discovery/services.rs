//! From SRV records (RFC 2782) and the addresses of their targets to members.

use std::net::{IpAddr, SocketAddr};

use crate::config::model::{Address, Backend, is_of_one_host};

/// The largest weight and the number of priorities that a pool knows.
const MOST_WEIGHT: f64 = 1000.0;
const LAST_PRIORITY: u32 = 15;

/// One SRV record and where its target is.
#[derive(Debug, Clone)]
pub struct Service {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub addresses: Vec<IpAddr>,
}

/// One member for each address. Priorities keep their order and are numbered from 0. A record's weight is that of its
/// addresses together; where weights go beyond a pool's they are scaled down. Weight 0, which is to be chosen seldom
/// (RFC 2782), is the smallest there is: a pool's own weight 0 takes no requests at all.
pub fn members(services: &[Service], zone: Option<&str>) -> Vec<Backend> {
    let mut priorities: Vec<u16> = services.iter().map(|one| one.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let rank = |priority: u16| priorities.partition_point(|one| *one < priority) as u32;
    let mut members = Vec::new();
    for priority in &priorities {
        let of_it: Vec<&Service> = services
            .iter()
            .filter(|one| one.priority == *priority)
            .collect();
        let factor = factor(&of_it);
        for service in of_it {
            let each = (share(service) * factor).round().clamp(1.0, MOST_WEIGHT) as u32;
            for ip in &service.addresses {
                let address = SocketAddr::new(*ip, service.port);
                members.push(Backend {
                    id: address.to_string(),
                    address: Address::Tcp(address),
                    weight: each,
                    priority: rank(*priority).min(LAST_PRIORITY),
                    zone: zone.map(str::to_owned),
                    down: false,
                });
            }
        }
    }
    members.sort_by(|a, b| (a.priority, &a.address).cmp(&(b.priority, &b.address)));
    members.dedup_by(|a, b| a.id == b.id);
    members
}

/// Only those where somebody can listen; the rest is counted.
pub fn usable(services: Vec<Service>) -> (Vec<Service>, usize) {
    let mut unusable = 0;
    let services = services.into_iter().map(|mut one| {
        let before = one.addresses.len();
        one.addresses
            .retain(|ip| is_of_one_host(*ip) && one.port != 0);
        unusable += before - one.addresses.len();
        one
    });
    (services.collect(), unusable)
}

fn share(service: &Service) -> f64 {
    f64::from(service.weight) / service.addresses.len().max(1) as f64
}

/// 1 where all shares are whole numbers within the bound, else what makes the largest of them the bound.
fn factor(services: &[&Service]) -> f64 {
    let whole = services.iter().all(|one| share(one).fract() == 0.0);
    let largest = services.iter().map(|one| share(one)).fold(0.0, f64::max);
    if (whole && largest <= MOST_WEIGHT) || largest == 0.0 {
        1.0
    } else {
        MOST_WEIGHT / largest
    }
}
