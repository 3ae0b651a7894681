use std::num::NonZeroU32;
use std::time::Duration;

use crate::num::{Period, Ratio, count};

/// What opens a circuit.
///
/// Sources disagree on what a threshold of five failures means, so each reading is a variant.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Trip {
    /// This many failures in a row. A success starts the count again. For callees that are called rarely.
    Consecutive(NonZeroU32),
    /// This many failures within the window, whatever succeeds between them.
    InWindow {
        /// How many.
        failures: NonZeroU32,
        /// Within how long; failures exactly this far apart are within it.
        window: Period,
    },
    /// A share of the calls of the last window. For callees that are called often.
    Rate {
        /// Trips at this share and above.
        ratio: Ratio,
        /// Does not trip before this many calls are in the window.
        min_calls: NonZeroU32,
        /// How far back calls count; forgotten in tenths.
        window: Period,
    },
}

impl Trip {
    /// Trips after `failures` in a row.
    ///
    /// # Panics
    ///
    /// At zero; in a `const` that is a compile error.
    #[must_use]
    pub const fn consecutive(failures: u32) -> Self {
        Self::Consecutive(count(failures))
    }

    /// Trips after `failures` within `window`.
    ///
    /// # Panics
    ///
    /// At zero failures; in a `const` that is a compile error.
    #[must_use]
    pub const fn in_window(failures: u32, window: Period) -> Self {
        Self::InWindow {
            failures: count(failures),
            window,
        }
    }

    /// Trips when `ratio` of at least `min_calls` calls within `window` failed.
    ///
    /// # Panics
    ///
    /// At zero calls; in a `const` that is a compile error.
    #[must_use]
    pub const fn rate(ratio: Ratio, min_calls: u32, window: Period) -> Self {
        Self::Rate {
            ratio,
            min_calls: count(min_calls),
            window,
        }
    }
}

/// How an open circuit finds out whether the callee is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfOpen {
    pub(super) max_in_flight: NonZeroU32,
    pub(super) successes_to_close: NonZeroU32,
    pub(super) deadline: Period,
}

impl HalfOpen {
    /// At most `max_in_flight` probes at a time; the circuit closes after `successes_to_close` of them succeeded.
    /// Any failure opens it again.
    ///
    /// # Panics
    ///
    /// At zero; in a `const` that is a compile error.
    #[must_use]
    pub const fn new(max_in_flight: u32, successes_to_close: u32) -> Self {
        Self {
            max_in_flight: count(max_in_flight),
            successes_to_close: count(successes_to_close),
            deadline: Period::secs(10),
        }
    }

    /// A probe that has not answered after this long counts as failed.
    ///
    /// Defaults to 10 s: longer than any sensible attempt timeout, so that the timeout decides first.
    #[must_use]
    pub const fn deadline(mut self, deadline: Period) -> Self {
        self.deadline = deadline;
        self
    }
}

impl Default for HalfOpen {
    fn default() -> Self {
        Self::new(1, 1)
    }
}

/// The settings of a circuit breaker.
///
/// # Example
///
/// ```
/// use mainstay::breaker::{BreakerConfig, HalfOpen, Trip};
/// use mainstay::num::Period;
///
/// let config = BreakerConfig::new(Trip::in_window(5, Period::secs(60)))
///     .open_for(Period::secs(30))
///     .half_open(HalfOpen::new(3, 3));
/// # let _ = config;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    pub(super) trip: Trip,
    pub(super) open_for: Period,
    pub(super) half_open: HalfOpen,
}

impl BreakerConfig {
    /// A breaker that opens on `trip`.
    #[must_use]
    pub const fn new(trip: Trip) -> Self {
        Self {
            trip,
            open_for: Period::secs(5),
            half_open: HalfOpen::new(1, 1),
        }
    }

    /// How long the circuit stays open before it lets a probe through.
    ///
    /// Defaults to 5 s: long enough for a restart, short enough that an outage is not made longer.
    #[must_use]
    pub const fn open_for(mut self, open_for: Period) -> Self {
        self.open_for = open_for;
        self
    }

    /// How the circuit finds out whether the callee is back.
    ///
    /// Defaults to one probe whose success closes.
    #[must_use]
    pub const fn half_open(mut self, half_open: HalfOpen) -> Self {
        self.half_open = half_open;
        self
    }

    /// What opens the circuit.
    #[must_use]
    pub const fn trip(&self) -> Trip {
        self.trip
    }

    /// The same breaker with every duration divided by `by`, for drills that must not take minutes.
    #[must_use]
    pub fn compressed(mut self, by: NonZeroU32) -> Self {
        self.trip = match self.trip {
            Trip::Consecutive(failures) => Trip::Consecutive(failures),
            Trip::InWindow { failures, window } => Trip::InWindow {
                failures,
                window: window.compressed(by),
            },
            Trip::Rate {
                ratio,
                min_calls,
                window,
            } => Trip::Rate {
                ratio,
                min_calls,
                window: window.compressed(by),
            },
        };
        self.open_for = self.open_for.compressed(by);
        self.half_open.deadline = self.half_open.deadline.compressed(by);
        self
    }

    /// How long the circuit stays open.
    #[must_use]
    pub const fn opening(&self) -> Duration {
        self.open_for.get()
    }
}

/// Half of at least 20 calls within 10 s: a callee called twice a second or more trips within seconds, and a single
/// error never does.
impl Default for BreakerConfig {
    fn default() -> Self {
        Self::new(Trip::rate(Ratio::percent(50), 20, Period::secs(10)))
    }
}

impl From<Trip> for BreakerConfig {
    fn from(trip: Trip) -> Self {
        Self::new(trip)
    }
}
