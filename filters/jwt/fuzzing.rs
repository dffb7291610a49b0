//! The parts of `jwt` that the fuzz targets drive.

use std::time::{Duration, SystemTime};

use jsonwebtoken::Algorithm;

use super::keys::{self, KeyId, KeySet, VerifyKey};
use super::token::Rules;

/// Rules that ask for nothing, and one secret of HS256.
pub(crate) struct Verifier {
    rules: Rules,
    keys: KeySet,
}

impl Verifier {
    pub fn new(secret: &[u8]) -> Verifier {
        let key = VerifyKey {
            id: KeyId::Sole,
            algorithms: vec![Algorithm::HS256],
            key: jsonwebtoken::DecodingKey::from_secret(secret),
        };
        Verifier {
            rules: Rules {
                algorithms: vec![Algorithm::HS256],
                issuers: Vec::new(),
                audiences: Vec::new(),
                leeway: Duration::ZERO,
                required: Vec::new(),
                attributes: Vec::new(),
                headers: Vec::new(),
            },
            keys: KeySet {
                number: 0,
                keys: vec![key],
            },
        }
    }

    pub fn accepts(&self, token: &str, now: SystemTime) -> bool {
        self.rules.verify(token, &self.keys, now).is_ok()
    }
}

/// The usable keys of a set: their algorithms, and how long a shared secret is.
pub(crate) fn keys_of(set: &[u8]) -> Vec<(Vec<String>, Option<usize>)> {
    let facts = |key: &VerifyKey| {
        let names = key
            .algorithms
            .iter()
            .map(|alg| format!("{alg:?}"))
            .collect();
        let is_secret = key.algorithms.contains(&Algorithm::HS256)
            || key.algorithms.contains(&Algorithm::HS384)
            || key.algorithms.contains(&Algorithm::HS512);
        let bytes = key.key.try_get_as_bytes().map(<[u8]>::len);
        (names, bytes.ok().filter(|_| is_secret))
    };
    let keys = keys::jwks(set).unwrap_or_default();
    keys.iter().map(facts).collect()
}
