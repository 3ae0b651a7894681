//! Any settings and any sequence of outcomes against the retry machine, its backoff and its budget.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::num::{Attempts, Factor, Ratio};
use mainstay::outcome::{Failure, Outcome};
use mainstay::retry::{Backoff, Budget, BudgetConfig, Decision, Jitter, Retry, RetryConfig};
use mainstay::rng::Rng;
use mainstay::time::Tick;

#[derive(Arbitrary, Debug)]
struct Case {
    seed: u64,
    attempts: u16,
    shape: Shape,
    initial: Duration,
    max: Duration,
    factor: f64,
    jitter: AnyJitter,
    first_exponent: u32,
    longest_hint: Duration,
    deadline: Option<u64>,
    budget: AnyBudget,
    ends: Vec<(u32, End)>,
}

#[derive(Arbitrary, Debug)]
enum Shape {
    Constant,
    Exponential,
    Linear,
}

#[derive(Arbitrary, Debug)]
enum AnyJitter {
    Add(u8),
    Decorrelated,
    Equal,
    Full,
    None,
}

#[derive(Arbitrary, Debug)]
struct AnyBudget {
    percent: u8,
    per_second: u16,
    burst: u16,
}

#[derive(Arbitrary, Debug)]
enum End {
    Failure,
    Ignored,
    Overload(Option<Duration>),
    Rejected,
    Success,
}

fuzz_target!(|case: Case| run(case));

fn run(case: Case) {
    let jitter = match case.jitter {
        AnyJitter::Add(percent) => Jitter::Add(Ratio::percent(percent.min(100))),
        AnyJitter::Decorrelated => Jitter::Decorrelated,
        AnyJitter::Equal => Jitter::Equal,
        AnyJitter::Full => Jitter::Full,
        AnyJitter::None => Jitter::None,
    };
    let backoff = match case.shape {
        Shape::Constant => Backoff::constant(case.initial),
        Shape::Exponential => {
            let backoff = Backoff::exponential(case.initial, case.max);
            Factor::new("factor", case.factor).map_or(backoff, |factor| backoff.factor(factor))
        }
        Shape::Linear => Backoff::linear(case.initial, case.max),
    };
    let backoff = backoff.jitter(jitter).first_exponent(case.first_exponent);
    let attempts = u32::from(case.attempts.max(1));
    let config = RetryConfig::new(Attempts::total(attempts))
        .backoff(backoff)
        .longest_hint(case.longest_hint);
    let mut retry = Retry::new(config, Rng::new(case.seed));
    let deadline = case.deadline.map(Tick::from_nanos);
    let mut now = Tick::ZERO;
    let mut made = 1_u32;

    let burst = u32::from(case.budget.burst.max(1));
    let per_second = u32::from(case.budget.per_second);
    let ratio = case.budget.percent.min(100);
    let budget = BudgetConfig::new(Ratio::percent(ratio));
    let mut budget = Budget::new(budget.per_second(per_second).burst(burst), now);
    let (mut deposits, mut withdrawn) = (0_u64, 0_u64);

    for (nanos, end) in case.ends {
        now = now + Duration::from_nanos(u64::from(nanos));
        let outcome = match end {
            End::Failure => Outcome::Failure(Failure::Error),
            End::Ignored => Outcome::Ignored,
            End::Overload(retry_after) => Outcome::Overload { retry_after },
            End::Rejected => Outcome::Rejected,
            End::Success => Outcome::Success,
        };
        if outcome == Outcome::Success {
            budget.deposit();
            deposits += 1;
        }
        match retry.decide(outcome, deadline, now) {
            Decision::Done => assert!(!outcome.is_failure()),
            Decision::Retry { after } => {
                assert!(outcome.is_failure(), "only a failure is retried");
                made += 1;
                assert!(made <= attempts, "{made} attempts of {attempts}");
                assert_eq!(retry.attempt(), made);
                let hint = outcome.retry_after().unwrap_or(Duration::ZERO);
                assert!(after >= hint, "a hint is never undercut");
                assert!(after <= backoff.max().max(hint), "the cap is last");
                assert!(deadline.is_none_or(|deadline| now + after < deadline));
                withdrawn += u64::from(budget.withdraw(now));
            }
            _ => assert!(outcome.is_failure()),
        }
    }

    // The bound that the budget's doc states, however the calls came.
    let earned = f64::from(ratio) / 100.0 * deposits as f64;
    let floor = f64::from(per_second) * now.since(Tick::ZERO).as_secs_f64();
    let most = earned + floor + f64::from(burst) + f64::from(per_second) + 1e-3;
    assert!(
        withdrawn as f64 <= most,
        "{withdrawn} retries, at most {most}"
    );
}
