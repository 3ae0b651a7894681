//! What refusals and waiting lines say: a verdict from figures that are read now and then.
//!
//! 1. What counts of the calls is by how many they have become more since they were last judged. They are judged once at
//!    least so many have come; where fewer come within the stale time nothing is known of them, and they are counted anew.
//! 2. Down when at least the greater share of them was refused, degraded when at least the smaller one was, else up.
//! 3. A line that is full at two looks in a row, at least as full as is set, is degraded, whatever the calls say. One that is
//!    not says nothing: an empty line is no proof that anybody was served.
//! 4. What was judged counts for the stale time, and so does what was seen of the line: without calls, or without looks,
//!    nothing is known.
//! 5. Figures that became less are counted anew, and what was judged before counts on for its time: a source that is another
//!    one now, or counts so cheaply that it may lose some.
//! 6. Time that steps back changes nothing.
//! 7. A judgement of degraded or down lapses at the second look in a row that finds no further call, and calls are counted
//!    anew: a gate that was shut for it keeps away the calls by which it would be judged again.

use std::num::NonZeroU32;

use super::verdict::Verdict;
#[cfg(any(feature = "tower", test))]
use crate::error::ConfigError;
use crate::num::{Period, Ratio, count};
use crate::time::Tick;

/// What a limit or a queue has counted since it was made, and how full its line is now.
///
/// # Example
///
/// ```
/// use mainstay::health::Figures;
///
/// // A thousand calls came, ten of them were refused; three wait, where forty may.
/// let figures = Figures::calls(1_000, 10).line(3, 40);
/// assert_eq!(figures.waiting(), (3, 40));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    calls: u64,
    refused: u64,
    waiting: u64,
    room: u64,
}

impl Figures {
    /// So many calls came so far, and so many of them were refused.
    #[must_use]
    pub const fn calls(calls: u64, refused: u64) -> Self {
        Self {
            calls,
            refused: if refused < calls { refused } else { calls },
            waiting: 0,
            room: 0,
        }
    }

    /// So many wait now, where so many may. Without room there is no line.
    #[must_use]
    pub const fn line(mut self, waiting: u64, room: u64) -> Self {
        (self.waiting, self.room) = (waiting, room);
        self
    }

    /// How many calls came, and how many of them were refused.
    #[must_use]
    pub const fn counted(&self) -> (u64, u64) {
        (self.calls, self.refused)
    }

    /// How many wait, and how many may.
    #[must_use]
    pub const fn waiting(&self) -> (u64, u64) {
        (self.waiting, self.room)
    }
}

/// When figures are a verdict.
///
/// # Example
///
/// ```
/// use mainstay::health::CrowdingConfig;
/// use mainstay::num::{Period, Ratio};
///
/// let config = CrowdingConfig::new().degraded_at(Ratio::percent(5)).every(Period::secs(2));
/// assert_eq!(config.interval(), Period::secs(2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrowdingConfig {
    every: Period,
    least: NonZeroU32,
    degraded_at: Ratio,
    down_at: Ratio,
    full_at: Ratio,
    stale_after: Period,
}

impl Default for CrowdingConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl CrowdingConfig {
    /// Looked at every 5 s and judged by 20 calls: degraded when a tenth of them was refused, down when all were; degraded
    /// while a line is four fifths full; unknown after a minute.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            every: Period::secs(5),
            least: count(20),
            degraded_at: Ratio::percent(10),
            down_at: Ratio::ONE,
            full_at: Ratio::percent(80),
            stale_after: Period::secs(60),
        }
    }

    /// How often figures are read. Default 5 s.
    #[must_use]
    pub const fn every(mut self, interval: Period) -> Self {
        self.every = interval;
        self
    }

    /// The fewest calls that are judged. Default 20: one refusal among a few calls says little.
    #[must_use]
    pub const fn least(mut self, calls: NonZeroU32) -> Self {
        self.least = calls;
        self
    }

    /// Degraded when at least this share was refused. Default 10 %.
    #[must_use]
    pub const fn degraded_at(mut self, refused: Ratio) -> Self {
        self.degraded_at = refused;
        self
    }

    /// Down when at least this share was refused. Default 100 %: a limit that refuses half of the calls serves the other half.
    #[must_use]
    pub const fn down_at(mut self, refused: Ratio) -> Self {
        self.down_at = refused;
        self
    }

    /// Degraded while a line is at least so full. Default 80 %.
    #[must_use]
    pub const fn full_at(mut self, share: Ratio) -> Self {
        self.full_at = share;
        self
    }

    /// After so long without enough calls nothing is known. Default 60 s, as for probes.
    #[must_use]
    pub const fn stale_after(mut self, period: Period) -> Self {
        self.stale_after = period;
        self
    }

    /// Whether its limits agree.
    #[cfg(any(feature = "tower", test))]
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let (every, stale) = (self.every.get(), self.stale_after.get());
        if stale <= every {
            let expected = format!("more than an interval, {every:?}");
            return Err(ConfigError::new(
                "stale_after",
                format!("{stale:?}"),
                expected,
            ));
        }
        let (degraded, down) = (self.degraded_at.get(), self.down_at.get());
        if down < degraded {
            let expected = format!("at least degraded_at, {degraded}");
            return Err(ConfigError::new("down_at", down, expected));
        }
        Ok(())
    }

    /// How often figures are read.
    #[must_use]
    pub const fn interval(&self) -> Period {
        self.every
    }

    /// The fewest calls that are judged.
    #[must_use]
    pub const fn fewest(&self) -> NonZeroU32 {
        self.least
    }

    /// The shares of refused calls that are degraded, and down.
    #[must_use]
    pub const fn shares(&self) -> (Ratio, Ratio) {
        (self.degraded_at, self.down_at)
    }

    /// How full a line is degraded.
    #[must_use]
    pub const fn fullness(&self) -> Ratio {
        self.full_at
    }

    /// When a verdict is too old.
    #[must_use]
    pub const fn stale(&self) -> Period {
        self.stale_after
    }
}

/// Looks without a call at which what was bad lapses.
const LAPSES: u32 = 2;

/// A verdict from figures: a plain value that is told what was read and when.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use mainstay::health::{Crowding, CrowdingConfig, Figures, Verdict};
/// use mainstay::time::Tick;
///
/// let mut limit = Crowding::new(CrowdingConfig::new());
/// let at = |secs| Tick::ZERO + Duration::from_secs(secs);
/// assert_eq!(limit.observe(Figures::calls(100, 0), at(0)), Verdict::Unknown, "where it begins");
/// assert_eq!(limit.observe(Figures::calls(200, 0), at(5)), Verdict::Up);
/// assert_eq!(limit.observe(Figures::calls(300, 30), at(10)), Verdict::Degraded, "30 of 100");
/// assert_eq!(limit.verdict(at(100)), Verdict::Unknown, "nobody calls");
/// ```
#[derive(Clone, Debug)]
pub struct Crowding {
    config: CrowdingConfig,
    /// From where calls are counted.
    since: Option<(Figures, Tick)>,
    judged: Option<(Verdict, Tick)>,
    /// How many looks in a row found the line full, how many no further call, and when it was last looked at.
    full: u32,
    idle: u32,
    calls: u64,
    looked: Tick,
}

impl Crowding {
    /// Nothing is known.
    #[must_use]
    pub const fn new(config: CrowdingConfig) -> Self {
        Self {
            config,
            since: None,
            judged: None,
            full: 0,
            idle: 0,
            calls: 0,
            looked: Tick::ZERO,
        }
    }

    /// Figures were read. The verdict that holds now.
    pub fn observe(&mut self, figures: Figures, now: Tick) -> Verdict {
        let now = now.max(self.looked);
        let stale = self.config.stale_after.get();
        if now.since(self.looked) >= stale {
            self.full = 0;
        }
        self.looked = now;
        self.full = if self.is_full(figures) {
            self.full.saturating_add(1)
        } else {
            0
        };
        self.idle = if figures.calls == self.calls {
            self.idle.saturating_add(1)
        } else {
            0
        };
        self.calls = figures.calls;
        match self.since {
            Some((from, _)) if from.calls > figures.calls || from.refused > figures.refused => {
                self.since = Some((figures, now));
            }
            Some((from, began)) => {
                let calls = figures.calls - from.calls;
                if calls >= u64::from(self.config.least.get()) {
                    let verdict = self.judge(calls, figures.refused - from.refused);
                    (self.since, self.judged) = (Some((figures, now)), Some((verdict, now)));
                } else if now.since(began) >= stale {
                    self.since = Some((figures, now));
                }
            }
            None => self.since = Some((figures, now)),
        }
        let is_bad = self.judged.is_some_and(|(is, _)| is != Verdict::Up);
        if is_bad && self.idle >= LAPSES {
            (self.since, self.judged) = (Some((figures, now)), None);
        }
        self.verdict(now)
    }

    /// The verdict at this time.
    #[must_use]
    pub fn verdict(&self, now: Tick) -> Verdict {
        let stale = self.config.stale_after.get();
        let judged = self
            .judged
            .filter(|(_, at)| now.since(*at) < stale)
            .map_or(Verdict::Unknown, |(verdict, _)| verdict);
        let line = if self.full >= 2 && now.since(self.looked) < stale {
            Verdict::Degraded
        } else {
            Verdict::Unknown
        };
        judged.worse(line)
    }

    fn judge(&self, calls: u64, refused: u64) -> Verdict {
        // Exact below 2^53 calls between two looks.
        let reaches = |share: Ratio| refused > 0 && refused as f64 >= share.get() * calls as f64;
        if reaches(self.config.down_at) {
            Verdict::Down
        } else if reaches(self.config.degraded_at) {
            Verdict::Degraded
        } else {
            Verdict::Up
        }
    }

    fn is_full(&self, figures: Figures) -> bool {
        let (waiting, room) = figures.waiting();
        room > 0 && waiting > 0 && waiting as f64 >= self.config.full_at.get() * room as f64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Verdict::{Degraded, Down, Unknown, Up};

    fn at(secs: u64) -> Tick {
        Tick::ZERO + Duration::from_secs(secs)
    }

    fn crowding() -> Crowding {
        Crowding::new(CrowdingConfig::new())
    }

    #[test]
    fn rule_1_calls_are_judged_once_enough_have_come() {
        let mut limit = crowding();
        assert_eq!(limit.observe(Figures::calls(1_000, 900), at(0)), Unknown);
        assert_eq!(
            limit.observe(Figures::calls(1_019, 900), at(5)),
            Unknown,
            "19 are too few"
        );
        assert_eq!(limit.observe(Figures::calls(1_020, 900), at(10)), Up);
        // Few calls, which refusals are all of, do not move it.
        assert_eq!(limit.observe(Figures::calls(1_030, 910), at(15)), Up);
        // Together with what comes later they do.
        assert_eq!(limit.observe(Figures::calls(1_040, 920), at(20)), Down);
        // What came longer ago than the stale time is not added to what comes now.
        let mut slow = crowding();
        slow.observe(Figures::calls(0, 0), at(0));
        assert_eq!(slow.observe(Figures::calls(15, 15), at(60)), Unknown);
        assert_eq!(slow.observe(Figures::calls(30, 15), at(65)), Unknown);
        assert_eq!(slow.observe(Figures::calls(35, 15), at(70)), Up);
    }

    #[test]
    fn rule_2_the_shares() {
        for (refused, expected) in [
            (0, Up),
            (9, Up),
            (10, Degraded),
            (99, Degraded),
            (100, Down),
        ] {
            let mut limit = crowding();
            limit.observe(Figures::calls(7, 3), at(0));
            let found = limit.observe(Figures::calls(107, 3 + refused), at(5));
            assert_eq!(found, expected, "{refused} of 100");
        }
        // Shares of zero are not reached by none.
        let config = CrowdingConfig::new()
            .degraded_at(Ratio::ZERO)
            .down_at(Ratio::ZERO);
        let mut strict = Crowding::new(config);
        strict.observe(Figures::calls(0, 0), at(0));
        assert_eq!(strict.observe(Figures::calls(20, 0), at(5)), Up);
        assert_eq!(strict.observe(Figures::calls(40, 1), at(10)), Down);
    }

    #[test]
    fn rule_3_a_line_that_is_full_twice() {
        let mut queue = crowding();
        let line = |waiting| Figures::default().line(waiting, 10);
        assert_eq!(queue.observe(line(10), at(0)), Unknown, "once");
        assert_eq!(queue.observe(line(7), at(5)), Unknown);
        assert_eq!(queue.observe(line(8), at(10)), Unknown);
        assert_eq!(queue.observe(line(8), at(15)), Degraded, "twice");
        assert_eq!(queue.observe(line(0), at(20)), Unknown);
        let mut none = crowding();
        let no_line = Figures::default();
        assert_eq!(none.observe(no_line, at(0)), Unknown);
        assert_eq!(none.observe(no_line, at(5)), Unknown, "no room is no line");
        // Calls that are let in do not hide it.
        let mut both = crowding();
        both.observe(Figures::calls(0, 0).line(9, 10), at(0));
        assert_eq!(
            both.observe(Figures::calls(100, 0).line(9, 10), at(5)),
            Degraded
        );
        // Looks that are long apart are not in a row.
        let mut rare = crowding();
        rare.observe(line(10), at(0));
        assert_eq!(rare.observe(line(10), at(60)), Unknown);
    }

    #[test]
    fn rule_4_without_calls_or_looks_nothing_is_known() {
        let mut limit = crowding();
        limit.observe(Figures::calls(0, 0), at(0));
        assert_eq!(limit.observe(Figures::calls(20, 0), at(5)), Up);
        assert_eq!(limit.observe(Figures::calls(20, 0), at(10)), Up);
        assert_eq!(limit.observe(Figures::calls(20, 0), at(15)), Up);
        assert_eq!(limit.observe(Figures::calls(20, 0), at(64)), Up);
        assert_eq!(limit.observe(Figures::calls(20, 0), at(65)), Unknown);
        let line = Figures::calls(20, 0).line(10, 10);
        limit.observe(line, at(70));
        assert_eq!(limit.observe(line, at(75)), Degraded);
        assert_eq!(limit.verdict(at(134)), Degraded);
        assert_eq!(limit.verdict(at(135)), Unknown);
    }

    #[test]
    fn rule_7_what_is_bad_lapses_where_nobody_calls() {
        let mut limit = crowding();
        limit.observe(Figures::calls(0, 0), at(0));
        assert_eq!(limit.observe(Figures::calls(20, 20), at(5)), Down);
        assert_eq!(limit.observe(Figures::calls(20, 20), at(10)), Down, "once");
        assert_eq!(limit.observe(Figures::calls(21, 21), at(15)), Down);
        assert_eq!(limit.observe(Figures::calls(21, 21), at(20)), Down);
        assert_eq!(limit.observe(Figures::calls(21, 21), at(25)), Unknown);
        // Anew: of 20, none.
        assert_eq!(limit.observe(Figures::calls(41, 21), at(30)), Up);
        // A line that stays full is seen at each look, and needs no calls.
        let full = |refused: u64| Figures::calls(41 + refused, 21 + refused).line(10, 10);
        limit.observe(full(20), at(35));
        limit.observe(full(20), at(40));
        assert_eq!(limit.observe(full(20), at(45)), Degraded);
    }

    #[test]
    fn limits_that_disagree_are_refused() {
        let check = |config: CrowdingConfig| config.check().map_err(|error| error.to_string());
        let config = CrowdingConfig::new();
        assert_eq!(check(config), Ok(()));
        let stale = check(config.stale_after(Period::secs(5)));
        let expected = "stale_after: expected more than an interval, 5s, got 5s";
        assert_eq!(stale, Err(expected.to_owned()));
        let down = check(
            config
                .degraded_at(Ratio::percent(50))
                .down_at(Ratio::percent(25)),
        );
        let expected = "down_at: expected at least degraded_at, 0.5, got 0.25";
        assert_eq!(down, Err(expected.to_owned()));
    }

    #[test]
    fn rules_5_and_6() {
        let mut limit = crowding();
        limit.observe(Figures::calls(100, 0), at(10));
        assert_eq!(limit.observe(Figures::calls(200, 100), at(15)), Down);
        assert_eq!(
            limit.observe(Figures::calls(50, 50), at(20)),
            Down,
            "counted anew, and what was judged before has its time"
        );
        assert_eq!(
            limit.observe(Figures::calls(150, 50), at(3)),
            Up,
            "no earlier than before"
        );
        assert_eq!(limit.verdict(at(79)), Up);
        assert_eq!(limit.verdict(at(80)), Unknown);
    }
}
