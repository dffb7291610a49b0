//! Which encoding a client wants (RFC 9110 section 12.5.3).

use schemars::JsonSchema;
use serde::Deserialize;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Br,
    /// RFC 1952.
    Gzip,
}

impl Encoding {
    pub(super) fn name(self) -> &'static str {
        match self {
            Encoding::Zstd => "zstd",
            Encoding::Br => "br",
            Encoding::Gzip => "gzip",
        }
    }
}

/// The offer that the client weighs highest; among equals the first offered.
pub(super) fn choose(accepted: &str, offered: &[Encoding]) -> Option<Encoding> {
    let weight = |encoding: &Encoding| {
        let named = weight_of(accepted, encoding.name());
        named.or_else(|| weight_of(accepted, "*")).unwrap_or(0)
    };
    let mut best = None;
    for encoding in offered {
        let weight = weight(encoding);
        if weight > best.map_or(0, |(_, best)| best) {
            best = Some((*encoding, weight));
        }
    }
    best.map(|(encoding, _)| encoding)
}

/// Weight in thousandths; `None` when it is not named.
fn weight_of(accepted: &str, name: &str) -> Option<u32> {
    accepted.split(',').find_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let coding = parts.next()?;
        let same = coding.eq_ignore_ascii_case(name)
            || (name == "gzip" && coding.eq_ignore_ascii_case("x-gzip"));
        let weight = || {
            let q = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            let q = q
                .map_or(Some(1.0), |q| q.parse::<f32>().ok())
                .unwrap_or(0.0);
            (q.clamp(0.0, 1.0) * 1000.0) as u32
        };
        same.then(weight)
    })
}

#[cfg(test)]
mod tests {
    use super::Encoding::{Br, Gzip, Zstd};
    use super::*;

    #[test]
    fn clients_choose_and_ties_go_to_the_order_of_the_config() {
        let offered = [Zstd, Br, Gzip];
        for (accepted, chosen) in [
            ("", None),
            ("identity", None),
            ("deflate", None),
            ("gzip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("GZIP, BR", Some(Br)),
            ("gzip, br, zstd", Some(Zstd)),
            ("gzip;q=1.0, br;q=0.8, zstd;q=0.5", Some(Gzip)),
            ("gzip;q=0", None),
            ("*", Some(Zstd)),
            ("*, zstd;q=0", Some(Br)),
            ("*;q=0", None),
            ("br;q=nonsense", None),
            ("br ; q=0.5 , gzip ; q=0.4", Some(Br)),
        ] {
            assert_eq!(choose(accepted, &offered), chosen, "{accepted}");
        }
    }
}
