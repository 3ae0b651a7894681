//! An observer whose own timers jump abstains.
//!
//! 1. The observer ticks at an interval, or wakes when a timer is due. What comes more than the tolerance late, or before the
//!    last one, is a jump:
//!    the process was stopped, the machine suspended or overloaded, the clock set. What it saw across the jump says nothing
//!    about what it watches.
//! 2. From a jump on it is tilted for the calm, which begins anew with each jump.
//! 3. While it is tilted its verdict is unknown.

use std::time::Duration;

use super::verdict::Verdict;
use crate::num::Period;
use crate::time::Tick;

/// Whether the observer can trust its own clock: a plain value that is told when it looked.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use mainstay::health::{Tilt, Verdict};
/// use mainstay::num::Period;
/// use mainstay::time::Tick;
///
/// let mut tilt = Tilt::new(Period::secs(1), Period::secs(2), Period::secs(30));
/// let at = |secs| Tick::ZERO + Duration::from_secs(secs);
/// tilt.tick(at(0));
/// tilt.tick(at(1));
/// assert_eq!(tilt.vote(Verdict::Down, at(1)), Verdict::Down);
/// // Stopped for a minute: of course nothing was heard.
/// tilt.tick(at(61));
/// assert_eq!(tilt.vote(Verdict::Down, at(61)), Verdict::Unknown);
/// assert_eq!(tilt.vote(Verdict::Down, at(91)), Verdict::Down);
/// ```
///
/// # Source
///
/// The TILT mode of Redis Sentinel: 2 s and 30 s.
#[derive(Clone, Debug)]
pub struct Tilt {
    interval: Duration,
    tolerance: Duration,
    calm: Duration,
    last: Option<Tick>,
    until: Tick,
}

impl Tilt {
    /// An observer that ticks every `interval`, is tilted by a tick that is late by more than `tolerance`, and then for
    /// `calm`.
    #[must_use]
    pub const fn new(interval: Period, tolerance: Period, calm: Period) -> Self {
        Self {
            interval: interval.get(),
            tolerance: tolerance.get(),
            calm: calm.get(),
            last: None,
            until: Tick::ZERO,
        }
    }

    /// The observer looks.
    pub fn tick(&mut self, now: Tick) {
        let due = self.last.map_or(now, |last| last + self.interval);
        self.woke(due, now);
    }

    /// The observer wakes by a timer that was due at `due`: for one that does not look at an interval of always the same
    /// length.
    pub fn woke(&mut self, due: Tick, now: Tick) {
        let last = self.last.unwrap_or(now);
        if now < last || now.since(due) > self.tolerance {
            self.until = self.until.max(now.max(last) + self.calm);
        }
        self.last = Some(now);
    }

    /// Whether it abstains.
    #[must_use]
    pub fn is_tilted(&self, now: Tick) -> bool {
        now < self.until
    }

    /// Its vote: what it saw, or `Unknown` while it is tilted.
    #[must_use]
    pub fn vote(&self, saw: Verdict, now: Tick) -> Verdict {
        if self.is_tilted(now) {
            Verdict::Unknown
        } else {
            saw
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Tick {
        Tick::ZERO + Duration::from_secs(secs)
    }

    fn tilt() -> Tilt {
        Tilt::new(Period::secs(1), Period::secs(2), Period::secs(30))
    }

    #[test]
    fn a_tick_on_time_or_a_little_late_is_none() {
        let mut tilt = tilt();
        for secs in [0, 1, 2, 5, 8] {
            tilt.tick(at(secs));
            assert!(!tilt.is_tilted(at(secs)), "{secs}");
        }
        tilt.tick(at(12));
        assert!(tilt.is_tilted(at(12)) && tilt.is_tilted(at(41)) && !tilt.is_tilted(at(42)));
    }

    #[test]
    fn a_clock_that_steps_back_tilts_and_a_second_jump_lasts_longer() {
        let mut tilt = tilt();
        tilt.tick(at(100));
        tilt.tick(at(99));
        assert!(tilt.is_tilted(at(129)) && !tilt.is_tilted(at(130)));
        tilt.tick(at(120));
        assert!(tilt.is_tilted(at(149)) && !tilt.is_tilted(at(150)));
    }
}
