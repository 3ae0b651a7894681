//! Random operations on the retry budgets, held against naive models that remember everything.
//!
//! A failure prints its seed and the shrunken operations; `PROPTEST_RNG_SEED` repeats a run and `PROPTEST_CASES`
//! makes it longer.

use std::time::Duration;

use mainstay::num::{Period, Ratio};
use mainstay::outcome::{Failure, Outcome, Pushback};
use mainstay::retry::{
    Budget, BudgetConfig, ConcurrencyBudget, Grant, QuotaBudget, RatioBudget, ThrottleBudget,
};
use mainstay::time::Tick;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Begin,
    /// One of the calls under way failed and asks.
    Ask(usize, u8),
    Settle(usize, u8),
    Abandon(usize),
    Pass(u16),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Begin),
        4 => (any::<usize>(), 0..4_u8).prop_map(|(which, how)| Op::Ask(which, how)),
        3 => (any::<usize>(), 0..6_u8).prop_map(|(which, how)| Op::Settle(which, how)),
        1 => any::<usize>().prop_map(Op::Abandon),
        2 => any::<u16>().prop_map(|millis| Op::Pass(millis / 32)),
    ]
}

fn failure(how: u8) -> Outcome {
    match how % 4 {
        0 => Outcome::Failure(Failure::Error),
        1 => Outcome::Failure(Failure::Timeout),
        2 => Outcome::Overload { retry_after: None },
        _ => Outcome::Pushback(Pushback::Never),
    }
}

fn outcome(how: u8) -> Outcome {
    match how {
        0..=2 => failure(how),
        3 => Outcome::Ignored,
        _ => Outcome::Success,
    }
}

/// What a call spent last: nothing for its first attempt.
type Spent = Option<u32>;

/// Everything that ever happened, looked through anew each time.
trait Model {
    fn begin(&mut self, _now: u64) {}
    /// `None` when it is too close to call: the model counts in floating point.
    fn ask(&mut self, last: Spent, outcome: Outcome, now: u64) -> Option<Option<u32>>;
    /// What the machine said where the model could not.
    fn overrule(&mut self, _granted: bool, _now: u64) {}
    fn end(&mut self, last: Spent, outcome: Option<Outcome>);
}

struct RatioModel {
    share: f64,
    per_second: f64,
    burst: f64,
    ttl: Option<u64>,
    /// `(when, what)`: earned above zero, spent below.
    events: Vec<(u64, f64)>,
    saved: f64,
    floor: f64,
    at: u64,
}

impl RatioModel {
    fn left(&mut self, now: u64) -> f64 {
        if let Some(ttl) = self.ttl {
            let slice = |at: u64| at * 10 / ttl;
            let live = self
                .events
                .iter()
                .filter(|(at, _)| slice(*at) + 10 > slice(now));
            let earned: f64 = live.map(|(_, what)| what).sum();
            return earned.min(self.burst) + self.per_second * ttl as f64 / 1e3;
        }
        let passed = (now - self.at) as f64 / 1e3;
        self.floor = (self.floor + passed * self.per_second).min(self.per_second);
        self.at = now;
        self.saved.max(self.floor)
    }

    fn spend(&mut self, now: u64) {
        if self.ttl.is_some() {
            self.events.push((now, -1.0));
        } else if self.saved >= 1.0 - 1e-6 {
            self.saved -= 1.0;
        } else {
            self.floor -= 1.0;
        }
    }
}

impl Model for RatioModel {
    fn begin(&mut self, now: u64) {
        self.events.push((now, self.share));
        self.saved = (self.saved + self.share).min(self.burst);
    }

    fn ask(&mut self, _last: Spent, _outcome: Outcome, now: u64) -> Option<Option<u32>> {
        let left = self.left(now);
        if (left - 1.0).abs() < 1e-6 {
            return None;
        }
        let granted = left > 1.0;
        if granted {
            self.spend(now);
        }
        Some(granted.then_some(0))
    }

    fn overrule(&mut self, granted: bool, now: u64) {
        if granted {
            self.spend(now);
        }
    }

    fn end(&mut self, _last: Spent, _outcome: Option<Outcome>) {}
}

struct QuotaModel {
    config: QuotaBudget,
    tokens: u32,
}

impl Model for QuotaModel {
    fn ask(&mut self, _last: Spent, outcome: Outcome, _now: u64) -> Option<Option<u32>> {
        let cost = self.config.cost(outcome);
        if cost > self.tokens {
            return Some(None);
        }
        self.tokens -= cost;
        Some(Some(cost))
    }

    fn end(&mut self, last: Spent, outcome: Option<Outcome>) {
        if outcome == Some(Outcome::Success) {
            let back = last.unwrap_or(self.config.reward());
            self.tokens = (self.tokens + back).min(self.config.most());
        }
    }
}

/// In thousandths.
struct ThrottleModel {
    max: u64,
    tokens: u64,
    success: u64,
}

impl Model for ThrottleModel {
    fn ask(&mut self, _last: Spent, _outcome: Outcome, _now: u64) -> Option<Option<u32>> {
        self.tokens = self.tokens.saturating_sub(1_000);
        Some((self.tokens * 2 > self.max).then_some(0))
    }

    fn end(&mut self, _last: Spent, outcome: Option<Outcome>) {
        match outcome {
            Some(Outcome::Success) => self.tokens = (self.tokens + self.success).min(self.max),
            Some(outcome) if outcome.is_failure() => {
                self.tokens = self.tokens.saturating_sub(1_000);
            }
            _ => {}
        }
    }
}

struct ConcurrencyModel {
    percent: u64,
    minimum: u64,
    of_all: bool,
    calls: u64,
    retries: u64,
}

impl Model for ConcurrencyModel {
    fn begin(&mut self, _now: u64) {
        self.calls += 1;
    }

    fn ask(&mut self, last: Spent, _outcome: Outcome, _now: u64) -> Option<Option<u32>> {
        self.retries -= u64::from(last.is_some());
        let share = if self.of_all {
            let all = self.calls + self.retries;
            all > 0 && self.retries * 100 <= self.percent * all
        } else {
            (self.retries + 1) * 100 <= self.percent * self.calls
        };
        let granted = share || self.retries < self.minimum;
        self.retries += u64::from(granted);
        Some(granted.then_some(0))
    }

    fn end(&mut self, last: Spent, _outcome: Option<Outcome>) {
        self.calls -= 1;
        self.retries -= u64::from(last.is_some());
    }
}

fn budget() -> impl Strategy<Value = BudgetConfig> {
    let period = |ms: u64| Period::new("ttl", Duration::from_millis(ms)).expect("not zero");
    prop_oneof![
        3 => (0..=100_u8, 0..4_u32, 0..6_u32, prop::option::of(1..60_u64)).prop_map(move |(share, floor, burst, ttl)| {
            let ratio = RatioBudget::new(Ratio::percent(share)).per_second(floor).burst(burst);
            // Whole tenths, so that the model's slices are the machine's.
            ttl.map_or(ratio, |ttl| ratio.ttl(period(ttl * 100))).into()
        }),
        2 => (0..60_u32, 0..20_u32, 0..20_u32, 0..20_u32, 0..3_u32).prop_map(|(size, a, b, c, bonus)| {
            QuotaBudget::new(size).transient(a).timeout(b).throttling(c).bonus(bonus).into()
        }),
        2 => (0..12_u32, 0..=100_u8).prop_map(|(max, share)| {
            ThrottleBudget::new(max, Ratio::percent(share)).into()
        }),
        2 => (0..=99_u8, 0..4_u32, any::<bool>()).prop_map(|(share, minimum, of_all)| {
            let budget = ConcurrencyBudget::new(Ratio::percent(share)).minimum(minimum);
            if of_all { budget.of_all() } else { budget }.into()
        }),
    ]
}

fn percent(ratio: Ratio) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 100"
    )]
    let percent = (ratio.get() * 100.0).round() as u64;
    percent
}

fn model(config: BudgetConfig) -> Box<dyn Model> {
    match config {
        BudgetConfig::Ratio(ratio) => Box::new(RatioModel {
            share: ratio.share().get(),
            per_second: ratio.floor().into(),
            burst: ratio.most().into(),
            ttl: ratio
                .memory()
                .map(|ttl| ttl.get().as_secs() * 1_000 + u64::from(ttl.get().subsec_millis())),
            events: Vec::new(),
            saved: ratio.most().into(),
            floor: ratio.floor().into(),
            at: 0,
        }),
        BudgetConfig::Quota(config) => Box::new(QuotaModel {
            config,
            tokens: config.most(),
        }),
        BudgetConfig::Throttle(throttle) => Box::new(ThrottleModel {
            max: u64::from(throttle.most()) * 1_000,
            tokens: u64::from(throttle.most()) * 1_000,
            success: percent(throttle.share()) * 10,
        }),
        BudgetConfig::Concurrency(budget) => Box::new(ConcurrencyModel {
            percent: percent(budget.share()),
            minimum: budget.floor().into(),
            of_all: budget.is_of_all(),
            calls: 0,
            retries: 0,
        }),
        other => unreachable!("{other:?} has no model"),
    }
}

proptest! {
    #[test]
    fn a_budget_decides_as_the_model_does(
        config in budget(), ops in prop::collection::vec(op(), 1..300),
    ) {
        let mut budget = Budget::new(config, Tick::ZERO);
        let mut model = model(config);
        let mut calls: Vec<(Option<Grant>, Spent)> = Vec::new();
        let mut millis = 0_u64;
        for op in ops {
            let now = Tick::ZERO + Duration::from_millis(millis);
            match op {
                Op::Begin => {
                    budget.begin(now);
                    model.begin(millis);
                    calls.push((None, None));
                }
                Op::Ask(which, how) if !calls.is_empty() => {
                    let (grant, spent) = calls.swap_remove(which % calls.len());
                    let grant = budget.admit(grant, failure(how), now);
                    let granted = grant.is_some();
                    let spent = match model.ask(spent, failure(how), millis) {
                        Some(expected) => {
                            prop_assert_eq!(granted, expected.is_some(), "{:?}", config);
                            expected
                        }
                        None => {
                            model.overrule(granted, millis);
                            granted.then_some(0)
                        }
                    };
                    if granted {
                        calls.push((grant, spent));
                    } else {
                        budget.abandon(grant);
                        model.end(None, None);
                    }
                }
                Op::Settle(which, how) if !calls.is_empty() => {
                    let (grant, spent) = calls.swap_remove(which % calls.len());
                    budget.settle(grant, outcome(how));
                    model.end(spent, Some(outcome(how)));
                }
                Op::Abandon(which) if !calls.is_empty() => {
                    let (grant, spent) = calls.swap_remove(which % calls.len());
                    budget.abandon(grant);
                    model.end(spent, None);
                }
                Op::Pass(passed) => millis += u64::from(passed),
                Op::Ask(..) | Op::Settle(..) | Op::Abandon(_) => {}
            }
            prop_assert!(budget.tokens(now) >= 0.0);
        }
        // However it went: with every call over, a budget that counts what is in flight is as it was.
        for (grant, _) in calls {
            budget.abandon(grant);
        }
        if matches!(config, BudgetConfig::Concurrency(_)) {
            let fresh = Budget::new(config, Tick::ZERO);
            let (left, all) = (budget.tokens(Tick::ZERO), fresh.tokens(Tick::ZERO));
            prop_assert!((left - all).abs() < 1e-9, "{left} of {all}");
        }
    }
}
