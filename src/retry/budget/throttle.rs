use super::TOKEN;
use crate::num::Ratio;

/// Retries only while most calls of late succeed.
///
/// Each failed attempt takes a token, each success adds `ratio` of one, up to `max`. A retry is allowed while more than
/// half of the tokens are there; it takes none of its own. So retries stop once more than about `ratio` of the attempts
/// fail, and come back after as many successes.
///
/// # Source
///
/// gRPC proposal A6, "Throttling retry attempts and hedged RPCs". A `maxTokens` of 10 and a `tokenRatio` of 0.1 are its
/// example. A change of settings keeps the share of tokens that was there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThrottleBudget {
    max: u32,
    ratio: Ratio,
}

impl ThrottleBudget {
    /// So many tokens, of which a success adds so much. With no token nothing is retried.
    #[must_use]
    pub const fn new(max: u32, ratio: Ratio) -> Self {
        Self { max, ratio }
    }

    /// How many tokens there can be.
    #[must_use]
    pub const fn most(&self) -> u32 {
        self.max
    }

    /// What a success adds.
    #[must_use]
    pub const fn share(&self) -> Ratio {
        self.ratio
    }
}

/// The tokens.
#[derive(Clone, Debug)]
pub(super) struct Throttle {
    max: u64,
    tokens: u64,
    success: u64,
}

impl Throttle {
    pub(super) fn new(config: ThrottleBudget) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a ratio is within 0 and 1"
        )]
        let success = (config.ratio.get() * TOKEN as f64).round() as u64;
        let max = u64::from(config.max) * TOKEN;
        Self {
            max,
            tokens: max,
            success,
        }
    }

    pub(super) fn reconfigure(&mut self, config: ThrottleBudget) {
        let (old, tokens) = (self.max, self.tokens);
        *self = Self::new(config);
        if old > 0 {
            let share = u128::from(self.max) * u128::from(tokens) / u128::from(old);
            self.tokens = u64::try_from(share).unwrap_or(self.max).min(self.max);
        }
    }

    pub(super) const fn fail(&mut self) {
        self.tokens = self.tokens.saturating_sub(TOKEN);
    }

    /// So many attempts succeeded.
    pub(super) fn succeed(&mut self, attempts: u64) {
        let added = self.success.saturating_mul(attempts);
        self.tokens = self.tokens.saturating_add(added).min(self.max);
    }

    /// Successes after which another one adds nothing.
    pub(super) const fn room(&self) -> u64 {
        match self.success {
            0 => 0,
            success => (self.max - self.tokens).div_ceil(success),
        }
    }

    pub(super) const fn allows(&self) -> bool {
        self.tokens > self.max / 2
    }

    pub(super) const fn tokens(&self) -> u64 {
        self.tokens
    }
}
