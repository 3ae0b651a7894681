//! Retries, their delays and their budgets as data.

use std::borrow::Cow;

use super::backoff::{Backoff, Growth, Jitter};
use super::budget::{BudgetConfig, ConcurrencyBudget, QuotaBudget, RatioBudget, ThrottleBudget};
use super::policy::{Nesting, RetryConfig};
use crate::num::{Factor, Ratio};
use crate::outcome::{Failure, Outcome};
use crate::settings::{Given, Keys, Place, Setting, as_data, joined, one_of, table, word};

const NESTINGS: [(&str, Nesting); 2] = [("once", Nesting::Once), ("each", Nesting::Each)];

impl Setting for Nesting {
    fn expected() -> Cow<'static, str> {
        one_of(&NESTINGS).into()
    }

    fn base() -> Option<Self> {
        Some(Self::default())
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.choice(&given, &NESTINGS)
    }

    fn write(&self) -> Given {
        word(match self {
            Self::Once => "once",
            Self::Each => "each",
        })
    }
}

/// A [`Growth`] without its factor, which is a key beside it.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Constant,
    Linear,
    Exponential,
}

const SHAPES: [(&str, Shape); 3] = [
    ("constant", Shape::Constant),
    ("linear", Shape::Linear),
    ("exponential", Shape::Exponential),
];

impl Shape {
    const fn of(growth: Growth) -> Self {
        match growth {
            Growth::Constant => Self::Constant,
            Growth::Linear => Self::Linear,
            Growth::Exponential(_) => Self::Exponential,
        }
    }
}

impl Setting for Shape {
    fn expected() -> Cow<'static, str> {
        one_of(&SHAPES).into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.choice(&given, &SHAPES)
    }

    fn write(&self) -> Given {
        word(match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Exponential => "exponential",
        })
    }
}

impl Setting for Backoff {
    fn base() -> Option<Self> {
        Some(RetryConfig::default().delays())
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        let base = base.or_else(Self::base)?;
        place.table(given, Self::expected(), |keys| {
            let before = Shape::of(base.growth);
            let shape = keys.set("growth", before);
            let growth = match (shape, base.growth) {
                (Shape::Constant, _) => Growth::Constant,
                (Shape::Linear, _) => Growth::Linear,
                (Shape::Exponential, Growth::Exponential(factor)) => {
                    Growth::Exponential(keys.set("factor", factor))
                }
                (Shape::Exponential, _) => Growth::Exponential(keys.set("factor", Factor::TWO)),
            };
            // What does not grow has no cap but itself, as `Backoff::constant` says.
            let constant = shape == Shape::Constant;
            let follows = constant && (before != shape || keys.has("initial"));
            let initial = keys.set("initial", base.initial);
            let max = keys.set("max", if follows { initial } else { base.max });
            let jitter = keys.set("jitter", base.jitter);
            let first_exponent = keys.set("first_exponent", base.first_exponent);
            let cap_first = if before == shape {
                base.is_cap_first()
            } else {
                constant
            };
            let cap_first = keys.set("cap_first", cap_first);
            Some(Self {
                growth,
                initial,
                max,
                jitter,
                first_exponent,
                cap_last: !cap_first,
            })
        })
    }

    fn write(&self) -> Given {
        let growth = Shape::of(self.growth).write();
        let growth = match self.growth {
            Growth::Exponential(factor) => table([("growth", growth), ("factor", factor.write())]),
            _ => table([("growth", growth)]),
        };
        joined(
            growth,
            [
                ("initial", self.initial.write()),
                ("max", self.max.write()),
                ("first_exponent", self.first_exponent.write()),
                ("cap_first", self.is_cap_first().write()),
                ("jitter", self.jitter.write()),
            ],
        )
    }
}

/// A [`Jitter`] without its shares.
#[derive(Clone, Copy)]
enum Spread {
    Add,
    Around,
    Scale,
}

const SPREADS: [(&str, Spread); 3] = [
    ("add", Spread::Add),
    ("around", Spread::Around),
    ("scale", Spread::Scale),
];

const JITTERS: [(&str, Jitter); 4] = [
    ("none", Jitter::None),
    ("full", Jitter::Full),
    ("equal", Jitter::Equal),
    ("decorrelated", Jitter::Decorrelated),
];

impl Setting for Spread {
    fn expected() -> Cow<'static, str> {
        one_of(&SPREADS).into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.choice(&given, &SPREADS)
    }

    fn write(&self) -> Given {
        word(match self {
            Self::Add => "add",
            Self::Around => "around",
            Self::Scale => "scale",
        })
    }
}

/// A word, or a table where it takes shares.
impl Setting for Jitter {
    fn expected() -> Cow<'static, str> {
        let words = one_of(&JITTERS);
        format!("{words}, or a table of kind {}", one_of(&SPREADS)).into()
    }

    fn base() -> Option<Self> {
        Some(Self::Full)
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        if !matches!(given, Given::Table(_)) {
            let plain = JITTERS
                .iter()
                .find(|(word, _)| matches!(&given, Given::Text(text) if text == word));
            let plain = plain.map(|(_, jitter)| *jitter);
            return place.found(&given, plain);
        }
        place.table(given, Self::expected(), |keys| match keys.kind(None)? {
            Spread::Add => keys.needs("share", None).map(Self::Add),
            Spread::Around => keys.needs("share", None).map(Self::Around),
            Spread::Scale => {
                let low = keys.needs("low", None);
                let high = keys.needs("high", None);
                Some(Self::Scale {
                    low: low?,
                    high: high?,
                })
            }
        })
    }

    fn write(&self) -> Given {
        let share = |spread: Spread, share: &Ratio| {
            table([("kind", spread.write()), ("share", share.write())])
        };
        match self {
            Self::None => word("none"),
            Self::Full => word("full"),
            Self::Equal => word("equal"),
            Self::Decorrelated => word("decorrelated"),
            Self::Add(ratio) => share(Spread::Add, ratio),
            Self::Around(ratio) => share(Spread::Around, ratio),
            Self::Scale { low, high } => table([
                ("kind", Spread::Scale.write()),
                ("low", low.write()),
                ("high", high.write()),
            ]),
        }
    }
}

/// A [`BudgetConfig`] without its numbers.
#[derive(Clone, Copy)]
enum Kind {
    Ratio,
    Quota,
    Throttle,
    Concurrency,
}

const KINDS: [(&str, Kind); 4] = [
    ("ratio", Kind::Ratio),
    ("quota", Kind::Quota),
    ("throttle", Kind::Throttle),
    ("concurrency", Kind::Concurrency),
];

impl Setting for Kind {
    fn expected() -> Cow<'static, str> {
        one_of(&KINDS).into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.choice(&given, &KINDS)
    }

    fn write(&self) -> Given {
        word(match self {
            Self::Ratio => "ratio",
            Self::Quota => "quota",
            Self::Throttle => "throttle",
            Self::Concurrency => "concurrency",
        })
    }
}

impl Setting for BudgetConfig {
    fn base() -> Option<Self> {
        Some(Self::default())
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        let base = base.unwrap_or_default();
        let before = match base {
            Self::Concurrency(_) => Kind::Concurrency,
            Self::Quota(_) => Kind::Quota,
            Self::Ratio(_) => Kind::Ratio,
            Self::Throttle(_) => Kind::Throttle,
        };
        place.table(given, Self::expected(), |keys| {
            match keys.kind(Some(before))? {
                Kind::Ratio => ratio(base, keys).map(Self::Ratio),
                Kind::Quota => quota(base, keys).map(Self::Quota),
                Kind::Throttle => throttle(base, keys).map(Self::Throttle),
                Kind::Concurrency => concurrency(base, keys).map(Self::Concurrency),
            }
        })
    }

    fn write(&self) -> Given {
        match self {
            Self::Concurrency(budget) => table([
                ("kind", Kind::Concurrency.write()),
                ("share", budget.share().write()),
                ("minimum", budget.floor().write()),
                ("of_all", budget.is_of_all().write()),
            ]),
            Self::Quota(budget) => table([
                ("kind", Kind::Quota.write()),
                ("capacity", budget.most().write()),
                ("transient", budget.cost(TRANSIENT).write()),
                ("throttling", budget.cost(THROTTLING).write()),
                ("timeout", budget.cost(TIMEOUT).write()),
                ("bonus", budget.reward().write()),
            ]),
            Self::Ratio(budget) => table([
                ("kind", Kind::Ratio.write()),
                ("ratio", budget.share().write()),
                ("per_second", budget.floor().write()),
                ("burst", budget.most().write()),
                ("ttl", budget.memory().write()),
            ]),
            Self::Throttle(budget) => table([
                ("kind", Kind::Throttle.write()),
                ("max", budget.most().write()),
                ("ratio", budget.share().write()),
            ]),
        }
    }
}

const TRANSIENT: Outcome = Outcome::Failure(Failure::Error);
const THROTTLING: Outcome = Outcome::Overload { retry_after: None };
const TIMEOUT: Outcome = Outcome::Failure(Failure::Timeout);

fn ratio(base: BudgetConfig, keys: &mut Keys<'_>) -> Option<RatioBudget> {
    let base = match (base, BudgetConfig::default()) {
        (BudgetConfig::Ratio(base), _) | (_, BudgetConfig::Ratio(base)) => Some(base),
        _ => None,
    };
    let share = keys.needs("ratio", base.map(|base| base.share()));
    let base = base.unwrap_or(RatioBudget::new(Ratio::ZERO));
    let per_second = keys.set("per_second", base.floor());
    let burst = keys.set("burst", base.most());
    let ttl = keys.set("ttl", base.memory());
    let budget = RatioBudget::new(share?).per_second(per_second).burst(burst);
    Some(ttl.map_or(budget, |ttl| budget.ttl(ttl)))
}

fn quota(base: BudgetConfig, keys: &mut Keys<'_>) -> Option<QuotaBudget> {
    let base = match base {
        BudgetConfig::Quota(base) => Some(base),
        _ => None,
    };
    let capacity = keys.needs("capacity", base.map(|base| base.most()));
    let base = base.unwrap_or(QuotaBudget::aws());
    let transient = keys.set("transient", base.cost(TRANSIENT));
    let throttling = keys.set("throttling", base.cost(THROTTLING));
    let timeout = keys.set("timeout", base.cost(TIMEOUT));
    let bonus = keys.set("bonus", base.reward());
    let budget = QuotaBudget::new(capacity?)
        .transient(transient)
        .throttling(throttling)
        .timeout(timeout)
        .bonus(bonus);
    Some(budget)
}

fn throttle(base: BudgetConfig, keys: &mut Keys<'_>) -> Option<ThrottleBudget> {
    let base = match base {
        BudgetConfig::Throttle(base) => Some(base),
        _ => None,
    };
    let max = keys.needs("max", base.map(|base| base.most()));
    let ratio = keys.needs("ratio", base.map(|base| base.share()));
    Some(ThrottleBudget::new(max?, ratio?))
}

fn concurrency(base: BudgetConfig, keys: &mut Keys<'_>) -> Option<ConcurrencyBudget> {
    let base = match base {
        BudgetConfig::Concurrency(base) => Some(base),
        _ => None,
    };
    let share = keys.needs("share", base.map(|base| base.share()));
    let base = base.unwrap_or(ConcurrencyBudget::new(Ratio::ZERO));
    let minimum = keys.set("minimum", base.floor());
    let of_all = keys.set("of_all", base.is_of_all());
    let budget = ConcurrencyBudget::new(share?).minimum(minimum);
    Some(if of_all { budget.of_all() } else { budget })
}

impl Setting for RetryConfig {
    fn base() -> Option<Self> {
        Some(Self::default())
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        let base = base.unwrap_or_default();
        place.table(given, Self::expected(), |keys| {
            Some(Self {
                attempts: keys.set("attempts", base.attempts),
                longest_hint: keys.set("longest_hint", base.longest_hint),
                hint_spread: keys.set("hint_spread", base.hint_spread),
                nesting: keys.set("nesting", base.nesting),
                backoff: keys.set("backoff", base.backoff),
                overload_backoff: keys.set("overload_backoff", base.overload_backoff),
                budget: keys.set("budget", base.budget),
            })
        })
    }

    fn write(&self) -> Given {
        table([
            ("attempts", self.attempts.write()),
            ("longest_hint", self.longest_hint.write()),
            ("hint_spread", self.hint_spread.write()),
            ("nesting", self.nesting.write()),
            ("backoff", self.backoff.write()),
            ("overload_backoff", self.overload_backoff.write()),
            ("budget", self.budget.write()),
        ])
    }
}

as_data!(Backoff, BudgetConfig, Jitter, Nesting, RetryConfig);
