//! Project Wycheproof's signatures, through the keys of this filter: forged, malleable and edge-case ones. The vectors are
//! those of the algorithms that JWS uses, in the form it uses them in (RFC 7518 section 3).

use jsonwebtoken::crypto;
use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify, rsa_pss_verify};

use super::*;
use crate::jwt::keys::VerifyKey;

/// Counts what was tried, so that an empty set is no success.
#[derive(Default)]
struct Tried {
    valid: u32,
    invalid: u32,
}

impl Tried {
    fn verify(
        &mut self,
        key: &VerifyKey,
        algorithm: Algorithm,
        (id, result): (usize, TestResult),
        message: &[u8],
        signature: &[u8],
    ) {
        assert!(key.algorithms.contains(&algorithm), "{algorithm:?}");
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let verdict = crypto::verify(&signature, message, &key.key, algorithm);
        let passes = verdict.unwrap_or(false);
        match result {
            TestResult::Valid => self.valid += 1,
            TestResult::Invalid => self.invalid += 1,
            TestResult::Acceptable => return,
        }
        let right = result == TestResult::Valid;
        assert_eq!(passes, right, "{algorithm:?}: case {id} is {result:?}");
    }

    fn at_least(&self, valid: u32, invalid: u32) {
        let (v, i) = (self.valid, self.invalid);
        assert!(v >= valid && i >= invalid, "only {v} valid and {i} invalid");
    }
}

fn key(jwk: Value) -> VerifyKey {
    let set = json!({ "keys": [jwk] }).to_string();
    keys::jwks(set.as_bytes()).unwrap().remove(0)
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Without the zero that a sign would need.
fn unsigned(integer: &[u8]) -> String {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    b64(&integer[zeros..])
}

#[test]
fn ecdsa_signatures() {
    use ecdsa::TestName::{EcdsaSecp256r1Sha256P1363, EcdsaSecp384r1Sha384P1363};
    for (set, algorithm, curve) in [
        (EcdsaSecp256r1Sha256P1363, Algorithm::ES256, "P-256"),
        (EcdsaSecp384r1Sha384P1363, Algorithm::ES384, "P-384"),
    ] {
        let mut tried = Tried::default();
        for group in ecdsa::TestSet::load(set).unwrap().test_groups {
            let (x, y) = group.key.key[1..].split_at(group.key.key.len() / 2);
            let jwk = json!({ "kty": "EC", "crv": curve, "x": b64(x), "y": b64(y) });
            let key = key(jwk);
            for test in group.tests {
                let case = (test.tc_id, test.result);
                tried.verify(&key, algorithm, case, &test.msg, &test.sig);
            }
        }
        tried.at_least(100, 80);
    }
}

#[test]
fn ed25519_signatures() {
    let mut tried = Tried::default();
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    for group in set.test_groups {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(&group.key.pk) });
        let key = key(jwk);
        for test in group.tests {
            let case = (test.tc_id, test.result);
            tried.verify(&key, Algorithm::EdDSA, case, &test.msg, &test.sig);
        }
    }
    tried.at_least(80, 50);
}

#[test]
fn rsa_pkcs1_signatures() {
    use rsa_pkcs1_verify::TestName::{Rsa2048Sha256, Rsa3072Sha384, Rsa4096Sha512};
    for (set, algorithm) in [
        (Rsa2048Sha256, Algorithm::RS256),
        (Rsa3072Sha384, Algorithm::RS384),
        (Rsa4096Sha512, Algorithm::RS512),
    ] {
        let mut tried = Tried::default();
        for group in rsa_pkcs1_verify::TestSet::load(set).unwrap().test_groups {
            let (n, e) = (unsigned(&group.key.n), unsigned(&group.key.e));
            let key = key(json!({ "kty": "RSA", "n": n, "e": e }));
            for test in group.tests {
                let case = (test.tc_id, test.result);
                tried.verify(&key, algorithm, case, &test.msg, &test.sig);
            }
        }
        tried.at_least(5, 200);
    }
}

/// The salt is as long as the hash (RFC 7518 section 3.5): signatures with another are invalid here, whatever the set
/// says of them.
#[test]
fn rsa_pss_signatures() {
    use rsa_pss_verify::TestName::{
        RsaPss2048Sha256Mgf1SaltLen0, RsaPss2048Sha256Mgf1SaltLen32, RsaPss2048Sha384Mgf1SaltLen48,
        RsaPss4096Sha512Mgf1SaltLen64,
    };
    for (set, algorithm, right_salt) in [
        (RsaPss2048Sha256Mgf1SaltLen32, Algorithm::PS256, true),
        (RsaPss2048Sha384Mgf1SaltLen48, Algorithm::PS384, true),
        (RsaPss4096Sha512Mgf1SaltLen64, Algorithm::PS512, true),
        (RsaPss2048Sha256Mgf1SaltLen0, Algorithm::PS256, false),
    ] {
        let mut tried = Tried::default();
        for group in rsa_pss_verify::TestSet::load(set).unwrap().test_groups {
            let (n, e) = (unsigned(&group.key.n), unsigned(&group.key.e));
            let key = key(json!({ "kty": "RSA", "n": n, "e": e }));
            for test in group.tests {
                let result = match (right_salt, test.result) {
                    (true, result) => result,
                    (false, TestResult::Valid) => TestResult::Invalid,
                    // What is wrong with it may be that its salt is as long as JWS wants it.
                    (false, _) => continue,
                };
                let case = (test.tc_id, result);
                tried.verify(&key, algorithm, case, &test.msg, &test.sig);
            }
        }
        match right_salt {
            true => tried.at_least(10, 40),
            false => tried.at_least(0, 10),
        }
    }
}

/// A code that is cut short is invalid here, and a key shorter than its hash is no key (RFC 7518 section 3.2).
#[test]
fn hmac_codes() {
    use mac::TestName::{HmacSha256, HmacSha384, HmacSha512};
    for (set, algorithm, bits) in [
        (HmacSha256, Algorithm::HS256, 256),
        (HmacSha384, Algorithm::HS384, 384),
        (HmacSha512, Algorithm::HS512, 512),
    ] {
        let mut tried = Tried::default();
        for group in mac::TestSet::load(set).unwrap().test_groups {
            for test in group.tests {
                let key = keys::secret(&test.key);
                if test.key.len() * 8 < bits {
                    let usable = key.is_ok_and(|key| key.algorithms.contains(&algorithm));
                    assert!(!usable, "case {}", test.tc_id);
                    continue;
                }
                let whole = group.tag_size == bits;
                let result = if whole {
                    test.result
                } else {
                    TestResult::Invalid
                };
                let case = (test.tc_id, result);
                tried.verify(&key.unwrap(), algorithm, case, &test.msg, &test.tag);
            }
        }
        tried.at_least(20, 40);
    }
}
