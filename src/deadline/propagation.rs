use std::time::Duration;

/// The time left as the value of a `grpc-timeout` header: at most eight digits and a unit.
///
/// Rounded down, so that the callee never believes to have more time than there is.
///
/// # Source
///
/// The gRPC protocol over HTTP/2 (`PROTOCOL-HTTP2.md`), "Timeout".
///
/// # Example
///
/// ```
/// use mainstay::deadline::format_grpc_timeout;
/// use std::time::Duration;
///
/// assert_eq!(format_grpc_timeout(Duration::from_millis(250)), "250000u");
/// assert_eq!(format_grpc_timeout(Duration::from_secs(3 * 24 * 3600)), "259200S");
/// ```
#[must_use]
pub fn format_grpc_timeout(left: Duration) -> String {
    const MOST: u128 = 99_999_999;
    let units = [
        (left.as_nanos(), 'n'),
        (left.as_micros(), 'u'),
        (left.as_millis(), 'm'),
        (u128::from(left.as_secs()), 'S'),
        (u128::from(left.as_secs() / 60), 'M'),
    ];
    let fitting = units.into_iter().find(|(value, _)| *value <= MOST);
    let (value, unit) =
        fitting.unwrap_or_else(|| (MOST.min(u128::from(left.as_secs() / 3600)), 'H'));
    format!("{value}{unit}")
}

/// Reads the value of a `grpc-timeout` header; `None` for anything that the protocol does not allow.
///
/// # Example
///
/// ```
/// use mainstay::deadline::parse_grpc_timeout;
/// use std::time::Duration;
///
/// assert_eq!(parse_grpc_timeout("250m"), Some(Duration::from_millis(250)));
/// assert_eq!(parse_grpc_timeout("123456789n"), None, "nine digits");
/// assert_eq!(parse_grpc_timeout("1s"), None, "seconds are `S`");
/// ```
#[must_use]
pub fn parse_grpc_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "n" => Some(Duration::from_nanos(value)),
        "u" => Some(Duration::from_micros(value)),
        "m" => Some(Duration::from_millis(value)),
        "S" => Some(Duration::from_secs(value)),
        "M" => Some(Duration::from_secs(value * 60)),
        "H" => Some(Duration::from_secs(value * 3600)),
        _ => None,
    }
}

/// Reads a header of whole milliseconds; `None` for anything else.
///
/// # Example
///
/// ```
/// use mainstay::deadline::parse_millis;
/// use std::time::Duration;
///
/// assert_eq!(parse_millis("1500"), Some(Duration::from_millis(1500)));
/// assert_eq!(parse_millis("+1"), None);
/// ```
#[must_use]
pub fn parse_millis(value: &str) -> Option<Duration> {
    if value.is_empty() || value.len() > 15 || !value.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    value.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_never_longer() {
        for left in [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_micros(99_999_999),
            Duration::from_millis(100_000_001),
            Duration::from_secs(100_000_000),
            Duration::from_secs(99_999_999 * 3600),
            Duration::MAX,
        ] {
            let header = format_grpc_timeout(left);
            assert!(header.len() <= 9, "{header}");
            assert!(
                parse_grpc_timeout(&header).unwrap() <= left,
                "{left:?} became {header}"
            );
        }
    }

    #[test]
    fn what_the_protocol_does_not_allow_is_none() {
        for bad in ["", "m", "1", "-1m", "1.5S", " 1m", "1m ", "1x", "é", "1é"] {
            assert_eq!(parse_grpc_timeout(bad), None, "{bad:?}");
        }
    }
}
