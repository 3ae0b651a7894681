use std::num::NonZeroU32;

use crate::outcome::Outcome;
use crate::time::Tick;

/// Why a limit moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Calls took longer than is tolerable: it fell.
    Congested,
    /// It was in the way and nothing spoke against more: it grew.
    Demand,
    /// Most calls were lost: it fell.
    Lost,
    /// The baseline was measured: it is back where it was.
    Measured,
    /// It is pinned low for a moment to measure the baseline.
    Measuring,
    /// An operator pinned it.
    Pinned,
    /// An operator's pin was released or is over.
    Released,
    /// The settings were replaced.
    Reloaded,
    /// The baseline could not be measured, since too few calls were answered: it stays low.
    Unanswered,
}

impl Cause {
    /// A short name that never changes, for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Congested => "congested",
            Self::Demand => "demand",
            Self::Lost => "lost",
            Self::Measured => "measured",
            Self::Measuring => "measuring",
            Self::Pinned => "pinned",
            Self::Released => "released",
            Self::Reloaded => "reloaded",
            Self::Unanswered => "unanswered",
        }
    }
}

/// A move of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Change {
    pub(super) from: NonZeroU32,
    pub(super) to: NonZeroU32,
    pub(super) cause: Cause,
    pub(super) at: Tick,
}

impl Change {
    /// The limit before.
    #[must_use]
    pub const fn from(&self) -> NonZeroU32 {
        self.from
    }

    /// The limit after.
    #[must_use]
    pub const fn to(&self) -> NonZeroU32 {
        self.to
    }

    /// Why.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// When.
    #[must_use]
    pub const fn at(&self) -> Tick {
        self.at
    }
}

/// A call that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub(super) started: Tick,
    pub(super) outcome: Outcome,
    pub(super) in_flight: u32,
}

impl Sample {
    /// A call that began at `started`, when it had its place, and ended so.
    #[must_use]
    pub const fn new(started: Tick, outcome: Outcome) -> Self {
        Self {
            started,
            outcome,
            in_flight: 1,
        }
    }

    /// How many calls were under way when it ended, itself included.
    #[must_use]
    pub const fn in_flight(mut self, calls: u32) -> Self {
        self.in_flight = calls;
        self
    }
}
