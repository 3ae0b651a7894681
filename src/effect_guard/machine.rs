//! What may be done under a key, given what the tables have.
//!
//! 1. A key that is not known may be applied. It is known from then on.
//! 2. A key that was applied is not applied again: the same request gets the same answer.
//! 3. A key that the receiver refused for good stays refused, with the same answer.
//! 4. Another request under a key that was applied or refused is told so, and changes nothing.
//! 5. A key that was cancelled is never applied, whichever request comes, and there is nothing more to undo.
//! 6. An undo of a key that is not known has nothing to undo, and cancels the key: the call, if it comes, comes too late.
//!    So does the undo of a key that was refused.
//! 7. An undo of a key that was applied undoes it once, and cancels the key.
//! 8. A token below the greatest that was seen of its resource may change nothing. What is answered without a change
//!    (rules 2 to 5) is answered whatever the token.
//! 9. A key that is not known, and was first sent before the moment from which every key is known, is neither applied
//!    nor cancelled: it may have been applied, and forgotten. This comes before rule 8.
//! 10. An entry is forgotten when it did not change for as long as keys are valid and a slack; see
//!     [`Retention`](super::Retention).

use super::words::{Call, RequestDigest};
use crate::time::Timestamp;

/// What the table says became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Its effect is there.
    Applied,
    /// It has no effect, and never will: it was undone, or the undo came first.
    Cancelled,
    /// It has no effect, and never will: the receiver said no.
    Refused,
}

impl State {
    /// The word for it in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn read(word: &str) -> Option<Self> {
        [Self::Applied, Self::Cancelled, Self::Refused]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// What the tables have when a call comes.
///
/// # Example
///
/// ```
/// use mainstay::effect_guard::{Call, EffectKey, Seen, State, Undo, Verdict};
///
/// # fn main() -> Result<(), mainstay::ConfigError> {
/// let call = Call::new(EffectKey::new("k")?);
/// assert_eq!(Seen::nothing().admit(&call), Verdict::Apply);
/// assert_eq!(Seen::nothing().undo(&call), Undo::Nothing);
/// // What the undo left behind refuses the call that comes late.
/// let tombstone = Seen::nothing().entry(State::Cancelled, None);
/// assert_eq!(tombstone.admit(&call), Verdict::Cancelled);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    entry: Option<(State, Option<RequestDigest>)>,
    greatest: Option<u64>,
    horizon: Option<Timestamp>,
}

impl Seen {
    /// Empty tables.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            entry: None,
            greatest: None,
            horizon: None,
        }
    }

    /// The key is known, in this state and with this request.
    #[must_use]
    pub const fn entry(mut self, state: State, request: Option<RequestDigest>) -> Self {
        self.entry = Some((state, request));
        self
    }

    /// The greatest token that was seen of the call's resource.
    #[must_use]
    pub const fn greatest(mut self, token: u64) -> Self {
        self.greatest = Some(token);
        self
    }

    /// Keys that were first sent before this moment may have been forgotten.
    #[must_use]
    pub const fn horizon(mut self, horizon: Timestamp) -> Self {
        self.horizon = Some(horizon);
        self
    }

    /// What is to be done with a call.
    pub fn admit(&self, call: &Call) -> Verdict {
        let other = |request: Option<RequestDigest>| matches!((request, call.digest()), (Some(one), Some(other)) if one != other);
        match self.entry {
            Some((State::Cancelled, _)) => Verdict::Cancelled,
            Some((_, request)) if other(request) => Verdict::OtherRequest,
            Some((State::Applied, _)) => Verdict::AlreadyApplied,
            Some((State::Refused, _)) => Verdict::Refused,
            None if self.may_be_forgotten(call) => Verdict::Forgotten,
            None if self.is_stale(call) => Verdict::StaleToken,
            None => Verdict::Apply,
        }
    }

    /// What is to be done with the undo of a call.
    pub fn undo(&self, call: &Call) -> Undo {
        match self.entry {
            Some((State::Cancelled, _)) => Undo::AlreadyCancelled,
            None if self.may_be_forgotten(call) => Undo::Forgotten,
            _ if self.is_stale(call) => Undo::StaleToken,
            Some((State::Applied, _)) => Undo::Undo,
            Some((State::Refused, _)) | None => Undo::Nothing,
        }
    }

    fn may_be_forgotten(&self, call: &Call) -> bool {
        matches!((call.first_sent(), self.horizon), (Some(since), Some(horizon)) if since < horizon)
    }

    fn is_stale(&self, call: &Call) -> bool {
        let token = call.fenced().map(super::Fence::token);
        matches!((token, self.greatest), (Some(token), Some(greatest)) if is_stale(token, greatest))
    }
}

/// Rule 8, for a token alone: the same one may come again, a lower one may not.
#[must_use]
pub const fn is_stale(token: u64, greatest: u64) -> bool {
    token < greatest
}

/// What is to be done with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[non_exhaustive]
pub enum Verdict {
    /// Apply it, in the transaction in which the key becomes known.
    Apply,
    /// It was applied: give the same answer.
    AlreadyApplied,
    /// It was undone, before or after it was applied: it must have no effect any more.
    Cancelled,
    /// It may have been applied, so long ago that nobody knows.
    Forgotten,
    /// The key is known for another request: the sender has a defect.
    OtherRequest,
    /// It was refused for good: give the same answer.
    Refused,
    /// The sender has been replaced by a later one.
    StaleToken,
}

impl Verdict {
    /// The state in which the entry is left; `None` when nothing may change.
    #[must_use]
    pub const fn leaves(self) -> Option<State> {
        match self {
            Self::Apply => Some(State::Applied),
            Self::AlreadyApplied
            | Self::Cancelled
            | Self::Forgotten
            | Self::OtherRequest
            | Self::Refused
            | Self::StaleToken => None,
        }
    }
}

/// What is to be done with the undo of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[non_exhaustive]
pub enum Undo {
    /// Undo its effect, in the transaction in which the key is cancelled.
    Undo,
    /// The key is cancelled: it was undone before, or there was nothing to undo.
    AlreadyCancelled,
    /// It may have been applied, so long ago that nobody knows.
    Forgotten,
    /// It had no effect, and from now on cannot have one.
    Nothing,
    /// The sender has been replaced by a later one.
    StaleToken,
}

impl Undo {
    /// The state in which the entry is left; `None` when nothing may change.
    #[must_use]
    pub const fn leaves(self) -> Option<State> {
        match self {
            Self::Undo | Self::Nothing => Some(State::Cancelled),
            Self::AlreadyCancelled | Self::Forgotten | Self::StaleToken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect_guard::{EffectKey, Fence};

    const ONE: Option<RequestDigest> = Some(RequestDigest::new([1; 32]));

    fn call() -> Call {
        Call::new(EffectKey::new("k").unwrap()).request(RequestDigest::new([1; 32]))
    }

    fn token(token: u64) -> Call {
        call().fence(Fence::new("r", token).unwrap())
    }

    const fn known(state: State) -> Seen {
        Seen::nothing().entry(state, ONE)
    }

    /// Rules 1 to 5.
    #[test]
    fn a_call_by_what_is_known() {
        let other = call().request(RequestDigest::new([2; 32]));
        for (seen, same, another) in [
            (Seen::nothing(), Verdict::Apply, Verdict::Apply),
            (
                known(State::Applied),
                Verdict::AlreadyApplied,
                Verdict::OtherRequest,
            ),
            (
                known(State::Refused),
                Verdict::Refused,
                Verdict::OtherRequest,
            ),
            (
                known(State::Cancelled),
                Verdict::Cancelled,
                Verdict::Cancelled,
            ),
        ] {
            assert_eq!(seen.admit(&call()), same);
            assert_eq!(seen.admit(&other), another);
        }
        // Who says nothing of the request is not compared.
        let silent = Seen::nothing().entry(State::Applied, None);
        assert_eq!(silent.admit(&call()), Verdict::AlreadyApplied);
    }

    /// Rules 5 to 7.
    #[test]
    fn an_undo_by_what_is_known() {
        for (seen, undo) in [
            (Seen::nothing(), Undo::Nothing),
            (known(State::Applied), Undo::Undo),
            (known(State::Refused), Undo::Nothing),
            (known(State::Cancelled), Undo::AlreadyCancelled),
        ] {
            assert_eq!(seen.undo(&call()), undo);
        }
    }

    /// Rule 8.
    #[test]
    fn a_stale_token_changes_nothing_and_is_told_what_is_known() {
        let seen = Seen::nothing().greatest(5);
        assert_eq!(seen.admit(&token(4)), Verdict::StaleToken);
        assert_eq!(seen.undo(&token(4)), Undo::StaleToken);
        assert_eq!(seen.admit(&token(5)), Verdict::Apply);
        assert_eq!(seen.admit(&token(6)), Verdict::Apply);
        let applied = known(State::Applied).greatest(5);
        assert_eq!(applied.admit(&token(4)), Verdict::AlreadyApplied);
        assert_eq!(applied.undo(&token(4)), Undo::StaleToken);
        assert_eq!(applied.undo(&token(5)), Undo::Undo);
        assert_eq!(
            known(State::Cancelled).greatest(5).undo(&token(4)),
            Undo::AlreadyCancelled
        );
        // A call without a token is judged by its key.
        assert_eq!(seen.admit(&call()), Verdict::Apply);
    }

    /// Rule 9.
    #[test]
    fn a_key_from_before_the_horizon_is_not_taken_for_a_new_one() {
        let seen = Seen::nothing().horizon(Timestamp::from_millis(10));
        let sent = |at| call().since(Timestamp::from_millis(at));
        assert_eq!(seen.admit(&sent(9)), Verdict::Forgotten);
        assert_eq!(seen.undo(&sent(9)), Undo::Forgotten);
        assert_eq!(seen.admit(&sent(10)), Verdict::Apply);
        assert_eq!(seen.undo(&sent(10)), Undo::Nothing);
        let known = known(State::Applied).horizon(Timestamp::from_millis(10));
        assert_eq!(known.admit(&sent(9)), Verdict::AlreadyApplied);
        assert_eq!(known.undo(&sent(9)), Undo::Undo);
        let stale = seen.greatest(5);
        assert_eq!(
            stale.admit(&token(4).since(Timestamp::from_millis(9))),
            Verdict::Forgotten
        );
    }

    #[test]
    fn words_are_read_back() {
        for state in [State::Applied, State::Cancelled, State::Refused] {
            assert_eq!(State::read(state.as_str()), Some(state));
        }
        assert_eq!(State::read("done"), None);
    }
}
