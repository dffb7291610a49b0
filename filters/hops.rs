//! How many instances of Tidegate a request has passed on its way, so that a request which is led in a circle ends.
//!
//! Each instance adds one to the field [`HOPS`] of what it sends on account of a request: the request itself, copies of it,
//! and questions that filters ask about it. Other proxies in the circle keep the field, as they keep every field that they
//! do not know. A client can send the field, too, but only to its own harm: the higher the number, the sooner its request
//! is refused.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The field: a number in decimal.
pub const HOPS: HeaderName = HeaderName::from_static("x-tidegate-hops");

/// The instances that a request with these fields has passed. Several numbers, in one line or in many, are what a proxy
/// makes that joins or repeats fields: the highest counts. What is no number counts as the highest there is, since a count
/// that something on the way has spoilt bounds nothing.
#[must_use]
pub fn passed(headers: &HeaderMap) -> u32 {
    let lines = headers.get_all(HOPS).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members.map(number).max().unwrap_or(0)
}

/// Sets the field on what is sent on account of a request that has passed so many.
pub fn set(headers: &mut HeaderMap, passed: u32) {
    headers.insert(HOPS, HeaderValue::from(passed.saturating_add(1)));
}

/// For a copy of a request: one more than the request has passed.
pub fn raise(headers: &mut HeaderMap) {
    let passed = passed(headers);
    set(headers, passed);
}

fn number(member: &[u8]) -> u32 {
    let digits = member.trim_ascii();
    let sound = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| sound);
    number
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HOPS, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn the_highest_number_counts_and_what_is_none_is_the_highest() {
        for (lines, wanted) in [
            (&[][..], 0),
            (&["0"], 0),
            (&["3"], 3),
            (&[" 007\t"], 7),
            (&["1, 5,2"], 5),
            (&["1", "5", "2"], 5),
            (&["", "1"], u32::MAX),
            (&["-1"], u32::MAX),
            (&["+1"], u32::MAX),
            (&["1.5"], u32::MAX),
            (&["0x1"], u32::MAX),
            (&["9999999999"], u32::MAX),
            (&["4294967296"], u32::MAX),
            (&["\u{e4}"], u32::MAX),
        ] {
            assert_eq!(passed(&of(lines)), wanted, "{lines:?}");
        }
    }

    #[test]
    fn what_is_sent_on_says_one_more_in_one_line() {
        for (lines, wanted) in [
            (&[][..], "1"),
            (&["4", "2"], "5"),
            (&["spoilt"], "4294967295"),
        ] {
            let mut headers = of(lines);
            raise(&mut headers);
            let lines: Vec<_> = headers.get_all(HOPS).iter().collect();
            assert_eq!(lines, [wanted]);
        }
    }
}
