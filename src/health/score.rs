//! One number between 0 and 1 for how well a region or a component does.
//!
//! The score is the product of four parts, each between 0 and 1:
//!
//! ```text
//! score =  share of calls that succeed
//!        x min(1, latency that is aimed at / latency that is measured)
//!        x min(1, lag that is aimed at / lag that is measured)
//!        x min(1, room that is left / room that is wanted)
//! ```
//!
//! 1. It is 1 when everything is as aimed at, and 0 when every call fails or no room is left.
//! 2. It is monotone: another failure, more latency, more lag or less room never raises it.
//! 3. Without a share of calls nothing is known and there is no score; another part that is not measured is left out, as if it
//!    were as aimed at. A user to whom that is not good enough asks for [`parts`](Score::parts).
//! 4. A product and not a mean, since a mean hides what is dead (B-16): a region that answers everything an hour late is not
//!    75 % well.

use std::time::Duration;

use crate::num::{Period, Ratio};

/// What is aimed at.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use mainstay::health::Score;
/// use mainstay::num::{Period, Ratio};
///
/// let score = Score::new(Period::millis(200)).lag(Period::millis(500)).room(Ratio::percent(20));
/// // One call in ten fails, and they take twice as long as they should.
/// let measured = score
///     .of(Some(Ratio::percent(90)))
///     .took(Duration::from_millis(400))
///     .lagged(Duration::from_millis(100));
/// assert_eq!(measured.score().map(|score| score.get()), Some(0.45));
/// assert_eq!(score.of(None).score(), None, "nothing is known");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    latency: Period,
    lag: Period,
    room: Ratio,
}

impl Score {
    /// Aims at this latency, at a lag of 500 ms and at 20 % of room.
    #[must_use]
    pub const fn new(latency: Period) -> Self {
        Self {
            latency,
            lag: Period::millis(500),
            room: Ratio::percent(20),
        }
    }

    /// How far replicas may be behind. Default 500 ms.
    #[must_use]
    pub const fn lag(mut self, lag: Period) -> Self {
        self.lag = lag;
        self
    }

    /// How much of a disk, a pool or a queue should be left. Default 20 %.
    #[must_use]
    pub const fn room(mut self, room: Ratio) -> Self {
        self.room = room;
        self
    }

    /// With this share of calls that succeed; `None` where there were too few to tell.
    pub const fn of(self, succeed: Option<Ratio>) -> Measured {
        Measured {
            aims: self,
            succeed,
            took: None,
            lagged: None,
            left: None,
        }
    }
}

/// What was measured, against what is aimed at.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Measured {
    aims: Score,
    succeed: Option<Ratio>,
    took: Option<Duration>,
    lagged: Option<Duration>,
    left: Option<Ratio>,
}

impl Measured {
    /// The latency, whichever percentile is aimed at.
    pub const fn took(mut self, latency: Duration) -> Self {
        self.took = Some(latency);
        self
    }

    /// How far the replica is behind.
    pub const fn lagged(mut self, lag: Duration) -> Self {
        self.lagged = Some(lag);
        self
    }

    /// How much is left.
    pub const fn left(mut self, room: Ratio) -> Self {
        self.left = Some(room);
        self
    }

    /// The parts: success, latency, lag, room; `None` where it was not measured.
    #[must_use]
    pub fn parts(&self) -> [Option<f64>; 4] {
        let time = |aim: Period, is: Duration| {
            // Nothing is divided by zero: what is at most the aim is 1.
            if is <= aim.get() {
                1.0
            } else {
                aim.get().as_secs_f64() / is.as_secs_f64()
            }
        };
        let room = |left: Ratio| {
            let wanted = self.aims.room.get();
            if left.get() >= wanted {
                1.0
            } else {
                left.get() / wanted
            }
        };
        [
            self.succeed.map(Ratio::get),
            self.took.map(|took| time(self.aims.latency, took)),
            self.lagged.map(|lag| time(self.aims.lag, lag)),
            self.left.map(room),
        ]
    }

    /// The score; `None` where nothing is known.
    #[must_use]
    pub fn score(&self) -> Option<Ratio> {
        self.succeed?;
        let product: f64 = self.parts().into_iter().flatten().product();
        Ratio::new("score", product.clamp(0.0, 1.0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn measured((succeed, took, lag, left): (u8, u64, u64, u8)) -> f64 {
        let measured = Score::new(Period::millis(200))
            .of(Some(Ratio::percent(succeed)))
            .took(Duration::from_millis(took))
            .lagged(Duration::from_millis(lag))
            .left(Ratio::percent(left));
        measured.score().unwrap().get()
    }

    proptest! {
        /// Rules 1 and 2, B-45.
        #[test]
        fn worse_never_raises_it(
            (succeed, took, lag, left) in (0_u8..=100, 0_u64..100_000, 0_u64..100_000, 0_u8..=100),
            (fewer, longer, behind, less) in (0_u8..=100, 0_u64..100_000, 0_u64..100_000, 0_u8..=100),
        ) {
            let before = measured((succeed, took, lag, left));
            prop_assert!((0.0..=1.0).contains(&before));
            let worse = (
                succeed.saturating_sub(fewer),
                took + longer,
                lag + behind,
                left.saturating_sub(less),
            );
            prop_assert!(measured(worse) <= before);
            prop_assert!(measured((worse.0, took, lag, left)) <= before);
            prop_assert!(measured((succeed, worse.1, lag, left)) <= before);
            prop_assert!(measured((succeed, took, worse.2, left)) <= before);
            prop_assert!(measured((succeed, took, lag, worse.3)) <= before);
        }
    }

    #[test]
    fn the_ends() {
        assert!((measured((100, 200, 500, 20)) - 1.0).abs() < f64::EPSILON);
        assert!(measured((0, 0, 0, 100)).abs() < f64::EPSILON);
        assert!(measured((100, 0, 0, 0)).abs() < f64::EPSILON);
        let forever = Score::new(Period::millis(1)).of(Some(Ratio::percent(100)));
        let forever = forever.took(Duration::MAX).lagged(Duration::MAX);
        assert!(forever.score().unwrap().get() < 1e-15);
        let none = Score::new(Period::millis(1)).room(Ratio::percent(0));
        assert!(
            none.of(Some(Ratio::percent(100)))
                .left(Ratio::percent(0))
                .score()
                .is_some()
        );
    }
}
