//! The rules.
//!
//! 1. Ratio: a call earns its share when it begins, up to `burst`. A retry spends what was earned, and the floor when
//!    there is nothing. With a `ttl`, what was earned and what was spent is forgotten after it.
//! 2. Quota: a retry takes what the failure before it costs. A success gives back the cost of the call's last retry, or
//!    adds the bonus when there was none. What failed in the end, or was given up, gives back nothing.
//! 3. Throttle: each failed attempt takes a token and each success adds the ratio of one. A retry is allowed while more
//!    than half of the tokens are left, the failure before it already taken off.
//! 4. Concurrency: a retry is in flight from its grant until the call's next grant or its end.
//! 5. A grant of other settings than those of now, in kind, is worth nothing: it gives back neither tokens nor a place.
//! 6. Settings of the same kind keep what was there, within the new bounds: tokens, places, the memory of a `ttl` of
//!    the same length; a throttle keeps its share. Others start as new.
//! 7. Time that stands still or steps back earns nothing, and an idle time of any length costs what a short one does.

use std::num::NonZeroU32;

use super::TOKEN;
use super::concurrency::InFlight;
use super::config::BudgetConfig;
use super::quota::Bucket;
use super::ratio::Earned;
use super::throttle::Throttle;
use crate::outcome::{Failure, Outcome};
use crate::time::Tick;

/// A retry budget: a plain value that is told what happens and when.
///
/// A call [begins](Self::begin), [asks](Self::admit) for each retry with the grant of the one before, and is
/// [settled](Self::settle) once, or [abandoned](Self::abandon). A call that was refused a retry is abandoned: its failure
/// was counted when it asked.
///
/// # Example
///
/// ```
/// use mainstay::outcome::{Failure, Outcome};
/// use mainstay::retry::{Budget, BudgetConfig};
/// use mainstay::time::Tick;
///
/// let mut budget = Budget::new(BudgetConfig::aws(), Tick::ZERO);
/// budget.begin(Tick::ZERO);
/// let failed = Outcome::Failure(Failure::Error);
/// let first = budget.admit(None, failed, Tick::ZERO);
/// let second = budget.admit(first, failed, Tick::ZERO);
/// assert_eq!(budget.tokens(Tick::ZERO), 472.0, "two retries at 14 each");
/// budget.settle(second, Outcome::Success);
/// assert_eq!(budget.tokens(Tick::ZERO), 486.0, "only the last comes back");
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    config: BudgetConfig,
    /// Of the kind of the settings.
    generation: NonZeroU32,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Concurrency(InFlight),
    Quota(Bucket),
    Ratio(Earned),
    Throttle(Throttle),
}

impl Kind {
    fn new(config: BudgetConfig, now: Tick) -> Self {
        match config {
            BudgetConfig::Concurrency(config) => Self::Concurrency(InFlight::new(config)),
            BudgetConfig::Quota(config) => Self::Quota(Bucket::new(config)),
            BudgetConfig::Ratio(config) => Self::Ratio(Earned::new(config, now)),
            BudgetConfig::Throttle(config) => Self::Throttle(Throttle::new(config)),
        }
    }
}

/// A retry that was allowed, until the call's next one or its end.
#[derive(Debug)]
#[must_use = "it is owed to the budget that gave it"]
pub struct Grant {
    cost: u32,
    generation: NonZeroU32,
}

impl Budget {
    /// A full budget; one that forgets what was earned begins with nothing but its floor.
    #[must_use]
    pub fn new(config: BudgetConfig, now: Tick) -> Self {
        Self {
            config,
            generation: NonZeroU32::MIN,
            kind: Kind::new(config, now),
        }
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> BudgetConfig {
        self.config
    }

    /// A call begins.
    pub fn begin(&mut self, now: Tick) {
        match &mut self.kind {
            Kind::Concurrency(flight) => flight.calls = flight.calls.saturating_add(1),
            Kind::Ratio(earned) => earned.earn_at(now),
            Kind::Quota(_) | Kind::Throttle(_) => {}
        }
    }

    /// Asks for a retry after an attempt that ended so.
    ///
    /// # Inputs
    ///
    /// - `last`: what the attempt itself was granted, if it was a retry.
    #[must_use]
    pub fn admit(&mut self, last: Option<Grant>, outcome: Outcome, now: Tick) -> Option<Grant> {
        self.release(last);
        let cost = match &mut self.kind {
            Kind::Concurrency(flight) => flight.take().then_some(0),
            Kind::Quota(bucket) => bucket.take(outcome),
            Kind::Ratio(earned) => earned.take(now).then_some(0),
            Kind::Throttle(throttle) => {
                throttle.fail();
                throttle.allows().then_some(0)
            }
        };
        Some(Grant {
            cost: cost?,
            generation: self.generation,
        })
    }

    /// The call ended with an attempt that ended so.
    ///
    /// # Inputs
    ///
    /// - `last`: what the attempt was granted, if it was a retry.
    pub fn settle(&mut self, last: Option<Grant>, outcome: Outcome) {
        let own = last.as_ref().is_none_or(|grant| self.is_own(grant));
        match (&mut self.kind, outcome) {
            (Kind::Quota(bucket), Outcome::Success) => match &last {
                Some(grant) if own => bucket.refund(grant.cost),
                Some(_) => {}
                None => bucket.reward(1),
            },
            (Kind::Throttle(throttle), Outcome::Success) => throttle.succeed(1),
            (Kind::Throttle(throttle), outcome) if outcome.is_failure() => throttle.fail(),
            _ => {}
        }
        self.abandon(last);
    }

    /// The call ended without telling how.
    pub fn abandon(&mut self, last: Option<Grant>) {
        self.release(last);
        if let Kind::Concurrency(flight) = &mut self.kind {
            flight.calls = flight.calls.saturating_sub(1);
        }
    }

    /// Takes over these settings: see rule 6.
    pub fn reconfigure(&mut self, config: BudgetConfig, now: Tick) {
        self.config = config;
        let kept = match (&mut self.kind, config) {
            (Kind::Concurrency(flight), BudgetConfig::Concurrency(config)) => {
                flight.config = config;
                true
            }
            (Kind::Quota(bucket), BudgetConfig::Quota(config)) => {
                bucket.reconfigure(config);
                true
            }
            (Kind::Ratio(earned), BudgetConfig::Ratio(config)) => earned.reconfigure(config, now),
            (Kind::Throttle(throttle), BudgetConfig::Throttle(config)) => {
                throttle.reconfigure(config);
                true
            }
            (kind, config) => {
                *kind = Kind::new(config, now);
                false
            }
        };
        if !kept {
            self.generation = next(self.generation);
        }
    }

    /// What is left: retries, or the tokens that a quota or a throttle counts.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for people to look at")]
    pub fn tokens(&self, now: Tick) -> f64 {
        match &self.kind {
            Kind::Concurrency(flight) => flight.left() as f64,
            Kind::Quota(bucket) => bucket.tokens() as f64 / TOKEN as f64,
            Kind::Ratio(earned) => earned.tokens(now) as f64 / TOKEN as f64,
            Kind::Throttle(throttle) => throttle.tokens() as f64 / TOKEN as f64,
        }
    }

    /// A call begins, at a time that does not matter: [`begin`](Self::begin) for budgets that do not forget.
    pub fn deposit(&mut self) {
        match &mut self.kind {
            Kind::Concurrency(flight) => flight.calls = flight.calls.saturating_add(1),
            Kind::Ratio(earned) => earned.earn(1),
            Kind::Quota(_) | Kind::Throttle(_) => {}
        }
    }

    /// Asks for a retry whose end nobody will tell: [`admit`](Self::admit) for a ratio. In a concurrency budget its
    /// place stays taken.
    #[must_use]
    pub fn withdraw(&mut self, now: Tick) -> bool {
        self.admit(None, Outcome::Failure(Failure::Error), now)
            .is_some()
    }

    /// Whether a call that begins and succeeds at once would change nothing.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// So many calls that begin and succeed at once, and another one changes nothing.
    pub(super) fn room(&self) -> u64 {
        match &self.kind {
            Kind::Concurrency(_) => 0,
            Kind::Quota(bucket) => bucket.room(),
            Kind::Ratio(earned) => earned.room(),
            Kind::Throttle(throttle) => throttle.room(),
        }
    }

    fn is_own(&self, grant: &Grant) -> bool {
        grant.generation == self.generation
    }

    fn release(&mut self, last: Option<Grant>) {
        if let (Kind::Concurrency(flight), Some(grant)) = (&mut self.kind, last)
            && grant.generation == self.generation
        {
            flight.give_back();
        }
    }
}

/// After four billion changes a grant of the first would count again, if it were still there.
pub(super) fn next(generation: NonZeroU32) -> NonZeroU32 {
    generation.checked_add(1).unwrap_or(NonZeroU32::MIN)
}

/// What a shell needs beyond: it counts what leaves no trace on the machine by itself, and tells it in time.
#[cfg(feature = "tower")]
impl Budget {
    /// Which of a call's two ends earns something, and what it takes to say so.
    pub(super) const fn earns(&self) -> Earns {
        match &self.kind {
            Kind::Concurrency(_) => Earns::WhileInFlight,
            Kind::Quota(_) | Kind::Throttle(_) => Earns::AtSuccess,
            Kind::Ratio(earned) if earned.is_timed() => Earns::AtBeginTimed,
            Kind::Ratio(_) => Earns::AtBegin,
        }
    }

    pub(super) const fn generation(&self) -> NonZeroU32 {
        self.generation
    }

    /// The same budget, after others: their grants are of earlier numbers.
    pub(super) const fn numbered(mut self, generation: NonZeroU32) -> Self {
        self.generation = generation;
        self
    }

    /// So many calls began, or succeeded at once, whichever of the two earns.
    pub(super) fn earn(&mut self, calls: u64) {
        match &mut self.kind {
            Kind::Concurrency(_) => {}
            Kind::Quota(bucket) => bucket.reward(calls),
            Kind::Ratio(earned) => earned.earn(calls),
            Kind::Throttle(throttle) => throttle.succeed(calls),
        }
    }

    /// So many calls are in flight.
    pub(super) const fn in_flight(&mut self, calls: u64) {
        if let Kind::Concurrency(flight) = &mut self.kind {
            flight.calls = calls;
        }
    }
}

/// When a call counts for the budget by itself.
#[cfg(feature = "tower")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Earns {
    AtBegin,
    AtBeginTimed,
    AtSuccess,
    WhileInFlight,
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::num::{Period, Ratio};
    use crate::retry::{ConcurrencyBudget, QuotaBudget, RatioBudget, ThrottleBudget};

    const FAILED: Outcome = Outcome::Failure(Failure::Error);
    const BUSY: Outcome = Outcome::Overload { retry_after: None };

    fn full(config: impl Into<BudgetConfig>) -> Budget {
        Budget::new(config.into(), Tick::ZERO)
    }

    fn ask(budget: &mut Budget) -> Option<Grant> {
        budget.admit(None, FAILED, Tick::ZERO)
    }

    fn left(budget: &Budget) -> f64 {
        budget.tokens(Tick::ZERO)
    }

    #[test]
    fn rule_1_a_ratio_is_not_truncated() {
        for (percent, earned) in [(10, 10), (60, 60), (90, 90), (100, 100)] {
            let config = BudgetConfig::new(Ratio::percent(percent))
                .per_second(0)
                .burst(1_000);
            let mut budget = full(config);
            while budget.withdraw(Tick::ZERO) {}
            (0..100).for_each(|_| budget.deposit());
            let got = (0..1_000).filter(|_| budget.withdraw(Tick::ZERO)).count();
            assert_eq!(got, earned, "{percent} %");
        }
    }

    #[test]
    fn rule_1_the_floor_refills_with_time_and_not_beyond_a_second() {
        let config = BudgetConfig::new(Ratio::ZERO).per_second(10).burst(0);
        let mut budget = full(config);
        let mut take = |now| (0..100).filter(|_| budget.withdraw(now)).count();
        assert_eq!(take(Tick::ZERO), 10);
        assert_eq!(take(Tick::ZERO + Duration::from_millis(300)), 3);
        assert_eq!(take(Tick::ZERO + Duration::from_secs(7 * 24 * 3600)), 10);
    }

    #[test]
    fn rule_2_only_the_last_cost_of_a_call_comes_back() {
        let mut budget = full(QuotaBudget::new(30));
        let first = ask(&mut budget);
        let busy = budget.admit(first, BUSY, Tick::ZERO);
        assert_eq!(left(&budget), 30.0 - 14.0 - 5.0);
        budget.settle(busy, Outcome::Success);
        assert_eq!(left(&budget), 16.0);
        let failed = ask(&mut budget);
        budget.settle(failed, FAILED);
        let given_up = budget.admit(None, BUSY, Tick::ZERO);
        assert!(given_up.is_none(), "5 of 2");
        budget.abandon(given_up);
        assert_eq!(left(&budget), 2.0);
        (0..100).for_each(|_| budget.settle(None, Outcome::Success));
        assert_eq!(left(&budget), 30.0);
        budget.settle(None, Outcome::Ignored);
        assert!(budget.is_full());
    }

    #[test]
    fn rule_3_the_failure_is_taken_off_before_the_question() {
        let mut budget = full(ThrottleBudget::new(4, Ratio::percent(50)));
        let grant = ask(&mut budget);
        assert!(grant.is_some(), "3 of 4");
        assert!(budget.admit(grant, FAILED, Tick::ZERO).is_none(), "2 of 4");
        budget.settle(None, FAILED);
        assert_eq!(left(&budget), 1.0);
        for _ in 0..4 {
            budget.settle(None, Outcome::Success);
        }
        assert_eq!(left(&budget), 3.0);
        assert!(ask(&mut budget).is_none(), "2 of 4");
        assert!(
            full(ThrottleBudget::new(0, Ratio::ONE))
                .admit(None, FAILED, Tick::ZERO)
                .is_none()
        );
    }

    #[test]
    fn rule_4_a_place_is_taken_until_the_next_grant_or_the_end() {
        let mut budget = full(ConcurrencyBudget::new(Ratio::percent(50)).minimum(1));
        budget.begin(Tick::ZERO);
        let mut grant = ask(&mut budget);
        for _ in 0..10 {
            grant = budget.admit(grant, FAILED, Tick::ZERO);
            assert!(grant.is_some(), "its own place");
            assert!(ask(&mut budget).is_none());
        }
        budget.abandon(grant);
        assert_eq!(left(&budget), 1.0);
    }

    #[test]
    fn rules_5_and_6_the_same_kind_keeps_what_was_there() {
        let now = Tick::ZERO;
        let mut budget = full(QuotaBudget::new(100));
        let old = ask(&mut budget);
        budget.reconfigure(QuotaBudget::new(50).bonus(5).into(), now);
        assert_eq!(left(&budget), 50.0);
        let spent = ask(&mut budget);
        budget.reconfigure(QuotaBudget::new(1_000).into(), now);
        assert_eq!(left(&budget), 36.0, "it is not filled up");
        budget.settle(old, Outcome::Success);
        assert_eq!(left(&budget), 50.0, "a grant of the same kind");

        budget.reconfigure(ConcurrencyBudget::new(Ratio::ZERO).minimum(1).into(), now);
        let place = ask(&mut budget);
        budget.abandon(spent);
        assert!(
            ask(&mut budget).is_none(),
            "a grant of another kind frees no place"
        );
        budget.abandon(place);
        assert_eq!(left(&budget), 1.0);

        let share = |burst| RatioBudget::new(Ratio::ONE).per_second(0).burst(burst);
        let mut budget = full(share(10));
        let first = ask(&mut budget);
        assert!(first.is_some());
        budget.reconfigure(share(20).into(), now);
        assert_eq!(left(&budget), 9.0);
        budget.reconfigure(share(20).ttl(Period::secs(1)).into(), now);
        assert_eq!(left(&budget), 0.0, "another shape");
        budget.begin(now);
        budget.reconfigure(share(5).ttl(Period::secs(1)).into(), now);
        assert_eq!(left(&budget), 1.0);

        let mut budget = full(ThrottleBudget::new(10, Ratio::ONE));
        (0..5).for_each(|_| budget.settle(None, FAILED));
        budget.reconfigure(ThrottleBudget::new(100, Ratio::ONE).into(), now);
        assert_eq!(left(&budget), 50.0, "a throttle keeps its share");
    }
}
