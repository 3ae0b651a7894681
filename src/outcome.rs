//! How a call ended, in the one vocabulary that every policy shares.
//!
//! A breaker, a retry and a budget agree about what a failure is because they ask the same [`Classify`].

use std::time::Duration;

/// How a finished call counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The callee did what it should.
    Success,
    /// The callee failed.
    Failure(Failure),
    /// The callee asks for less; `retry_after` is its own word on when to come back.
    Overload {
        /// The earliest moment of a new attempt, counted from the answer.
        retry_after: Option<Duration>,
    },
    /// Says nothing about the callee: a wrong request, a cancelled call.
    Ignored,
    /// Refused by a layer of this process below; says nothing about the callee either.
    Rejected,
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The callee answered with an error.
    Error,
    /// The answer did not come in time; the effect may have happened.
    Timeout,
    /// The callee could not be reached or said that it is not there.
    Unavailable,
}

impl Outcome {
    /// Whether it counts against the callee: a failure, or a sign of overload.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failure(_) | Self::Overload { .. })
    }

    /// Whether it counts for or against the callee at all.
    #[must_use]
    pub const fn counts(self) -> bool {
        matches!(self, Self::Success) || self.is_failure()
    }

    /// The callee's word on when to come back.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Overload { retry_after } => retry_after,
            Self::Success | Self::Failure(_) | Self::Ignored | Self::Rejected => None,
        }
    }
}

/// Says how a finished call counts, from the head of its answer.
///
/// Implemented for closures; named classifiers are [`ByResult`], and those of the `http` and `grpc` modules. What a
/// stream says at its end is asked there through their `Tracked` body.
///
/// # Example
///
/// ```
/// use mainstay::outcome::{ByResult, Classify, Failure, Outcome};
///
/// let result: Result<u32, std::io::Error> = Ok(1);
/// assert_eq!(ByResult.classify(result.as_ref()), Outcome::Success);
///
/// // A validation error is the caller's fault, not the callee's.
/// let mine = |result: Result<&u32, &std::io::Error>| match result {
///     Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => Outcome::Ignored,
///     Err(_) => Outcome::Failure(Failure::Error),
///     Ok(_) => Outcome::Success,
/// };
/// let invalid = Err(std::io::ErrorKind::InvalidInput.into());
/// assert_eq!(mine.classify(invalid.as_ref()), Outcome::Ignored);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how `Result<{Res}, {Err}>` counts",
    note = "use `ByResult`, a named classifier, or a closure \
            `|result: Result<&{Res}, &{Err}>| -> Outcome`"
)]
pub trait Classify<Res, Err> {
    /// How the call counts.
    fn classify(&self, result: Result<&Res, &Err>) -> Outcome;
}

impl<F, Res, Err> Classify<Res, Err> for F
where
    F: Fn(Result<&Res, &Err>) -> Outcome,
{
    fn classify(&self, result: Result<&Res, &Err>) -> Outcome {
        self(result)
    }
}

/// `Ok` is a success, `Err` a failure.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct ByResult;

impl<Res, Err> Classify<Res, Err> for ByResult {
    fn classify(&self, result: Result<&Res, &Err>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure(Failure::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_of_the_callee_count() {
        assert!(Outcome::Success.counts() && !Outcome::Success.is_failure());
        assert!(Outcome::Failure(Failure::Timeout).is_failure());
        assert!(Outcome::Overload { retry_after: None }.is_failure());
        assert!(!Outcome::Ignored.counts());
        assert!(!Outcome::Rejected.counts());
    }
}
