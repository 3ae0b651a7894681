use super::TOKEN;
use crate::outcome::{Failure, Outcome};

/// A bucket of tokens from which each retry takes what its kind of failure costs.
///
/// A retry that helps gives back what it took: a call that succeeds in the end returns the cost of its last retry, and
/// one that succeeds at once adds a small bonus, which refills the bucket after a bad time. So a callee that fails for
/// everybody uses the bucket up, one that fails now and then never does.
///
/// # Source
///
/// The retry quota of the AWS SDKs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaBudget {
    capacity: u32,
    transient: u32,
    throttling: u32,
    timeout: u32,
    bonus: u32,
}

impl QuotaBudget {
    /// A bucket of so many tokens, with the costs of [`aws`](Self::aws).
    #[must_use]
    pub const fn new(capacity: u32) -> Self {
        Self {
            capacity,
            transient: 14,
            throttling: 5,
            timeout: 14,
            bonus: 1,
        }
    }

    /// The AWS SDKs' standard mode in version 2.1 of its specification: 500 tokens, 14 for a retry, 5 after throttling.
    #[must_use]
    pub const fn aws() -> Self {
        Self::new(500)
    }

    /// The AWS SDKs' standard mode as it was before: 500 tokens, 5 for a retry, 10 after a timeout.
    #[must_use]
    pub const fn aws_classic() -> Self {
        Self::new(500).transient(5).timeout(10)
    }

    /// What a retry costs after a failure of no other kind. Defaults to 14.
    #[must_use]
    pub const fn transient(mut self, cost: u32) -> Self {
        self.transient = cost;
        self
    }

    /// What a retry costs after the callee asked for less. Defaults to 5: such a retry waits long.
    #[must_use]
    pub const fn throttling(mut self, cost: u32) -> Self {
        self.throttling = cost;
        self
    }

    /// What a retry costs after a timeout. Defaults to 14, as any other.
    #[must_use]
    pub const fn timeout(mut self, cost: u32) -> Self {
        self.timeout = cost;
        self
    }

    /// What a call adds that succeeds at once. Defaults to 1.
    #[must_use]
    pub const fn bonus(mut self, tokens: u32) -> Self {
        self.bonus = tokens;
        self
    }

    /// How many tokens there can be.
    #[must_use]
    pub const fn most(&self) -> u32 {
        self.capacity
    }

    /// What a retry costs after an attempt that ended so.
    #[must_use]
    pub const fn cost(&self, outcome: Outcome) -> u32 {
        match outcome {
            Outcome::Failure(Failure::Timeout) => self.timeout,
            Outcome::Overload { .. } => self.throttling,
            _ => self.transient,
        }
    }

    /// What a call adds that succeeds at once.
    #[must_use]
    pub const fn reward(&self) -> u32 {
        self.bonus
    }
}

/// The bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    config: QuotaBudget,
    tokens: u32,
}

impl Bucket {
    pub(super) const fn new(config: QuotaBudget) -> Self {
        Self {
            config,
            tokens: config.capacity,
        }
    }

    pub(super) fn reconfigure(&mut self, config: QuotaBudget) {
        self.tokens = self.tokens.min(config.capacity);
        self.config = config;
    }

    /// So many calls succeeded at once.
    pub(super) fn reward(&mut self, calls: u64) {
        let bonus = u64::from(self.config.bonus).saturating_mul(calls);
        self.refund(u32::try_from(bonus).unwrap_or(u32::MAX));
    }

    /// Calls after which another one adds nothing.
    pub(super) fn room(&self) -> u64 {
        let missing = u64::from(self.config.capacity - self.tokens);
        match u64::from(self.config.bonus) {
            0 => 0,
            bonus => missing.div_ceil(bonus),
        }
    }

    pub(super) fn take(&mut self, outcome: Outcome) -> Option<u32> {
        let cost = self.config.cost(outcome);
        self.tokens = self.tokens.checked_sub(cost)?;
        Some(cost)
    }

    pub(super) fn refund(&mut self, cost: u32) {
        let tokens = self.tokens.saturating_add(cost);
        self.tokens = tokens.min(self.config.capacity);
    }

    pub(super) const fn tokens(&self) -> u64 {
        self.tokens as u64 * TOKEN
    }
}
