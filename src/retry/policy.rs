//! The rules.
//!
//! 1. A success, an ignored outcome and a refusal of this stack are final.
//! 2. After the last attempt the result is final.
//! 3. The next attempt starts after the backoff's delay and never before the callee's own hint. Chance only adds to a
//!    hint: a share of it, so that callers that were told the same do not come back together.
//! 4. A hint longer than `longest_hint` ends the call with the callee's answer, hint included.
//! 5. No retry starts at or after the deadline, and none is waited for that would.
//! 6. A retry that everything else allows takes one token of the budget; without one the result is final.
//! 7. Giving up returns the callee's own last answer, never an error about retrying: also when the wait ends too late,
//!    and when a layer below refuses the next attempt. A caller that got the refusal instead would never learn that
//!    its call is broken, and would spend the half-open probe of an open circuit on it again and again.
//! 8. Pushback is an order: the next attempt starts after exactly that long, or not at all. It starts the backoff's
//!    progression anew, and counts against the attempts.
//! 9. After overload the backoff may be another; how far it has grown is one count for both.
//! 10. Of nested layers the innermost retries. A call whose caller is on a retry already, a layer further out or a
//!     trusted peer, is attempted once; an attempt within which a layer further in retried and gave up, or was not
//!     allowed to, is not repeated. So attempts add up and do not multiply. [`Nesting::Each`] asks for the other.
//! 11. Other settings hold for a call under way from its next failure on.

use std::num::NonZeroU32;
use std::time::Duration;

use super::backoff::{Backoff, Jitter};
use super::budget::BudgetConfig;
use crate::num::{Attempts, Ratio};
use crate::outcome::{Outcome, Pushback};
use crate::rng::Rng;
use crate::time::Tick;

/// The settings of a retry policy.
///
/// # Example
///
/// ```
/// use mainstay::num::Attempts;
/// use mainstay::retry::{Backoff, RetryConfig};
/// use std::time::Duration;
///
/// let config = RetryConfig::new(Attempts::total(3))
///     .backoff(Backoff::exponential(Duration::from_millis(100), Duration::from_secs(5)));
/// # let _ = config;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryConfig {
    pub(super) attempts: Attempts,
    pub(super) backoff: Backoff,
    pub(super) overload_backoff: Option<Backoff>,
    pub(super) budget: Option<BudgetConfig>,
    pub(super) longest_hint: Duration,
    pub(super) hint_spread: Ratio,
    pub(super) nesting: Nesting,
}

/// What a policy does about other retry layers of the same call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Nesting {
    /// One layer retries, the innermost: attempts add up and do not multiply.
    ///
    /// A call of a caller that is on a retry already is attempted once. An attempt within which a layer further in
    /// retried and gave up, or was not allowed to, is not repeated, whatever the code between made of it. Which layers
    /// are nested is told by the [`Scope`](crate::scope::Scope), so it does not cross a spawn.
    #[default]
    Once,
    /// This layer retries whatever the others do: the attempts of all multiply. For a layer that does something else in
    /// each attempt, such as asking another region.
    Each,
}

impl RetryConfig {
    /// At most this many attempts.
    #[must_use]
    pub fn new(attempts: Attempts) -> Self {
        Self {
            attempts,
            backoff: Backoff::exponential(Duration::from_millis(50), Duration::from_secs(20))
                .jitter(Jitter::Full),
            overload_backoff: None,
            budget: Some(BudgetConfig::default()),
            longest_hint: Duration::from_secs(60),
            hint_spread: Ratio::percent(25),
            nesting: Nesting::Once,
        }
    }

    /// The standard mode of the AWS SDKs, version 2.1 of its specification: 3 attempts, 50 ms doubling to 20 s, 1 s
    /// doubling to 20 s after throttling, full jitter, [`BudgetConfig::aws`].
    ///
    /// A hint of the callee is never undercut here; the SDKs cut it off 5 s after the delay that they computed.
    #[must_use]
    pub fn aws() -> Self {
        let overloaded = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(20));
        Self::new(Attempts::total(3))
            .overload_backoff(overloaded)
            .budget(BudgetConfig::aws())
    }

    /// The standard mode of the AWS SDKs as it was before: 3 attempts, 1 s doubling to 20 s, full jitter,
    /// [`BudgetConfig::aws_classic`].
    #[must_use]
    pub fn aws_classic() -> Self {
        let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(20));
        Self::new(Attempts::total(3))
            .backoff(backoff)
            .budget(BudgetConfig::aws_classic())
    }

    /// At most this many attempts. Defaults to 3: the second chance that most faults need, and one more.
    #[must_use]
    pub const fn limit(mut self, attempts: Attempts) -> Self {
        self.attempts = attempts;
        self
    }

    /// How long to wait. Defaults to 50 ms doubling to 20 s with full jitter.
    #[must_use]
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long to wait after the callee asked for less. Defaults to the same as after any other failure.
    #[must_use]
    pub const fn overload_backoff(mut self, backoff: Backoff) -> Self {
        self.overload_backoff = Some(backoff);
        self
    }

    /// How many retries the policy may add to the load. Defaults to [`BudgetConfig::default`].
    #[must_use]
    pub const fn budget(mut self, budget: BudgetConfig) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Lets every caller retry as often as it may, however many do. For callees that are known to bear it.
    #[must_use]
    pub const fn without_budget(mut self) -> Self {
        self.budget = None;
        self
    }

    /// The longest hint of the callee that is waited for. Defaults to 60 s; the deadline may end it sooner.
    #[must_use]
    pub const fn longest_hint(mut self, longest: Duration) -> Self {
        self.longest_hint = longest;
        self
    }

    /// Chance adds up to this share of a hint to it, as long as the deadline allows. Defaults to 25 %: callers that
    /// were sent away together with a hint of 5 s come back within a second and a quarter. A backoff without jitter is
    /// not spread here either.
    #[must_use]
    pub const fn hint_spread(mut self, share: Ratio) -> Self {
        self.hint_spread = share;
        self
    }

    /// What to do about other retry layers of the same call. Defaults to [`Nesting::Once`]: three layers of four
    /// attempts make four attempts and not sixty-four.
    #[must_use]
    pub const fn nesting(mut self, nesting: Nesting) -> Self {
        self.nesting = nesting;
        self
    }

    /// At most this many attempts in all.
    #[must_use]
    pub const fn attempts(&self) -> Attempts {
        self.attempts
    }

    /// How long it waits.
    #[must_use]
    pub const fn delays(&self) -> Backoff {
        self.backoff
    }

    /// How long it waits after overload, where that differs.
    #[must_use]
    pub const fn overload_delays(&self) -> Option<Backoff> {
        self.overload_backoff
    }

    /// The longest hint that it waits for.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.longest_hint
    }

    /// What chance adds to a hint.
    #[must_use]
    pub const fn leeway(&self) -> Ratio {
        self.hint_spread
    }

    /// What it does about other retry layers of the same call.
    #[must_use]
    pub const fn nested(&self) -> Nesting {
        self.nesting
    }

    /// Its budget, `None` if it has none.
    #[must_use]
    pub const fn allowance(&self) -> Option<BudgetConfig> {
        self.budget
    }

    /// The same policy with every duration divided by `by`, for drills that must not take minutes.
    #[must_use]
    pub fn compressed(mut self, by: NonZeroU32) -> Self {
        self.backoff = self.backoff.compressed(by);
        self.overload_backoff = self.overload_backoff.map(|backoff| backoff.compressed(by));
        self.longest_hint /= by.get();
        self.budget = self.budget.map(|budget| budget.compressed(by));
        self
    }
}

/// Three attempts: the second chance that most faults need, and one more.
impl Default for RetryConfig {
    fn default() -> Self {
        Self::new(Attempts::total(3))
    }
}

/// Why a failed call was not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GaveUp {
    /// That was the last attempt.
    Attempts,
    /// The budget is spent.
    Budget,
    /// The next attempt could not start before the deadline.
    Deadline,
    /// The callee asks for more patience than the policy has.
    Hint,
    /// Another retry layer of the same call is on it already, or has tried in vain.
    Nested,
    /// The callee wants no further attempt.
    Pushback,
    /// A layer below refused the next attempt.
    Refused,
    /// The request cannot be made again: not idempotent, or longer than the replay's bound.
    Request,
}

impl GaveUp {
    /// A short name that never changes, for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Hint => "hint",
            Self::Nested => "nested",
            Self::Pushback => "pushback",
            Self::Refused => "refused",
            Self::Request => "request",
        }
    }

    /// Each, in the order of its number.
    #[cfg(feature = "tower")]
    pub(crate) const ALL: [Self; 8] = [
        Self::Attempts,
        Self::Budget,
        Self::Deadline,
        Self::Hint,
        Self::Nested,
        Self::Pushback,
        Self::Refused,
        Self::Request,
    ];
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The result stands, and there was nothing to retry.
    Done,
    /// The call failed and the result stands.
    GiveUp(GaveUp),
    /// Try again after this long, if the budget has a token.
    Retry {
        /// Counted from now.
        after: Duration,
    },
}

/// The retries of one call: a plain value that is told how each attempt ended.
///
/// # Example
///
/// ```
/// use mainstay::num::{Attempts, Ratio};
/// use mainstay::outcome::{Failure, Outcome};
/// use mainstay::retry::{Decision, GaveUp, Retry, RetryConfig};
/// use mainstay::rng::Rng;
/// use mainstay::time::Tick;
/// use std::time::Duration;
///
/// let config = RetryConfig::new(Attempts::total(2)).hint_spread(Ratio::ZERO);
/// let mut retry = Retry::new(config, Rng::new(1));
/// let hint = Outcome::Overload { retry_after: Some(Duration::from_secs(2)) };
/// let next = retry.decide(hint, None, Tick::ZERO);
/// assert_eq!(next, Decision::Retry { after: Duration::from_secs(2) });
/// let failed = Outcome::Failure(Failure::Error);
/// assert_eq!(retry.decide(failed, None, Tick::ZERO), Decision::GiveUp(GaveUp::Attempts));
/// ```
#[derive(Clone, Debug)]
pub struct Retry {
    config: RetryConfig,
    progress: Progress,
}

impl Retry {
    /// Before the first attempt ends.
    #[must_use]
    pub const fn new(config: RetryConfig, rng: Rng) -> Self {
        Self {
            config,
            progress: Progress::new(rng, 1),
        }
    }

    /// The retries of a call that is itself attempt number `attempt` of a caller that retries: see [`Nesting`].
    #[must_use]
    pub const fn within(mut self, attempt: u32) -> Self {
        self.progress.outer = attempt;
        self
    }

    /// The attempt that is under way, counted from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.progress.attempt()
    }

    /// A layer further in retried during the attempt under way and gave up, or was not allowed to: see [`Nesting`].
    pub const fn retried_in_vain(&mut self) {
        self.progress.in_vain = true;
    }

    /// Says how the attempt under way ended. After [`Decision::Retry`] the next one is under way.
    pub fn decide(&mut self, outcome: Outcome, deadline: Option<Tick>, now: Tick) -> Decision {
        self.progress.decide(&self.config, outcome, deadline, now)
    }
}

/// What a call knows of its attempts so far. The settings come with each question: they may be replaced meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    rng: Rng,
    attempt: u32,
    /// Retries since the last pushback: how far the backoff has grown.
    step: u32,
    previous: Duration,
    /// The number of the attempt of a caller further out that this call is; at most 1 where there is none.
    outer: u32,
    pub(super) in_vain: bool,
}

impl Progress {
    pub(super) const fn new(rng: Rng, outer: u32) -> Self {
        Self {
            rng,
            attempt: 1,
            step: 0,
            previous: Duration::ZERO,
            outer,
            in_vain: false,
        }
    }

    pub(super) const fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(super) fn decide(
        &mut self,
        config: &RetryConfig,
        outcome: Outcome,
        deadline: Option<Tick>,
        now: Tick,
    ) -> Decision {
        let in_vain = std::mem::take(&mut self.in_vain);
        if !outcome.is_failure() {
            return Decision::Done;
        }
        if self.attempt >= config.attempts.get() {
            return Decision::GiveUp(GaveUp::Attempts);
        }
        if config.nesting == Nesting::Once && (in_vain || self.outer > 1) {
            return Decision::GiveUp(GaveUp::Nested);
        }
        if outcome == Outcome::Pushback(Pushback::Never) {
            return Decision::GiveUp(GaveUp::Pushback);
        }
        let hint = outcome.retry_after();
        if hint.is_some_and(|hint| hint > config.longest_hint) {
            return Decision::GiveUp(GaveUp::Hint);
        }
        let left = deadline.map(|deadline| deadline.since(now));
        let (after, step, previous) = match outcome {
            Outcome::Pushback(_) => (hint.unwrap_or(Duration::ZERO), 0, Duration::ZERO),
            _ => {
                let step = self.step.saturating_add(1);
                let backoff = match (outcome, config.overload_backoff) {
                    (Outcome::Overload { .. }, Some(backoff)) => backoff,
                    _ => config.backoff,
                };
                let delay = backoff.delay(step, self.previous, &mut self.rng);
                let hint = hint.map_or(Duration::ZERO, |hint| {
                    hint.saturating_add(self.leeway(config, &backoff, hint, left))
                });
                (delay.max(hint), step, delay)
            }
        };
        if left.is_some_and(|left| after >= left) {
            return Decision::GiveUp(GaveUp::Deadline);
        }
        self.step = step;
        self.previous = previous;
        self.attempt = self.attempt.saturating_add(1);
        Decision::Retry { after }
    }

    /// What chance adds to a hint; less than what is `left` after it, where the hint alone fits.
    fn leeway(
        &mut self,
        config: &RetryConfig,
        backoff: &Backoff,
        hint: Duration,
        left: Option<Duration>,
    ) -> Duration {
        if backoff.spread() == Jitter::None {
            return Duration::ZERO;
        }
        let share = config.hint_spread.get() * self.rng.unit();
        let added = Duration::try_from_secs_f64(hint.as_secs_f64() * share);
        let added = added.unwrap_or(Duration::MAX);
        let just_in_time = |left: Duration| {
            left.saturating_sub(hint)
                .saturating_sub(Duration::from_nanos(1))
        };
        left.map_or(added, |left| added.min(just_in_time(left)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Failure;

    const FAILED: Outcome = Outcome::Failure(Failure::Error);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn plain() -> RetryConfig {
        let backoff = Backoff::exponential(ms(10), ms(1_000)).jitter(Jitter::None);
        RetryConfig::new(Attempts::total(10)).backoff(backoff)
    }

    fn after(millis: u64) -> Decision {
        Decision::Retry { after: ms(millis) }
    }

    fn hinted(millis: u64) -> Outcome {
        let retry_after = Some(ms(millis));
        Outcome::Overload { retry_after }
    }

    fn decide(retry: &mut Retry, outcome: Outcome) -> Decision {
        retry.decide(outcome, None, Tick::ZERO)
    }

    #[test]
    fn rule_3_chance_only_adds_to_a_hint_and_spreads_it() {
        let config = RetryConfig::default();
        let delays = (0..200).map(|seed| {
            match decide(&mut Retry::new(config, Rng::new(seed)), hinted(5_000)) {
                Decision::Retry { after } => after,
                other => panic!("{other:?}"),
            }
        });
        let delays: Vec<_> = delays.collect();
        let (first, last) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!(*first >= ms(5_000) && *last <= ms(6_250));
        assert!(*last - *first >= ms(1_000), "a fifth of the hint");
        let mut exact = Retry::new(config.hint_spread(Ratio::ZERO), Rng::new(1));
        assert_eq!(decide(&mut exact, hinted(5_000)), after(5_000));
    }

    #[test]
    fn rules_3_and_5_the_spread_of_a_hint_does_not_cross_the_deadline() {
        for seed in 0..100 {
            let mut retry = Retry::new(RetryConfig::default(), Rng::new(seed));
            let deadline = Some(Tick::ZERO + ms(5_001));
            match retry.decide(hinted(5_000), deadline, Tick::ZERO) {
                Decision::Retry { after } => assert!(after >= ms(5_000) && after < ms(5_001)),
                other => panic!("{other:?}"),
            }
            let deadline = Some(Tick::ZERO + ms(5_000));
            let mut retry = Retry::new(RetryConfig::default(), Rng::new(seed));
            let late = retry.decide(hinted(5_000), deadline, Tick::ZERO);
            assert_eq!(late, Decision::GiveUp(GaveUp::Deadline));
        }
    }

    #[test]
    fn rule_8_pushback_is_exact_and_starts_the_progression_anew() {
        let mut retry = Retry::new(
            plain().backoff(Backoff::exponential(ms(10), ms(1_000)).jitter(Jitter::None)),
            Rng::new(1),
        );
        let push = |millis| Outcome::Pushback(Pushback::After(ms(millis)));
        assert_eq!(decide(&mut retry, FAILED), after(10));
        assert_eq!(decide(&mut retry, FAILED), after(20));
        assert_eq!(decide(&mut retry, push(7)), after(7));
        assert_eq!(decide(&mut retry, FAILED), after(10));
        assert_eq!(decide(&mut retry, push(0)), after(0));
        assert_eq!(retry.attempt(), 6, "each counts");
        let long = decide(&mut retry, push(60_001));
        assert_eq!(long, Decision::GiveUp(GaveUp::Hint));
        let never = decide(&mut retry, Outcome::Pushback(Pushback::Never));
        assert_eq!(never, Decision::GiveUp(GaveUp::Pushback));
    }

    #[test]
    fn rule_9_overload_waits_longer_and_both_grow_together() {
        let slower = Backoff::exponential(ms(100), ms(500)).jitter(Jitter::None);
        let mut retry = Retry::new(plain().overload_backoff(slower), Rng::new(1));
        let busy = Outcome::Overload { retry_after: None };
        assert_eq!(decide(&mut retry, FAILED), after(10));
        assert_eq!(decide(&mut retry, busy), after(200));
        assert_eq!(decide(&mut retry, FAILED), after(40));
        assert_eq!(decide(&mut retry, busy), after(500));
    }

    #[test]
    fn rule_10_one_layer_retries() {
        let nested = Decision::GiveUp(GaveUp::Nested);
        for (outer, first) in [(0, after(10)), (1, after(10)), (2, nested)] {
            let mut retry = Retry::new(plain(), Rng::new(1)).within(outer);
            assert_eq!(
                decide(&mut retry, FAILED),
                first,
                "attempt {outer} of the caller"
            );
            retry.retried_in_vain();
            assert_eq!(decide(&mut retry, FAILED), nested);
        }
        let each = plain().nesting(Nesting::Each);
        let mut retry = Retry::new(each, Rng::new(1)).within(2);
        retry.retried_in_vain();
        assert_eq!(decide(&mut retry, FAILED), after(10));
        // What was in vain is forgotten with the attempt.
        let mut retry = Retry::new(plain(), Rng::new(1));
        retry.retried_in_vain();
        assert_eq!(decide(&mut retry, Outcome::Success), Decision::Done);
        assert_eq!(decide(&mut retry, FAILED), after(10));
    }

    #[cfg(feature = "tower")]
    #[test]
    fn every_reason_stands_at_its_number() {
        for (i, reason) in GaveUp::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "{reason:?}");
        }
    }
}
