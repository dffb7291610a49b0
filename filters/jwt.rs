//! Lets in whoever shows a valid JSON Web Token (RFC 7519).
//! ```yaml
//! - jwt:
//!     jwks_url: https://login.example.com/.well-known/jwks.json
//!     issuer: https://login.example.com
//!     audience: orders
//!     required_claims: [exp, sub]
//!     claims_to_headers: { sub: x-user }
//! ```
//! A key is only ever used with the algorithms of its own type, and `none` is not an algorithm. Refusals are 401 with
//! `WWW-Authenticate` (RFC 6750 section 3); the reason is in the log.

mod build;
mod keys;
mod source;
#[cfg(test)]
mod tests;
mod token;

#[doc(hidden)]
pub mod promises;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};

pub use build::{Config, OneOrMany, Place};
use source::Source;
use token::{Refused, Rules, Verified};

use crate::filter::cache::{self, Cache};
use crate::filter::{Exchange, Filter, Hooks, Response, Task, Verdict};

/// Longer tokens are refused unread.
const MAX_TOKEN: usize = 16 * 1024;

/// See the module.
pub struct Jwt {
    source: Arc<Source>,
    rules: Rules,
    places: Vec<Place>,
    optional: bool,
    challenge: HeaderValue,
    challenge_invalid: HeaderValue,
    /// Removed from every request, so that only this filter sets them.
    owned_headers: Vec<HeaderName>,
    verified: Cache<Arc<Verified>>,
    hits: AtomicU64,
    checked: AtomicU64,
    refused: AtomicU64,
}

impl Jwt {
    /// The token, wherever it is looked for first.
    fn find(&self, exchange: &Exchange) -> Option<String> {
        let found = |place: &Place| match place {
            Place::Header { name, prefix } => {
                // The backend might read the other one: no token at all.
                if exchange.request.headers.get_all(&name.0).iter().count() > 1 {
                    return Some(String::new());
                }
                let value = exchange.header(&name.0)?;
                let (scheme, token) = value.split_at_checked(prefix.len())?;
                let matches = scheme.eq_ignore_ascii_case(prefix);
                matches.then(|| token.trim().to_string())
            }
            Place::Cookie { name } => exchange.cookie(name).map(str::to_string),
            Place::Query { name } => exchange.query(name).map(|token| token.into_owned()),
        };
        self.places.iter().find_map(found)
    }

    async fn verify(&self, token: &str, now: SystemTime) -> Result<Arc<Verified>, Refused> {
        if token.len() > MAX_TOKEN {
            return Err(Refused::TooLong);
        }
        match self.verify_with_known_keys(token, now) {
            Err(Refused::UnknownKey | Refused::NoKeys) if self.source.refetch().await => {
                self.verify_with_known_keys(token, now)
            }
            verdict => verdict,
        }
    }

    fn verify_with_known_keys(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<Arc<Verified>, Refused> {
        let keys = self.source.keys();
        // With the key set's number in it, no entry outlives its keys.
        let digest = cache::key(&[&keys.number.to_be_bytes(), token.as_bytes()]);
        if let Some(verified) = self.verified.get(&digest, now) {
            self.hits.fetch_add(1, Relaxed);
            return Ok(verified);
        }
        let verified = self.rules.verify(token, &keys, now);
        // Without its key it is not checked yet: that comes when keys have been fetched.
        if !matches!(verified, Err(Refused::UnknownKey | Refused::NoKeys)) {
            self.checked.fetch_add(1, Relaxed);
        }
        let verified = Arc::new(verified?);
        let until = verified.expires.unwrap_or(now + Duration::from_mins(5));
        self.verified
            .insert(digest, Arc::clone(&verified), until, now);
        Ok(verified)
    }

    fn refuse(&self, exchange: &mut Exchange, refused: &Refused) -> Verdict {
        self.refused.fetch_add(1, Relaxed);
        exchange.set_reason(refused.reason());
        // Without a token no error is named (RFC 6750 section 3.1).
        let challenge = match refused {
            Refused::Missing => &self.challenge,
            _ => &self.challenge_invalid,
        };
        let response = Response::plain(StatusCode::UNAUTHORIZED);
        response.header(WWW_AUTHENTICATE, challenge.clone()).into()
    }
}

#[async_trait]
impl Filter for Jwt {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        for name in &self.owned_headers {
            exchange.request.headers.remove(name);
        }
        let Some(token) = self.find(exchange) else {
            if self.optional {
                return Verdict::Continue;
            }
            return self.refuse(exchange, &Refused::Missing);
        };
        let verified = match self.verify(&token, exchange.time()).await {
            Ok(verified) => verified,
            Err(refused) => return self.refuse(exchange, &refused),
        };
        for (name, value) in &verified.attributes {
            exchange.attributes.set(name.clone(), value.clone());
        }
        for (name, value) in &verified.headers {
            exchange.request.headers.insert(name, value.clone());
        }
        Verdict::Continue
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("cached", self.hits.load(Relaxed)),
            ("checked", self.checked.load(Relaxed)),
            ("refused", self.refused.load(Relaxed)),
            ("jwks_failed", self.source.failures()),
        ]
    }

    fn adopt(&mut self, previous: &dyn Any) {
        if let Some(previous) = previous.downcast_ref::<Jwt>() {
            self.source.adopt(&previous.source);
        }
    }

    fn tasks(self: Arc<Self>) -> Vec<Task> {
        let source = Arc::clone(&self.source);
        if !source.refreshes() {
            return Vec::new();
        }
        vec![Task {
            name: "jwt key refresh",
            run: Box::pin(async move { source.refresh_forever().await }),
        }]
    }
}
