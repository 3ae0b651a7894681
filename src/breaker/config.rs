use std::num::NonZeroU32;
use std::time::Duration;

use crate::num::{Factor, Period, Ratio, count};

/// What opens a circuit.
///
/// Sources disagree on what a threshold of five failures means, so each reading is a variant. Several of different
/// kinds may watch one circuit: [`BreakerConfig::or`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Trip {
    /// This many failures in a row. A success starts the count again. For callees that are called rarely.
    Consecutive(NonZeroU32),
    /// This many failures in a row, the first of them at least so long ago. For callees of any rate: a moment's fault
    /// that fails a hundred calls at once is no streak.
    Streak {
        /// How many.
        failures: NonZeroU32,
        /// From the end of the first to the end of the last.
        spanning: Period,
    },
    /// This many failures within the window, whatever succeeds between them.
    InWindow {
        /// How many.
        failures: NonZeroU32,
        /// Within how long; failures exactly this far apart are within it.
        window: Period,
    },
    /// A share of the calls of a window failed. For callees that are called often.
    Rate {
        /// Trips at this share and above.
        ratio: Ratio,
        /// Does not trip before this many calls are in the window.
        min_calls: NonZeroU32,
        /// Which calls count.
        window: Window,
    },
    /// A share of the calls of a window was slow, whatever came of them.
    Slow {
        /// A call is slow that took longer than this.
        after: Period,
        /// Trips at this share and above.
        ratio: Ratio,
        /// Does not trip before this many calls are in the window.
        min_calls: NonZeroU32,
        /// Which calls count.
        window: Window,
    },
}

/// Which calls a share is taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// The last so many, however old. Takes a bit of memory for each.
    Calls(NonZeroU32),
    /// Those that ended within the last so long; forgotten in tenths.
    Time(Period),
}

impl Window {
    /// The last `calls`.
    ///
    /// # Panics
    ///
    /// At zero; in a `const` that is a compile error.
    #[must_use]
    pub const fn calls(calls: u32) -> Self {
        Self::Calls(count(calls))
    }

    fn compressed(self, by: NonZeroU32) -> Self {
        match self {
            Self::Calls(calls) => Self::Calls(calls),
            Self::Time(period) => Self::Time(period.compressed(by)),
        }
    }
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

    /// Trips after `failures` in a row whose first is at least `spanning` before the last.
    ///
    /// # Panics
    ///
    /// At zero; in a `const` that is a compile error.
    #[must_use]
    pub const fn streak(failures: u32, spanning: Period) -> Self {
        Self::Streak {
            failures: count(failures),
            spanning,
        }
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
        Self::rate_of(ratio, min_calls, Window::Time(window))
    }

    /// Trips when `ratio` of at least `min_calls` calls of a window failed.
    ///
    /// # Panics
    ///
    /// At zero calls; in a `const` that is a compile error.
    #[must_use]
    pub const fn rate_of(ratio: Ratio, min_calls: u32, window: Window) -> Self {
        Self::Rate {
            ratio,
            min_calls: count(min_calls),
            window,
        }
    }

    /// Trips when `ratio` of at least `min_calls` calls of a window took longer than `after`.
    ///
    /// # Panics
    ///
    /// At zero calls; in a `const` that is a compile error.
    #[must_use]
    pub const fn slow(after: Period, ratio: Ratio, min_calls: u32, window: Window) -> Self {
        Self::Slow {
            after,
            ratio,
            min_calls: count(min_calls),
            window,
        }
    }

    fn compressed(self, by: NonZeroU32) -> Self {
        match self {
            Self::Consecutive(failures) => Self::Consecutive(failures),
            Self::Streak { failures, spanning } => Self::Streak {
                failures,
                spanning: spanning.compressed(by),
            },
            Self::InWindow { failures, window } => Self::InWindow {
                failures,
                window: window.compressed(by),
            },
            Self::Rate {
                ratio,
                min_calls,
                window,
            } => Self::Rate {
                ratio,
                min_calls,
                window: window.compressed(by),
            },
            Self::Slow {
                after,
                ratio,
                min_calls,
                window,
            } => Self::Slow {
                after: after.compressed(by),
                ratio,
                min_calls,
                window: window.compressed(by),
            },
        }
    }
}

/// The trips of one circuit: at most one of each kind, at least one in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Trips {
    pub(super) consecutive: Option<NonZeroU32>,
    pub(super) streak: Option<(NonZeroU32, Period)>,
    pub(super) in_window: Option<(NonZeroU32, Period)>,
    pub(super) rate: Option<Share>,
    /// With the time after which a call is slow.
    pub(super) slow: Option<(Share, Period)>,
}

/// A share of the calls of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) ratio: Ratio,
    pub(super) min_calls: NonZeroU32,
    pub(super) window: Window,
}

impl Trips {
    pub(super) const fn with(mut self, trip: Trip) -> Self {
        match trip {
            Trip::Consecutive(failures) => self.consecutive = Some(failures),
            Trip::Streak { failures, spanning } => self.streak = Some((failures, spanning)),
            Trip::InWindow { failures, window } => self.in_window = Some((failures, window)),
            Trip::Rate {
                ratio,
                min_calls,
                window,
            } => {
                self.rate = Some(Share {
                    ratio,
                    min_calls,
                    window,
                });
            }
            Trip::Slow {
                after,
                ratio,
                min_calls,
                window,
            } => {
                let share = Share {
                    ratio,
                    min_calls,
                    window,
                };
                self.slow = Some((share, after));
            }
        }
        self
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Trip> {
        let consecutive = self.consecutive.map(Trip::Consecutive);
        let streak = self
            .streak
            .map(|(failures, spanning)| Trip::Streak { failures, spanning });
        let in_window = self
            .in_window
            .map(|(failures, window)| Trip::InWindow { failures, window });
        let rate = self.rate.map(|share| Trip::Rate {
            ratio: share.ratio,
            min_calls: share.min_calls,
            window: share.window,
        });
        let slow = self.slow.map(|(share, after)| Trip::Slow {
            after,
            ratio: share.ratio,
            min_calls: share.min_calls,
            window: share.window,
        });
        let all = [consecutive, streak, in_window, rate, slow];
        all.into_iter().flatten()
    }
}

/// How an open circuit finds out whether the callee is back.
///
/// # Example
///
/// ```
/// use mainstay::breaker::HalfOpen;
/// use mainstay::num::{Period, Ratio};
///
/// // Three probes at a time; three successes close, the first failure opens again.
/// let strict = HalfOpen::new(3, 3);
/// // Two successes close, of at most three probes: one may fail.
/// let patient = HalfOpen::new(1, 2).out_of(3);
/// // Ten probes are judged together: fewer than half may fail.
/// let judged = HalfOpen::ratio(10, Ratio::percent(50)).deadline(Period::secs(2));
/// # let _ = (strict, patient, judged);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HalfOpen {
    pub(super) max_in_flight: NonZeroU32,
    pub(super) verdict: Verdict,
    pub(super) deadline: Period,
}

/// When the probes of a round have decided.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// As soon as `needed` succeeded, or so many failed that `needed` of `of` cannot any more.
    Successes {
        /// So many successes close.
        needed: NonZeroU32,
        /// Out of so many probes.
        of: NonZeroU32,
    },
    /// When all of them have answered: closes if a smaller share than `ratio` failed.
    Ratio {
        /// So many are judged together.
        probes: NonZeroU32,
        /// At this share of failures and above the circuit opens again.
        ratio: Ratio,
    },
}

impl Verdict {
    /// How many probes a round has.
    #[must_use]
    pub const fn probes(self) -> NonZeroU32 {
        match self {
            Self::Successes { of, .. } => of,
            Self::Ratio { probes, .. } => probes,
        }
    }
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
        let needed = count(successes_to_close);
        Self {
            max_in_flight: count(max_in_flight),
            verdict: Verdict::Successes { needed, of: needed },
            deadline: Period::secs(10),
        }
    }

    /// `probes` at a time; when all have answered the circuit closes if a smaller share than `ratio` failed.
    ///
    /// A circuit that trips on slowness opens again as well if so large a share of the probes was slow.
    ///
    /// # Panics
    ///
    /// At zero; in a `const` that is a compile error.
    #[must_use]
    pub const fn ratio(probes: u32, ratio: Ratio) -> Self {
        let probes = count(probes);
        Self {
            max_in_flight: probes,
            verdict: Verdict::Ratio { probes, ratio },
            deadline: Period::secs(10),
        }
    }

    /// The successes may come out of so many probes: the others may fail. Fewer than the successes count as many.
    ///
    /// Without it no probe may fail. Of a [`ratio`](Self::ratio) it changes nothing.
    #[must_use]
    pub const fn out_of(mut self, probes: u32) -> Self {
        if let Verdict::Successes { needed, .. } = self.verdict
            && let Some(probes) = NonZeroU32::new(probes)
        {
            let of = if probes.get() > needed.get() {
                probes
            } else {
                needed
            };
            self.verdict = Verdict::Successes { needed, of };
        }
        self
    }

    /// A probe that has not answered after this long counts as failed.
    ///
    /// Defaults to 10 s. It should be longer than the attempt timeout, so that the timeout decides first: a callee whose
    /// calls take longer than this is never found back. The standard stack sees to that.
    #[must_use]
    pub const fn deadline(mut self, deadline: Period) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many probes may be out at a time.
    #[must_use]
    pub const fn at_once(&self) -> NonZeroU32 {
        self.max_in_flight
    }

    /// When the probes have decided.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// How long a probe may take.
    #[must_use]
    pub const fn patience(&self) -> Period {
        self.deadline
    }
}

impl Default for HalfOpen {
    fn default() -> Self {
        Self::new(1, 1)
    }
}

/// Lets calls back in by and by after a circuit has closed.
///
/// # Example
///
/// ```
/// use mainstay::breaker::Ramp;
/// use mainstay::num::{Period, Ratio};
/// use std::time::Duration;
///
/// let ramp = Ramp::linear(Ratio::percent(10), Period::secs(10));
/// assert_eq!(ramp.share(Duration::from_secs(5)).get(), 0.55);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    pub(super) from: Ratio,
    pub(super) over: Period,
}

impl Ramp {
    /// Admits the share `from` of the calls right after closing, and all of them when `over` has passed.
    #[must_use]
    pub const fn linear(from: Ratio, over: Period) -> Self {
        Self { from, over }
    }

    /// The share that is admitted right after closing.
    #[must_use]
    pub const fn start(&self) -> Ratio {
        self.from
    }

    /// After how long all calls are admitted.
    #[must_use]
    pub const fn length(&self) -> Period {
        self.over
    }

    /// The share that is admitted so long after closing.
    #[must_use]
    pub fn share(&self, since: Duration) -> Ratio {
        let passed = (since.as_secs_f64() / self.over.get().as_secs_f64()).min(1.0);
        let share = self.from.get() + (1.0 - self.from.get()) * passed;
        Ratio::new("ramp", share).unwrap_or(Ratio::ONE)
    }
}

/// The settings of a circuit breaker.
///
/// # Example
///
/// ```
/// use mainstay::breaker::{BreakerConfig, HalfOpen, Trip, Window};
/// use mainstay::num::{Factor, Period, Ratio};
///
/// let config = BreakerConfig::new(Trip::in_window(5, Period::secs(60)))
///     .or(Trip::slow(Period::secs(2), Ratio::percent(80), 20, Window::calls(100)))
///     .open_for(Period::secs(30))
///     .growing(Factor::TWO, Period::secs(300))
///     .half_open(HalfOpen::new(3, 3));
/// # let _ = config;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerConfig {
    pub(super) trips: Trips,
    pub(super) open_for: Period,
    pub(super) growth: Option<Factor>,
    pub(super) longest: Period,
    pub(super) longest_hint: Period,
    pub(super) jitter: Ratio,
    pub(super) half_open: HalfOpen,
    pub(super) ramp: Option<Ramp>,
}

const NO_TRIPS: Trips = Trips {
    consecutive: None,
    streak: None,
    in_window: None,
    rate: None,
    slow: None,
};

impl BreakerConfig {
    /// A breaker that opens on `trip`.
    #[must_use]
    pub const fn new(trip: Trip) -> Self {
        Self {
            trips: NO_TRIPS.with(trip),
            open_for: Period::secs(5),
            growth: None,
            longest: Period::secs(60),
            longest_hint: Period::secs(60),
            jitter: Ratio::ZERO,
            half_open: HalfOpen::new(1, 1),
            ramp: None,
        }
    }

    /// Opens on `trip` as well. One of a kind that is there already takes its place.
    #[must_use]
    pub const fn or(mut self, trip: Trip) -> Self {
        self.trips = self.trips.with(trip);
        self
    }

    /// How long the circuit stays open before it lets a probe through.
    ///
    /// [`new`](Self::new) waits 5 s: long enough for a restart, short enough that an outage is not made longer. The
    /// default waits less at first, see there.
    #[must_use]
    pub const fn open_for(mut self, open_for: Period) -> Self {
        self.open_for = open_for;
        self
    }

    /// Each round of probes that fails makes the next wait longer by `factor`, up to `longest`. A circuit that closed
    /// begins again.
    ///
    /// Defaults to the same wait every time.
    #[must_use]
    pub const fn growing(mut self, factor: Factor, longest: Period) -> Self {
        self.growth = Some(factor);
        self.longest = longest;
        self
    }

    /// The longest hint of the callee that an opening circuit keeps to. Whatever is longer counts as this long.
    ///
    /// Defaults to 60 s: without a bound a callee could shut itself off for good.
    #[must_use]
    pub const fn longest_hint(mut self, longest: Period) -> Self {
        self.longest_hint = longest;
        self
    }

    /// Up to this share of the wait is added to it by chance, so that instances that opened together do not probe
    /// together. It never shortens: the wait is a promise to the callee.
    ///
    /// Defaults to nothing.
    #[must_use]
    pub const fn jitter(mut self, share: Ratio) -> Self {
        self.jitter = share;
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

    /// Lets calls back in by and by after closing, for callees that come back cold.
    ///
    /// Defaults to all at once.
    #[must_use]
    pub const fn ramp(mut self, ramp: Ramp) -> Self {
        self.ramp = Some(ramp);
        self
    }

    /// What opens the circuit.
    pub fn trips(&self) -> impl Iterator<Item = Trip> {
        self.trips.iter()
    }

    /// How long the circuit stays open at first.
    #[must_use]
    pub const fn opening(&self) -> Duration {
        self.open_for.get()
    }

    /// How the wait grows, `None` if it does not.
    #[must_use]
    pub const fn growth(&self) -> Option<Factor> {
        self.growth
    }

    /// The longest wait that growth leads to, before jitter.
    #[must_use]
    pub const fn longest(&self) -> Period {
        self.longest
    }

    /// The longest hint of the callee that it keeps to.
    #[must_use]
    pub const fn patience(&self) -> Period {
        self.longest_hint
    }

    /// The share of the wait that chance may add.
    #[must_use]
    pub const fn spread(&self) -> Ratio {
        self.jitter
    }

    /// How it probes.
    #[must_use]
    pub const fn probing(&self) -> HalfOpen {
        self.half_open
    }

    /// How it lets calls back in, `None` if all at once.
    #[must_use]
    pub const fn readmission(&self) -> Option<Ramp> {
        self.ramp
    }

    /// The same breaker with every duration divided by `by`, for drills that must not take minutes.
    #[must_use]
    pub fn compressed(mut self, by: NonZeroU32) -> Self {
        let trips = self.trips.iter().map(|trip| trip.compressed(by));
        self.trips = trips.fold(Trips::default(), Trips::with);
        self.open_for = self.open_for.compressed(by);
        self.longest = self.longest.compressed(by);
        self.longest_hint = self.longest_hint.compressed(by);
        self.half_open.deadline = self.half_open.deadline.compressed(by);
        self.ramp = self.ramp.map(|ramp| Ramp {
            over: ramp.over.compressed(by),
            ..ramp
        });
        self
    }
}

/// Half of at least 10 calls within 8 s, or five failures in a row over at least a second; open for 2 to 4 s, then for 3
/// to 6; one probe.
///
/// These are the numbers with which the standard stack passes every line of the outage benchmark. The window is short,
/// so that a total failure is half of it within seconds; the minimum is what one call a second needs to be noticed in
/// ten. The streak finds what fails altogether sooner, at any rate, and a fault of a tenth of a second is none. The wait
/// is as short as recovery should take, and its jitter as long as itself, so that a hundred instances that opened
/// together do not probe together.
impl Default for BreakerConfig {
    fn default() -> Self {
        Self::new(Trip::rate(Ratio::percent(50), 10, Period::secs(8)))
            .or(Trip::streak(5, Period::secs(1)))
            .open_for(Period::secs(2))
            .growing(GROWTH, Period::secs(3))
            .jitter(Ratio::ONE)
    }
}

/// Half as long again.
const GROWTH: Factor = Factor::percent(150);

impl From<Trip> for BreakerConfig {
    fn from(trip: Trip) -> Self {
        Self::new(trip)
    }
}
