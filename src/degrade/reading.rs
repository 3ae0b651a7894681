//! What a ladder is told about a component.

use std::fmt;

use crate::health::Verdict;
use crate::num::Ratio;

/// What is known about a component: a verdict, or a score of which the [component](super::Component) makes one.
///
/// # Example
///
/// ```
/// use mainstay::degrade::Reading;
/// use mainstay::health::Verdict;
/// use mainstay::num::Ratio;
///
/// assert_eq!(Reading::from(Verdict::Down).to_string(), "down");
/// assert_eq!(Reading::from(Ratio::percent(75)).to_string(), "0.75");
/// // A score that is no number is refused where it is made.
/// assert!(Ratio::new("score", f64::NAN).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading(pub(super) Read);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Read {
    Verdict(Verdict),
    Score(Ratio),
}

impl Reading {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self(Read::Verdict(Verdict::Unknown));

    /// Whether anything is known.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        match self.0 {
            Read::Verdict(verdict) => verdict.is_known(),
            Read::Score(_) => true,
        }
    }

    /// The score: 1 of what is up, a half of what is degraded, 0 of what is down.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        match self.0 {
            Read::Score(score) => Some(score.get()),
            Read::Verdict(Verdict::Up) => Some(1.0),
            Read::Verdict(Verdict::Degraded) => Some(0.5),
            Read::Verdict(Verdict::Down) => Some(0.0),
            Read::Verdict(Verdict::Unknown) => None,
        }
    }
}

impl From<Verdict> for Reading {
    fn from(verdict: Verdict) -> Self {
        Self(Read::Verdict(verdict))
    }
}

impl From<Ratio> for Reading {
    fn from(score: Ratio) -> Self {
        Self(Read::Score(score))
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Read::Verdict(verdict) => verdict.fmt(f),
            Read::Score(score) => score.get().fmt(f),
        }
    }
}
