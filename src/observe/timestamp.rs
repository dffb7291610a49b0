//! RFC 3339 timestamps with milliseconds, in UTC, written without allocation.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// Milliseconds since 1970 by the wall clock; 0 for a clock set before that.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Appends `2026-08-22T09:30:00.123Z`. Times past the year 9999 are written as 1970.
pub fn write(unix_ms: u64, out: &mut Vec<u8>) {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(0);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    let mut text = *b"0000-00-00T00:00:00.000Z";
    digits(&mut text[0..4], u64::from(year.unsigned_abs()));
    digits(&mut text[5..7], u64::from(u8::from(month)));
    digits(&mut text[8..10], u64::from(day));
    digits(&mut text[11..13], u64::from(hour));
    digits(&mut text[14..16], u64::from(minute));
    digits(&mut text[17..19], u64::from(second));
    digits(&mut text[20..23], unix_ms % 1000);
    out.extend_from_slice(&text);
}

/// Fills `place` with the last digits of `value`, zeros in front.
fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;

    fn written(unix_ms: u64) -> String {
        let mut out = Vec::new();
        write(unix_ms, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments() {
        assert_eq!(written(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(written(u64::MAX), "1970-01-01T00:00:00.615Z");
    }

    proptest! {
        #[test]
        fn agrees_with_the_time_crate(ms in 0u64..253_402_300_799_999) {
            let nanos = i128::from(ms) * 1_000_000;
            let expected = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap();
            let parsed_ok = time_parse(&written(ms)) == expected.format(&Rfc3339).unwrap();
            prop_assert!(parsed_ok, "{} against {}", written(ms), expected);
        }
    }

    /// The `time` crate leaves trailing zeros of the fraction out.
    fn time_parse(text: &str) -> String {
        let (front, fraction) = text.trim_end_matches('Z').split_once('.').unwrap();
        match fraction.trim_end_matches('0') {
            "" => format!("{front}Z"),
            rest => format!("{front}.{rest}Z"),
        }
    }
}
