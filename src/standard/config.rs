use crate::breaker::BreakerConfig;
use crate::limit::adaptive::AdaptiveConfig;
use crate::num::Period;
use crate::retry::RetryConfig;
use crate::time::nanos;

/// The settings of a standard stack, as data.
///
/// | part | default |
/// |---|---|
/// | total deadline | 30 s |
/// | limit | adaptive: see [`AdaptiveConfig`] |
/// | retry | 3 attempts, 50 ms doubling to 20 s, full jitter, a budget: see [`RetryConfig`] |
/// | breaker | by rate or by streak: see [`BreakerConfig`]; a probe may take twice the attempt timeout |
/// | attempt timeout | 10 s |
///
/// With these the stack passes every line of the outage benchmark (`docs/outages.md`); only the two times are for you to
/// set, since only you know how long your callee takes.
///
/// # Example
///
/// ```
/// use mainstay::num::Period;
/// use mainstay::standard::{Stack, StackConfig};
///
/// let config = StackConfig::new().deadline(Period::secs(5));
/// let stack = Stack::with_config("ledger", config);
/// // Later, while calls are under way:
/// stack.handle().reload(config.deadline(Period::secs(8)));
/// assert_eq!(stack.handle().config().total(), Period::secs(8));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StackConfig {
    pub(super) deadline: Period,
    pub(super) attempt_timeout: Period,
    pub(super) limit: AdaptiveConfig,
    pub(super) retry: RetryConfig,
    pub(super) breaker: BreakerConfig,
}

impl StackConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            deadline: Period::secs(30),
            attempt_timeout: Period::secs(10),
            limit: AdaptiveConfig::new(),
            retry: RetryConfig::default(),
            breaker: BreakerConfig::default(),
        }
        .consistent()
    }

    /// How long a call may take in all, waits and retries included.
    #[must_use]
    pub const fn deadline(mut self, deadline: Period) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long one attempt may take.
    ///
    /// A probe of the breaker may take twice as long at least, so its half-open deadline grows with it.
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Period) -> Self {
        self.attempt_timeout = timeout;
        self.consistent()
    }

    /// How many calls may be under way.
    #[must_use]
    pub const fn limit(mut self, config: AdaptiveConfig) -> Self {
        self.limit = config;
        self
    }

    /// How failed calls are tried again.
    #[must_use]
    pub const fn retry(mut self, config: RetryConfig) -> Self {
        self.retry = config;
        self
    }

    /// When the callee is left alone.
    ///
    /// A half-open deadline of less than twice the attempt timeout counts as that.
    #[must_use]
    pub fn breaker(mut self, config: impl Into<BreakerConfig>) -> Self {
        self.breaker = config.into();
        self.consistent()
    }

    pub(super) const fn consistent(mut self) -> Self {
        self.breaker = patient(self.breaker, self.attempt_timeout);
        self
    }

    /// How long a call may take in all.
    #[must_use]
    pub const fn total(&self) -> Period {
        self.deadline
    }

    /// How long one attempt may take.
    #[must_use]
    pub const fn attempt(&self) -> Period {
        self.attempt_timeout
    }

    /// How many calls may be under way.
    #[must_use]
    pub const fn limits(&self) -> AdaptiveConfig {
        self.limit
    }

    /// How failed calls are tried again.
    #[must_use]
    pub const fn retries(&self) -> RetryConfig {
        self.retry
    }

    /// When the callee is left alone.
    #[must_use]
    pub const fn circuit(&self) -> BreakerConfig {
        self.breaker
    }
}

impl Default for StackConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// The timeout of an attempt decides about a probe before the half-open deadline does. Were it the other way round, a
/// callee whose calls take longer than that would never be found back.
pub(super) const fn patient(breaker: BreakerConfig, timeout: Period) -> BreakerConfig {
    let twice = nanos(timeout.get()).saturating_mul(2);
    let half_open = breaker.probing();
    if nanos(half_open.patience().get()) >= twice {
        return breaker;
    }
    breaker.half_open(half_open.deadline(Period::from_nanos(twice)))
}
