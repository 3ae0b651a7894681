//! Whatever a peer sends as its deadline: read as the protocol says or not at all, and never lengthened on the way on.
//! And whatever it sends as pushback: one number of milliseconds, or an order not to come back.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::deadline::{format_grpc_timeout, parse_grpc_timeout, parse_millis};
use mainstay::outcome::Pushback;

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    header: &'a str,
    left: Duration,
}

fuzz_target!(|case: Case<'_>| {
    let read = parse_grpc_timeout(case.header);
    assert_eq!(read, by_the_grammar(case.header));
    if let Some(read) = read {
        let passed_on =
            parse_grpc_timeout(&format_grpc_timeout(read)).expect("what we write can be read");
        assert!(passed_on <= read);
    }

    let written = format_grpc_timeout(case.left);
    assert!(written.len() <= 9, "eight digits and a unit: {written}");
    let back = parse_grpc_timeout(&written).expect("what we write can be read");
    assert!(back <= case.left, "{:?} became {written}", case.left);

    if let Some(millis) = parse_millis(case.header) {
        let digits = case.header.trim_start_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        assert_eq!(millis.as_millis().to_string(), digits);
    }

    let exactly = parse_millis(case.header).map_or(Pushback::Never, Pushback::After);
    assert_eq!(Pushback::parse([case.header]), Some(exactly));
    let values: Vec<_> = case.header.split(',').collect();
    if values.len() > 1 {
        assert_eq!(Pushback::parse(values), Some(Pushback::Never));
    }
});

/// The protocol's own grammar, letter by letter.
fn by_the_grammar(header: &str) -> Option<Duration> {
    let bytes = header.as_bytes();
    let (unit, digits) = bytes.split_last()?;
    if !(1..=8).contains(&digits.len()) {
        return None;
    }
    let mut value = 0_u64;
    for digit in digits {
        value = value * 10 + u64::from(char::from(*digit).to_digit(10)?);
    }
    let (times, nanos) = match unit {
        b'H' => (3600, 1_000_000_000),
        b'M' => (60, 1_000_000_000),
        b'S' => (1, 1_000_000_000),
        b'm' => (1, 1_000_000),
        b'u' => (1, 1_000),
        b'n' => (1, 1),
        _ => return None,
    };
    Some(
        Duration::from_nanos(nanos)
            .saturating_mul(times)
            .saturating_mul(u32::try_from(value).ok()?),
    )
}
