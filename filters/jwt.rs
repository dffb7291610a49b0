//! Lets in whoever shows a valid JSON Web Token (RFC 7519).
//! ```yaml
//! - jwt:
//!     jwks_url: https://login.example.com/.well-known/jwks.json
//!     issuer: https://login.example.com
//!     audience: orders
//!     required_claims: [exp, sub]
//!     claims_to_headers: { sub: x-user }
//! ```
//! A token that is there but can't be used is refused, with `optional`, too: given twice, in two places that disagree, behind
//! anything but spaces, in bytes that no token has. Other schemes of `Authorization`, such as `Basic`, are no token; they
//! pass where `optional` lets requests without one through.
//!
//! A key is only ever used with the algorithms of its own type, and `none` is not an algorithm. Refusals are 401 with
//! `WWW-Authenticate` (RFC 6750 section 3); the reason is in the log.

mod build;
pub(crate) mod fuzzing;
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

use crate::credentials::{self, Shown};
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
    /// The token. One that is there but can't be used is a bad one, not a missing one: see [`credentials`].
    fn find(&self, exchange: &Exchange) -> Result<String, Refused> {
        let request = &exchange.request;
        let shown = self.places.iter().map(|place| match place {
            Place::Header { name, prefix } => {
                credentials::in_header(&request.headers, &name.0, prefix)
            }
            Place::Cookie { name } => credentials::in_cookie(&request.headers, name),
            Place::Query { name } => credentials::in_query(request.uri.query(), name),
        });
        let shown = shown.fold(Shown::Nothing, Shown::and);
        match (&shown, shown.text()) {
            (Shown::Nothing, _) => Err(Refused::Missing),
            (_, Some(token)) => Ok(token.to_owned()),
            (_, None) => Err(Refused::Malformed("token")),
        }
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

    fn owned_headers(&self) -> Vec<HeaderName> {
        let read = self.places.iter().filter_map(|place| match place {
            Place::Header { name, .. } => Some(&name.0),
            Place::Cookie { .. } | Place::Query { .. } => None,
        });
        self.owned_headers.iter().chain(read).cloned().collect()
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        for name in &self.owned_headers {
            exchange.request.headers.remove(name);
        }
        let verified = match self.find(exchange) {
            Ok(token) => self.verify(&token, exchange.time()).await,
            Err(Refused::Missing) if self.optional => return Verdict::Continue,
            Err(refused) => Err(refused),
        };
        let verified = match verified {
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

    fn secret_query_names(&self) -> Vec<&str> {
        let names = self.places.iter().filter_map(|place| match place {
            Place::Query { name } => Some(name.as_str()),
            _ => None,
        });
        names.collect()
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
