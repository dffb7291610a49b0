//! `discovery`, and the sources of a pool's members.

use super::Checker;
use crate::config::model::{
    self, DnsName, DnsService, Endpoint, Family, HttpList, Source, TtlBounds,
};
use crate::config::path::Path;
use crate::config::raw::{self, Addresses};

impl Checker<'_> {
    /// Also the bounds of TTLs where a source has none of its own.
    pub(super) fn discovery(&mut self, raw: &raw::Discovery) -> (model::Discovery, TtlBounds) {
        let path = Path::ROOT.key("discovery");
        let ttl = TtlBounds {
            min: raw.min_ttl.0,
            max: raw.max_ttl.0,
        };
        self.at_most(("min_ttl", ttl.min), ("max_ttl", ttl.max), &path);
        let discovery = model::Discovery {
            start_timeout: raw.start_timeout.0,
            stale: raw.stale.0,
            resolvers: raw.resolvers.iter().map(|one| one.0).collect(),
            addresses: match raw.addresses {
                Addresses::Any => Family::Any,
                Addresses::Ipv4 => Family::Ipv4,
                Addresses::Ipv6 => Family::Ipv6,
                Addresses::PreferIpv4 => Family::PreferIpv4,
                Addresses::PreferIpv6 => Family::PreferIpv6,
            },
            max_backends: raw.max_backends as usize,
        };
        (discovery, ttl)
    }

    /// `discover` and `backends_file`.
    pub(super) fn discover(
        &mut self,
        raw: Option<raw::Discover>,
        file: Option<&str>,
        ttl: TtlBounds,
        path: &Path<'_>,
    ) -> Vec<Source> {
        let mut sources = Vec::new();
        if let Some(raw) = raw {
            let path = path.key("discover");
            let given = [raw.dns.is_some(), raw.file.is_some(), raw.http.is_some()];
            match given.iter().filter(|given| **given).count() {
                0 if self.in_doubt(&path) => {}
                0 => self.error(&path, "has no source; write \"dns\", \"file\" or \"http\""),
                1 => {}
                _ => self.error(&path, "has more than one source; write one of them"),
            }
            sources.extend(raw.dns.and_then(|dns| self.dns(dns, ttl, &path.key("dns"))));
            sources.extend(raw.file.map(|file| Source::File(self.dir.join(file.path))));
            sources.extend(raw.http.and_then(|http| self.http(http, &path.key("http"))));
        }
        sources.extend(file.map(|file| Source::File(self.dir.join(file))));
        sources
    }

    fn http(&mut self, raw: raw::DiscoverHttp, path: &Path<'_>) -> Option<Source> {
        let url = raw.url.parse::<http::Uri>().ok().filter(|url| {
            matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some()
        });
        let Some(url) = url else {
            let message = "is no URL; write one such as \"http://registry.internal/api\"";
            self.error(&path.key("url"), message);
            return None;
        };
        let (interval, timeout) = (raw.interval.0, raw.timeout.0);
        Some(Source::Http(HttpList {
            url,
            interval,
            timeout,
        }))
    }

    fn dns(&mut self, raw: raw::DiscoverDns, ttl: TtlBounds, path: &Path<'_>) -> Option<Source> {
        let ttl = TtlBounds {
            min: raw.min_ttl.map_or(ttl.min, |min| min.0),
            max: raw.max_ttl.map_or(ttl.max, |max| max.0),
        };
        self.at_most(("min_ttl", ttl.min), ("max_ttl", ttl.max), path);
        let (name, zone) = (raw.name.0, raw.zone.map(|zone| zone.0));
        match (name.starts_with('_'), raw.port) {
            (true, None) => Some(Source::Srv(DnsService { name, zone, ttl })),
            (false, Some(port)) => Some(Source::Dns(DnsName {
                name,
                port,
                weight: 1,
                priority: 0,
                zone,
                down: false,
                ttl,
            })),
            (true, Some(_)) => {
                let message = "is not for names of services: their SRV records say the port";
                self.error(&path.key("port"), message);
                None
            }
            (false, None) if self.unclear(path, &["port"]) => None,
            (false, None) => {
                let message = "needs \"port\" beside it, or to be the name of a service such as \"_http._tcp.api.internal\"";
                self.error(&path.key("name"), message);
                None
            }
        }
    }

    /// A DNS name among `backends`.
    pub(super) fn named_backend(
        &mut self,
        (name, port): (String, u16),
        raw: raw::Backend,
        ttl: TtlBounds,
        path: &Path<'_>,
    ) -> Source {
        if raw.id.is_some() {
            let message = "is for one address; each address of a name is known by itself";
            self.error(&path.key("id"), message);
        }
        Source::Dns(DnsName {
            name,
            port,
            weight: raw.weight,
            priority: raw.priority,
            zone: raw.zone.map(|zone| zone.0),
            down: raw.down,
            ttl,
        })
    }
}

/// The endpoint of an entry, and the rest of it.
pub(super) fn entry(entry: raw::BackendEntry) -> (Endpoint, raw::Backend) {
    let raw = match entry {
        raw::BackendEntry::Backend(backend) => backend,
        raw::BackendEntry::Address(address) => raw::Backend {
            address,
            id: None,
            weight: 1,
            priority: 0,
            zone: None,
            down: false,
        },
    };
    (raw.address.0.clone(), raw)
}

/// A backend of a list in a file of its own.
///
/// # Errors
/// It has a DNS name.
pub fn list_entry(raw: raw::BackendEntry) -> Result<model::Backend, String> {
    match entry(raw) {
        (Endpoint::Address(address), raw) => Ok(super::pool::backend(address, raw)),
        (Endpoint::Name(name, port), _) => Err(format!(
            "\"{name}:{port}\" is a DNS name; here only addresses can stand"
        )),
    }
}
