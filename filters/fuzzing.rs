//! What the fuzz targets call: each function gives bytes to one parser of untrusted input, and fails when it breaks a
//! promise. The second readings here are written apart from the first, and simpler.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::compress::{Encoding, negotiate};
use crate::credentials::{self, Shown};
use crate::jwt::fuzzing as jwt_parts;

/// `Accept-Encoding`, a line of it in each line of the input. What is chosen is acceptable to the client, and not less
/// welcome than the plain form.
pub fn accept_encoding(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    for offered in [
        &[Encoding::Zstd, Encoding::Br, Encoding::Gzip][..],
        &[Encoding::Gzip, Encoding::Br],
        &[Encoding::Br],
    ] {
        let Some(chosen) = negotiate::choose(lines.iter().copied(), offered) else {
            continue;
        };
        assert!(offered.contains(&chosen));
        let text = lines.join(&b',').to_ascii_lowercase();
        let members: Vec<(String, f32)> = text.split(|byte| *byte == b',').map(member).collect();
        let named = |name: &str| {
            let of_name = members.iter().filter(|(n, _)| n == name);
            of_name.map(|(_, q)| *q).reduce(f32::min)
        };
        let any = named("*");
        let of_chosen = match (named(chosen.name()), named("x-gzip")) {
            (Some(q), Some(x)) if chosen == Encoding::Gzip => Some(q.min(x)),
            (None, Some(x)) if chosen == Encoding::Gzip => Some(x),
            (q, _) => q,
        };
        let weight = of_chosen.or(any).unwrap_or(0.0);
        assert!(weight > 0.0, "{chosen:?} is not acceptable");
        let plain = named("identity").or(any).unwrap_or(0.0);
        assert!(weight >= plain, "{chosen:?} is less welcome than nothing");
    }
}

/// Name and weight; 0 for a weight that is none.
fn member(text: &[u8]) -> (String, f32) {
    let text = String::from_utf8_lossy(text);
    let trim = |text: &str| {
        text.trim_matches(|c: char| c.is_ascii_whitespace())
            .to_owned()
    };
    let (name, rest) = text.split_once(';').unwrap_or((&text, "q=1"));
    let weight = trim(rest).strip_prefix("q=").and_then(|q| {
        let digits = q.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let sound = digits && q.len() <= 5 && (q.len() == 1 || q.as_bytes().get(1) == Some(&b'.'));
        q.parse::<f32>().ok().filter(|_| sound)
    });
    let weight = weight.filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
    (trim(name), weight)
}

const SECRET: &[u8] = b"a secret that only the fuzzer knows and signs with";

/// A token, in three ways: as it is, as a header and claims that are signed for it, and as a field, a cookie and a query. No
/// token is accepted that the key did not sign, or whose header says something that is not understood; and one that is
/// there is never taken for none.
pub fn jwt(data: &[u8]) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    let rules = jwt_parts::Verifier::new(SECRET);
    let token = String::from_utf8_lossy(data);
    if rules.accepts(&token, now) {
        assert!(is_signed(&token), "accepted without a signature");
    }
    let middle = data.iter().position(|byte| *byte == b'\n');
    let (header, claims) = data.split_at(middle.unwrap_or(data.len()));
    let claims = claims.get(1..).unwrap_or(b"{}");
    let token = signed(header, claims);
    assert!(is_signed(&token));
    if rules.accepts(&token, now) {
        assert_sound(header, claims);
    }
    shown(data);
}

/// Header and claims of a token that was accepted.
fn assert_sound(header: &[u8], claims: &[u8]) {
    let header: Value = serde_json::from_slice(header).unwrap_or_default();
    assert_eq!(header["alg"], "HS256");
    assert!(header.get("crit").is_none());
    assert!(header.get("b64").is_none_or(|b64| *b64 == true));
    for name in ["kid", "typ", "cty"] {
        assert!(header.get(name).is_none_or(Value::is_string), "{name}");
    }
    let claims: Value = serde_json::from_slice(claims).unwrap_or_default();
    assert!(claims.is_object());
}

/// What is there is one secret or a bad one, never nothing.
fn shown(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value.clone());
    let is_bearer = data.len() >= 6 && data[..6].eq_ignore_ascii_case(b"bearer");
    let ends = data
        .get(6)
        .is_none_or(|byte| b" \t,;=\"".contains(byte) || *byte >= 128);
    let seen = credentials::in_header(&headers, &AUTHORIZATION, "Bearer ");
    if is_bearer && ends {
        assert_ne!(seen, Shown::Nothing);
    }
    if let Shown::One(token) = &seen {
        assert!(data.ends_with(token) && token.iter().all(u8::is_ascii_graphic));
    }
    headers.append(AUTHORIZATION, value.clone());
    let twice = credentials::in_header(&headers, &AUTHORIZATION, "Bearer ");
    assert_eq!(twice, Shown::Unusable);
    let with_cookie = [b"token=x; ", data].concat();
    if let Ok(line) = HeaderValue::from_bytes(&with_cookie) {
        let lines = HeaderMap::from_iter([(COOKIE, line)]);
        assert_ne!(credentials::in_cookie(&lines, "token"), Shown::Nothing);
    }
    let query = format!("token=x&{}", String::from_utf8_lossy(data));
    let seen = credentials::in_query(Some(&query), "token");
    assert_ne!(seen, Shown::Nothing);
    if data.windows(6).any(|window| window == b"&token") && data.ends_with(b"&token") {
        assert_eq!(seen, Shown::Unusable);
    }
}

/// Keys: whatever is in a set, none is good for algorithms of two kinds, and none is too weak.
pub fn jwks(data: &[u8]) {
    for (names, secret_bytes) in jwt_parts::keys_of(data) {
        assert!(!names.is_empty());
        let kind = |name: &String| match name.as_str() {
            "HS256" | "HS384" | "HS512" => "secret",
            "ES256" => "P-256",
            "ES384" => "P-384",
            "EdDSA" => "Ed25519",
            _ => "RSA",
        };
        let first = names.first().map(kind);
        assert!(names.iter().all(|name| Some(kind(name)) == first));
        assert_eq!(first == Some("secret"), secret_bytes.is_some());
        assert!(secret_bytes.is_none_or(|bytes| bytes >= 32));
    }
}

/// Signed by `SECRET`, as HS256 has it.
fn signed(header: &[u8], claims: &[u8]) -> String {
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let message = format!("{}.{}", encode(header), encode(claims));
    format!("{message}.{}", encode(&hmac(message.as_bytes())))
}

fn is_signed(token: &str) -> bool {
    token.rsplit_once('.').is_some_and(|(message, signature)| {
        signature == URL_SAFE_NO_PAD.encode(hmac(message.as_bytes()))
    })
}

/// HMAC with SHA-256 (RFC 2104) and `SECRET`.
fn hmac(message: &[u8]) -> [u8; 32] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        for (to, from) in block.iter_mut().zip(SECRET) {
            *to ^= from;
        }
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message);
    let outer = Sha256::new().chain_update(pad(0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that look right now and then.
    fn nearly(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let word = prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
        let noise = prop::collection::vec(any::<u8>(), 0..4);
        prop::collection::vec(prop_oneof![12 => word, 1 => noise], 0..16)
            .prop_map(|parts| parts.concat())
    }

    const ENCODINGS: &[&str] = &[
        "gzip",
        "x-gzip",
        "br",
        "zstd",
        "identity",
        "*",
        ", ",
        ",",
        "\n",
        ";q=0",
        ";q=0.5",
        ";q=1",
        " ; q=0.001",
        ";q=2",
        ";Q=.5",
        ";q=1;q=0",
    ];

    const TOKENS: &[&str] = &[
        "{",
        "}",
        "\"alg\":\"HS256\"",
        "\"alg\":\"none\"",
        ",",
        "\"crit\":null",
        "\"crit\":[]",
        "\"kid\":\"a\"",
        "\"kid\":null",
        "\"b64\":true",
        "\"b64\":false",
        "\n{}",
        "\n{\"exp\":1}",
        "Bearer ",
        "bearer",
        "\t",
        " ",
        "&token",
        ";token=",
        "token=",
        "a.b.c",
        "; ",
    ];

    const KEYS: &[&str] = &[
        "{\"keys\":[",
        "]}",
        "{\"kty\":\"oct\",\"k\":\"",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"",
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
        "\"}",
        "\",\"alg\":\"HS256\"}",
        "\",\"kid\":null}",
        ",",
    ];

    proptest! {
        #[test]
        fn what_is_chosen_is_acceptable(data in nearly(ENCODINGS)) {
            accept_encoding(&data);
        }

        #[test]
        fn tokens_keep_their_promises(data in nearly(TOKENS)) {
            jwt(&data);
        }

        #[test]
        fn key_sets_keep_theirs(data in nearly(KEYS)) {
            jwks(&data);
        }

        #[test]
        fn any_bytes_are_answered(data in prop::collection::vec(any::<u8>(), 0..64)) {
            accept_encoding(&data);
            jwt(&data);
            jwks(&data);
        }
    }

    #[test]
    fn the_second_reading_signs_as_the_first_one_reads() {
        let token = signed(br#"{"alg":"HS256"}"#, b"{}");
        let now = SystemTime::UNIX_EPOCH;
        assert!(jwt_parts::Verifier::new(SECRET).accepts(&token, now));
        jwks(br#"{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#);
    }
}
