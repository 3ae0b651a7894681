//! So many in a row: from single samples to a verdict that one of them cannot move.
//!
//! 1. A component goes down after so many bad samples in a row, and up again after so many good ones. Which of the two
//!    numbers is the greater is the user's choice: to leave takes proof, and so does to come back.
//! 2. Samples count only if they are spaced: one that comes sooner after the last that counted than the spacing is the same
//!    observation again (B-28), and does not count. One that says otherwise than that does.
//! 3. A sample that says degraded breaks both rows. It shows at once unless the component is down: from there the
//!    way is up, by good samples, and a degraded one is not good.
//! 4. A sample that says nothing (`Unknown`) breaks no row. After so long without any other the verdict is unknown, and
//!    both rows begin anew.
//! 5. The first sample that says anything, after the start or after the unknown, decides by itself if it is good; a bad one
//!    begins a row. So a service that starts among dead components is not told that they are well, and one that starts among
//!    healthy ones does not wait.
//! 6. Time that steps back changes nothing.

use std::num::NonZeroU32;
use std::time::Duration;

use super::verdict::Verdict;
use crate::num::{Period, count};
use crate::time::Tick;

/// How many samples in a row move a verdict.
///
/// # Example
///
/// ```
/// use mainstay::health::ConsecutiveConfig;
/// use mainstay::num::{Period, count};
///
/// // Regional checks of a real platform: every 10 s, three bad ones, two good ones.
/// let config = ConsecutiveConfig::new(count(3), count(2)).stale_after(Period::secs(60));
/// assert_eq!(config.bad().get(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsecutiveConfig {
    bad: NonZeroU32,
    good: NonZeroU32,
    spacing: Duration,
    stale_after: Period,
}

impl Default for ConsecutiveConfig {
    fn default() -> Self {
        Self::new(count(3), count(2))
    }
}

impl ConsecutiveConfig {
    /// Down after `bad` bad samples in a row, up after `good` good ones; every sample counts, and after a minute without one
    /// the verdict is unknown.
    #[must_use]
    pub const fn new(bad: NonZeroU32, good: NonZeroU32) -> Self {
        Self {
            bad,
            good,
            spacing: Duration::ZERO,
            stale_after: Period::secs(60),
        }
    }

    /// Samples nearer to one another than this are one. Default zero. For probes that are sent at intervals: somewhat less
    /// than the interval.
    #[must_use]
    pub const fn spacing(mut self, spacing: Duration) -> Self {
        self.spacing = spacing;
        self
    }

    /// After so long without a sample nothing is known. Default 60 s; at least a few intervals.
    #[must_use]
    pub const fn stale_after(mut self, period: Period) -> Self {
        self.stale_after = period;
        self
    }

    /// How many bad ones.
    #[must_use]
    pub const fn bad(&self) -> NonZeroU32 {
        self.bad
    }

    /// How many good ones.
    #[must_use]
    pub const fn good(&self) -> NonZeroU32 {
        self.good
    }

    /// What is nearer together is one sample.
    #[must_use]
    pub const fn spaced(&self) -> Duration {
        self.spacing
    }

    /// When the verdict is too old.
    #[must_use]
    pub const fn stale(&self) -> Period {
        self.stale_after
    }
}

/// A verdict from samples in a row: a plain value that is told what was seen and when.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use mainstay::health::{Consecutive, ConsecutiveConfig, Verdict};
/// use mainstay::num::count;
/// use mainstay::time::Tick;
///
/// let mut primary = Consecutive::new(ConsecutiveConfig::new(count(3), count(2)));
/// let at = |secs| Tick::ZERO + Duration::from_secs(secs);
/// assert_eq!(primary.verdict(at(0)), Verdict::Unknown);
/// assert_eq!(primary.observe(Verdict::Up, at(0)), Verdict::Up);
/// assert_eq!(primary.observe(Verdict::Down, at(10)), Verdict::Up);
/// assert_eq!(primary.observe(Verdict::Down, at(20)), Verdict::Up);
/// assert_eq!(primary.observe(Verdict::Down, at(30)), Verdict::Down, "three in a row");
/// assert_eq!(primary.observe(Verdict::Up, at(40)), Verdict::Down);
/// assert_eq!(primary.observe(Verdict::Up, at(50)), Verdict::Up, "two in a row");
/// assert_eq!(primary.verdict(at(200)), Verdict::Unknown, "nobody has looked for a while");
/// ```
#[derive(Clone, Debug)]
pub struct Consecutive {
    config: ConsecutiveConfig,
    verdict: Verdict,
    bad: u32,
    good: u32,
    /// The last sample that counted.
    last: Option<(Verdict, Tick)>,
    /// When a sample last said anything.
    heard: Tick,
}

impl Consecutive {
    /// Nothing is known.
    #[must_use]
    pub const fn new(config: ConsecutiveConfig) -> Self {
        Self {
            config,
            verdict: Verdict::Unknown,
            bad: 0,
            good: 0,
            last: None,
            heard: Tick::ZERO,
        }
    }

    /// Something was seen. The verdict that holds now.
    pub fn observe(&mut self, sample: Verdict, now: Tick) -> Verdict {
        let now = now.max(self.heard);
        if self.is_stale(now) {
            (self.bad, self.good, self.last) = (0, 0, None);
            self.verdict = Verdict::Unknown;
        }
        if !sample.is_known() {
            return self.verdict;
        }
        self.heard = now;
        if let Some((last, at)) = self.last
            && last == sample
            && now.since(at) < self.config.spacing
        {
            return self.verdict;
        }
        let is_first = self.last.is_none();
        self.last = Some((sample, now));
        match sample {
            Verdict::Up => {
                self.bad = 0;
                self.good = self.good.saturating_add(1);
                let first = is_first && self.verdict == Verdict::Unknown;
                if first || self.verdict == Verdict::Degraded || self.good >= self.config.good.get()
                {
                    self.verdict = Verdict::Up;
                }
            }
            Verdict::Down => {
                self.good = 0;
                self.bad = self.bad.saturating_add(1);
                if self.bad >= self.config.bad.get() {
                    self.verdict = Verdict::Down;
                }
            }
            Verdict::Degraded | Verdict::Unknown => {
                (self.bad, self.good) = (0, 0);
                if self.verdict != Verdict::Down {
                    self.verdict = Verdict::Degraded;
                }
            }
        }
        self.verdict
    }

    /// The verdict at this time: unknown where the last sample is too old.
    #[must_use]
    pub fn verdict(&self, now: Tick) -> Verdict {
        if self.is_stale(now) {
            Verdict::Unknown
        } else {
            self.verdict
        }
    }

    /// When the verdict goes if nothing is seen; [`Tick::NEVER`] where there is none.
    #[must_use]
    pub fn stale_at(&self) -> Tick {
        match self.verdict {
            Verdict::Unknown => Tick::NEVER,
            _ => self.heard + self.config.stale_after.get(),
        }
    }

    fn is_stale(&self, now: Tick) -> bool {
        now.since(self.heard) >= self.config.stale_after.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Verdict::{Degraded, Down, Unknown, Up};

    fn at(secs: u64) -> Tick {
        Tick::ZERO + Duration::from_secs(secs)
    }

    fn three_two() -> Consecutive {
        Consecutive::new(ConsecutiveConfig::new(count(3), count(2)))
    }

    fn run(machine: &mut Consecutive, samples: &[(u64, Verdict)]) -> Vec<Verdict> {
        let told = samples
            .iter()
            .map(|&(secs, sample)| machine.observe(sample, at(secs)));
        told.collect()
    }

    /// Rule 1.
    #[test]
    fn a_row_must_not_be_broken() {
        let samples = [
            (0, Up),
            (1, Down),
            (2, Down),
            (3, Up),
            (4, Down),
            (5, Down),
            (6, Down),
        ];
        assert_eq!(
            run(&mut three_two(), &samples),
            [Up, Up, Up, Up, Up, Up, Down]
        );
        let mut down = three_two();
        run(&mut down, &samples);
        let back = [(7, Up), (8, Down), (9, Up), (10, Up)];
        assert_eq!(run(&mut down, &back), [Down, Down, Down, Up]);
    }

    /// Rule 2, B-28: three retries back to back are one observation.
    #[test]
    fn what_is_not_spaced_counts_once() {
        let config = ConsecutiveConfig::new(count(3), count(2)).spacing(Duration::from_secs(4));
        let mut spaced = Consecutive::new(config);
        let storm = [(0, Up), (10, Down), (11, Down), (12, Down), (13, Down)];
        assert_eq!(run(&mut spaced, &storm), [Up; 5]);
        assert_eq!(run(&mut spaced, &[(15, Down), (20, Down)]), [Up, Down]);
        // What says otherwise counts at once.
        assert_eq!(
            run(&mut spaced, &[(21, Up), (22, Up), (26, Up)]),
            [Down, Down, Up]
        );
    }

    /// Rule 3.
    #[test]
    fn degraded_shows_at_once_and_is_no_way_up() {
        let mut machine = three_two();
        assert_eq!(
            run(&mut machine, &[(0, Up), (1, Degraded), (2, Up)]),
            [Up, Degraded, Up]
        );
        let down = [
            (3, Down),
            (4, Down),
            (5, Degraded),
            (6, Down),
            (7, Down),
            (8, Down),
        ];
        assert_eq!(
            run(&mut machine, &down),
            [Up, Up, Degraded, Degraded, Degraded, Down]
        );
        let back = [(9, Up), (10, Degraded), (11, Up), (12, Up)];
        assert_eq!(run(&mut machine, &back), [Down, Down, Down, Up]);
    }

    /// Rules 4 and 5.
    #[test]
    fn no_data_is_neither_up_nor_down() {
        let mut machine = three_two();
        assert_eq!(
            run(&mut machine, &[(0, Unknown), (1, Down), (2, Down)]),
            [Unknown; 3]
        );
        assert_eq!(
            run(&mut machine, &[(3, Unknown), (4, Down)]),
            [Unknown, Down]
        );
        assert_eq!(machine.stale_at(), at(64));
        assert_eq!(
            (machine.verdict(at(63)), machine.verdict(at(64))),
            (Down, Unknown)
        );
        // Back after a silence: one good sample is enough, one bad one is not.
        assert_eq!(run(&mut machine, &[(100, Down)]), [Unknown]);
        assert_eq!(run(&mut machine, &[(300, Up)]), [Up]);
        // After a bad one it takes the row.
        assert_eq!(
            run(&mut machine, &[(500, Down), (501, Up), (502, Up)]),
            [Unknown, Unknown, Up]
        );
    }

    /// Rule 6.
    #[test]
    fn time_that_steps_back_changes_nothing() {
        let mut machine = three_two();
        run(&mut machine, &[(100, Up)]);
        assert_eq!(run(&mut machine, &[(50, Down)]), [Up]);
        assert_eq!(machine.stale_at(), at(160));
    }
}
