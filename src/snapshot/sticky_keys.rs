//! Keys of sticky sessions: one ring for all pools that seal with the same secrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::model::{Carrier, Cluster, Pool, Secret, Sticky};
use crate::sticky::{KeyError, Keys, Source};

/// Rings by the secrets that they are made of.
pub struct StickyKeys(Vec<(Vec<Secret>, Arc<Keys>)>);

impl StickyKeys {
    /// Each ring opens what was sealed within the longest `ttl` of its pools.
    pub fn derive(
        cluster: &Cluster,
        pools: &BTreeMap<String, Pool>,
    ) -> Result<StickyKeys, KeyError> {
        let unix = unix_seconds();
        let mut ttls: Vec<(Vec<Secret>, Duration)> = Vec::new();
        for sticky in pools.values().filter_map(|pool| pool.sticky.as_ref()) {
            match ttls.iter_mut().find(|(secrets, _)| *secrets == sticky.keys) {
                Some((_, ttl)) => *ttl = sticky.ttl.max(*ttl),
                None => ttls.push((sticky.keys.clone(), sticky.ttl)),
            }
        }
        let mut rings = Vec::with_capacity(ttls.len());
        for (secrets, ttl) in ttls {
            let source = match (secrets.is_empty(), cluster.secrets.is_empty()) {
                (false, _) => Source::Listed(secrets.clone()),
                (true, false) => Source::Secrets(cluster.secrets.clone(), cluster.key_rotation),
                // Only `app_cookie` can do without: it seals nothing.
                (true, true) => Source::Listed(vec![Secret(unused_secret())]),
            };
            rings.push((secrets, Arc::new(Keys::new(source, ttl, unix)?)));
        }
        Ok(StickyKeys(rings))
    }

    /// The ring of a pool.
    pub fn of(&self, sticky: &Sticky) -> Option<&Arc<Keys>> {
        debug_assert!(!matches!(sticky.carrier, Carrier::AppCookie(_)) || sticky.keys.is_empty());
        let mut rings = self.0.iter();
        rings
            .find(|(secrets, _)| *secrets == sticky.keys)
            .map(|(_, keys)| keys)
    }
}

fn unused_secret() -> Box<str> {
    format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..)).into()
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs())
}
