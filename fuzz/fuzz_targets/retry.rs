//! Any settings and any sequence of outcomes against the retry machine, its backoff and its budgets.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::num::{Attempts, Factor, Period, Ratio};
use mainstay::outcome::{Failure, Outcome, Pushback};
use mainstay::retry::{
    Backoff, Budget, BudgetConfig, ConcurrencyBudget, Decision, GaveUp, Grant, Jitter, Nesting,
    QuotaBudget, RatioBudget, Retry, RetryConfig, ThrottleBudget,
};
use mainstay::rng::Rng;
use mainstay::time::Tick;

#[derive(Arbitrary, Debug)]
struct Case {
    seed: u64,
    attempts: u16,
    outer: u8,
    each: bool,
    shape: Shape,
    initial: Duration,
    max: Duration,
    factor: f64,
    jitter: AnyJitter,
    first_exponent: u32,
    overload: Option<Duration>,
    longest_hint: Duration,
    deadline: Option<u64>,
    ends: Vec<(u32, End)>,
    budget: AnyBudget,
    events: Vec<(u32, Event)>,
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
    Around(u8),
    Decorrelated,
    Equal,
    Full,
    None,
}

#[derive(Arbitrary, Clone, Debug)]
enum AnyBudget {
    Concurrency {
        percent: u8,
        minimum: u8,
        of_all: bool,
    },
    Quota {
        capacity: u32,
        costs: [u32; 3],
        bonus: u32,
    },
    Ratio {
        percent: u8,
        per_second: u32,
        burst: u32,
        ttl: Option<Duration>,
    },
    Throttle {
        max: u32,
        percent: u8,
    },
}

#[derive(Arbitrary, Clone, Debug)]
enum End {
    Failure,
    Ignored,
    Overload(Option<Duration>),
    Pushback(Option<Duration>),
    Rejected,
    Success,
    Timeout,
}

#[derive(Arbitrary, Debug)]
enum Event {
    Abandon(u8),
    Ask(u8, End),
    Begin,
    Reload(AnyBudget),
    Settle(u8, End),
}

fuzz_target!(|case: Case| {
    retries(&case);
    budgets(case);
});

fn percent(percent: u8) -> Ratio {
    Ratio::percent(percent.min(100))
}

fn outcome(end: &End) -> Outcome {
    match *end {
        End::Failure => Outcome::Failure(Failure::Error),
        End::Ignored => Outcome::Ignored,
        End::Overload(retry_after) => Outcome::Overload { retry_after },
        End::Pushback(after) => Outcome::Pushback(after.map_or(Pushback::Never, Pushback::After)),
        End::Rejected => Outcome::Rejected,
        End::Success => Outcome::Success,
        End::Timeout => Outcome::Failure(Failure::Timeout),
    }
}

fn retries(case: &Case) {
    let jitter = match case.jitter {
        AnyJitter::Add(share) => Jitter::Add(percent(share)),
        AnyJitter::Around(share) => Jitter::Around(percent(share)),
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
    let nesting = if case.each {
        Nesting::Each
    } else {
        Nesting::Once
    };
    let mut config = RetryConfig::new(Attempts::total(attempts))
        .backoff(backoff)
        .longest_hint(case.longest_hint)
        .nesting(nesting);
    // A constant may be lengthened to twice itself by jitter, whatever else to its cap.
    let mut longest = backoff
        .max()
        .saturating_mul(if backoff.is_cap_first() { 2 } else { 1 });
    if let Some(overload) = case.overload {
        config = config.overload_backoff(Backoff::exponential(overload, overload).jitter(jitter));
        longest = longest.max(overload);
    }
    let mut retry = Retry::new(config, Rng::new(case.seed)).within(case.outer.into());
    let deadline = case.deadline.map(Tick::from_nanos);
    let mut now = Tick::ZERO;
    let mut made = 1_u32;
    for (nanos, end) in &case.ends {
        now = now + Duration::from_nanos(u64::from(*nanos));
        let outcome = outcome(end);
        match retry.decide(outcome, deadline, now) {
            Decision::Done => assert!(!outcome.is_failure()),
            Decision::Retry { after } => {
                assert!(outcome.is_failure(), "only a failure is retried");
                assert!(case.each || case.outer <= 1, "somebody else is on it");
                made += 1;
                assert!(made <= attempts, "{made} attempts of {attempts}");
                assert_eq!(retry.attempt(), made);
                assert!(deadline.is_none_or(|deadline| now + after < deadline));
                if let Outcome::Pushback(order) = outcome {
                    assert_eq!(order, Pushback::After(after), "exactly");
                }
                let hint = outcome.retry_after().unwrap_or(Duration::ZERO);
                assert!(hint <= case.longest_hint);
                assert!(after >= hint, "a hint is never undercut");
                let leeway = (hint / 4).saturating_add(Duration::from_micros(1) + hint / 1_000_000);
                assert!(
                    after <= longest.max(hint.saturating_add(leeway)),
                    "{after:?}"
                );
            }
            Decision::GiveUp(GaveUp::Pushback) => {
                assert_eq!(outcome, Outcome::Pushback(Pushback::Never));
            }
            _ => assert!(outcome.is_failure()),
        }
    }
}

fn config(budget: &AnyBudget) -> BudgetConfig {
    match *budget {
        AnyBudget::Concurrency {
            percent: share,
            minimum,
            of_all,
        } => {
            let budget = ConcurrencyBudget::new(percent(share)).minimum(minimum.into());
            if of_all { budget.of_all() } else { budget }.into()
        }
        AnyBudget::Quota {
            capacity,
            costs: [transient, throttling, timeout],
            bonus,
        } => {
            let quota = QuotaBudget::new(capacity).transient(transient).bonus(bonus);
            quota.throttling(throttling).timeout(timeout).into()
        }
        AnyBudget::Ratio {
            percent: share,
            per_second,
            burst,
            ttl,
        } => {
            let ratio = RatioBudget::new(percent(share))
                .per_second(per_second)
                .burst(burst);
            match ttl.and_then(|ttl| Period::new("ttl", ttl).ok()) {
                Some(ttl) => ratio.ttl(ttl).into(),
                None => ratio.into(),
            }
        }
        AnyBudget::Throttle {
            max,
            percent: share,
        } => ThrottleBudget::new(max, percent(share)).into(),
    }
}

/// The most that the settings let a budget hold.
fn most(config: BudgetConfig) -> f64 {
    match config {
        BudgetConfig::Quota(quota) => quota.most().into(),
        BudgetConfig::Throttle(throttle) => throttle.most().into(),
        BudgetConfig::Ratio(ratio) => {
            let reserve = ratio.memory().map_or(1.0, |ttl| ttl.get().as_secs_f64());
            f64::from(ratio.most()) + f64::from(ratio.floor()) * reserve
        }
        _ => f64::INFINITY,
    }
}

fn budgets(case: Case) {
    let mut settings = config(&case.budget);
    let mut budget = Budget::new(settings, Tick::ZERO);
    let mut calls: Vec<Option<Grant>> = Vec::new();
    let (mut now, mut latest) = (Tick::ZERO, Tick::ZERO);
    // Since the settings last changed.
    let (mut began, mut granted, mut since) = (0_u64, 0_u64, Tick::ZERO);
    for (nanos, event) in case.events {
        // Now and then the clock stands still or steps back.
        now = if nanos % 7 == 0 {
            now.back(Duration::from_nanos(u64::from(nanos)))
        } else {
            now + Duration::from_nanos(u64::from(nanos) << (nanos % 16))
        };
        latest = latest.max(now);
        let take = |calls: &mut Vec<Option<Grant>>, which: u8| {
            let place = usize::from(which) % calls.len().max(1);
            (!calls.is_empty()).then(|| calls.swap_remove(place))
        };
        match event {
            Event::Begin => {
                budget.begin(now);
                began += 1;
                calls.push(None);
            }
            Event::Ask(which, end) => {
                let Some(last) = take(&mut calls, which) else {
                    continue;
                };
                let grant = budget.admit(last, outcome(&end), now);
                if grant.is_some() {
                    granted += 1;
                    calls.push(grant);
                } else {
                    budget.abandon(None);
                }
            }
            Event::Settle(which, end) => {
                let Some(last) = take(&mut calls, which) else {
                    continue;
                };
                budget.settle(last, outcome(&end));
            }
            Event::Abandon(which) => {
                let Some(last) = take(&mut calls, which) else {
                    continue;
                };
                budget.abandon(last);
            }
            Event::Reload(next) => {
                settings = config(&next);
                budget.reconfigure(settings, now);
                assert_eq!(budget.config(), settings);
                // What was in flight under other settings is nothing that the model follows.
                (began, granted, since) = (0, 0, now);
                latest = now;
            }
        }
        let left = budget.tokens(now);
        assert!(
            (0.0..=most(settings) + 1e-3).contains(&left),
            "{left} of {settings:?}"
        );
        if let BudgetConfig::Ratio(ratio) = settings
            && ratio.memory().is_none()
        {
            // The bound that the type's doc states, however the calls came.
            let earned = ratio.share().get() * began as f64;
            let floor = f64::from(ratio.floor()) * latest.since(since).as_secs_f64();
            let allowed = earned + floor + most(settings);
            assert!(
                granted as f64 <= allowed + 1e-3,
                "{granted} retries of {allowed}"
            );
        }
    }
    // With every call over, nothing is in flight.
    calls.into_iter().for_each(|last| budget.abandon(last));
    if let BudgetConfig::Concurrency(places) = settings
        && places.share() < Ratio::ONE
    {
        budget.reconfigure(settings, now);
        assert!(budget.tokens(now) >= f64::from(places.floor()));
    }
}
