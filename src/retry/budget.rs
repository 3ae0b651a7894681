use std::num::NonZeroU32;
use std::time::Duration;

use crate::num::Ratio;
use crate::time::{Tick, nanos};

/// How many retries a policy may add to the load in all.
///
/// Each first attempt earns `ratio` of a retry; the floor earns `per_second` more as time passes, so that a quiet
/// service can retry at all. Both are capped, so that a quiet hour does not buy a storm:
/// over any window, `retries ≤ ratio × requests + per_second × seconds + cap`, with
/// `cap = burst + per_second`.
///
/// # Source
///
/// Finagle's retry budget: 20 % and a floor of 10 a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetConfig {
    ratio: Ratio,
    per_second: u32,
    burst: u32,
}

impl BudgetConfig {
    /// One retry for every `1 / ratio` requests.
    #[must_use]
    pub const fn new(ratio: Ratio) -> Self {
        Self {
            ratio,
            per_second: 10,
            burst: 100,
        }
    }

    /// Retries a second that are always allowed. Defaults to 10.
    #[must_use]
    pub const fn per_second(mut self, per_second: u32) -> Self {
        self.per_second = per_second;
        self
    }

    /// How many earned retries can be saved up, at most. Defaults to 100.
    #[must_use]
    pub const fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// The same budget when time passes `by` times as fast.
    #[must_use]
    pub const fn compressed(mut self, by: NonZeroU32) -> Self {
        self.per_second = self.per_second.saturating_mul(by.get());
        self
    }
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self::new(Ratio::percent(20))
    }
}

/// One retry, in the unit in which tokens are counted: fine enough for a ratio of one in a million.
const TOKEN: u64 = 1_000_000;

/// A retry budget: a plain value that is told what happens and when.
///
/// # Example
///
/// ```
/// use mainstay::num::Ratio;
/// use mainstay::retry::{Budget, BudgetConfig};
/// use mainstay::time::Tick;
///
/// let config = BudgetConfig::new(Ratio::percent(50)).per_second(0).burst(1);
/// let mut budget = Budget::new(config, Tick::ZERO);
/// assert!(budget.withdraw(Tick::ZERO), "it starts full");
/// assert!(!budget.withdraw(Tick::ZERO));
/// budget.deposit();
/// budget.deposit();
/// assert!(budget.withdraw(Tick::ZERO), "two requests earned one retry");
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    deposit: u64,
    tokens: u64,
    cap: u64,
    per_second: u32,
    floor: u64,
    refilled: Tick,
}

impl Budget {
    /// A full budget.
    #[must_use]
    pub fn new(config: BudgetConfig, now: Tick) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a ratio is within 0 and 1"
        )]
        let deposit = (config.ratio.get() * TOKEN as f64).round() as u64;
        let cap = u64::from(config.burst) * TOKEN;
        let floor = u64::from(config.per_second) * TOKEN;
        let per_second = config.per_second;
        Self {
            deposit,
            tokens: cap,
            cap,
            per_second,
            floor,
            refilled: now,
        }
    }

    /// A request was made for the first time.
    pub fn deposit(&mut self) {
        self.tokens = self.tokens.saturating_add(self.deposit).min(self.cap);
    }

    /// Asks for one retry.
    #[must_use]
    pub fn withdraw(&mut self, now: Tick) -> bool {
        if self.tokens >= TOKEN {
            self.tokens -= TOKEN;
            return true;
        }
        self.refill(now);
        if self.floor >= TOKEN {
            self.floor -= TOKEN;
            return true;
        }
        false
    }

    /// Whether a deposit would change nothing.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.tokens == self.cap || self.deposit == 0
    }

    fn refill(&mut self, now: Tick) {
        let cap = u64::from(self.per_second) * TOKEN;
        // More than a second fills it anyway, so the product stays small.
        let passed = nanos(now.since(self.refilled).min(Duration::from_secs(1)));
        let earned = passed / 1_000 * u64::from(self.per_second);
        if earned > 0 {
            self.floor = self.floor.saturating_add(earned).min(cap);
            self.refilled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_not_truncated() {
        for (percent, earned) in [(10, 10), (60, 60), (90, 90), (100, 100)] {
            let config = BudgetConfig::new(Ratio::percent(percent))
                .per_second(0)
                .burst(1_000);
            let mut budget = Budget::new(config, Tick::ZERO);
            while budget.withdraw(Tick::ZERO) {}
            (0..100).for_each(|_| budget.deposit());
            let got = (0..1_000).filter(|_| budget.withdraw(Tick::ZERO)).count();
            assert_eq!(got, earned, "{percent} %");
        }
    }

    #[test]
    fn the_floor_refills_with_time_and_not_beyond_a_second() {
        let config = BudgetConfig::new(Ratio::ZERO).per_second(10).burst(0);
        let mut budget = Budget::new(config, Tick::ZERO);
        let mut take = |now| (0..100).filter(|_| budget.withdraw(now)).count();
        assert_eq!(take(Tick::ZERO), 10);
        assert_eq!(take(Tick::ZERO + Duration::from_millis(300)), 3);
        assert_eq!(take(Tick::ZERO + Duration::from_secs(7 * 24 * 3600)), 10);
    }
}
