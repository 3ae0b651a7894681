//! How a replayed entry ended.

use std::fmt;
use std::time::Duration;

use crate::outcome::{Failure, Outcome, Pushback};

/// How one replay of an entry ended.
///
/// # Example
///
/// ```
/// use mainstay::outcome::{Failure, Outcome};
/// use mainstay::queue::Verdict;
///
/// assert_eq!(Verdict::from(Outcome::Success), Verdict::Applied);
/// // The callee is not there: that is nothing against the entry.
/// let away = Verdict::from(Outcome::Failure(Failure::Unavailable));
/// assert_eq!(away, Verdict::Later { counts: false, after: None });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The callee has it.
    Applied,
    /// The callee will never take it: poison.
    Refused,
    /// Not now.
    Later {
        /// Whether it counts against the entry. What says nothing about the entry does not: the callee is not there, is
        /// overloaded, or was not asked.
        counts: bool,
        /// The callee's own word on when to come back.
        after: Option<Duration>,
    },
}

impl Verdict {
    /// Not now, and the entry may be why.
    pub const FAILED: Self = Self::Later {
        counts: true,
        after: None,
    };

    /// Not now, and that is nothing against the entry.
    pub const AWAY: Self = Self::Later {
        counts: false,
        after: None,
    };
}

/// A success has been applied, what is [ignored](Outcome::Ignored) is the caller's fault and so poison. An error and a
/// timeout count against the entry; an absent or overloaded callee and a refusal on this side do not.
impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Applied,
            Outcome::Ignored | Outcome::Pushback(Pushback::Never) => Self::Refused,
            Outcome::Failure(Failure::Error | Failure::Timeout) => Self::FAILED,
            Outcome::Failure(Failure::Unavailable) | Outcome::Rejected => Self::AWAY,
            Outcome::Overload { .. } | Outcome::Pushback(Pushback::After(_)) => Self::Later {
                counts: false,
                after: outcome.retry_after(),
            },
        }
    }
}

/// Why an entry is poison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Poison {
    /// All its attempts failed.
    Exhausted,
    /// The callee refused it for good.
    Refused,
    /// No request can be made of it: its record does not read, or its key is gone.
    Unreadable,
    /// Processes that replay it die.
    Deadly,
}

impl Poison {
    /// A short name that never changes, for events and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Deadly => "deadly",
        }
    }
}

impl fmt::Display for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
