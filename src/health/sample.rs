//! One sample of a component: what a look found, and why it is not good.

use std::fmt;

use super::verdict::Verdict;

/// What a look at a component found: a verdict, and why it is not better.
///
/// Nothing of what the component answered is in it but a number of the protocol, so that it can be logged and served.
///
/// # Example
///
/// ```
/// use mainstay::health::{Sample, Verdict, Why};
///
/// let sample = Sample::down(Why::Status(503));
/// assert_eq!(sample.verdict(), Verdict::Down);
/// assert_eq!(sample.to_string(), "down: answered with 503");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sample {
    verdict: Verdict,
    why: Option<Why>,
}

impl Sample {
    /// It is well.
    pub const UP: Self = Self {
        verdict: Verdict::Up,
        why: None,
    };

    /// It is not.
    #[must_use]
    pub const fn down(why: Why) -> Self {
        Self {
            verdict: Verdict::Down,
            why: Some(why),
        }
    }

    /// It is worse than it should be.
    #[must_use]
    pub const fn degraded(why: Why) -> Self {
        Self {
            verdict: Verdict::Degraded,
            why: Some(why),
        }
    }

    /// The look says nothing about it.
    #[must_use]
    pub const fn unknown(why: Why) -> Self {
        Self {
            verdict: Verdict::Unknown,
            why: Some(why),
        }
    }

    /// What it says.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        self.verdict
    }

    /// Why it is not up; `None` where it is, and where the look told no reason.
    #[must_use]
    pub const fn why(self) -> Option<Why> {
        self.why
    }
}

/// Without a reason.
impl From<Verdict> for Sample {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, why: None }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict)?;
        match self.why {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

/// Why a sample is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// Its answer is not the expected one.
    Answer,
    /// The look before this one has not ended.
    Busy,
    /// It answered with this gRPC code.
    Code(i32),
    /// It may not be looked at: the look has not the rights.
    Denied,
    /// It answered with an error.
    Failed,
    /// Its answer is longer than what is read.
    Long,
    /// Its answer cannot be read.
    Malformed,
    /// It says itself that it does not serve.
    NotServing,
    /// It knows of itself that it does not know.
    NotTold,
    /// The look panicked.
    Panicked,
    /// It only reads.
    ReadOnly,
    /// It answered with this HTTP status.
    Status(u16),
    /// The observer's own clock jumped.
    Tilted,
    /// No answer in time.
    TimedOut,
    /// It tells nobody how it is.
    Unimplemented,
    /// It does not know the service that was asked about.
    UnknownService,
    /// It could not be reached.
    Unreachable,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answer => "not the expected answer",
            Self::Busy => "the look before has not ended",
            Self::Code(code) => return write!(f, "answered with the gRPC code {code}"),
            Self::Denied => "may not be looked at",
            Self::Failed => "answered with an error",
            Self::Long => "the answer is too long",
            Self::Malformed => "the answer cannot be read",
            Self::NotServing => "does not serve",
            Self::NotTold => "does not know itself",
            Self::Panicked => "the look panicked",
            Self::ReadOnly => "only reads",
            Self::Status(status) => return write!(f, "answered with {status}"),
            Self::Tilted => "the observer stood still",
            Self::TimedOut => "no answer in time",
            Self::Unimplemented => "tells nobody how it is",
            Self::UnknownService => "does not know the service",
            Self::Unreachable => "cannot be reached",
        })
    }
}
