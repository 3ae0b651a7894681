//! What a breaker is asked and what it answers.

use crate::error::Rejected;
use crate::time::Tick;

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls pass.
    Closed,
    /// Calls are rejected.
    Open,
    /// A few calls pass, to find out whether the callee is back.
    HalfOpen,
}

impl State {
    /// A short name that never changes, for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What a command makes of a circuit: the rules do not decide while it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Every call passes and nothing is recorded.
    ForcedClosed,
    /// Every call is rejected and nothing probes.
    ForcedOpen,
    /// Every call passes and is recorded; what would have opened the circuit is told.
    Observing,
}

impl Mode {
    /// A short name that never changes, for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ForcedClosed => "forced_closed",
            Self::ForcedOpen => "forced_open",
            Self::Observing => "observing",
        }
    }
}

/// Why a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// So many failures in a row.
    Consecutive,
    /// So many failures in a row, over so long.
    Streak,
    /// So many failures within the window.
    InWindow,
    /// Such a share of the calls failed.
    Rate,
    /// Such a share of the calls was slow.
    Slow,
    /// The probes failed.
    ProbeFailed,
    /// A probe did not answer within the half-open deadline.
    ProbeHung,
    /// The circuit was open for as long as it should be.
    WaitOver,
    /// The probes succeeded.
    Recovered,
    /// Somebody said so, or what somebody said came to its end.
    Commanded,
}

impl Cause {
    /// A short name that never changes, for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::Streak => "streak",
            Self::InWindow => "in_window",
            Self::Rate => "rate",
            Self::Slow => "slow",
            Self::ProbeFailed => "probe_failed",
            Self::ProbeHung => "probe_hung",
            Self::WaitOver => "wait_over",
            Self::Recovered => "recovered",
            Self::Commanded => "commanded",
        }
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transition {
    pub(super) from: State,
    pub(super) to: State,
    pub(super) cause: Cause,
    pub(super) at: Tick,
    pub(super) observed: bool,
}

impl Transition {
    /// The state before.
    #[must_use]
    pub const fn from(&self) -> State {
        self.from
    }

    /// The state after.
    #[must_use]
    pub const fn to(&self) -> State {
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

    /// Whether it did not happen, but would have if the circuit were not [observed](Mode::Observing) only.
    #[must_use]
    pub const fn is_observed(&self) -> bool {
        self.observed
    }
}

/// What an admission hands out: give it back with the outcome, or abandon it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is neither settled nor abandoned keeps its probe's place until the half-open deadline"]
pub struct Permit {
    pub(super) generation: u64,
    /// Tells a probe from its siblings; 0 for a call admitted while closed.
    pub(super) probe: u32,
}

/// The decision about a call: the permit or the refusal, and the change of state that it brought.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct Admission {
    /// The permit or the refusal.
    pub verdict: Result<Permit, Rejected>,
    /// Asking can move the state: an open circuit whose time is over, a probe that hung.
    pub transition: Option<Transition>,
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Calls that ended within the window.
    pub calls: u32,
    /// Those of them that failed, or were slow.
    pub hits: u32,
}
