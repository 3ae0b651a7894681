//! For which results a fallback answers.
//!
//! 1. A success and a result that does not count are never answered for: there is nothing to stand in for, or the
//!    request itself was wrong and would be wrong elsewhere too.
//! 2. A failure is answered for when its kind is stated.
//! 3. An overload is answered for when overload is stated, whatever its hint.
//! 4. A refusal of this stack is answered for when its reason is stated. One whose reason nobody knows, because a
//!    classifier alone says that it is one, is answered for when every reason is.

use std::fmt;

use crate::error::Reason;
use crate::outcome::{Failure, Outcome};

/// A set of outcomes.
///
/// # Example
///
/// ```
/// use mainstay::error::Reason;
/// use mainstay::fallback::Outcomes;
/// use mainstay::outcome::{Failure, Outcome};
///
/// let down = Outcomes::NONE.failure(Failure::Unavailable).refusal(Reason::CircuitOpen);
/// assert!(down.contains(Outcome::Failure(Failure::Unavailable), None));
/// assert!(down.contains(Outcome::Rejected, Some(Reason::CircuitOpen)));
/// assert!(!down.contains(Outcome::Rejected, Some(Reason::RateLimit)));
/// assert!(!Outcomes::NONE.failures().contains(Outcome::Ignored, None));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outcomes(u32);

/// Kinds of failure, in the order of their bits.
const FAILURES: [Failure; 3] = [Failure::Error, Failure::Timeout, Failure::Unavailable];
/// Above the kinds of failure, with room for more.
const OVERLOAD: u32 = 1 << 15;
/// Where the reasons of refusals begin.
const REFUSALS: u32 = 16;

const fn of_failure(kind: Failure) -> u32 {
    match kind {
        Failure::Error => 1,
        Failure::Timeout => 1 << 1,
        Failure::Unavailable => 1 << 2,
    }
}

const fn of_refusal(reason: Reason) -> u32 {
    1 << (REFUSALS + reason as u32)
}

/// Room for sixteen reasons.
const _: () = assert!(Reason::ALL.len() <= 16, "a reason has no bit");

impl Outcomes {
    /// None: a fallback that never answers.
    pub const NONE: Self = Self(0);

    /// These, and failures of one kind.
    #[must_use]
    pub const fn failure(self, kind: Failure) -> Self {
        Self(self.0 | of_failure(kind))
    }

    /// These, and failures of every kind.
    #[must_use]
    pub const fn failures(self) -> Self {
        self.failure(Failure::Error)
            .failure(Failure::Timeout)
            .failure(Failure::Unavailable)
    }

    /// These, and the callee's word that it has too much to do.
    #[must_use]
    pub const fn overload(self) -> Self {
        Self(self.0 | OVERLOAD)
    }

    /// These, and refusals of this stack for one reason.
    #[must_use]
    pub const fn refusal(self, reason: Reason) -> Self {
        Self(self.0 | of_refusal(reason))
    }

    /// These, and every refusal of this stack.
    #[must_use]
    pub fn refusals(self) -> Self {
        Reason::ALL.into_iter().fold(self, Self::refusal)
    }

    /// Whether a call that ended so is among them. `reason` is that of a refusal, where it is known.
    #[must_use]
    pub fn contains(self, outcome: Outcome, reason: Option<Reason>) -> bool {
        match (outcome, reason) {
            (Outcome::Success | Outcome::Ignored, _) => false,
            (Outcome::Failure(kind), _) => self.0 & of_failure(kind) != 0,
            (Outcome::Overload { .. } | Outcome::Pushback(_), _) => self.0 & OVERLOAD != 0,
            (Outcome::Rejected, Some(reason)) => self.0 & of_refusal(reason) != 0,
            (Outcome::Rejected, None) => self == self.refusals(),
        }
    }

    /// The name of each of them that never changes: `error`, `timeout`, `unavailable`, `overload`, and the reasons of
    /// refusals.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let failures = FAILURES.into_iter().map(Outcome::Failure);
        let overload = Outcome::Overload { retry_after: None };
        let ends = failures.chain([overload]).map(|outcome| (outcome, None));
        let refusals = Reason::ALL
            .into_iter()
            .map(|reason| (Outcome::Rejected, Some(reason)));
        ends.chain(refusals)
            .filter(move |(outcome, reason)| self.contains(*outcome, *reason))
            .map(|(outcome, reason)| outcome.word(reason))
    }

    /// Each of them alone that can be stated.
    #[cfg(feature = "serde")]
    pub(super) fn each() -> impl Iterator<Item = Self> {
        let failures = FAILURES.map(|kind| Self::NONE.failure(kind));
        let refusals = Reason::ALL.map(|reason| Self::NONE.refusal(reason));
        failures
            .into_iter()
            .chain([Self::NONE.overload()])
            .chain(refusals)
    }

    /// These and those.
    #[cfg(feature = "serde")]
    pub(super) const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    #[cfg(feature = "tower")]
    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    #[cfg(feature = "tower")]
    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// What says that the callee is down or slow: failures of every kind, overload, an open circuit and its probing, a
/// deadline that ran out below, a capability that is not served now.
///
/// Not the limits of this process: who gets an answer in place of "too many" will not send less.
impl Default for Outcomes {
    fn default() -> Self {
        Self::NONE
            .failures()
            .overload()
            .refusal(Reason::CircuitOpen)
            .refusal(Reason::DeadlineExceeded)
            .refusal(Reason::Degraded)
            .refusal(Reason::FailedOver)
            .refusal(Reason::ForcedOpen)
            .refusal(Reason::ProbesBusy)
            .refusal(Reason::Readmitting)
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLOADED: Outcome = Outcome::Overload { retry_after: None };

    /// Rule 1.
    #[test]
    fn success_and_what_does_not_count_are_never_among_them() {
        let all = Outcomes::NONE.failures().overload().refusals();
        assert!(!all.contains(Outcome::Success, None));
        assert!(!all.contains(Outcome::Ignored, None));
    }

    /// Rules 2 and 3.
    #[test]
    fn each_kind_is_stated_by_itself() {
        for kind in FAILURES {
            let one = Outcomes::NONE.failure(kind);
            for other in FAILURES {
                assert_eq!(one.contains(Outcome::Failure(other), None), kind == other);
            }
            assert!(!one.contains(OVERLOADED, None));
        }
        let overload = Outcomes::NONE.overload();
        assert!(overload.contains(OVERLOADED, None));
        assert_eq!(overload.names().collect::<Vec<_>>(), ["overload"]);
    }

    /// Rule 4.
    #[test]
    fn a_refusal_is_known_by_its_reason() {
        for reason in Reason::ALL {
            let one = Outcomes::NONE.refusal(reason);
            for other in Reason::ALL {
                let among = one.contains(Outcome::Rejected, Some(other));
                assert_eq!(among, reason == other);
            }
            assert!(!one.contains(Outcome::Rejected, None));
        }
        let all = Outcomes::NONE.refusals();
        assert!(all.contains(Outcome::Rejected, None));
        assert!(!all.contains(Outcome::Failure(Failure::Error), None));
    }

    #[test]
    fn the_default_leaves_the_limits_of_this_process_alone() {
        let left: Vec<_> = Reason::ALL
            .into_iter()
            .filter(|reason| !Outcomes::default().contains(Outcome::Rejected, Some(*reason)))
            .collect();
        assert_eq!(
            left,
            [
                Reason::ConcurrencyLimit,
                Reason::QueueTimeout,
                Reason::RateLimit
            ]
        );
        assert!(Outcomes::default().contains(OVERLOADED, None));
    }
}
