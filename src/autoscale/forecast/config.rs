use std::num::NonZeroU32;

use crate::num::{Period, Ratio, count};

/// The most days that are kept.
const LONGEST: NonZeroU32 = count(28);

/// Between two decisions, as Kubernetes has it.
const INTERVAL: u32 = 15;
/// How long one mean of the pattern is.
const BIN: u32 = 300;

/// The settings of a forecast.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::forecast::ForecastConfig;
/// use mainstay::num::Period;
///
/// let config = ForecastConfig::new().lead(Period::secs(300)).watch(true);
/// assert!(config.only_watches());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecastConfig {
    days: NonZeroU32,
    enough: NonZeroU32,
    lead: Period,
    early: Period,
    excess: Ratio,
    watch: bool,
}

impl Default for ForecastConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl ForecastConfig {
    /// For replicas that take so long to start: the lead is that and an interval between decisions, and the load may come as
    /// much and five minutes earlier than usual.
    #[must_use]
    pub const fn for_warm_up(warm_up: Period) -> Self {
        let secs = warm_up.get().as_secs();
        // Longer than a day says no more than a day.
        #[expect(clippy::cast_possible_truncation, reason = "at most a day")]
        let secs = if secs > 86_400 { 86_400 } else { secs as u32 };
        Self::new()
            .lead(Period::secs(secs + INTERVAL))
            .early(Period::secs(secs + BIN))
    }

    /// The defaults, each stated at its setter.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            days: count(7),
            enough: count(2),
            lead: Period::secs(600),
            early: Period::secs(900),
            excess: Ratio::percent(50),
            watch: false,
        }
    }

    /// How many days are looked at, 28 at most. Defaults to 7.
    #[must_use]
    pub const fn days(mut self, days: NonZeroU32) -> Self {
        self.days = if days.get() > LONGEST.get() {
            LONGEST
        } else {
            days
        };
        self
    }

    /// How many days must be known of a time of the day. Defaults to 2: one day is no pattern.
    #[must_use]
    pub const fn enough(mut self, days: NonZeroU32) -> Self {
        self.enough = days;
        self
    }

    /// How far ahead it looks: the warm-up of a replica and one interval between decisions.
    ///
    /// Defaults to 10 min; up to a day.
    #[must_use]
    pub const fn lead(mut self, lead: Period) -> Self {
        self.lead = lead;
        self
    }

    /// How much earlier than usual the load may come and still find its replicas. Defaults to 15 min.
    #[must_use]
    pub const fn early(mut self, early: Period) -> Self {
        self.early = early;
        self
    }

    /// How much too high forecasts may have been over the last day, as a share of what came, for them to raise anything.
    ///
    /// Defaults to half.
    #[must_use]
    pub const fn excess(mut self, share: Ratio) -> Self {
        self.excess = share;
        self
    }

    /// Whether it only watches and never raises, however good it is. Defaults to no. Its forecasts are in the reasoning
    /// either way.
    #[must_use]
    pub const fn watch(mut self, only: bool) -> Self {
        self.watch = only;
        self
    }

    /// How many days are looked at.
    #[must_use]
    pub const fn memory(&self) -> NonZeroU32 {
        self.days
    }

    /// How many days must be known.
    #[must_use]
    pub const fn fewest_days(&self) -> NonZeroU32 {
        self.enough
    }

    /// How far ahead it looks.
    #[must_use]
    pub const fn looks_ahead(&self) -> Period {
        self.lead
    }

    /// How much earlier than usual the load may come.
    #[must_use]
    pub const fn earliest(&self) -> Period {
        self.early
    }

    /// How much too high forecasts may be.
    #[must_use]
    pub const fn greatest_excess(&self) -> Ratio {
        self.excess
    }

    /// Whether it only watches.
    #[must_use]
    pub const fn only_watches(&self) -> bool {
        self.watch
    }
}
