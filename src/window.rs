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

    pub(crate) fn clear(&mut self) {
        self.at.clear();
    }
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) calls: u32,
    pub(crate) failures: u32,
}

const BUCKETS: usize = 10;

/// Calls and failures of the last period, in ten buckets: forgets a tenth of the period at a time.
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
        let width = (nanos(period.get()) / BUCKETS as u64).max(1);
        Self {
            width,
            buckets: [(0, Totals::default()); BUCKETS],
            latest: 0,
        }
    }

    fn slice(&mut self, now: Tick) -> u64 {
        self.latest = self.latest.max(now.as_nanos() / self.width);
        self.latest
    }

    pub(crate) fn record(&mut self, failed: bool, now: Tick) {
        let slice = self.slice(now);
        let index = usize::try_from(slice % BUCKETS as u64).unwrap_or(0);
        if let Some((of, totals)) = self.buckets.get_mut(index) {
            if *of != slice {
                *of = slice;
                *totals = Totals::default();
            }
            totals.calls = totals.calls.saturating_add(1);
            totals.failures = totals.failures.saturating_add(u32::from(failed));
        }
    }

    pub(crate) fn totals(&mut self, now: Tick) -> Totals {
        let slice = self.slice(now);
        let live = |of: u64| of <= slice && slice - of < BUCKETS as u64;
        self.buckets
            .iter()
            .filter(|(of, _)| live(*of))
            .fold(Totals::default(), |sum, (_, t)| Totals {
                calls: sum.calls.saturating_add(t.calls),
                failures: sum.failures.saturating_add(t.failures),
            })
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
    fn counts_forget_after_the_period_and_survive_idle_days() {
        let mut counts = Counts::new(Period::secs(10));
        for t in 0..10 {
            counts.record(t % 2 == 0, at(t));
        }
        assert_eq!(
            counts.totals(at(9)),
            Totals {
                calls: 10,
                failures: 5
            }
        );
        assert_eq!(
            counts.totals(at(10)),
            Totals {
                calls: 9,
                failures: 4
            }
        );
        assert_eq!(counts.totals(at(60 * 24 * 3600)), Totals::default());
    }

    #[test]
    fn counts_double_nothing_when_the_clock_steps_back() {
        let mut counts = Counts::new(Period::secs(10));
        counts.record(true, at(100));
        counts.record(true, at(95));
        assert_eq!(
            counts.totals(at(90)),
            Totals {
                calls: 2,
                failures: 2
            }
        );
    }

    #[test]
    fn a_window_shorter_than_its_buckets_works() {
        let period = Period::new("window", Duration::from_nanos(1)).unwrap();
        let mut counts = Counts::new(period);
        counts.record(true, at(1));
        assert_eq!(counts.totals(at(1)).calls, 1);
        assert_eq!(counts.totals(at(2)).calls, 0);
    }
}
