//! How a fact comes and goes.

use std::time::Duration;

use crate::num::Period;

/// How a fact comes and goes: worse at once, better slowly.
///
/// # Example
///
/// ```
/// use mainstay::degrade::Pace;
/// use mainstay::num::{Period, count};
///
/// // It must hold for 5 s to count, stays for at least a minute, and leaves after 30 s of calm.
/// let pace = Pace::new()
///     .worse_after(std::time::Duration::from_secs(5))
///     .dwell(Period::secs(60))
///     .better_after(Period::secs(30))
///     .flaps(count(3), Period::secs(600), Period::secs(300));
/// assert_eq!(pace.calm(), Period::secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    worse_after: Duration,
    dwell: Period,
    better_after: Period,
    flaps: u32,
    within: Period,
    hold: Period,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

impl Pace {
    /// It comes at once, stays for 30 s at least, and goes after 30 s without it; after the fourth time in ten minutes it
    /// goes only after five minutes without it.
    ///
    /// At once, because what reports is expected to confirm (see [`health`](crate::health)); 30 s, because that is what
    /// the next three of most probes take.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            worse_after: Duration::ZERO,
            dwell: Period::secs(30),
            better_after: Period::secs(30),
            flaps: 4,
            within: Period::secs(600),
            hold: Period::secs(300),
        }
    }

    /// It comes after it has been so for this long without a break. Default zero: at once.
    #[must_use]
    pub const fn worse_after(mut self, so_long: Duration) -> Self {
        self.worse_after = so_long;
        self
    }

    /// It stays for at least this long. Default 30 s.
    #[must_use]
    pub const fn dwell(mut self, least: Period) -> Self {
        self.dwell = least;
        self
    }

    /// It goes after it has not been so for this long without a break. Default 30 s.
    #[must_use]
    pub const fn better_after(mut self, calm: Period) -> Self {
        self.better_after = calm;
        self
    }

    /// Once it has come `times` within `within`, it goes only after `hold` without it; more than
    /// 1,000 times are taken for 1,000. Default 4 within 10 min, 5 min.
    #[must_use]
    pub const fn flaps(
        mut self,
        times: std::num::NonZeroU32,
        within: Period,
        hold: Period,
    ) -> Self {
        self.flaps = if times.get() < 1_000 {
            times.get()
        } else {
            1_000
        };
        self.within = within;
        self.hold = hold;
        self
    }

    /// After how long it comes.
    #[must_use]
    pub const fn confirmation(&self) -> Duration {
        self.worse_after
    }

    /// How long it stays at least.
    #[must_use]
    pub const fn stay(&self) -> Period {
        self.dwell
    }

    /// After how long without it it goes.
    #[must_use]
    pub const fn calm(&self) -> Period {
        self.better_after
    }

    /// How often within what time is too often, and after how long without it it goes then.
    #[must_use]
    pub const fn flap_budget(&self) -> (u32, Period, Period) {
        (self.flaps, self.within, self.hold)
    }
}
