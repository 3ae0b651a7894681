use std::time::Duration;

use super::octaves::Octaves;
use crate::outcome::{Failure, Outcome};
use crate::time::Tick;

/// What a window has seen so far: one word, so that a shell can add a call to it in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(u64);

/// A sum of 2¹⁴ places of 14 bits each, below it how many were answered and how many calls there are in all.
const CALLS: u32 = 0;
const ANSWERED: u32 = 14;
const SUM: u32 = 28;
const FIELD: u64 = (1 << 14) - 1;

impl Tally {
    /// Somebody was refused or had to wait.
    pub(super) const HELD: Self = Self(1 << 63);

    /// From here on calls are not added any more; half of what fits, since others may be adding one just now.
    pub(super) const FULL: u32 = 1 << 13;

    #[cfg(feature = "tower")]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[cfg(feature = "tower")]
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// One call.
    pub(super) fn one(took: Octaves, answered: bool) -> Self {
        let took = u64::from(took.get()).min(FIELD);
        Self(took << SUM | u64::from(answered) << ANSWERED | 1 << CALLS)
    }

    pub(super) const fn plus(self, call: Self) -> Self {
        Self(self.0.wrapping_add(call.0))
    }

    pub(super) const fn held(self) -> Self {
        Self(self.0 | Self::HELD.0)
    }

    pub(super) const fn calls(self) -> u32 {
        (self.0 >> CALLS & FIELD) as u32
    }

    pub(super) const fn answered(self) -> u32 {
        (self.0 >> ANSWERED & FIELD) as u32
    }

    pub(super) const fn is_full(self) -> bool {
        self.calls() >= Self::FULL
    }

    pub(super) const fn was_held(self) -> bool {
        self.0 & Self::HELD.0 != 0
    }

    /// The mean of the times that the calls took.
    pub(super) fn mean(self) -> Octaves {
        let sum = (self.0 & !Self::HELD.0) >> SUM;
        let mean = sum.checked_div(u64::from(self.calls())).unwrap_or(0);
        Octaves::new(u32::try_from(mean).unwrap_or(u32::MAX))
    }
}

/// A lost call weighs as much as one that took eight times the baseline: a fifth of them is congestion.
const LOST: u32 = Octaves::STEPS * 3;

/// Means of four times the baseline need fewer calls to be believed.
pub(super) const SWAMPED: u32 = Octaves::STEPS * 2;

/// As many do then: for calls that vary by half, an eighth of the mean is noise.
const FEW: u32 = 16;

/// By what the calls of a window are weighed, and when it is over. Fixed when the window begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// Calls that began before say nothing about the limit that is in force.
    pub(super) since: Tick,
    /// Zero where it is not known.
    pub(super) baseline: Octaves,
    /// Above it a mean is congestion.
    pub(super) crowded: Octaves,
    /// The fewest calls that a window is judged by.
    pub(super) needed: u32,
    /// The fewest that a window is judged by in which calls were held back for nothing.
    pub(super) early: u32,
    /// Whether enough calls set the baseline to conclude from it that the callee is swamped.
    pub(super) firm: bool,
    /// Whether the baseline is being measured.
    pub(super) measuring: bool,
    /// As many round trips from the beginning as a window lasts at least.
    pub(super) round: Tick,
    /// A whole window from the beginning.
    pub(super) whole: Tick,
    /// Longer than that nobody waits for calls.
    pub(super) longest: Tick,
}

impl Terms {
    /// What a call adds to the tally, `None` if it says nothing.
    pub(super) fn weigh(&self, started: Tick, outcome: Outcome, now: Tick) -> Option<Tally> {
        if started < self.since {
            return None;
        }
        let took = Octaves::of(now.since(started));
        let baseline = self.baseline;
        match outcome {
            Outcome::Success => Some(Tally::one(took, true)),
            Outcome::Failure(Failure::Timeout)
            | Outcome::Overload { .. }
            | Outcome::Pushback(_) => {
                let lost = if baseline == Octaves::default() {
                    took
                } else {
                    took.max(baseline.plus(LOST))
                };
                Some(Tally::one(lost, false))
            }
            Outcome::Failure(_) => Some(Tally::one(took.max(baseline), false)),
            Outcome::Ignored | Outcome::Rejected => None,
        }
    }

    /// The tally once a call is held back. Fewer calls than a window needs must have met the limit to speak for a
    /// greater one, so those that ended before do not count.
    pub(super) const fn held(&self, tally: Tally) -> Tally {
        let few = self.early < self.needed && tally.calls() < self.needed;
        if few && !tally.was_held() {
            Tally::HELD
        } else {
            tally.held()
        }
    }

    /// Whether the window is over.
    pub(super) fn is_due(&self, tally: Tally, now: Tick) -> bool {
        if now >= self.longest {
            return true;
        }
        let calls = tally.calls();
        if self.measuring {
            return calls >= self.needed;
        }
        if now < self.round || calls < self.needed.min(self.early).min(FEW) {
            return false;
        }
        let mean = tally.mean();
        let known = self.baseline > Octaves::default();
        if known && self.firm && calls >= self.needed.min(FEW) && mean > self.baseline.plus(SWAMPED)
        {
            return true;
        }
        let in_the_way = tally.was_held() && mean <= self.crowded;
        let answered = tally.answered() >= calls.div_ceil(2);
        calls >= self.needed && (now >= self.whole || in_the_way)
            || calls >= self.early && answered && in_the_way
    }
}

/// Round trips for which a window lasts at least: the calls that it sees are then those that the limit let in.
pub(super) const ROUNDS: u32 = 2;

/// The longest window: a callee that is called less often than ten times in it needs no limit.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_adds_up_in_one_word() {
        let took = |millis| Octaves::of(Duration::from_millis(millis));
        let mut tally = Tally::default().held();
        for _ in 0..Tally::FULL {
            tally = tally.plus(Tally::one(took(10), true));
        }
        assert!(tally.is_full() && tally.was_held());
        assert_eq!((tally.calls(), tally.answered()), (1 << 13, 1 << 13));
        assert_eq!(tally.mean(), took(10));
        let longest = Tally::one(Octaves::of(Duration::MAX), false);
        let many = (0..1 << 13).fold(Tally::default(), |sum, _| sum.plus(longest));
        assert_eq!((many.calls(), many.answered()), (1 << 13, 0));
        assert!(!many.was_held());
        assert_eq!(many.mean(), Octaves::of(Duration::MAX));
        assert_eq!(Tally::default().mean(), Octaves::default());
    }
}
