//! Lengths of time as people write them: `250ms`, `1m 30s`, `1.5h`.
//!
//! 1. A length is one part or several, each a number and a unit, the larger units first and none twice.
//! 2. A number may have decimals, as long as it is a whole number of nanoseconds.
//! 3. What is written means exactly the length it was written from, to the nanosecond.
//! 4. No text panics, and none means something that it does not say: what is too long for a [`Duration`] is refused.
//!
//! The crate `humantime` reads nearly the same. It was not taken for two reasons: version 2.4 panics at
//! `18446744073709551615s 1000000000ns` (rule 4), and it writes 40 days as `1month 9days 13h 26m 24s`.

use std::time::Duration;

/// The larger first, in nanoseconds.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// The length that `text` says.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut units = UNITS.iter();
    let mut total = 0_u128;
    loop {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after.trim_start(), char::is_alphabetic);
        let unit = if unit == "µs" { "us" } else { unit };
        let (_, nanos) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(times(number, *nanos)?)?;
        rest = after.trim_start();
        if rest.is_empty() {
            break;
        }
    }
    let nanos = u32::try_from(total % 1_000_000_000).ok()?;
    let secs = u64::try_from(total / 1_000_000_000).ok()?;
    Some(Duration::new(secs, nanos))
}

fn split(text: &str, of: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !of(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// `number` × `nanos`, if that is whole.
fn times(number: &str, nanos: u128) -> Option<u128> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || decimals.is_empty() {
        return None;
    }
    let digits = u32::try_from(decimals.len()).ok()?;
    let scale = 10_u128.checked_pow(digits)?;
    // Only digits come here, and at most one point, or this does not parse.
    let decimals = decimals.parse::<u128>().ok()?.checked_mul(nanos)?;
    let whole = whole.parse::<u128>().ok()?.checked_mul(nanos)?;
    (decimals % scale == 0).then(|| whole.checked_add(decimals / scale))?
}

/// The text that says `duration`.
pub(super) fn format(duration: Duration) -> String {
    let mut left = duration.as_nanos();
    let mut parts = Vec::new();
    for (unit, nanos) in UNITS {
        if left >= nanos {
            parts.push(format!("{}{unit}", left / nanos));
            left %= nanos;
        }
    }
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_1_and_2_what_people_write() {
        let nanos = Duration::from_nanos;
        for (text, length) in [
            ("250ms", Duration::from_millis(250)),
            ("0s", Duration::ZERO),
            (" 1m30s ", Duration::from_secs(90)),
            ("1 m  30 s", Duration::from_secs(90)),
            ("1.5h", Duration::from_secs(5_400)),
            ("0.000000001s", nanos(1)),
            ("1d 1ns", Duration::new(86_400, 1)),
            ("2µs", nanos(2_000)),
            ("2us", nanos(2_000)),
            ("90s", Duration::from_secs(90)),
        ] {
            assert_eq!(parse(text), Some(length), "{text}");
        }
    }

    #[test]
    fn rule_4_nothing_else_is_a_length() {
        for text in [
            "",
            " ",
            "5",
            "s",
            "-1s",
            "+1s",
            "1.s",
            ".5s",
            "1..5s",
            "1.2.3s",
            "1S",
            "1y",
            "1 month",
            "30s 1m",
            "1s 1s",
            "0.5ns",
            "1e3s",
            "1s,",
            "1s x",
            "٣s",
            "1µ",
            "18446744073709551616s",
            "18446744073709551615s 1000000000ns",
            "213503982334602d",
            "1s\u{0}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"9".repeat(100_000)), None);
        assert_eq!(parse(&format!("1.{}s", "0".repeat(100_000))), None);
    }

    #[test]
    fn rule_3_what_is_written_is_read() {
        let odd = Duration::new(90_061, 1_002_003);
        assert_eq!(format(odd), "1d 1h 1m 1s 1ms 2us 3ns");
        for length in [odd, Duration::MAX, Duration::ZERO, Duration::from_nanos(1)] {
            assert_eq!(parse(&format(length)), Some(length));
        }
        assert_eq!(format(Duration::from_secs(90)), "1m 30s");
    }
}
