//! What is known of one component that is looked at, reported, or called.
//!
//! 1. Samples count in rows; calls count in a window, where there is one, and so do looks, as calls that took as long.
//! 2. A look that says nothing is no call.
//! 3. The worse of rows and window counts; who knows nothing abstains.

use std::time::Duration;

use super::consecutive::Consecutive;
use super::sample::{Sample, Why};
use super::verdict::Verdict;
use super::windowed::Windowed;
use crate::time::Tick;

pub(super) struct Known {
    rows: Consecutive,
    window: Option<Windowed>,
    /// Why the last sample was not good.
    why: Option<Why>,
}

impl Known {
    pub(super) const fn new(rows: Consecutive, window: Option<Windowed>) -> Self {
        Self {
            rows,
            window,
            why: None,
        }
    }

    pub(super) fn observe(&mut self, sample: Sample, now: Tick) {
        self.rows.observe(sample.verdict(), now);
        self.why = sample.why();
    }

    /// A call has ended, or a look that told something; false where there is no window.
    pub(super) fn called(&mut self, failed: bool, took: Duration, now: Tick) -> bool {
        let Some(window) = &mut self.window else {
            return false;
        };
        window.observe(failed, took, now);
        true
    }

    pub(super) fn verdict(&mut self, now: Tick) -> Verdict {
        let rows = self.rows.verdict(now);
        match &mut self.window {
            Some(window) => rows.worse(window.verdict(now)),
            None => rows,
        }
    }

    pub(super) const fn why(&self) -> Option<Why> {
        self.why
    }

    /// When the rows know nothing any more. What a window knows goes by slices, and is looked at anyway.
    pub(super) fn stale_at(&self) -> Tick {
        self.rows.stale_at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Verdict::{Degraded, Down, Unknown, Up};
    use crate::health::{ConsecutiveConfig, WindowedConfig};
    use crate::num::{Period, Ratio, count};

    fn at(secs: u64) -> Tick {
        Tick::ZERO + Duration::from_secs(secs)
    }

    /// Rules 1 and 3.
    #[test]
    fn the_worse_of_rows_and_window_counts() {
        let slow = Duration::from_millis(500);
        let config = WindowedConfig::new(Period::secs(60)).least(count(4));
        let config = config
            .slower(Ratio::percent(50), Duration::from_secs(2))
            .slower_degraded(slow);
        let rows = Consecutive::new(ConsecutiveConfig::new(count(3), count(2)));
        let mut known = Known::new(rows, Some(Windowed::new(config)));
        assert_eq!(known.verdict(at(100)), Unknown);
        for n in 0..4 {
            known.observe(Sample::UP, at(100 + n));
            assert_eq!(known.verdict(at(100 + n)), Up, "the window abstains");
            assert!(known.called(false, slow * 2, at(100 + n)));
        }
        assert_eq!(known.verdict(at(104)), Degraded, "it answers, slowly");
        for n in 0..3 {
            known.observe(Sample::down(Why::TimedOut), at(105 + n));
        }
        assert_eq!(
            (known.verdict(at(108)), known.why()),
            (Down, Some(Why::TimedOut))
        );
        // The rows know nothing any more, and calls go on.
        for n in 0..4 {
            known.called(false, slow / 2, at(190 + n));
        }
        assert_eq!(known.verdict(at(194)), Up);
        assert!(!Known::new(rows_only(), None).called(false, slow, at(1)));
    }

    fn rows_only() -> Consecutive {
        Consecutive::new(ConsecutiveConfig::default())
    }
}
