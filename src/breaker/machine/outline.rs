//! What a shell must know in order not to ask: when every call passes, and what a success changes.

use std::time::Duration;

use super::{Breaker, Phase};
use crate::breaker::config::Share;
use crate::breaker::words::Mode;
use crate::time::Tick;
use crate::window::Sliding;

/// How long failures that no window forgets keep a circuit from being forgotten.
const MEMORY: Duration = Duration::from_secs(600);

/// What a success changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::breaker) enum Success {
    /// Nothing.
    Nothing,
    /// One more call in the slices of the windows over time; it cannot trip.
    Counts,
    /// Something only the machine can tell.
    Matters,
}

impl Breaker {
    /// Whether forgetting the circuit loses nothing: closed, without a command, and without a hit that counts.
    ///
    /// Failures in a row and those of the last so many calls never end by themselves, so they count for a while only:
    /// whoever failed once and is never called again must not keep its place for ever.
    pub(in crate::breaker) fn is_clean(&mut self, now: Tick) -> bool {
        if !self.passes_all() || self.command.is_some() {
            return false;
        }
        let failed = self.failures(now) > 0 || self.slowness(now).hits > 0;
        if !failed || now.since(self.hit_at) < MEMORY {
            return !failed;
        }
        let trips = &self.config.trips;
        let recent = trips
            .in_window
            .is_some_and(|(_, window)| self.recent.len_within(window.get(), now) > 0);
        let in_time = self.windows().any(|(_, window)| match window {
            Sliding::Time(counts) => counts.known().hits > 0,
            Sliding::Calls(_) => false,
        });
        !recent && !in_time
    }

    pub(in crate::breaker) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether every call passes until something is settled: then a shell need not ask.
    pub(in crate::breaker) fn passes_all(&self) -> bool {
        // A command that ends by itself is watched by asking.
        let for_good = self
            .command
            .is_none_or(|command| command.until == Tick::NEVER);
        for_good && matches!(self.phase, Phase::Closed { ramp: None })
    }

    /// Until when an open circuit refuses, unless somebody commands otherwise.
    pub(in crate::breaker) fn shut_until(&self) -> Option<Tick> {
        match self.phase {
            Phase::Open { until } if self.command.is_none() => Some(until),
            _ => None,
        }
    }

    /// What a success that was not slow changes while closed.
    pub(in crate::breaker) fn success(&self) -> Success {
        if self.mode() == Some(Mode::ForcedClosed) {
            return Success::Nothing;
        }
        if self.consecutive > 0 || self.crossed {
            return Success::Matters;
        }
        let mut all = Success::Nothing;
        for (share, window) in self.windows() {
            match window {
                Sliding::Calls(_) if window.is_settled() => {}
                Sliding::Calls(_) => return Success::Matters,
                Sliding::Time(counts) => {
                    let known = counts.known();
                    // The call that makes up the minimum can trip.
                    if known.hits > 0 && known.calls < share.min_calls.get() {
                        return Success::Matters;
                    }
                    all = Success::Counts;
                }
            }
        }
        if all == Success::Counts && self.slice_width().is_none() {
            return Success::Matters;
        }
        all
    }

    /// The length of a slice of the windows over time, in nanoseconds, if there are any and all are sliced alike:
    /// successes may then be counted outside of the machine.
    pub(in crate::breaker) fn slice_width(&self) -> Option<u64> {
        let mut widths = self.windows().filter_map(|(_, window)| match window {
            Sliding::Time(counts) => Some(counts.width()),
            Sliding::Calls(_) => None,
        });
        let first = widths.next()?;
        widths.all(|width| width == first).then_some(first)
    }

    fn windows(&self) -> impl Iterator<Item = (Share, &Sliding)> {
        let trips = &self.config.trips;
        let rate = trips.rate.zip(self.rate.as_ref());
        let slow = trips.slow.map(|(share, _)| share).zip(self.slow.as_ref());
        rate.into_iter().chain(slow)
    }

    /// Successes that a shell counted on its own, in the slice of time in which they ended.
    pub(in crate::breaker) fn record_successes(&mut self, slice: u64, calls: u32) {
        for window in self.rate.iter_mut().chain(&mut self.slow) {
            if let Sliding::Time(counts) = window {
                counts.record_misses(slice, calls);
            }
        }
    }

    /// How long a call may take without being slow, where that matters.
    pub(in crate::breaker) fn slow_after(&self) -> Option<Duration> {
        self.config.trips.slow.map(|(_, after)| after.get())
    }
}
