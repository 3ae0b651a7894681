use std::num::NonZeroU32;

use super::outcomes::Outcomes;
use crate::num::count;

/// The settings of a fallback.
///
/// # Example
///
/// ```
/// use mainstay::error::Reason;
/// use mainstay::fallback::{FallbackConfig, Outcomes};
/// use mainstay::num::count;
///
/// // Only while the circuit is open; never more than ten at a time.
/// let config = FallbackConfig::new(Outcomes::NONE.refusal(Reason::CircuitOpen))
///     .max_in_flight(count(10));
/// assert_eq!(config.places().get(), 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FallbackConfig {
    pub(super) outcomes: Outcomes,
    pub(super) max_in_flight: NonZeroU32,
}

impl FallbackConfig {
    /// A fallback that answers for `outcomes`.
    #[must_use]
    pub const fn new(outcomes: Outcomes) -> Self {
        Self {
            outcomes,
            // At 20 ms each that is 3,200 a second: more than one callee's outage asks for, less than a new overload.
            max_in_flight: count(64),
        }
    }

    /// Which outcomes it answers for. Defaults to [`Outcomes::default`].
    #[must_use]
    pub const fn outcomes(mut self, outcomes: Outcomes) -> Self {
        self.outcomes = outcomes;
        self
    }

    /// How many fallbacks may be under way at a time.
    ///
    /// Beyond them a call gets its own result back: what stands in for a callee that is down must not go down next. A
    /// value takes no time, so it takes no place either. Defaults to 64; Hystrix allowed 10, one thread each.
    #[must_use]
    pub const fn max_in_flight(mut self, max: NonZeroU32) -> Self {
        self.max_in_flight = max;
        self
    }

    /// The outcomes it answers for.
    #[must_use]
    pub const fn stated(&self) -> Outcomes {
        self.outcomes
    }

    /// How many may be under way at a time.
    #[must_use]
    pub const fn places(&self) -> NonZeroU32 {
        self.max_in_flight
    }

    /// Both settings in one word, so that they are replaced and read together without a lock.
    #[cfg(feature = "tower")]
    pub(super) fn to_word(self) -> u64 {
        u64::from(self.outcomes.bits()) << 32 | u64::from(self.max_in_flight.get())
    }

    #[cfg(feature = "tower")]
    pub(super) fn from_word(word: u64) -> Self {
        let low = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Self {
            outcomes: Outcomes::from_bits(low(word >> 32)),
            max_in_flight: NonZeroU32::new(low(word)).unwrap_or(NonZeroU32::MIN),
        }
    }
}

/// What says that the callee is down or slow, and 64 at a time.
impl Default for FallbackConfig {
    fn default() -> Self {
        Self::new(Outcomes::default())
    }
}

impl From<Outcomes> for FallbackConfig {
    fn from(outcomes: Outcomes) -> Self {
        Self::new(outcomes)
    }
}

#[cfg(all(test, feature = "tower"))]
mod tests {
    use super::*;
    use crate::error::Reason;

    #[test]
    fn a_word_holds_every_setting() {
        for config in [
            FallbackConfig::default(),
            FallbackConfig::new(Outcomes::NONE).max_in_flight(NonZeroU32::MAX),
            FallbackConfig::new(Outcomes::NONE.failures().overload().refusals())
                .max_in_flight(NonZeroU32::MIN),
            Outcomes::NONE.refusal(Reason::Readmitting).into(),
        ] {
            assert_eq!(FallbackConfig::from_word(config.to_word()), config);
        }
    }
}
