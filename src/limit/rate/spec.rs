//! The arithmetic of a rate: where in the line a call stands, and when that place's time has come.
//!
//! Positions of spaced permits are nanoseconds of virtual time, so that the line's end is GCRA's theoretical arrival
//! time. Positions of windows count permits from the clock's origin. Everything else is the same for both.

use super::config::{Rate, RateConfig};
use crate::time::nanos;

/// The last position and the last moment: 73 years in nanoseconds, so that a word has three bits to spare and the sum
/// of any three of them does not overflow.
pub(super) const END: u64 = (1 << 61) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Spaced {
        interval: u64,
        /// How far the line may be ahead of the time: the burst's length.
        tolerance: u64,
    },
    Windows {
        permits: u64,
        period: u64,
    },
}

impl From<Rate> for Shape {
    fn from(rate: Rate) -> Self {
        match rate {
            Rate::Burst {
                burst,
                permits,
                period,
            } => {
                // Rounded up: never more than the rate.
                let interval = nanos(period.get()).div_ceil(u64::from(permits.get()));
                Self::spaced(interval, u64::from(burst.get()))
            }
            Rate::Even { permits, period } => {
                let interval = nanos(period.get()).div_ceil(u64::from(permits.get()));
                Self::spaced(interval, 1)
            }
            Rate::Windows { permits, period } => Self::Windows {
                permits: u64::from(permits.get()),
                period: nanos(period.get()).min(END),
            },
        }
    }
}

impl Shape {
    fn spaced(interval: u64, burst: u64) -> Self {
        Self::Spaced {
            interval: interval.min(END),
            tolerance: interval.saturating_mul(burst).min(END),
        }
    }
}

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) end: u64,
    /// When it may go; not before now.
    pub(super) at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) shape: Shape,
    /// How long a call may wait.
    pub(super) patience: u64,
    /// How long anybody in the line may have been told to wait: a longer patience may have been in force before.
    pub(super) reach: u64,
}

impl Spec {
    pub(super) fn new(config: &RateConfig) -> Self {
        let patience = config.patience_nanos().min(END);
        Self {
            shape: config.rate().into(),
            patience,
            reach: patience,
        }
    }

    /// Where the line ends when nobody has come for long.
    #[inline]
    pub(super) const fn floor(&self, now: u64) -> u64 {
        match self.shape {
            Shape::Spaced { .. } => now,
            Shape::Windows { permits, period } => {
                at_most(END, (now / period).saturating_mul(permits))
            }
        }
    }

    /// How much of the line `n` permits take.
    #[inline]
    const fn cost(&self, n: u32) -> u64 {
        match self.shape {
            Shape::Spaced { interval, .. } => at_most(END, interval.saturating_mul(n as u64)),
            Shape::Windows { .. } => n as u64,
        }
    }

    /// When a place that ends at `end` may go.
    #[inline]
    const fn go(&self, end: u64) -> u64 {
        match self.shape {
            Shape::Spaced { tolerance, .. } => end.saturating_sub(tolerance),
            Shape::Windows { permits, period } => at_most(
                END,
                (end.saturating_sub(1) / permits).saturating_mul(period),
            ),
        }
    }

    /// The place of `n` permits at or after `from`.
    #[inline]
    pub(super) fn place(&self, from: u64, n: u32, now: u64) -> Place {
        let start = from.max(self.floor(now));
        let end = start + self.cost(n);
        Place {
            start,
            end: end.min(END),
            at: self.go(end).min(END).max(now),
        }
    }

    /// How long until a call that would have to wait until `at` could be let in with a wait of no more than `limit`;
    /// `None` for never. `first` tells the first place that there is at a later moment.
    ///
    /// Places only vanish as time passes, so each answer is the earliest moment at which the next could be better, and
    /// after a few of them, `tries`, there is none.
    pub(super) fn later(
        tries: usize,
        first: impl Fn(u64) -> Place,
        mut at: u64,
        limit: u64,
        now: u64,
    ) -> Option<u64> {
        for _ in 0..tries {
            let then = at.saturating_sub(limit);
            at = first(then).at;
            if at - then <= limit {
                return Some(then.saturating_sub(now));
            }
        }
        None
    }

    /// Where the line can end at most, unless time stepped back.
    pub(super) const fn farthest(&self, now: u64) -> u64 {
        let then = now + self.reach;
        let end = match self.shape {
            Shape::Spaced { tolerance, .. } => then + tolerance,
            Shape::Windows { permits, period } => (then / period + 1).saturating_mul(permits),
        };
        at_most(END, end)
    }

    /// How many permits are left when the line ends `ahead` of its floor; below zero when others wait.
    pub(super) fn left(&self, ahead: u64) -> i64 {
        match self.shape {
            Shape::Spaced {
                interval,
                tolerance,
            } => (signed(tolerance) - signed(ahead)).div_euclid(signed(interval)),
            Shape::Windows { permits, .. } => signed(permits) - signed(ahead),
        }
    }

    /// How many whole permits a part of the line holds.
    pub(super) fn within(&self, length: u64) -> i64 {
        match self.shape {
            Shape::Spaced { interval, .. } => signed(length / interval),
            Shape::Windows { .. } => signed(length),
        }
    }

    /// The length of a line in which as many permits are owed as in one that is `owed` long under `before`.
    fn translate(&self, owed: u64, before: &Self) -> u64 {
        let wide = u128::from;
        let translated = match (before.shape, self.shape) {
            (Shape::Spaced { interval: old, .. }, Shape::Spaced { interval, .. }) => {
                (wide(owed) * wide(interval)).div_ceil(wide(old))
            }
            (Shape::Spaced { interval, .. }, Shape::Windows { .. }) => {
                wide(owed.div_ceil(interval))
            }
            (Shape::Windows { .. }, Shape::Spaced { interval, .. }) => wide(owed) * wide(interval),
            (Shape::Windows { .. }, Shape::Windows { .. }) => wide(owed),
        };
        u64::try_from(translated).unwrap_or(END).min(END)
    }

    /// The end of the line that a line `owed` long under `before` becomes, and these settings for it.
    pub(super) fn succeed(mut self, before: &Self, owed: u64, now: u64) -> (Self, u64) {
        let end = (self.floor(now) + self.translate(owed, before)).min(END);
        let longest = self.go(end).saturating_sub(now);
        self.reach = self.patience.max(before.reach).max(longest);
        (self, end)
    }
}

/// Positions and their sums are far below the greatest number with a sign.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

const fn at_most(most: u64, n: u64) -> u64 {
    if n > most { most } else { n }
}
