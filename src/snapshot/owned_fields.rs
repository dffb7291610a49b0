//! Request fields that backends believe because Tidegate, a route or a filter sets, takes out or checks them, and what clients
//! could send in their place.

use std::collections::HashSet;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{PoolHandle, Route};
use crate::listener::head::folded;

/// What the proxy itself sets or takes out, whatever the configuration.
pub const ALWAYS: [&str; 13] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-client-cert",
    "x-real-ip",
    "x-request-id",
    "x-retry-attempt",
    "x-tidegate-hops",
    "client-cert",
    "client-cert-chain",
    "early-data",
    "proxy-authorization",
];

/// The fields of one configuration, all routes together.
#[derive(Debug)]
pub struct OwnedFields(HashSet<Box<[u8]>>);

impl OwnedFields {
    /// Of everything in a snapshot.
    pub fn new<'a>(
        routes: impl Iterator<Item = &'a Arc<Route>>,
        pools: impl Iterator<Item = &'a Arc<PoolHandle>>,
    ) -> OwnedFields {
        let mut names = HashSet::from(ALWAYS.map(|name| name.as_bytes().into()));
        let mut add = |name: &str| {
            let folded: Box<[u8]> = name.bytes().map(folded).collect();
            names.insert(folded);
        };
        for route in routes {
            let edits = &route.request_headers;
            let named = edits.set.iter().chain(&edits.add).map(|(name, _)| name);
            for name in edits.remove.iter().chain(named) {
                add(name.as_str());
            }
            for name in route.chain.owned_headers() {
                add(name.as_str());
            }
        }
        for sticky in pools.filter_map(|pool| pool.sticky.as_ref()) {
            if let Some(name) = sticky.private_header() {
                add(name.as_str());
            }
        }
        OwnedFields(names)
    }

    /// Whether a backend may read a field of this name as one of these. Names with nothing but letters, digits and `-` have no
    /// twin: such a field is the very one.
    pub fn has_twin_of(&self, name: &str) -> bool {
        let folded: SmallVec<[u8; 64]> = name.bytes().map(folded).collect();
        self.0.contains(&folded[..])
    }
}
