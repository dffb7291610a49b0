//! Sticky sessions: where they are remembered, with which keys, and which pools share a cookie.

use std::collections::BTreeMap;

use super::Checker;
use crate::config::model::{self, Carrier, Policy};
use crate::config::path::Path;
use crate::config::raw;

const LEAST_SECRET: usize = 32;
/// Fewer different characters than any random text of that length has.
const LEAST_VARIETY: usize = 10;
/// As `sticky::MAX_EPOCHS`, less the minute by which clocks may differ.
const MAX_ROTATIONS: u64 = 255;

impl Checker<'_> {
    pub(super) fn cluster(&mut self, raw: raw::Cluster) -> model::Cluster {
        let path = &Path::ROOT.key("cluster");
        let secrets = raw.secret.map_or_else(Vec::new, |secrets| match secrets {
            raw::OneOrMany::One(secret) => vec![self.secret(secret, &path.key("secret"))],
            raw::OneOrMany::Many(secrets) => self.secrets(secrets, &path.key("secret")),
        });
        model::Cluster {
            secrets,
            key_rotation: raw.key_rotation.0,
        }
    }

    fn secrets(&mut self, secrets: Vec<raw::Secret>, path: &Path<'_>) -> Vec<model::Secret> {
        let each = secrets.into_iter().enumerate();
        each.map(|(i, secret)| self.secret(secret, &path.index(i)))
            .collect()
    }

    /// Messages must not hold the value.
    fn secret(&mut self, secret: raw::Secret, path: &Path<'_>) -> model::Secret {
        let mut seen: Vec<u8> = secret.0.bytes().collect();
        seen.sort_unstable();
        seen.dedup();
        if secret.0.len() < LEAST_SECRET {
            let message = format!(
                "has {} bytes; at least {LEAST_SECRET} are needed, as from openssl rand -base64 32",
                secret.0.len()
            );
            self.error(path, message);
        } else if seen.len() < LEAST_VARIETY {
            self.error(
                path,
                "can be guessed; write a random one, as from openssl rand -base64 32",
            );
        }
        model::Secret(secret.0.into())
    }

    pub(super) fn sticky(
        &mut self,
        raw: raw::Sticky,
        policy: &Policy,
        cluster: &model::Cluster,
        path: &Path<'_>,
    ) -> Option<model::Sticky> {
        let carrier = self.carrier(&raw, policy, path);
        if let Some(idle) = &raw.idle_ttl {
            self.at_most(("idle_ttl", idle.0), ("ttl", raw.ttl.0), path);
        }
        if raw.strict
            && raw.bounded_load.on().is_some()
            && !self.unclear(path, &["bounded_load"])
            && !matches!(carrier, Some(Carrier::AppCookie(_)))
        {
            self.warning(
                &path.key("strict"),
                "does not keep load from moving clients; write bounded_load: off as well",
            );
        }
        let keys = self.secrets(raw.keys, &path.key("keys"));
        if keys.is_empty() && !matches!(carrier, Some(Carrier::AppCookie(_))) {
            self.derived_keys(raw.ttl.0, cluster, path);
        }
        Some(model::Sticky {
            carrier: carrier?,
            ttl: raw.ttl.0,
            idle_ttl: raw.idle_ttl.map(|idle| idle.0),
            bounded_load: raw.bounded_load.on().map(|factor| factor.0),
            on_overload: match raw.on_overload {
                raw::OnOverload::Rehome => model::OnOverload::Rehome,
                raw::OnOverload::Spill => model::OnOverload::Spill,
            },
            strict: raw.strict,
            keys,
        })
    }

    fn derived_keys(
        &mut self,
        ttl: std::time::Duration,
        cluster: &model::Cluster,
        path: &Path<'_>,
    ) {
        let elsewhere = Path::ROOT.key("cluster");
        let rotation = ["secret", "key_rotation"];
        if self.unclear(&Path::ROOT, &["cluster"])
            || self.unclear(&elsewhere, &rotation)
            || self.unclear(path, &["ttl", "keys"])
        {
        } else if cluster.secrets.is_empty() {
            self.error(path, "needs a key: write cluster: { secret: \"${file:secret.txt}\" } with 32 random bytes or more in it, the same on every instance");
        } else if ttl.as_secs() > cluster.key_rotation.as_secs().saturating_mul(MAX_ROTATIONS) {
            self.error(
                &path.key("ttl"),
                format!("is more than {MAX_ROTATIONS} times cluster.key_rotation"),
            );
        }
    }

    fn carrier(&mut self, raw: &raw::Sticky, policy: &Policy, path: &Path<'_>) -> Option<Carrier> {
        match (&raw.cookie, &raw.header, &raw.app_cookie) {
            (Some(name), None, None) => {
                Some(Carrier::Cookie(self.sticky_cookie(raw, &name.0, path)))
            }
            (None, Some(name), None) => {
                self.unused(
                    &["path", "domain", "same_site", "host_prefix", "partitioned"],
                    "cookie",
                    path,
                );
                Some(Carrier::Header(name.0.clone()))
            }
            (None, None, Some(name)) => {
                let others = [
                    "ttl",
                    "idle_ttl",
                    "bounded_load",
                    "on_overload",
                    "strict",
                    "keys",
                    "path",
                    "domain",
                    "same_site",
                    "host_prefix",
                    "partitioned",
                ];
                self.unused(&others, "cookie", path);
                let wanted = model::HashKey::Cookie(name.0.clone());
                let pool = path.parent();
                let unclear =
                    self.unclear(&pool, &["policy", "hash"]) || self.in_doubt(&pool.key("hash"));
                if !unclear
                    && !matches!(policy, Policy::ConsistentHash { key, .. } if *key == wanted)
                {
                    let message = format!(
                        "needs policy: consistent_hash and hash: {{ key: {{ cookie: {} }} }} on this pool",
                        name.0
                    );
                    self.error(&path.key("app_cookie"), message);
                }
                Some(Carrier::AppCookie(name.0.clone()))
            }
            _ if self.unclear(path, &["cookie", "header", "app_cookie"]) => None,
            _ => {
                self.error(
                    path,
                    "needs exactly one of \"cookie\", \"header\" and \"app_cookie\"",
                );
                None
            }
        }
    }

    fn sticky_cookie(
        &mut self,
        raw: &raw::Sticky,
        name: &str,
        path: &Path<'_>,
    ) -> model::StickyCookie {
        // RFC 6265bis, section 4.1.3: browsers drop a cookie that breaks the promise of its name.
        if raw.host_prefix
            && (raw.domain.is_some() || raw.path.0 != "/")
            && !self.unclear(path, &["domain", "path"])
        {
            self.error(
                &path.key("host_prefix"),
                "goes with path \"/\" and without \"domain\" only",
            );
        }
        if name.starts_with("__") {
            self.error(
                &path.key("cookie"),
                "must not begin with \"__\"; write host_prefix: true for \"__Host-\"",
            );
        }
        let same_site_none = raw.same_site == raw::SameSite::None;
        if raw.partitioned && !same_site_none {
            self.warning(
                &path.key("partitioned"),
                "has no effect without same_site: none, as frames of other sites send no other cookies",
            );
        }
        model::StickyCookie {
            name: if raw.host_prefix {
                format!("__Host-{name}")
            } else {
                name.to_owned()
            },
            path: raw.path.0.clone(),
            domain: raw.domain.as_ref().map(|domain| domain.0.clone()),
            same_site: match raw.same_site {
                raw::SameSite::Lax => model::SameSite::Lax,
                raw::SameSite::Strict => model::SameSite::Strict,
                raw::SameSite::None => model::SameSite::None,
            },
            // Browsers drop a partitioned cookie that is not Secure.
            always_secure: raw.host_prefix || same_site_none || raw.partitioned,
            partitioned: raw.partitioned,
        }
    }

    /// A key that has no effect is one that the operator believes to work.
    fn unused(&mut self, keys: &[&str], by: &str, path: &Path<'_>) {
        for key in keys {
            if self.is_given(&path.key(key)) {
                self.error(&path.key(key), format!("is only used with {by:?}"));
            }
        }
    }

    /// One cookie serves both levels of a split, so its pools must agree; other pools must not share it.
    pub(super) fn shared_cookies(
        &mut self,
        routes: &[model::Route],
        pools: &BTreeMap<String, model::Pool>,
    ) {
        let mut together = Vec::new();
        for (i, route) in routes.iter().enumerate() {
            let model::Action::Split(split) = &route.action else {
                continue;
            };
            let chosen: Vec<&model::Pool> = split
                .choices
                .iter()
                .filter_map(|(name, _)| pools.get(name))
                .collect();
            let agree = chosen
                .windows(2)
                .all(|pair| agrees(&pair[0].sticky, &pair[1].sticky));
            let pools = Path::ROOT.key("pools");
            let in_doubt = chosen.iter().any(|p| self.in_doubt(&pools.key(&p.name)));
            if !agree && !in_doubt {
                let message = "its pools must have the same sticky cookie, attributes and keys, or none of them any";
                self.error(&Path::ROOT.key("routes").index(i).key("split"), message);
            }
            together.push(
                chosen
                    .iter()
                    .map(|pool| pool.name.as_str())
                    .collect::<Vec<_>>(),
            );
        }
        let sticky: Vec<_> = pools
            .values()
            .filter_map(|pool| Some((pool, cookie_name(pool)?)))
            .collect();
        for (i, (pool, name)) in sticky.iter().enumerate() {
            let split = |other: &str| {
                together
                    .iter()
                    .any(|names| names.contains(&other) && names.contains(&pool.name.as_str()))
            };
            let same = sticky
                .iter()
                .take(i)
                .find(|(other, theirs)| theirs == name && !split(&other.name));
            if let Some((other, _)) = same {
                let message = format!(
                    "pool {:?} has the same cookie: a client of both would lose its place at one; give each its own name",
                    other.name
                );
                self.warning(
                    &Path::ROOT.key("pools").key(&pool.name).key("sticky"),
                    message,
                );
            }
        }
    }
}

fn agrees(one: &Option<model::Sticky>, other: &Option<model::Sticky>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.carrier == other.carrier && one.keys == other.keys,
        (None, None) => true,
        _ => false,
    }
}

fn cookie_name(pool: &model::Pool) -> Option<&str> {
    match &pool.sticky.as_ref()?.carrier {
        Carrier::Cookie(cookie) => Some(&cookie.name),
        Carrier::Header(_) | Carrier::AppCookie(_) => None,
    }
}
