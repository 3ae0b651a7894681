use std::num::NonZeroU32;
use std::time::Duration;

use crate::num::{Factor, Ratio};
use crate::rng::Rng;

/// How the delay grows from one retry to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Growth {
    /// Always the initial delay.
    Constant,
    /// The initial delay times the number of the retry.
    Linear,
    /// The initial delay times a power of the factor.
    Exponential(Factor),
}

/// How chance spreads the delays of callers that failed together.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Jitter {
    /// Not at all.
    None,
    /// Up to this share is added: uniform in `[d, d × (1 + share)]`.
    Add(Ratio),
    /// Up to this share is added or taken off: uniform in `[d × (1 - share), d × (1 + share)]`.
    Around(Ratio),
    /// The delay is scaled: uniform in `[d × low, d × high]`. Bounds in the wrong order are exchanged.
    Scale {
        /// The lower factor.
        low: Ratio,
        /// The upper factor.
        high: Ratio,
    },
    /// Uniform in `[0, d]`.
    Full,
    /// Uniform in `[d / 2, d]`.
    Equal,
    /// Uniform in `[initial, 3 × previous delay]`; growth does not matter.
    Decorrelated,
}

/// How long to wait before a retry.
///
/// # Result
///
/// Never above the cap, whatever the jitter, unless [`cap_first`](Self::cap_first) is asked for.
///
/// # Source
///
/// M. Brooker, "Exponential backoff and jitter" (AWS Architecture Blog, 2015) for full, equal and decorrelated jitter.
///
/// # Example
///
/// ```
/// use mainstay::retry::{Backoff, Jitter};
/// use mainstay::rng::Rng;
/// use std::time::Duration;
///
/// let ms = Duration::from_millis;
/// let backoff = Backoff::exponential(ms(100), ms(350)).jitter(Jitter::None);
/// let mut rng = Rng::new(1);
/// let delays: Vec<_> = (1..=3).map(|n| backoff.delay(n, Duration::ZERO, &mut rng)).collect();
/// assert_eq!(delays, [ms(100), ms(200), ms(350)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    pub(super) growth: Growth,
    pub(super) initial: Duration,
    pub(super) max: Duration,
    pub(super) jitter: Jitter,
    pub(super) first_exponent: u32,
    pub(super) cap_last: bool,
}

impl Backoff {
    /// The same delay every time, with full jitter. There is nothing to cap but the delay itself, so jitter that adds
    /// lengthens it.
    #[must_use]
    pub const fn constant(delay: Duration) -> Self {
        Self::new(Growth::Constant, delay, delay).cap_first()
    }

    /// `initial`, twice, three times as much and so on up to `max`, with full jitter.
    #[must_use]
    pub const fn linear(initial: Duration, max: Duration) -> Self {
        Self::new(Growth::Linear, initial, max)
    }

    /// `initial`, doubling up to `max`, with full jitter.
    #[must_use]
    pub const fn exponential(initial: Duration, max: Duration) -> Self {
        Self::new(Growth::Exponential(Factor::TWO), initial, max)
    }

    const fn new(growth: Growth, initial: Duration, max: Duration) -> Self {
        Self {
            growth,
            initial,
            max,
            jitter: Jitter::Full,
            first_exponent: 0,
            cap_last: true,
        }
    }

    /// Grows by this factor.
    #[must_use]
    pub const fn factor(mut self, factor: Factor) -> Self {
        self.growth = Growth::Exponential(factor);
        self
    }

    /// How chance spreads the delay. Defaults to [`Jitter::Full`], which spreads best.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The exponent of the first retry. Defaults to 0: the first delay is the initial one.
    #[must_use]
    pub const fn first_exponent(mut self, exponent: u32) -> Self {
        self.first_exponent = exponent;
        self
    }

    /// Applies the cap before the jitter, so that jitter can exceed it. Defaults to the cap last.
    #[must_use]
    pub const fn cap_first(mut self) -> Self {
        self.cap_last = false;
        self
    }

    /// How the delay grows.
    #[must_use]
    pub const fn growth(&self) -> Growth {
        self.growth
    }

    /// The delay that it grows from.
    #[must_use]
    pub const fn initial(&self) -> Duration {
        self.initial
    }

    /// How chance spreads the delay.
    #[must_use]
    pub const fn spread(&self) -> Jitter {
        self.jitter
    }

    /// The exponent of the first retry.
    #[must_use]
    pub const fn exponent(&self) -> u32 {
        self.first_exponent
    }

    /// Whether jitter may exceed the cap.
    #[must_use]
    pub const fn is_cap_first(&self) -> bool {
        !self.cap_last
    }

    /// The longest delay before jitter.
    #[must_use]
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// The delay before retry number `retry`, counted from 1.
    ///
    /// # Inputs
    ///
    /// - `previous`: the delay before the retry before this one, zero for the first; only decorrelated jitter asks.
    #[must_use]
    pub fn delay(&self, retry: u32, previous: Duration, rng: &mut Rng) -> Duration {
        let initial = self.initial.as_secs_f64();
        let max = self.max.as_secs_f64();
        let step = retry.max(1);
        let base = match self.growth {
            Growth::Constant => initial,
            Growth::Linear => initial * f64::from(step.saturating_add(self.first_exponent)),
            Growth::Exponential(factor) => {
                let exponent = (step - 1).saturating_add(self.first_exponent);
                // An overflowing power is infinite and the cap brings it back; 0 × ∞ is not a delay.
                let power = factor
                    .get()
                    .powi(i32::try_from(exponent).unwrap_or(i32::MAX));
                if initial > 0.0 { initial * power } else { 0.0 }
            }
        };
        let base = base.min(max);
        let mut within = |low: f64, high: f64| low + (high - low) * rng.unit();
        let delay = match self.jitter {
            Jitter::None => base,
            Jitter::Add(share) => within(base, base * (1.0 + share.get())),
            Jitter::Around(share) => {
                let share = share.get();
                within(base * (1.0 - share), base * (1.0 + share))
            }
            Jitter::Scale { low, high } => {
                let (low, high) = (low.get().min(high.get()), low.get().max(high.get()));
                within(base * low, base * high)
            }
            Jitter::Full => within(0.0, base),
            Jitter::Equal => within(base / 2.0, base),
            Jitter::Decorrelated => {
                let high = (previous.as_secs_f64() * 3.0).max(initial);
                within(initial, high).min(max)
            }
        };
        let delay = if self.cap_last { delay.min(max) } else { delay };
        // Rounding may only shorten: `min` once more in exact arithmetic.
        let delay = Duration::try_from_secs_f64(delay).unwrap_or(Duration::MAX);
        if self.cap_last {
            delay.min(self.max)
        } else {
            delay
        }
    }

    /// The same backoff with every duration divided by `by`.
    #[must_use]
    pub fn compressed(mut self, by: NonZeroU32) -> Self {
        self.initial /= by.get();
        self.max /= by.get();
        self
    }
}
