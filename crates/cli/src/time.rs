//! Timestamps and times for people.

use std::time::Duration;

/// Milliseconds since the Unix epoch as RFC 3339 in UTC. What lies outside of the years 0 to 9999 is
/// printed as the number that it is.
pub(crate) fn utc(timestamp_ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    let (days, rest) = (timestamp_ms.div_euclid(DAY_MS), timestamp_ms.rem_euclid(DAY_MS));
    let (year, month, day) = date(days);
    if !(0..=9999).contains(&year) {
        return timestamp_ms.to_string();
    }
    let (hours, minutes) = (rest / 3_600_000, rest / 60_000 % 60);
    let (seconds, ms) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
}

/// The Gregorian date of a day counted from 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last of its year, and in cycles of 400
/// years, which all have the same number of days.
fn date(days: i64) -> (i64, i64, i64) {
    const CYCLE: i64 = 146_097;
    let shifted = days + 719_468;
    let (cycle, day) = (shifted.div_euclid(CYCLE), shifted.rem_euclid(CYCLE));
    let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + turn, month, day)
}

/// How long something took, in a unit that fits, with three digits that count.
pub(crate) fn elapsed(time: Duration) -> String {
    let ns = time.as_nanos() as f64;
    // Up to what is rounded to a thousand of it.
    let units = [(1.0, "ns"), (1e3, "µs"), (1e6, "ms")];
    let fitting = units.into_iter().find(|(unit, _)| ns / unit < 999.5);
    let (unit, name) = fitting.unwrap_or((1e9, "s"));
    match ns / unit {
        short if short < 9.995 && unit > 1.0 => format!("{short:.2} {name}"),
        short if short < 99.95 && unit > 1.0 => format!("{short:.1} {name}"),
        long => format!("{long:.0} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{elapsed, utc};

    #[test]
    fn three_digits_in_a_unit_that_fits() {
        for (ns, expected) in [
            (0, "0 ns"),
            (93, "93 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_994, "9.99 µs"),
            (9_996, "10.0 µs"),
            (124_400, "124 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (16_700_000, "16.7 ms"),
            (2_345_000_000, "2.35 s"),
            (3_600_000_000_000, "3600 s"),
        ] {
            assert_eq!(elapsed(Duration::from_nanos(ns)), expected);
        }
    }

    #[test]
    fn known_moments() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(utc(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
        assert_eq!(utc(253_402_300_800_000), "253402300800000");
        assert_eq!(utc(i64::MIN), i64::MIN.to_string());
        assert_eq!(utc(i64::MAX), i64::MAX.to_string());
    }
}
