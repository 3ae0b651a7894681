//! The rules.
//!
//! 1. A success, an ignored outcome and a refusal of this stack are final.
//! 2. After the last attempt the result is final.
//! 3. The next attempt starts after the backoff's delay and never before the callee's own hint.
//! 4. A hint longer than `longest_hint` ends the call with the callee's answer, hint included.
//! 5. No retry starts at or after the deadline, and none is waited for that would.
//! 6. A retry that everything else allows takes one token of the budget; without one the result is final.
//! 7. Giving up returns the callee's own last answer, never an error about retrying: also when the wait ends too late,
//!    and when a layer below refuses the next attempt. A caller that got the refusal instead would never learn that
//!    its call is broken, and would spend the half-open probe of an open circuit on it again and again.

use std::num::NonZeroU32;
use std::time::Duration;

use super::backoff::{Backoff, Jitter};
use super::budget::BudgetConfig;
use crate::num::Attempts;
use crate::outcome::Outcome;
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
    attempts: Attempts,
    backoff: Backoff,
    budget: Option<BudgetConfig>,
    longest_hint: Duration,
}

impl RetryConfig {
    /// At most this many attempts.
    #[must_use]
    pub fn new(attempts: Attempts) -> Self {
        Self {
            attempts,
            backoff: Backoff::exponential(Duration::from_millis(50), Duration::from_secs(20))
                .jitter(Jitter::Full),
            budget: Some(BudgetConfig::default()),
            longest_hint: Duration::from_secs(60),
        }
    }

    /// How long to wait. Defaults to 50 ms doubling to 20 s with full jitter.
    #[must_use]
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
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

    /// Its budget, `None` if it has none.
    #[must_use]
    pub const fn allowance(&self) -> Option<BudgetConfig> {
        self.budget
    }

    /// The same policy with every duration divided by `by`, for drills that must not take minutes.
    #[must_use]
    pub fn compressed(mut self, by: NonZeroU32) -> Self {
        self.backoff = self.backoff.compressed(by);
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
            Self::Refused => "refused",
            Self::Request => "request",
        }
    }
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
/// use mainstay::num::Attempts;
/// use mainstay::outcome::{Failure, Outcome};
/// use mainstay::retry::{Decision, GaveUp, Retry, RetryConfig};
/// use mainstay::rng::Rng;
/// use mainstay::time::Tick;
/// use std::time::Duration;
///
/// let mut retry = Retry::new(RetryConfig::new(Attempts::total(2)), Rng::new(1));
/// let hint = Outcome::Overload { retry_after: Some(Duration::from_secs(2)) };
/// let next = retry.decide(hint, None, Tick::ZERO);
/// assert_eq!(next, Decision::Retry { after: Duration::from_secs(2) });
/// let failed = Outcome::Failure(Failure::Error);
/// assert_eq!(retry.decide(failed, None, Tick::ZERO), Decision::GiveUp(GaveUp::Attempts));
/// ```
#[derive(Clone, Debug)]
pub struct Retry {
    config: RetryConfig,
    rng: Rng,
    attempt: u32,
    previous: Duration,
}

impl Retry {
    /// Before the first attempt ends.
    #[must_use]
    pub const fn new(config: RetryConfig, rng: Rng) -> Self {
        Self {
            config,
            rng,
            attempt: 1,
            previous: Duration::ZERO,
        }
    }

    /// The attempt that is under way, counted from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Says how the attempt under way ended. After [`Decision::Retry`] the next one is under way.
    pub fn decide(&mut self, outcome: Outcome, deadline: Option<Tick>, now: Tick) -> Decision {
        if !outcome.is_failure() {
            return Decision::Done;
        }
        if self.attempt >= self.config.attempts.get() {
            return Decision::GiveUp(GaveUp::Attempts);
        }
        let hint = outcome.retry_after().unwrap_or(Duration::ZERO);
        if hint > self.config.longest_hint {
            return Decision::GiveUp(GaveUp::Hint);
        }
        let delay = self
            .config
            .backoff
            .delay(self.attempt, self.previous, &mut self.rng);
        let after = delay.max(hint);
        if deadline.is_some_and(|deadline| now + after >= deadline) {
            return Decision::GiveUp(GaveUp::Deadline);
        }
        self.previous = delay;
        self.attempt = self.attempt.saturating_add(1);
        Decision::Retry { after }
    }
}
