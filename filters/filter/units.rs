//! Config values that check themselves: durations, sizes, percents, headers, statuses, patterns.
//!
//! Used as the types of config keys, so that a bad value is refused with its path when the config is read.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A time span: `500ms`, `10s`, `5m`, `1h`, `1d`. Whole numbers only; no bare number, since nobody knows its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes: `512`, `64KiB`, `10MiB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// 0 to 100; fractions are allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(f64);

/// A header's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Header(pub HeaderName);

/// A header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(pub HeaderValue);

/// A regular expression in the syntax of the `regex` crate; not anchored.
#[derive(Debug, Clone)]
pub struct Pattern(pub Regex);

/// An HTTP status, 100 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub StatusCode);

impl Percent {
    /// 100 percent.
    pub const ALL: Percent = Percent(100.0);

    /// `None` outside 0 to 100.
    #[must_use]
    pub fn new(percent: f64) -> Option<Percent> {
        (0.0..=100.0).contains(&percent).then_some(Percent(percent))
    }

    /// True for this share of calls, at random.
    #[must_use]
    pub fn hit(self) -> bool {
        fastrand::f64() * 100.0 < self.0
    }
}

/// Splits `64KiB` into number and unit.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Span, Self::Err> {
        const SAY: &str = "write a duration such as 500ms, 10s, 5m, 1h or 1d";
        let (number, unit) = number_and_unit(text).ok_or(SAY)?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(SAY),
        };
        let millis = number.checked_mul(millis).ok_or(SAY)?;
        Ok(Span(Duration::from_millis(millis)))
    }
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Size, Self::Err> {
        const SAY: &str = "write a size such as 512, 64KiB, 10MiB or 1GiB";
        let (number, unit) = number_and_unit(text).ok_or(SAY)?;
        let bytes: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(SAY),
        };
        number.checked_mul(bytes).map(Size).ok_or(SAY)
    }
}

impl FromStr for Header {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Header, Self::Err> {
        text.parse().map(Header).map_err(|_| "not a header name")
    }
}

impl FromStr for Value {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Value, Self::Err> {
        let value = text.parse().map(Value);
        value.map_err(|_| "not a header value: no control characters")
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, Self::Err> {
        let pattern = Regex::new(text).map(Pattern);
        pattern.map_err(|e| format!("not a regular expression: {e}"))
    }
}

/// Reads any of the above from a string, and from a number where `number` allows it.
struct Reader<T> {
    expecting: &'static str,
    number: fn(f64) -> Option<T>,
}

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse()
            .map_err(|e| E::custom(format_args!("{text:?}: {e}")))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        (self.number)(number)
            .ok_or_else(|| E::custom(format_args!("{number}: expected {}", self.expecting)))
    }
}

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(_: &str) -> Result<Percent, Self::Err> {
        Err("write a number from 0 to 100")
    }
}

impl FromStr for Status {
    type Err = &'static str;

    fn from_str(_: &str) -> Result<Status, Self::Err> {
        Err("write a number from 100 to 599")
    }
}

fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
}

fn status(number: f64) -> Option<Status> {
    let number = u16::try_from(whole(number)?).ok()?;
    let status = StatusCode::from_u16(number).ok()?;
    (number < 600).then_some(Status(status))
}

/// `Deserialize` and `JsonSchema` of one unit.
macro_rules! unit {
    ($unit:ident, $expecting:literal, $number:expr, $schema:tt) => {
        impl<'de> Deserialize<'de> for $unit {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Reader {
                    expecting: $expecting,
                    number: $number,
                })
            }
        }

        impl JsonSchema for $unit {
            fn schema_name() -> Cow<'static, str> {
                stringify!($unit).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

unit!(Span, "a duration such as 10s", |_| None, {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"});
unit!(Size, "a size such as 64KiB", |n| whole(n).map(Size), {"type": ["string", "integer"], "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$"});
unit!(Percent, "a number from 0 to 100", Percent::new, {"type": "number", "minimum": 0, "maximum": 100});
unit!(Header, "a header name", |_| None, {"type": "string", "format": "header-name"});
unit!(Value, "a header value", |_| None, {"type": "string"});
unit!(Pattern, "a regular expression", |_| None, {"type": "string", "format": "regex"});
unit!(Status, "a status from 100 to 599", status, {"type": "integer", "minimum": 100, "maximum": 599});
