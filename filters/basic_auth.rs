//! Asks for a user name and a password (RFC 7617).
//! ```yaml
//! - basic_auth:
//!     realm: Staging
//!     users: { ann: "$argon2id$v=19$m=19456,t=2,p=1$..." }
//! - basic_auth: { users_file: conf/htpasswd, user_header: x-user }
//! ```
//! Hashes are Argon2 (PHC strings) or bcrypt (`htpasswd -B`). They are checked beside the request threads, a few at a
//! time; a password that was right is remembered as a digest for `cache`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::filter::cache::{self, Cache};
use crate::filter::units::{Header, Span};
use crate::filter::{Build, BuildError, Exchange, Filter, Hooks, Response, Verdict};

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
    /// Passwords hashed at a time; more get 503. Default: 4.
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
    cache_for: Duration,
    verified: Cache<()>,
    hashing: Semaphore,
}

/// Why someone does not get in.
enum Refused {
    Missing,
    Wrong,
    Busy,
}

impl BasicAuth {
    async fn check(&self, exchange: &Exchange) -> Result<String, Refused> {
        let header = exchange.header(&AUTHORIZATION).ok_or(Refused::Missing)?;
        let (user, password) = credentials(header).ok_or(Refused::Wrong)?;
        let known = self.users.get(&user);
        let hash = known.unwrap_or(&self.decoy);
        let key = cache::key(&[user.as_bytes(), password.as_bytes(), hash.as_bytes()]);
        if self.verified.get(&key, exchange.time()).is_some() {
            return Ok(user);
        }
        let _turn = self.hashing.try_acquire().map_err(|_| Refused::Busy)?;
        let hash = Arc::clone(hash);
        let right = tokio::task::spawn_blocking(move || matches(&hash, &password)).await;
        if !right.unwrap_or(false) || known.is_none() {
            return Err(Refused::Wrong);
        }
        let now = exchange.time();
        self.verified.insert(key, (), now + self.cache_for, now);
        Ok(user)
    }
}

/// User and password of a `Basic` header.
fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > MAX_CREDENTIALS {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_string(), password.to_string()))
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
            cache_for: config.cache.0,
            verified: Cache::new(CACHED),
            hashing: Semaphore::new(config.max_hashing),
        })
    }
}

fn user_line(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let (user, hash) = line.split_once(':').filter(|_| !line.starts_with('#'))?;
    Some((user.to_string(), hash.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Call, Route, refusal};
    use argon2::password_hash::{PasswordHasher, SaltString};
    use serde_json::{Value, json};

    /// Cheap hashes of `secret`.
    fn users() -> Value {
        let params = argon2::Params::new(8, 1, 1, None).unwrap();
        let argon = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let salt = SaltString::from_b64("c29tZXNhbHQ").unwrap();
        let ann = argon.hash_password(b"secret", &salt).unwrap().to_string();
        json!({ "ann": ann, "bob": bcrypt::hash("secret", 4).unwrap() })
    }

    fn call(user: &str, password: &str) -> Call {
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        Call::get("/").header("authorization", format!("Basic {encoded}"))
    }

    #[test]
    fn both_kinds_of_hash_let_the_right_password_in() {
        let route = Route::of::<BasicAuth>(json!({ "users": users(), "user_header": "x-user" }));
        for user in ["ann", "bob"] {
            for _ in 0..2 {
                let seen = route.send(call(user, "secret").header("x-user", "root"));
                assert_eq!(seen.backend().header("x-user"), Some(user));
                assert_eq!(seen.backend().header("authorization"), None);
                assert_eq!(seen.attribute("basic_auth.user").as_deref(), Some(user));
            }
            assert_eq!(route.send(call(user, "wrong")).status(), 401);
        }
    }

    #[test]
    fn others_are_asked_for_credentials() {
        let route = Route::of::<BasicAuth>(json!({ "users": users(), "realm": "St\"aging" }));
        let seen = route.send(Call::get("/"));
        assert_eq!(seen.status(), 401);
        assert_eq!(
            seen.header("www-authenticate"),
            Some("Basic realm=\"Staging\", charset=\"UTF-8\"")
        );
        assert_eq!(seen.reason(), Some("basic_auth: no credentials"));
        let seen = route.send(call("eve", "secret"));
        assert_eq!(
            (seen.status(), seen.reason()),
            (401, Some("basic_auth: wrong credentials"))
        );
        assert_eq!(seen.text(), "401 Unauthorized\n");
    }

    #[test]
    fn what_is_no_basic_header_is_refused() {
        let route = Route::of::<BasicAuth>(json!({ "users": users() }));
        let long = format!("Basic {}", "A".repeat(100_000));
        for bad in [
            "Basic",
            "Basic !!!",
            "Bearer abc",
            "Basic YW5u",
            "Basic /////w==",
            &long,
        ] {
            assert_eq!(
                route
                    .send(Call::get("/").header("authorization", bad))
                    .status(),
                401
            );
        }
    }

    #[test]
    fn with_no_turn_left_it_is_503_not_a_queue() {
        let filter =
            BasicAuth::build(serde_json::from_value(json!({ "users": users() })).unwrap()).unwrap();
        let _all = filter.hashing.try_acquire_many(4).unwrap();
        let mut exchange = call("ann", "secret").exchange();
        let verdict = futures_util::FutureExt::now_or_never(filter.on_request(&mut exchange));
        let Some(Verdict::Respond(response)) = verdict else {
            panic!("an answer at once");
        };
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn files_and_bad_configs() {
        assert_eq!(
            user_line("ann:$2y$05$x"),
            Some(("ann".into(), "$2y$05$x".into()))
        );
        assert_eq!(user_line("# ann:x"), None);
        assert_eq!(refusal::<BasicAuth>(&json!({})).path, "");
        assert_eq!(
            refusal::<BasicAuth>(&json!({ "users": { "ann": "secret" } })).path,
            "users.ann"
        );
        assert_eq!(
            refusal::<BasicAuth>(&json!({ "users_file": "/nonexistent" })).path,
            "users_file"
        );
    }
}
