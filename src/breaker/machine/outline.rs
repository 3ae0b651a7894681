//! What a shell must know in order not to ask: when every call passes, and what a success changes.

use std::time::Duration;

use super::{Breaker, Phase};
use crate::breaker::config::Share;
use crate::breaker::words::Mode;
use crate::time::Tick;
use crate::window::Sliding;

/// How long failures that no window forgets keep a circuit from being forgotten.
const MEMORY: Duration = Duration::from_secs(600);

/// How long the probes that closed a circuit speak for the callee.
const RECENT: Duration = Duration::from_secs(60);

/// What a circuit knows of its callee, for those who do not call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// Every call is refused: the callee failed, or somebody forced the circuit open.
    Shut,
    /// The callee failed, and whether it is back is to be found out: the wait is over, or probes may go.
    Trying,
    /// Closed again, and a share of the calls is refused for now.
    Readmitting,
    /// Closed, though enough calls ended lately to open it; or closed since its probes succeeded, not long ago.
    Sound,
    /// Closed, and too few calls ended lately to tell. So it is without a window over time, which alone forgets calls.
    Silent,
    /// A command lets every call pass, whatever becomes of it.
    Overruled,
}

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

    /// What is known of the callee now; `recovered` is when probes last closed the circuit, if nothing changed since.
    pub(in crate::breaker) fn outlook(&mut self, recovered: Option<Tick>, now: Tick) -> Outlook {
        if let Some(command) = self.command {
            return match command.mode {
                Mode::ForcedOpen if command.until > now => Outlook::Shut,
                // Rule 10: its time is over, and the next call is a probe.
                Mode::ForcedOpen => Outlook::Trying,
                Mode::ForcedClosed | Mode::Observing if command.until > now => Outlook::Overruled,
                Mode::ForcedClosed | Mode::Observing => Outlook::Silent,
            };
        }
        match self.phase {
            Phase::Open { until } if now < until => Outlook::Shut,
            Phase::Open { .. } | Phase::HalfOpen(_) => Outlook::Trying,
            Phase::Closed { .. } if self.ramp(now).is_some() => Outlook::Readmitting,
            Phase::Closed { .. } => {
                let lately = recovered.is_some_and(|at| now.since(at) < RECENT);
                if lately || self.is_judged(now) {
                    Outlook::Sound
                } else {
                    Outlook::Silent
                }
            }
        }
    }

    /// Whether so many calls ended within a window over time that they could have opened the circuit.
    fn is_judged(&mut self, now: Tick) -> bool {
        let trips = self.config.trips;
        let shares = [trips.rate, trips.slow.map(|(share, _)| share)];
        let windows = [self.rate.as_mut(), self.slow.as_mut()];
        shares.into_iter().zip(windows).any(|each| match each {
            (Some(share), Some(Sliding::Time(counts))) => {
                counts.totals(now).calls >= share.min_calls.get()
            }
            _ => false,
        })
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
