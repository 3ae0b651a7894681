//! Whatever a callee says about when to come back: seconds, a date in one of three forms, or nothing that counts.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::http::parse_retry_after;
use mainstay::time::Timestamp;

/// The last moment that four digits of a year can name, 9999-12-31T23:59:59Z.
const LAST_MILLIS: i64 = 253_402_300_799_000;

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    header: &'a str,
    now_millis: i64,
}

fuzz_target!(|case: Case<'_>| {
    let read = parse_retry_after(case.header, Timestamp::from_millis(case.now_millis));
    let value = case.header.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        let expected = value.parse().map_or(Duration::MAX, Duration::from_secs);
        assert_eq!(read, Some(expected), "seconds do not depend on the time");
    } else if let Some(wait) = read {
        // A date. It is not earlier than it says, and a past one is zero.
        let latest = i128::from(LAST_MILLIS) - i128::from(case.now_millis);
        assert!(i128::try_from(wait.as_millis()).is_ok_and(|wait| wait <= latest.max(0)));
        let later = Timestamp::from_millis(case.now_millis.saturating_add(1_000));
        let then = parse_retry_after(case.header, later).expect("a date is a date at any time");
        assert!(then <= wait, "time passes and the wait grew");
    }
});
