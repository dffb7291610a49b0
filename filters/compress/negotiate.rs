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
    pub(crate) fn name(self) -> &'static str {
        match self {
            Encoding::Zstd => "zstd",
            Encoding::Br => "br",
            Encoding::Gzip => "gzip",
        }
    }
}

/// What all `Accept-Encoding` lines together say of one coding.
#[derive(Debug, Clone, Copy, Default)]
struct Weights {
    /// Those of `Encoding` in its order. `None` is not named; of several weights of one name the lowest counts.
    codings: [Option<u16>; 3],
    identity: Option<u16>,
    /// Of `*`: whatever is not named.
    any: Option<u16>,
}

/// The offer that the client weighs highest; among equals the first offered. `None` where it would rather have the response
/// as it is, or takes nothing that is offered. Without a word of the client nothing is compressed.
///
/// A member whose weight is malformed is taken as refused: what is sent must be what every reader finds acceptable.
pub(crate) fn choose<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    offered: &[Encoding],
) -> Option<Encoding> {
    let weights = read(lines);
    let of = |encoding: Encoding| {
        weights.codings[encoding as usize]
            .or(weights.any)
            .unwrap_or(0)
    };
    let mut best = None;
    for encoding in offered.iter().copied().filter(|e| of(*e) > 0) {
        if best.is_none_or(|best| of(encoding) > of(best)) {
            best = Some(encoding);
        }
    }
    // Not named, the plain form is acceptable, but not asked for.
    let plain = weights.identity.or(weights.any).unwrap_or(0);
    best.filter(|best| of(*best) >= plain)
}

fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Weights {
    let mut weights = Weights::default();
    for member in lines.flat_map(|line| line.split(|byte| *byte == b',')) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let Some(weight) = weights.of_name(name) else {
            continue;
        };
        let given = weight_of(parts);
        *weight = Some(weight.map_or(given, |before| before.min(given)));
    }
    weights
}

impl Weights {
    fn of_name(&mut self, name: &[u8]) -> Option<&mut Option<u16>> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let coding = [Encoding::Zstd, Encoding::Br, Encoding::Gzip]
            .into_iter()
            .find(|coding| is(coding.name()));
        match coding {
            Some(coding) => Some(&mut self.codings[coding as usize]),
            // RFC 9110 section 8.4.1.3.
            None if is("x-gzip") => Some(&mut self.codings[Encoding::Gzip as usize]),
            None if is("identity") => Some(&mut self.identity),
            None if name == b"*" => Some(&mut self.any),
            None => None,
        }
    }
}

/// In thousandths (RFC 9110 section 12.4.2); 0 for what does not follow the grammar.
fn weight_of<'a>(parameters: impl Iterator<Item = &'a [u8]>) -> u16 {
    let mut weight = None;
    for parameter in parameters {
        let value = match parameter {
            [b'q' | b'Q', b'=', value @ ..] => value,
            _ => return 0,
        };
        // Given twice, it is none.
        match (weight, thousandths(value)) {
            (None, Some(value)) => weight = Some(value),
            _ => return 0,
        }
    }
    weight.unwrap_or(1000)
}

/// `0`, `0.5`, `1`, `1.000`.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, rest) = text.split_first()?;
    let digits = match rest.split_first() {
        None => &[][..],
        Some((b'.', digits)) if digits.len() <= 3 => digits,
        Some(_) => return None,
    };
    let mut fraction = 0;
    for place in 0..3 {
        let digit = digits.get(place).copied().unwrap_or(b'0');
        fraction = fraction * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    match (whole, fraction) {
        (b'0', fraction) => Some(fraction),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Encoding::{Br, Gzip, Zstd};
    use super::*;

    fn chosen(lines: &[&str], offered: &[Encoding]) -> Option<Encoding> {
        choose(lines.iter().map(|line| line.as_bytes()), offered)
    }

    #[test]
    fn clients_choose_and_ties_go_to_the_order_of_the_config() {
        for (lines, expected) in [
            (&[][..], None),
            (&[""][..], None),
            (&["identity"], None),
            (&["deflate"], None),
            (&["gzip"], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["GZIP, BR"], Some(Br)),
            (&["gzip, br, zstd"], Some(Zstd)),
            (&["gzip;q=1.0, br;q=0.8, zstd;q=0.5"], Some(Gzip)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000"], None),
            (&["gzip;q=0.001"], Some(Gzip)),
            (&["br ; q=0.5 , gzip ; q=0.4"], Some(Br)),
            (&["gzip;Q=0.4, br;q=0.3"], Some(Gzip)),
            (&["gzip;q=1., br;q=0."], Some(Gzip)),
            // All lines together.
            (&["deflate", "gzip"], Some(Gzip)),
            (&["gzip", "br;q=0.9"], Some(Gzip)),
            (&["gzip", "gzip;q=0"], None),
            // `*` is all that is not named, the plain form too.
            (&["*"], Some(Zstd)),
            (&["*, zstd;q=0"], Some(Br)),
            (&["*;q=0"], None),
            (&["*;q=0, br"], Some(Br)),
            (&["gzip;q=0.1, *;q=0.5"], Some(Zstd)),
            (&["zstd;q=0.1, br;q=0.1, gzip;q=0.1, *;q=0.5"], None),
            // The plain form, where it is asked for.
            (&["identity;q=1, gzip;q=0.1"], None),
            (&["identity, gzip"], Some(Gzip)),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
            (&["identity;q=0.5, gzip;q=0.49"], None),
            (&["identity;q=0.5, gzip"], Some(Gzip)),
            (&["identity;q=0, gzip;q=0.1"], Some(Gzip)),
            (&["identity;q=0"], None),
            (&["identity;q=0, *;q=0"], None),
            // Malformed weights are refusals, of that name alone.
            (&["br;q=nonsense"], None),
            (&["br;q=nonsense, gzip;q=0.5"], Some(Gzip)),
            (&["br;q=2"], None),
            (&["br;q=1.5"], None),
            (&["br;q=1.001"], None),
            (&["br;q=-1"], None),
            (&["br;q=.5"], None),
            (&["br;q=0.1234"], None),
            (&["br;q=0,5"], None),
            (&["br;q="], None),
            (&["br;q"], None),
            (&["br;q = 1"], None),
            (&["br;level=1"], None),
            (&["br;q=1;q=1"], None),
            (&["br;q=\"1\""], None),
            (&["br gzip"], None),
            (&["\"gzip\""], None),
            (&["*;q=x"], None),
        ] {
            assert_eq!(chosen(lines, &[Zstd, Br, Gzip]), expected, "{lines:?}");
        }
        assert_eq!(chosen(&["gzip, br"], &[Gzip, Br]), Some(Gzip));
        assert_eq!(chosen(&["gzip;q=0.1, *;q=0.5"], &[Gzip]), None);
        assert_eq!(chosen(&["gzip"], &[Br]), None);
    }
}
