//! How a call ended, in the one vocabulary that every policy shares.
//!
//! A breaker, a retry and a budget agree about what a failure is because they ask the same [`Classify`].

use std::time::Duration;

use crate::error::Reason;

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
    /// The callee failed and gives an order about the retry, which is more than a hint.
    Pushback(Pushback),
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

/// When a callee that failed wants the next attempt.
///
/// # Source
///
/// gRPC proposal A6, "Client retry support": server pushback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pushback {
    /// After exactly this long.
    After(Duration),
    /// Not at all.
    Never,
}

impl Outcome {
    /// How the call ended, in a word that never changes; of a refusal its reason.
    pub(crate) const fn word(self, reason: Option<Reason>) -> &'static str {
        match (self, reason) {
            (Self::Success, _) => "success",
            (Self::Failure(Failure::Error), _) => "error",
            (Self::Failure(Failure::Timeout), _) => "timeout",
            (Self::Failure(Failure::Unavailable), _) => "unavailable",
            (Self::Overload { .. } | Self::Pushback(_), _) => "overload",
            (Self::Ignored, _) => "ignored",
            (Self::Rejected, Some(reason)) => reason.as_str(),
            (Self::Rejected, None) => "rejected",
        }
    }
}

impl Pushback {
    /// Reads the values of `grpc-retry-pushback-ms`; `None` when there is none.
    ///
    /// Whatever is not one number of milliseconds asks for no retry: negative, unreadable, or more than one value.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::outcome::Pushback;
    /// use std::time::Duration;
    ///
    /// assert_eq!(Pushback::parse(["250"]), Some(Pushback::After(Duration::from_millis(250))));
    /// assert_eq!(Pushback::parse(["-1"]), Some(Pushback::Never));
    /// assert_eq!(Pushback::parse(["1", "2"]), Some(Pushback::Never));
    /// assert_eq!(Pushback::parse([]), None);
    /// ```
    #[must_use]
    pub fn parse<'v>(values: impl IntoIterator<Item = &'v str>) -> Option<Self> {
        let mut values = values.into_iter();
        let value = values.next()?;
        // Fifteen digits are 31,000 years, and always a number.
        let is_number =
            (1..=15).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse() {
            Ok(millis) if is_number && values.next().is_none() => {
                Some(Self::After(Duration::from_millis(millis)))
            }
            _ => Some(Self::Never),
        }
    }
}

impl Outcome {
    /// Whether it counts against the callee: a failure, a sign of overload, or pushback.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Failure(_) | Self::Overload { .. } | Self::Pushback(_)
        )
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
            Self::Pushback(Pushback::After(after)) => Some(after),
            Self::Pushback(Pushback::Never)
            | Self::Success
            | Self::Failure(_)
            | Self::Ignored
            | Self::Rejected => None,
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
        assert!(Outcome::Pushback(Pushback::Never).is_failure());
        assert!(!Outcome::Ignored.counts());
        assert!(!Outcome::Rejected.counts());
    }

    #[test]
    fn an_outcome_stays_small() {
        assert!(size_of::<Outcome>() <= 24);
    }

    #[test]
    fn only_one_number_is_a_moment_to_come_back() {
        let after = |ms| Some(Pushback::After(Duration::from_millis(ms)));
        assert_eq!(Pushback::parse(["0"]), after(0));
        assert_eq!(Pushback::parse(["1000"]), after(1_000));
        for values in [
            &["-1"][..],
            &["xxx"],
            &[""],
            &["+1"],
            &["1.5"],
            &["10", "20"],
        ] {
            let values = values.iter().copied();
            assert_eq!(Pushback::parse(values), Some(Pushback::Never));
        }
        assert_eq!(
            Pushback::parse(["9".repeat(16).as_str()]),
            Some(Pushback::Never)
        );
        assert_eq!(Pushback::parse([]), None);
    }
}
