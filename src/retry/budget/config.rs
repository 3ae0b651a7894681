use std::num::NonZeroU32;

use super::{ConcurrencyBudget, QuotaBudget, RatioBudget, ThrottleBudget};
use crate::num::Ratio;

/// How many retries a policy may add to the load in all.
///
/// # Example
///
/// ```
/// use mainstay::num::Ratio;
/// use mainstay::retry::{BudgetConfig, QuotaBudget};
///
/// let share = BudgetConfig::new(Ratio::percent(10)).per_second(3);
/// let quota = BudgetConfig::from(QuotaBudget::aws().bonus(2));
/// # let _ = (share, quota);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum BudgetConfig {
    /// A share of the calls in flight.
    Concurrency(ConcurrencyBudget),
    /// A bucket from which each kind of failure takes its cost.
    Quota(QuotaBudget),
    /// A share of the calls, and a few more as time passes.
    Ratio(RatioBudget),
    /// Nothing while too many attempts fail.
    Throttle(ThrottleBudget),
}

impl BudgetConfig {
    /// One retry for every `1 / ratio` calls: a [`RatioBudget`].
    #[must_use]
    pub const fn new(ratio: Ratio) -> Self {
        Self::Ratio(RatioBudget::new(ratio))
    }

    /// The quota of the AWS SDKs, version 2.1: [`QuotaBudget::aws`].
    #[must_use]
    pub const fn aws() -> Self {
        Self::Quota(QuotaBudget::aws())
    }

    /// The quota of the AWS SDKs before version 2.1: [`QuotaBudget::aws_classic`].
    #[must_use]
    pub const fn aws_classic() -> Self {
        Self::Quota(QuotaBudget::aws_classic())
    }

    /// Retries a second that are always allowed: [`RatioBudget::per_second`]. Budgets of other kinds have no such floor
    /// and stay as they are.
    #[must_use]
    pub const fn per_second(self, per_second: u32) -> Self {
        match self {
            Self::Ratio(ratio) => Self::Ratio(ratio.per_second(per_second)),
            other => other,
        }
    }

    /// How many earned retries can be saved up: [`RatioBudget::burst`]. Budgets of other kinds earn none and stay as they
    /// are.
    #[must_use]
    pub const fn burst(self, burst: u32) -> Self {
        match self {
            Self::Ratio(ratio) => Self::Ratio(ratio.burst(burst)),
            other => other,
        }
    }

    /// The same budget when time passes `by` times as fast.
    #[must_use]
    pub fn compressed(self, by: NonZeroU32) -> Self {
        match self {
            Self::Ratio(ratio) => Self::Ratio(ratio.compressed(by)),
            other => other,
        }
    }
}

/// Three retries for every ten calls, and ten a second.
///
/// A callee that fails a fifth of its calls needs 0.24 retries for each (0.2 + 0.04) for three attempts to answer 99 of
/// 100: Finagle's fifth is not enough for that, and leaves 3 of 100 failed.
impl Default for BudgetConfig {
    fn default() -> Self {
        Self::new(Ratio::percent(30))
    }
}

impl From<ConcurrencyBudget> for BudgetConfig {
    fn from(budget: ConcurrencyBudget) -> Self {
        Self::Concurrency(budget)
    }
}

impl From<QuotaBudget> for BudgetConfig {
    fn from(budget: QuotaBudget) -> Self {
        Self::Quota(budget)
    }
}

impl From<RatioBudget> for BudgetConfig {
    fn from(budget: RatioBudget) -> Self {
        Self::Ratio(budget)
    }
}

impl From<ThrottleBudget> for BudgetConfig {
    fn from(budget: ThrottleBudget) -> Self {
        Self::Throttle(budget)
    }
}
