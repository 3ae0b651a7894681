//! Everything that is wrong is said, with its path and what was expected.

use mainstay::num::{Period, Ratio};
use mainstay::settings::{Settings, Unchecked};

const COUNT: &str = "a count from 1 to 4294967295";
const ANY_COUNT: &str = "a count from 0 to 4294967295";
const TIME: &str = "a length of time such as \"250ms\" or \"1m 30s\"";
const PERIOD: &str =
    "a length of time such as \"250ms\" or \"1m 30s\", above 0 and up to 584 years";
const SHARE: &str = "a number from 0 to 1, or a percentage such as \"50%\"";

/// Each of `expected` is a path, what was expected there, and what was found.
#[track_caller]
fn refused(text: &str, expected: &[(&str, &str, &str)]) {
    let read: Unchecked = toml::from_str(text).unwrap();
    let errors = read.check().unwrap_err();
    let found: Vec<_> = errors
        .iter()
        .map(|error| (error.field(), error.expected(), error.value()))
        .collect();
    assert_eq!(found, expected, "{errors}");
    // The same, all in one text.
    let error = toml::from_str::<Settings>(text).unwrap_err();
    assert_eq!(error.message(), errors.to_string());
}

#[test]
fn every_kind_of_value() {
    for (key, value, expected, found) in [
        ("stacks.a.deadline", "'0s'", PERIOD, "\"0s\""),
        ("stacks.a.deadline", "30", PERIOD, "30"),
        ("stacks.a.deadline", "'30'", PERIOD, "\"30\""),
        ("stacks.a.deadline", "'-1s'", PERIOD, "\"-1s\""),
        ("stacks.a.deadline", "'300000d'", PERIOD, "\"300000d\""),
        ("stacks.a.deadline", "1979-05-27", PERIOD, "\"1979-05-27\""),
        ("stacks.a.retry.longest_hint", "1.5", TIME, "1.5"),
        ("stacks.a.retry.hint_spread", "1.01", SHARE, "1.01"),
        ("stacks.a.retry.hint_spread", "-1", SHARE, "-1"),
        ("stacks.a.retry.hint_spread", "nan", SHARE, "NaN"),
        ("stacks.a.retry.hint_spread", "'101%'", SHARE, "\"101%\""),
        ("stacks.a.retry.hint_spread", "'inf%'", SHARE, "\"inf%\""),
        ("stacks.a.retry.hint_spread", "'%'", SHARE, "\"%\""),
        ("stacks.a.retry.hint_spread", "'0.5'", SHARE, "\"0.5\""),
        ("stacks.a.retry.attempts", "0", COUNT, "0"),
        ("stacks.a.retry.attempts", "-1", COUNT, "-1"),
        ("stacks.a.retry.attempts", "3.0", COUNT, "3.0"),
        ("stacks.a.retry.attempts", "4294967296", COUNT, "4294967296"),
        ("stacks.a.retry.attempts", "'three'", COUNT, "\"three\""),
        ("stacks.a.retry.attempts", "true", COUNT, "true"),
        ("stacks.a.retry.attempts", "[]", COUNT, "a list"),
        ("stacks.a.retry.attempts", "{ a = 1 }", COUNT, "a table"),
        (
            "stacks.a.retry.backoff.first_exponent",
            "-1",
            ANY_COUNT,
            "-1",
        ),
        (
            "stacks.a.retry.backoff.factor",
            "0.5",
            "a number of at least 1",
            "0.5",
        ),
        (
            "stacks.a.retry.backoff.factor",
            "inf",
            "a number of at least 1",
            "inf",
        ),
        (
            "stacks.a.retry.backoff.cap_first",
            "1",
            "true or false",
            "1",
        ),
        (
            "stacks.a.retry.backoff.growth",
            "'quadratic'",
            "\"constant\", \"linear\" or \"exponential\"",
            "\"quadratic\"",
        ),
        (
            "stacks.a.retry.nesting",
            "'twice'",
            "\"once\" or \"each\"",
            "\"twice\"",
        ),
        (
            "stacks.a.retry.budget.kind",
            "'share'",
            "\"ratio\", \"quota\", \"throttle\" or \"concurrency\"",
            "\"share\"",
        ),
        (
            "stacks.a.retry.budget",
            "'off'",
            "a table, or \"none\"",
            "\"off\"",
        ),
        (
            "stacks.a.breaker.growth",
            "'never'",
            "a number of at least 1, or \"none\"",
            "\"never\"",
        ),
        (
            "stacks.a.breaker.trips",
            "{}",
            "a table of consecutive, streak, in_window, rate or slow",
            "an empty table",
        ),
        ("stacks.a.breaker", "'none'", "a table", "\"none\""),
        ("stacks.a", "3", "a table", "3"),
        ("stacks", "[]", "a table of names", "a list"),
        (
            "concurrency_limits.a.limit",
            "3000000",
            "a count from 1 to 2097151",
            "3000000",
        ),
    ] {
        refused(&format!("{key} = {value}"), &[(key, expected, found)]);
    }
}

/// Rule 1 of the settings, at length: 20 things are wrong with this file.
#[test]
fn all_that_is_wrong_comes_together() {
    let text = r#"
        stack = 1
        [stacks.ledger]
        deadline = "soon"
        deadlin = "5s"
        limit.bounds = { least = 5, most = 4 }
        [stacks.ledger.retry]
        attempts = 0
        backoff = { growth = "constant", factor = 2, initial = 5 }
        budget = { kind = "quota", ratio = 0.2, bonus = -1 }
        [stacks.ledger.breaker]
        trips = { rate = { ratio = 2, min_calls = 0 }, often = 1 }
        half_open = { successes = 3, probes = 2 }
        ramp.from = "10"
        [breakers."a.b"]
        half_open = { ratio = 0.5 }
        [fallbacks.x]
        outcomes = ["error", "oops", 3]
        [rate_limits.y]
        permits = 5
        [rate_limits.z]
        kind = "even"
        permits = 5
        burst = 5
    "#;
    let trips = "one of the keys consecutive, streak, in_window, rate, slow";
    let kinds = "one of the keys deadlines, stacks, breakers, retries, fallbacks, adaptive_limits, \
                 concurrency_limits, rate_limits, keyed_rate_limits, tenant_pools, ladders, \
                 threshold_scalings, tracking_scalings, gpu_scalings";
    let names = "\"error\", \"timeout\", \"unavailable\", \"overload\", \"circuit_open\", \"concurrency_limit\", \
                 \"deadline_exceeded\", \"degraded\", \"failed_over\", \"forced_open\", \"predicted_wait\", \
                 \"probes_busy\", \"queue_full\", \"queue_timeout\", \"rate_limit\", \"readmitting\" or \
                 \"tenant_queue_full\"";
    refused(
        text,
        &[
            ("stacks.ledger.deadline", PERIOD, "\"soon\""),
            (
                "stacks.ledger.limit.bounds.most",
                "at least as many as least, which is 5",
                "4",
            ),
            ("stacks.ledger.retry.attempts", COUNT, "0"),
            ("stacks.ledger.retry.backoff.initial", TIME, "5"),
            (
                "stacks.ledger.retry.backoff.factor",
                "one of the keys growth, initial, max, jitter, first_exponent, cap_first",
                "2",
            ),
            ("stacks.ledger.retry.budget.capacity", ANY_COUNT, "nothing"),
            ("stacks.ledger.retry.budget.bonus", ANY_COUNT, "-1"),
            (
                "stacks.ledger.retry.budget.ratio",
                "one of the keys kind, capacity, transient, throttling, timeout, bonus",
                "0.2",
            ),
            ("stacks.ledger.breaker.trips.rate.ratio", SHARE, "2"),
            ("stacks.ledger.breaker.trips.rate.min_calls", COUNT, "0"),
            (
                "stacks.ledger.breaker.trips.rate.window",
                "a number of calls from 1 to 4294967295, or a length of time such as \"10s\"",
                "nothing",
            ),
            ("stacks.ledger.breaker.trips.often", trips, "1"),
            (
                "stacks.ledger.breaker.half_open.probes",
                "at least as many as successes, which is 3",
                "2",
            ),
            ("stacks.ledger.breaker.ramp.from", SHARE, "\"10\""),
            ("stacks.ledger.breaker.ramp.over", PERIOD, "nothing"),
            (
                "stacks.ledger.deadlin",
                "one of the keys deadline, attempt_timeout, limit, retry, breaker",
                "\"5s\"",
            ),
            ("breakers.\"a.b\".half_open.probes", COUNT, "nothing"),
            ("fallbacks.x.outcomes[1]", names, "\"oops\""),
            ("fallbacks.x.outcomes[2]", names, "3"),
            (
                "rate_limits.y.kind",
                "\"burst\", \"even\" or \"windows\"",
                "nothing",
            ),
            ("rate_limits.z.period", PERIOD, "nothing"),
            (
                "rate_limits.z.burst",
                "one of the keys kind, permits, period, patience",
                "5",
            ),
            ("stack", kinds, "1"),
        ],
    );
}

#[test]
fn json_says_it_too() {
    let error = serde_json::from_str::<Settings>(r#"{"deadlines": {"a": null}}"#).unwrap_err();
    let expected = format!("deadlines.a: expected {PERIOD}, got null");
    assert_eq!(error.to_string(), expected);
    let twice = r#"{"deadlines": {"a": "1s", "a": "2s"}}"#;
    let error = serde_json::from_str::<Settings>(twice).unwrap_err();
    assert!(
        error.to_string().starts_with("\"a\" is given twice"),
        "{error}"
    );
    let error = serde_json::from_str::<Settings>("7").unwrap_err();
    let expected = "settings: expected a table of kinds of policies, got 7";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_missing_policy_is_named() {
    let settings = Settings::new();
    let missing = settings.breaker("a b").unwrap_err();
    assert_eq!(
        missing.to_string(),
        "breakers.\"a b\": expected a table, got nothing"
    );
    let missing = settings.deadline("search").unwrap_err();
    assert_eq!(missing.field(), "deadlines.search");
    assert_eq!(missing.expected(), PERIOD);
}

#[test]
fn percentages_are_exact() {
    for percent in 0..=100 {
        let read: Ratio = serde_json::from_str(&format!("\"{percent}%\"")).unwrap();
        assert_eq!(read, Ratio::percent(percent));
    }
    let read: Ratio = serde_json::from_str("\" 12.5 %\"").unwrap();
    assert_eq!(read, Ratio::new("ratio", 0.125).unwrap());
}

#[test]
fn a_file_of_any_depth_and_size_gets_a_short_answer() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(serde_json::from_str::<Settings>(&deep).is_err());
    let long = "x".repeat(1_000_000);
    let error = serde_json::from_value::<Period>(long.into()).unwrap_err();
    assert!(error.to_string().len() < 300, "{error}");
    let text = format!("{{\"{}\": 1}}", "y".repeat(1_000_000));
    let error = serde_json::from_str::<Settings>(&text).unwrap_err();
    assert!(
        error.to_string().len() < 1_000,
        "{}",
        error.to_string().len()
    );
}
