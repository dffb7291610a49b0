//! Asks for a user name and a password (RFC 7617).
//! ```yaml
//! - basic_auth:
//!     realm: Staging
//!     users: { ann: "$argon2id$v=19$m=19456,t=2,p=1$..." }
//! - basic_auth: { users_file: conf/htpasswd, user_header: x-user }
//! ```
//! Hashes are Argon2 (PHC strings) or bcrypt (`htpasswd -B`). They are checked beside the request threads, a few at a
//! time, each client address in its turn; a password that was right is remembered as a digest for `cache`.

mod shares;

use std::any::Any;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::credentials::{self, Shown};
use crate::filter::cache::{self, Cache};
use crate::filter::units::{Header, Span};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, Verdict};
use shares::{Client, Shares};

/// Asks for a user name and a password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the browser shows. Default: Restricted.
    #[serde(default = "realm")]
    pub realm: String,
    /// Hash by user name.
    #[serde(default)]
    pub users: HashMap<String, String>,
    /// A file of `name:hash` lines, as `htpasswd -B` writes it; read when the config is. Relative to the working directory.
    pub users_file: Option<PathBuf>,
    /// Tells the backend the user's name in this header; what the client sent there is dropped.
    pub user_header: Option<Header>,
    /// Lets `Authorization` through to the backend. Default: false.
    #[serde(default)]
    pub forward: bool,
    /// How long a password that was right need not be hashed again. Default: 5m.
    #[serde(default = "cache_for")]
    pub cache: Span,
    /// Passwords hashed at a time, 1 to 1024. One client address (IPv6: one /64) has half of them at most. More wait for
    /// their turn: an address that guessed wrong several times within a minute comes after all others, and who waits for 5s
    /// gets 503. A password that is remembered (`cache`) needs no turn. Default: 4.
    #[serde(default = "hashing")]
    pub max_hashing: usize,
}

fn realm() -> String {
    "Restricted".into()
}

fn cache_for() -> Span {
    Span(Duration::from_mins(5))
}

fn hashing() -> usize {
    4
}

/// Larger headers are not credentials.
const MAX_CREDENTIALS: usize = 1024;
/// Right passwords remembered.
const CACHED: usize = 1024;

/// See the module.
pub struct BasicAuth {
    challenge: HeaderValue,
    users: HashMap<String, Arc<str>>,
    /// Checked for users that do not exist, so that they take as long.
    decoy: Arc<str>,
    user_header: Option<HeaderName>,
    forward: bool,
    remembered: Arc<Remembered>,
    shares: Arc<Shares>,
}

/// Passwords that were right, as digests under a key of this process: they tell nothing to who reads them elsewhere.
struct Remembered {
    key: [u8; 32],
    digests: Cache<()>,
    /// How long each is.
    kept: Duration,
}

impl Remembered {
    fn digest(&self, user: &str, password: &str, hash: &str) -> cache::Key {
        let parts = [user, password, hash].map(str::as_bytes);
        cache::key(&[&self.key, parts[0], parts[1], parts[2]])
    }
}

/// Why someone does not get in.
enum Refused {
    Missing,
    Wrong,
    Busy,
}

impl BasicAuth {
    async fn check(&self, exchange: &Exchange) -> Result<String, Refused> {
        let (user, password) = credentials(exchange)?;
        let known = self.users.get(&user);
        let hash = Arc::clone(known.unwrap_or(&self.decoy));
        let digest = self.remembered.digest(&user, &password, &hash);
        let is_remembered = |now: SystemTime| {
            known.is_some() && self.remembered.digests.get(&digest, now).is_some()
        };
        let now = exchange.time();
        if is_remembered(now) {
            return Ok(user);
        }
        let client = Client::of(exchange);
        let turn = self.shares.turn(client).await.ok_or(Refused::Busy)?;
        // Found right for another request of the same user, while this one waited.
        if is_remembered(now) {
            return Ok(user);
        }
        // The turn ends with the hashing, even if nobody waits for it any more.
        let hashing = move || {
            let _turn = turn;
            matches(&hash, &password)
        };
        let right = tokio::task::spawn_blocking(hashing).await;
        if !right.unwrap_or(false) || known.is_none() {
            self.shares.guessed_wrong(client, exchange.started());
            return Err(Refused::Wrong);
        }
        let until = now + self.remembered.kept;
        self.remembered.digests.insert(digest, (), until, now);
        Ok(user)
    }
}

/// User and password of a request (RFC 7617 section 2): one `Authorization` line, no control characters.
fn credentials(exchange: &Exchange) -> Result<(String, String), Refused> {
    let headers = &exchange.request.headers;
    let shown = credentials::in_header(headers, &AUTHORIZATION, "Basic ");
    if shown == Shown::Nothing {
        return Err(Refused::Missing);
    }
    let encoded = shown.text().filter(|text| text.len() <= MAX_CREDENTIALS);
    let decoded = encoded.and_then(|text| STANDARD.decode(text).ok());
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.filter(|text| !text.contains(char::is_control));
    let (user, password) = decoded
        .as_deref()
        .and_then(|text| text.split_once(':'))
        .ok_or(Refused::Wrong)?;
    Ok((user.to_owned(), password.to_owned()))
}

/// Both crates compare in constant time.
fn matches(hash: &str, password: &str) -> bool {
    if hash.starts_with("$2") {
        return bcrypt::verify(password, hash).unwrap_or(false);
    }
    let hash = PasswordHash::new(hash);
    hash.is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

fn is_hash(text: &str) -> bool {
    if text.starts_with("$2") {
        return text.parse::<bcrypt::HashParts>().is_ok();
    }
    let hash = PasswordHash::new(text);
    hash.is_ok_and(|hash| hash.algorithm.as_str().starts_with("argon2") && hash.hash.is_some())
}

#[async_trait]
impl Filter for BasicAuth {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn owned_headers(&self) -> Vec<HeaderName> {
        self.user_header.iter().cloned().collect()
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Verdict {
        let user = match self.check(exchange).await {
            Ok(user) => user,
            Err(Refused::Busy) => {
                exchange.set_reason("basic_auth: too many passwords to hash");
                let response = Response::plain(StatusCode::SERVICE_UNAVAILABLE);
                return response
                    .header(RETRY_AFTER, HeaderValue::from_static("1"))
                    .into();
            }
            Err(refused) => {
                exchange.set_reason(match refused {
                    Refused::Missing => "basic_auth: no credentials",
                    _ => "basic_auth: wrong credentials",
                });
                let response = Response::plain(StatusCode::UNAUTHORIZED);
                return response
                    .header(WWW_AUTHENTICATE, self.challenge.clone())
                    .into();
            }
        };
        let headers = &mut exchange.request.headers;
        if !self.forward {
            headers.remove(AUTHORIZATION);
        }
        if let Some(name) = &self.user_header {
            headers.remove(name);
            if let Ok(value) = HeaderValue::from_str(&user) {
                headers.insert(name, value);
            }
        }
        exchange.attributes.set("basic_auth.user", user);
        Verdict::Continue
    }

    /// After a reload nobody's password need be hashed again: a digest holds the hash, so that it is good for that one only.
    fn adopt(&mut self, previous: &dyn Any) {
        if let Some(previous) = previous.downcast_ref::<BasicAuth>()
            && previous.remembered.kept == self.remembered.kept
        {
            self.remembered = Arc::clone(&previous.remembered);
        }
    }
}

impl Build for BasicAuth {
    const NAME: &'static str = "basic_auth";
    type Config = Config;

    fn build(config: Config) -> Result<BasicAuth, BuildError> {
        let mut users = config.users;
        if let Some(file) = &config.users_file {
            let text = std::fs::read_to_string(file);
            let text =
                text.map_err(|e| BuildError::at("users_file", format!("cannot be read: {e}")))?;
            users.extend(text.lines().filter_map(user_line));
        }
        for (user, hash) in &users {
            if user.contains(char::is_control) || user.contains(':') {
                let say = "write a name without control characters and colons";
                return Err(BuildError::at(format!("users.{user}"), say));
            }
            if !is_hash(hash) {
                let say = "write an Argon2 or bcrypt hash: $argon2id$... or $2b$...";
                return Err(BuildError::at(format!("users.{user}"), say));
            }
        }
        let users: HashMap<String, Arc<str>> = users
            .into_iter()
            .map(|(user, hash)| (user, hash.into()))
            .collect();
        let decoy = users.values().next().cloned();
        let decoy = decoy.ok_or_else(|| BuildError::new("write at least one user"))?;
        let realm = config.realm.replace(['"', '\\'], "");
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        let challenge = HeaderValue::try_from(challenge);
        if !(1..=1024).contains(&config.max_hashing) {
            return Err(BuildError::at("max_hashing", "write 1 to 1024"));
        }
        Ok(BasicAuth {
            challenge: challenge.map_err(|_| BuildError::at("realm", "not a header value"))?,
            users,
            decoy,
            user_header: config.user_header.map(|name| name.0),
            forward: config.forward,
            remembered: Arc::new(Remembered {
                key: secret()?,
                digests: Cache::new(CACHED),
                kept: config.cache.0,
            }),
            shares: Shares::new(config.max_hashing),
        })
    }
}

fn secret() -> Result<[u8; 32], BuildError> {
    let mut secret = [0; 32];
    let filled = getrandom::fill(&mut secret);
    filled.map_err(|e| BuildError::new(format!("the system gives no random bytes: {e}")))?;
    Ok(secret)
}

fn user_line(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let (user, hash) = line.split_once(':').filter(|_| !line.starts_with('#'))?;
    Some((user.to_string(), hash.to_string()))
}

#[cfg(test)]
mod tests;
