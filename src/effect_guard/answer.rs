//! What the tables answer, whichever database they are in.

use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::machine::State;
use super::words::{Call, EffectKey, RequestDigest};

/// The longest answer that is kept, in bytes of JSON. An answer names what was made; documents belong elsewhere.
pub const MAX_ANSWER: usize = 64 * 1_024;

/// What was answered when a key was applied or refused, as JSON text.
///
/// Its `Debug` tells the length and not the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer(Option<Box<str>>);

impl Answer {
    pub(super) fn stored(text: Option<String>) -> Self {
        Self(text.map(Into::into))
    }

    pub(super) fn write<T: Serialize>(answer: &T) -> Result<String, GuardError> {
        // Not the error's own text, which may quote the value.
        let text = serde_json::to_string(answer)
            .map_err(|_| GuardError::Answer("it is no JSON".into()))?;
        if text.len() > MAX_ANSWER {
            let why = format!("{} bytes, at most {MAX_ANSWER} fit", text.len());
            return Err(GuardError::Answer(why));
        }
        Ok(text)
    }

    /// Reads the answer back. Where none was [settled](Permit), it reads as `null`: an `Option` that is `None`, or `()`.
    ///
    /// # Errors
    ///
    /// [`GuardError::Answer`] when it is not a `T`: an answer of an earlier version of the receiver, say.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, GuardError> {
        serde_json::from_str(self.as_str())
            .map_err(|_| GuardError::Answer("it is not of the type that is asked for".into()))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("null")
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({} bytes)", self.as_str().len())
    }
}

/// The leave to apply one key, once, in the transaction in which it was given.
///
/// The key is in the table already, so a permit that is dropped leaves a key that counts as applied, with the answer
/// `null`, if the transaction is committed. Give it to `settle` with the answer, to `refuse` when the receiver says no
/// for good, or to `withdraw` when it was not applied and may be later.
#[derive(Debug)]
#[must_use = "settle it with the answer, refuse the key, or withdraw"]
pub struct Permit {
    key: EffectKey,
}

impl Permit {
    pub(super) fn new(call: &Call) -> Self {
        Self {
            key: call.key().clone(),
        }
    }

    /// The key that it is for.
    #[must_use]
    pub const fn key(&self) -> &EffectKey {
        &self.key
    }
}

/// What becomes of a call. Treat what you do not know as a refusal.
#[derive(Debug)]
#[must_use = "only `Apply` may have an effect"]
#[non_exhaustive]
pub enum Admitted {
    /// Apply it now, in this transaction, and settle the permit with the answer.
    Apply(Permit),
    /// It was applied: give this answer again.
    AlreadyApplied(Answer),
    /// It was undone, before or after it was applied: it must have no effect any more.
    Cancelled,
    /// It may have been applied, so long ago that nobody knows: the sender must find out in another way.
    Forgotten,
    /// The key is known for another request: the sender has a defect.
    OtherRequest,
    /// It was refused for good: give this answer again.
    Refused(Answer),
    /// The sender has been replaced by a later one.
    StaleToken,
}

/// What becomes of the undo of a call. Treat what you do not know as a refusal.
#[derive(Debug)]
#[must_use = "`Undo` asks for the effect to be undone in this transaction"]
#[non_exhaustive]
pub enum Undone {
    /// It was applied, with this answer: undo its effect now, in this transaction. The key is cancelled with the commit.
    Undo(Answer),
    /// The key is cancelled: it was undone before, or there was nothing to undo. The undo has succeeded.
    AlreadyCancelled,
    /// It may have been applied, so long ago that nobody knows: the sender must find out in another way.
    Forgotten,
    /// It had no effect, and cannot have one after the commit. The undo has succeeded.
    Nothing,
    /// The sender has been replaced by a later one.
    StaleToken,
}

/// What becomes of a token that stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a stale sender must change nothing"]
#[non_exhaustive]
pub enum Passage {
    /// No later sender was seen, and none comes in between before this transaction is over.
    Current,
    /// A later one was seen, with this token.
    #[non_exhaustive]
    Stale {
        /// The greatest token that was seen.
        greatest: u64,
    },
}

/// Why the tables did not answer. Roll the transaction back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The answer cannot be written down, or not be read as what is asked for.
    #[error("the answer: {0}")]
    Answer(String),
    /// A call with this key is under way, or the database is: nothing was changed, and the same call may come again.
    #[error("a call under this key is under way, or the database is busy")]
    Busy(#[source] Box<dyn StdError + Send + Sync>),
    /// The database refused.
    #[error("the database refused")]
    Backend(#[source] Box<dyn StdError + Send + Sync>),
    /// A permit was used in another transaction than the one in which it was given.
    #[error("the permit is of another transaction")]
    Elsewhere,
    /// The table holds what this crate does not write.
    #[error("column {column} of an entry cannot be read")]
    #[non_exhaustive]
    Damaged {
        /// Which column.
        column: &'static str,
    },
}

/// A row of the table, as it is stored.
pub(super) struct Row {
    pub(super) state: String,
    pub(super) request: Option<String>,
    pub(super) answer: Option<String>,
}

impl Row {
    pub(super) fn read(self) -> Result<(State, Option<RequestDigest>, Answer), GuardError> {
        let state = State::read(&self.state).ok_or(GuardError::Damaged { column: "state" })?;
        let request = match self.request {
            Some(text) => Some(digest(&text).ok_or(GuardError::Damaged { column: "request" })?),
            None => None,
        };
        Ok((state, request, Answer::stored(self.answer)))
    }
}

fn digest(text: &str) -> Option<RequestDigest> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(RequestDigest::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_back_and_nothing_else_is() {
        let one = RequestDigest::of(&[b"pay", b"INV-1"]);
        assert_eq!(digest(&one.to_string()), Some(one));
        for bad in ["", "ab", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(digest(bad), None);
        }
    }

    #[test]
    fn an_answer_is_bounded_and_not_shown() {
        assert!(matches!(
            Answer::write(&"x".repeat(MAX_ANSWER)),
            Err(GuardError::Answer(_))
        ));
        let answer = Answer::stored(Answer::write(&"secret").ok());
        assert_eq!(format!("{answer:?}"), "Answer(8 bytes)");
        assert!(
            matches!(answer.read::<u32>(), Err(GuardError::Answer(why)) if !why.contains("secret"))
        );
        assert!(
            Answer::stored(None)
                .read::<Option<u32>>()
                .is_ok_and(|none| none.is_none())
        );
    }
}
