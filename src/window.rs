//! Sliding counts, in constant memory and constant time a call.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::num::Period;
use crate::time::{Tick, nanos};

/// The moments of the last `n` events: tells exactly whether `n` of them lie within a period.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    needed: usize,
    at: VecDeque<Tick>,
}

impl Recent {
    pub(crate) fn new(needed: NonZeroU32) -> Self {
        let needed = usize::try_from(needed.get()).unwrap_or(usize::MAX);
        // The ring grows to `needed` and no further; a large threshold costs memory only once it is approached.
        Self {
            needed,
            at: VecDeque::new(),
        }
    }

    /// Records an event and says whether the last `n`, this one included, lie within `period`.
    ///
    /// The bound is inclusive: events exactly `period` apart are within it.
    pub(crate) fn record(&mut self, period: Duration, now: Tick) -> bool {
        if self.at.len() == self.needed {
            self.at.pop_front();
        }
        // A clock that stepped back must not make the ring unordered.
        let now = self.at.back().map_or(now, |last| now.max(*last));
        self.at.push_back(now);
        self.at.len() == self.needed
            && self
                .at
                .front()
                .is_some_and(|first| now.since(*first) <= period)
    }

    pub(crate) fn len_within(&self, period: Duration, now: Tick) -> u32 {
        let live = self
            .at
            .iter()
            .filter(|at| now.since(**at) <= period)
            .count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    /// From now on `needed` events matter; the latest of those known stay.
    pub(crate) fn resize(&mut self, needed: NonZeroU32) {
        self.needed = usize::try_from(needed.get()).unwrap_or(usize::MAX);
        let surplus = self.at.len().saturating_sub(self.needed);
        self.at.drain(..surplus);
    }

    pub(crate) fn clear(&mut self) {
        self.at.clear();
    }
}

/// What a window holds: calls, and those of them that were hits (failed, or slow: whatever the window counts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) calls: u32,
    pub(crate) hits: u32,
}

impl Totals {
    fn add(&mut self, calls: u32, hits: u32) {
        self.calls = self.calls.saturating_add(calls);
        self.hits = self.hits.saturating_add(hits);
    }
}

/// The last calls, or the calls of the last time.
#[derive(Clone, Debug)]
pub(crate) enum Sliding {
    Calls(Ring),
    Time(Counts),
}

impl Sliding {
    pub(crate) fn calls(size: NonZeroU32) -> Self {
        Self::Calls(Ring::new(size))
    }

    pub(crate) fn time(period: Period) -> Self {
        Self::Time(Counts::new(period))
    }

    pub(crate) fn record(&mut self, hit: bool, now: Tick) {
        match self {
            Self::Calls(ring) => ring.record(hit),
            Self::Time(counts) => counts.record(hit, now),
        }
    }

    pub(crate) fn totals(&mut self, now: Tick) -> Totals {
        match self {
            Self::Calls(ring) => ring.totals(),
            Self::Time(counts) => counts.totals(now),
        }
    }

    /// Whether one more call that is no hit would change nothing, now and for good: the calls known are all such.
    #[cfg(feature = "tower")]
    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Self::Calls(ring) => ring.len == ring.size && ring.hits == 0,
            Self::Time(_) => false,
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::Calls(ring) => ring.clear(),
            Self::Time(counts) => counts.clear(),
        }
    }
}

/// The last `size` calls, a bit each: slides one call at a time.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    size: u32,
    len: u32,
    next: u32,
    hits: u32,
    /// Grows with the calls up to the size, so that a large window costs memory only once it is used.
    bits: Vec<u64>,
}

impl Ring {
    fn new(size: NonZeroU32) -> Self {
        Self {
            size: size.get(),
            len: 0,
            next: 0,
            hits: 0,
            bits: Vec::new(),
        }
    }

    fn record(&mut self, hit: bool) {
        let (word, bit) = ((self.next / 64) as usize, 1 << (self.next % 64));
        if word == self.bits.len() {
            self.bits.push(0);
        }
        if let Some(word) = self.bits.get_mut(word) {
            let full = self.len == self.size;
            self.hits -= u32::from(full && *word & bit != 0);
            self.hits += u32::from(hit);
            *word = if hit { *word | bit } else { *word & !bit };
        }
        self.len = self.len.saturating_add(1).min(self.size);
        self.next = (self.next + 1) % self.size;
    }

    const fn totals(&self) -> Totals {
        Totals {
            calls: self.len,
            hits: self.hits,
        }
    }

    fn clear(&mut self) {
        (self.len, self.next, self.hits) = (0, 0, 0);
        self.bits.clear();
    }
}

const BUCKETS: usize = 10;

/// Calls of the last period, in ten buckets: forgets a tenth of the period at a time.
///
/// It covers between nine tenths of the period and the whole of it.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    width: u64,
    /// Each with the number of the slice of time that it counts; a bucket of another slice is empty.
    buckets: [(u64, Totals); BUCKETS],
    /// The latest slice seen: time never runs backwards in here.
    latest: u64,
}

impl Counts {
    pub(crate) fn new(period: Period) -> Self {
        Self {
            width: (nanos(period.get()) / BUCKETS as u64).max(1),
            buckets: [(0, Totals::default()); BUCKETS],
            latest: 0,
        }
    }

    #[cfg(feature = "tower")]
    pub(crate) const fn width(&self) -> u64 {
        self.width
    }

    /// What the window held when it was last looked at.
    #[cfg(feature = "tower")]
    pub(crate) fn known(&self) -> Totals {
        self.sum(self.latest)
    }

    fn slice(&mut self, now: Tick) -> u64 {
        self.latest = self.latest.max(now.as_nanos() / self.width);
        self.latest
    }

    pub(crate) fn record(&mut self, hit: bool, now: Tick) {
        let slice = self.slice(now);
        self.add(slice, 1, u32::from(hit));
    }

    /// Records `calls` without a hit that ended in `slice`; of one that is long past, nothing.
    #[cfg(feature = "tower")]
    pub(crate) fn record_misses(&mut self, slice: u64, calls: u32) {
        self.latest = self.latest.max(slice);
        if self.latest - slice < BUCKETS as u64 {
            self.add(slice, calls, 0);
        }
    }

    fn add(&mut self, slice: u64, calls: u32, hits: u32) {
        let index = usize::try_from(slice % BUCKETS as u64).unwrap_or(0);
        if let Some((of, totals)) = self.buckets.get_mut(index) {
            if *of != slice {
                *of = slice;
                *totals = Totals::default();
            }
            totals.add(calls, hits);
        }
    }

    pub(crate) fn totals(&mut self, now: Tick) -> Totals {
        let slice = self.slice(now);
        self.sum(slice)
    }

    fn sum(&self, slice: u64) -> Totals {
        let live = |of: u64| of <= slice && slice - of < BUCKETS as u64;
        let mut sum = Totals::default();
        for (_, totals) in self.buckets.iter().filter(|(of, _)| live(*of)) {
            sum.add(totals.calls, totals.hits);
        }
        sum
    }

    pub(crate) fn clear(&mut self) {
        self.buckets = [(0, Totals::default()); BUCKETS];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::count;

    fn at(secs: u64) -> Tick {
        Tick::ZERO + Duration::from_secs(secs)
    }

    const fn totals(calls: u32, hits: u32) -> Totals {
        Totals { calls, hits }
    }

    #[test]
    fn recent_needs_n_within_the_period() {
        let period = Duration::from_secs(60);
        let mut recent = Recent::new(count(3));
        assert!(!recent.record(period, at(0)));
        assert!(!recent.record(period, at(30)));
        assert!(!recent.record(period, at(61)), "the first is too old");
        assert!(
            recent.record(period, at(90)),
            "30, 61 and 90 are within 60 s"
        );
        assert_eq!(recent.len_within(period, at(200)), 0);
    }

    #[test]
    fn recent_keeps_the_latest_when_it_shrinks() {
        let period = Duration::from_secs(60);
        let mut recent = Recent::new(count(5));
        (0..4).for_each(|t| _ = recent.record(period, at(t * 20)));
        recent.resize(count(2));
        assert_eq!(recent.len_within(period, at(60)), 2);
        assert!(recent.record(period, at(61)), "60 and 61");
    }

    #[test]
    fn counts_forget_after_the_period_and_survive_idle_days() {
        let mut counts = Counts::new(Period::secs(10));
        for t in 0..10 {
            counts.record(t % 2 == 0, at(t));
        }
        assert_eq!(counts.totals(at(9)), totals(10, 5));
        assert_eq!(counts.totals(at(10)), totals(9, 4));
        assert_eq!(counts.totals(at(60 * 24 * 3600)), Totals::default());
    }

    #[test]
    fn counts_double_nothing_when_the_clock_steps_back() {
        let mut counts = Counts::new(Period::secs(10));
        counts.record(true, at(100));
        counts.record(true, at(95));
        assert_eq!(counts.totals(at(90)), totals(2, 2));
    }

    #[test]
    fn a_window_shorter_than_its_buckets_works() {
        let period = Period::new("window", Duration::from_nanos(1)).unwrap();
        let mut counts = Counts::new(period);
        counts.record(true, at(1));
        assert_eq!(counts.totals(at(1)).calls, 1);
        assert_eq!(counts.totals(at(2)).calls, 0);
    }

    #[cfg(feature = "tower")]
    #[test]
    fn misses_that_come_late_stand_in_their_own_slice() {
        let mut counts = Counts::new(Period::secs(10));
        counts.record(true, at(20));
        counts.record_misses(15, 7);
        counts.record_misses(10, 100);
        assert_eq!(counts.totals(at(20)), totals(8, 1), "slice 10 is past");
        assert_eq!(counts.totals(at(25)), totals(1, 1), "15 went at 25");
    }

    #[test]
    fn a_ring_slides_one_call_at_a_time() {
        for size in [1, 2, 63, 64, 65, 130] {
            let mut ring = Ring::new(count(size));
            let mut naive = VecDeque::new();
            for i in 0_u32..1_000 {
                let hit = i % 7 == 0 || i % 13 == 1;
                ring.record(hit);
                naive.push_back(hit);
                if naive.len() > size as usize {
                    naive.pop_front();
                }
                let hits = naive.iter().filter(|hit| **hit).count();
                let (calls, hits) = (naive.len().try_into(), hits.try_into());
                assert_eq!(ring.totals(), totals(calls.unwrap(), hits.unwrap()));
            }
        }
    }
}
