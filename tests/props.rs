//! Random operations on the machine of the retry, and random input for the parsers, held against naive models.
//!
//! A failure prints its seed and the shrunken operations; `PROPTEST_RNG_SEED` repeats a run and `PROPTEST_CASES`
//! makes it longer.

use std::time::Duration;

use mainstay::deadline::{format_grpc_timeout, parse_grpc_timeout, parse_millis};
use mainstay::http::parse_retry_after;
use mainstay::num::{Attempts, Factor, Ratio};
use mainstay::outcome::Outcome;
use mainstay::retry::{Backoff, Budget, BudgetConfig, Decision, Jitter, Retry, RetryConfig};
use mainstay::rng::Rng;
use mainstay::time::{Tick, Timestamp};
use proptest::prelude::*;

fn tick(millis: u64) -> Tick {
    Tick::ZERO + Duration::from_millis(millis)
}

proptest! {
    #[test]
    fn a_budget_never_gives_more_than_it_says(
        percent in 0..=100_u8, per_second in 0..20_u32, burst in 0..20_u32,
        ops in prop::collection::vec((0..3_u8, 0..2_000_u64), 1..400),
    ) {
        let config = BudgetConfig::new(Ratio::percent(percent)).per_second(per_second).burst(burst);
        let mut budget = Budget::new(config, Tick::ZERO);
        let (mut requests, mut retries, mut now) = (0_u32, 0_u32, 0_u64);
        for (op, value) in ops {
            match op {
                0 => { budget.deposit(); requests += 1; }
                1 => retries += u32::from(budget.withdraw(tick(now))),
                _ => now += value,
            }
            let earned = f64::from(requests) * f64::from(percent) / 100.0;
            let floor = f64::from(per_second) * (now as f64 / 1_000.0 + 1.0);
            prop_assert!(f64::from(retries) <= earned + floor + f64::from(burst) + 1e-6);
        }
    }

    #[test]
    fn a_delay_is_within_the_bounds_of_its_jitter(
        growth in 0..3_u8, factor in 1.0..10.0_f64, initial in 0..100_000_u64, max in 0..1_000_000_u64,
        jitter in 0..7_u8, retry in 0..200_u32, previous in 0..1_000_000_u64, seed: u64,
    ) {
        let ms = Duration::from_millis;
        let (initial, max) = (ms(initial), ms(max));
        let backoff = match growth {
            0 => Backoff::constant(initial.min(max)),
            1 => Backoff::linear(initial, max),
            _ => Backoff::exponential(initial, max).factor(Factor::new("factor", factor).unwrap()),
        };
        let jitter = match jitter {
            0 => Jitter::None,
            1 => Jitter::Add(Ratio::percent(20)),
            2 => Jitter::Scale { low: Ratio::percent(50), high: Ratio::ONE },
            3 => Jitter::Full,
            4 => Jitter::Equal,
            5 => Jitter::Around(Ratio::percent(20)),
            _ => Jitter::Decorrelated,
        };
        let plain = backoff.jitter(Jitter::None).delay(retry, ms(previous), &mut Rng::new(seed));
        let delay = backoff.jitter(jitter).delay(retry, ms(previous), &mut Rng::new(seed));
        let slack = Duration::from_micros(1);
        // A constant delay has no cap: jitter that adds lengthens it.
        let longest = if growth == 0 { plain * 2 } else { backoff.max() };
        prop_assert!(delay <= longest);
        match jitter {
            Jitter::None => prop_assert_eq!(delay, plain),
            Jitter::Add(_) => prop_assert!(delay + slack >= plain),
            Jitter::Scale { .. } | Jitter::Equal => prop_assert!(delay + slack >= plain / 2 && delay <= plain),
            Jitter::Around(_) => prop_assert!(delay + slack >= plain.mul_f64(0.8)),
            Jitter::Full => prop_assert!(delay <= plain),
            _ => prop_assert!(delay <= (ms(previous) * 3).max(initial) + slack),
        }
    }

    #[test]
    fn a_retry_ends_and_never_undercuts_or_overruns(
        attempts in 1..10_u32, hint in prop::option::of(0..100_000_u64),
        deadline in prop::option::of(0..200_000_u64), seed: u64,
    ) {
        let config = RetryConfig::new(Attempts::total(attempts));
        let mut retry = Retry::new(config, Rng::new(seed));
        let retry_after = hint.map(Duration::from_millis);
        let deadline = deadline.map(tick);
        let mut now = Tick::ZERO;
        let mut made = 1;
        while let Decision::Retry { after } =
            retry.decide(Outcome::Overload { retry_after }, deadline, now)
        {
            made += 1;
            let patience = Duration::from_secs(60);
            let in_bounds = |hint: Duration| {
                let most = (hint + hint / 4).max(config.delays().max()) + Duration::from_nanos(1);
                (hint..=most).contains(&after) && hint <= patience
            };
            prop_assert!(retry_after.is_none_or(in_bounds), "{after:?}");
            now = now + after;
            prop_assert!(deadline.is_none_or(|deadline| now < deadline));
        }
        prop_assert!(made <= attempts);
        prop_assert_eq!(retry.decide(Outcome::Success, deadline, now), Decision::Done);
    }

    #[test]
    fn wire_formats_take_anything(text in ".{0,40}", nanos: u64, now: i64) {
        let _ = (parse_millis(&text), parse_grpc_timeout(&text));
        let _ = parse_retry_after(&text, Timestamp::from_millis(now));
        let left = Duration::from_nanos(nanos);
        let read = parse_grpc_timeout(&format_grpc_timeout(left)).unwrap();
        prop_assert!(read <= left && left - read <= left / 50_000 + Duration::from_nanos(1));
    }
}
