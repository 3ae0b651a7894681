use std::num::NonZeroU32;

use crate::num::{Period, count};
use crate::time::nanos;

/// How many permits there are, and how they come.
///
/// Sources disagree on what "five a second" means, so each reading is a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rate {
    /// What was not used is saved up, `burst` permits at most; they come back one by one, `permits` in a `period`.
    Burst {
        /// How many may go at once after a quiet time.
        burst: NonZeroU32,
        /// How many come back.
        permits: NonZeroU32,
        /// In how long.
        period: Period,
    },
    /// Nothing is saved up: one permit each `period / permits`. For callees that mind bursts.
    Even {
        /// How many.
        permits: NonZeroU32,
        /// In how long.
        period: Period,
    },
    /// `permits` in each period of the process's clock; what was not used by its end is gone.
    ///
    /// Easy to explain ("so many left, more at such a time"), and what resilience4j and failsafe count by. Around the
    /// border of two windows up to twice as many pass, so prefer [`Burst`](Self::Burst) to protect a callee. The
    /// windows are this process's own, not those of the callee.
    Windows {
        /// How many in each.
        permits: NonZeroU32,
        /// How long each is.
        period: Period,
    },
}

impl Rate {
    /// `permits` in a `period`, all of them at once if nobody came for so long.
    ///
    /// # Panics
    ///
    /// At zero permits; in a `const` that is a compile error.
    #[must_use]
    pub const fn burst(permits: u32, period: Period) -> Self {
        let permits = count(permits);
        Self::Burst {
            burst: permits,
            permits,
            period,
        }
    }

    /// `permits` in a `period`, evenly spaced.
    ///
    /// # Panics
    ///
    /// At zero permits; in a `const` that is a compile error.
    #[must_use]
    pub const fn even(permits: u32, period: Period) -> Self {
        Self::Even {
            permits: count(permits),
            period,
        }
    }

    /// `permits` in each window of `period`.
    ///
    /// # Panics
    ///
    /// At zero permits; in a `const` that is a compile error.
    #[must_use]
    pub const fn windows(permits: u32, period: Period) -> Self {
        Self::Windows {
            permits: count(permits),
            period,
        }
    }

    /// The same rate with its period divided by `by`.
    #[must_use]
    fn compressed(self, by: NonZeroU32) -> Self {
        match self {
            Self::Burst {
                burst,
                permits,
                period,
            } => Self::Burst {
                burst,
                permits,
                period: period.compressed(by),
            },
            Self::Even { permits, period } => Self::Even {
                permits,
                period: period.compressed(by),
            },
            Self::Windows { permits, period } => Self::Windows {
                permits,
                period: period.compressed(by),
            },
        }
    }
}

/// The settings of a rate limit.
///
/// There is no default: no rate suits every callee.
///
/// # Example
///
/// ```
/// use mainstay::limit::rate::{Rate, RateConfig};
/// use mainstay::num::Period;
///
/// let config = RateConfig::new(Rate::burst(100, Period::secs(1))).patience(Period::millis(250));
/// assert_eq!(config.longest_wait(), Some(Period::millis(250)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateConfig {
    pub(super) rate: Rate,
    pub(super) patience: Option<Period>,
}

impl RateConfig {
    /// A limit that refuses at once what it cannot let through at once.
    #[must_use]
    pub const fn new(rate: Rate) -> Self {
        Self {
            rate,
            patience: None,
        }
    }

    /// How long a call may wait for its permit.
    ///
    /// Defaults to not at all: a caller that is told when to come back can do better than wait, and calls that wait
    /// take memory. A call whose wait would be longer is refused at once, and so is one whose wait would end after its
    /// deadline.
    #[must_use]
    pub const fn patience(mut self, patience: Period) -> Self {
        self.patience = Some(patience);
        self
    }

    /// How many permits there are.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// How long a call may wait, `None` for not at all.
    #[must_use]
    pub const fn longest_wait(&self) -> Option<Period> {
        self.patience
    }

    /// The same limit with every duration divided by `by`, for drills that must not take minutes.
    #[must_use]
    pub fn compressed(mut self, by: NonZeroU32) -> Self {
        self.rate = self.rate.compressed(by);
        self.patience = self.patience.map(|patience| patience.compressed(by));
        self
    }

    pub(super) fn patience_nanos(&self) -> u64 {
        self.patience.map_or(0, |patience| nanos(patience.get()))
    }
}

impl From<Rate> for RateConfig {
    fn from(rate: Rate) -> Self {
        Self::new(rate)
    }
}

/// The settings of a rate limit for each key: each tenant, endpoint or address.
///
/// # Example
///
/// ```
/// use mainstay::limit::rate::{KeyedRateConfig, Rate};
/// use mainstay::num::Period;
///
/// let config = KeyedRateConfig::new(Rate::burst(100, Period::secs(1))).max_keys(50_000);
/// assert_eq!(config.bound().get(), 50_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedRateConfig {
    pub(super) each: RateConfig,
    pub(super) max_keys: NonZeroU32,
}

impl KeyedRateConfig {
    /// Each key gets the limit `each`.
    #[must_use]
    pub fn new(each: impl Into<RateConfig>) -> Self {
        Self {
            each: each.into(),
            max_keys: count(10_000),
        }
    }

    /// How many keys are remembered at most.
    ///
    /// Defaults to 10,000, about a megabyte. A key takes a place only from its call until its limit is as good as
    /// untouched, so count the keys that call within one period and double that.
    ///
    /// # Panics
    ///
    /// At zero; in a `const` that is a compile error.
    #[must_use]
    pub const fn max_keys(mut self, max_keys: u32) -> Self {
        self.max_keys = count(max_keys);
        self
    }

    /// The limit of each key.
    #[must_use]
    pub const fn each(&self) -> RateConfig {
        self.each
    }

    /// How many keys are remembered at most.
    #[must_use]
    pub const fn bound(&self) -> NonZeroU32 {
        self.max_keys
    }

    /// The same limit with every duration divided by `by`, for drills that must not take minutes.
    #[must_use]
    pub fn compressed(mut self, by: NonZeroU32) -> Self {
        self.each = self.each.compressed(by);
        self
    }
}

impl<C: Into<RateConfig>> From<C> for KeyedRateConfig {
    fn from(each: C) -> Self {
        Self::new(each)
    }
}
