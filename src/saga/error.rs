//! How steps, definitions and the engine say no.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::SagaId;
use super::entry::Class;
use super::seal::SealError;
use crate::error::Rejected;
use crate::journal::JournalError;

/// Longer texts are cut, so that a reply that quotes a page does not fill a journal.
const LONGEST: usize = 1_000;

/// How an attempt of a step ended when it is not done.
///
/// `?` on any standard error is [`Retry`](Self::Retry): the call may or may not have arrived, and the same call with
/// the same [idempotency key](super::Cx::idempotency_key) is safe. A rejection by a layer of one's own stack, anywhere
/// in the error's chain, is waited out ([`RetryAfter`](Self::RetryAfter)). This type is not itself a standard error,
/// which is what makes `?` possible.
///
/// The text goes to the journal, to the operator and to the caller, so it must not quote personal data.
///
/// # Example
///
/// ```
/// use mainstay::saga::StepError;
///
/// fn amount(text: &str) -> Result<u64, StepError> {
///     if text.is_empty() {
///         return Err(StepError::fail("the invoice has no amount"));
///     }
///     Ok(text.parse()?)
/// }
///
/// assert!(matches!(amount(""), Err(StepError::Fail(_))));
/// assert!(matches!(amount("x"), Err(StepError::Retry(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepError {
    /// Trying again may help. What this attempt did is not known.
    Retry(Box<str>),
    /// Trying again may help, but not before this time is over.
    RetryAfter(Box<str>, Duration),
    /// This attempt surely had no effect, and trying again will not help. An earlier attempt that ended without an
    /// answer, also one before a crash, may have had one: then the step counts as one that may have happened.
    Fail(Box<str>),
    /// No attempt under this idempotency key has had an effect or ever will: whoever receives it refuses the key. Stronger
    /// than [`Fail`](Self::Fail); only a receiver that remembers keys can say it.
    Refused(Box<str>),
    /// It may have had its effect, and trying again is not wanted.
    Unknown(Box<str>),
    /// An operator must look before anything else is done.
    Halt(Box<str>),
}

impl StepError {
    /// Trying again may help.
    pub fn retry(why: impl fmt::Display) -> Self {
        Self::Retry(cut(&why.to_string()))
    }

    /// Trying again may help, but not before `after` is over. The wait is the longer one of this and the backoff's.
    pub fn retry_after(why: impl fmt::Display, after: Duration) -> Self {
        Self::RetryAfter(cut(&why.to_string()), after)
    }

    /// No attempt under this idempotency key has had an effect or ever will.
    pub fn refused(why: impl fmt::Display) -> Self {
        Self::Refused(cut(&why.to_string()))
    }

    /// This attempt surely had no effect and another will not succeed.
    pub fn fail(why: impl fmt::Display) -> Self {
        Self::Fail(cut(&why.to_string()))
    }

    /// It may have had its effect.
    pub fn unknown(why: impl fmt::Display) -> Self {
        Self::Unknown(cut(&why.to_string()))
    }

    /// An operator must look.
    pub fn halt(why: impl fmt::Display) -> Self {
        Self::Halt(cut(&why.to_string()))
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for StepError {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        match crate::error::find::<Rejected>(&error).and_then(Rejected::hint) {
            Some(after) => Self::RetryAfter(cut(&text), after),
            None => Self::Retry(cut(&text)),
        }
    }
}

/// The first characters of a text.
pub(crate) fn cut(text: &str) -> Box<str> {
    text.chars().take(LONGEST).collect::<String>().into()
}

/// What a step says when it is asked whether it had its effect, whatever became of its attempts.
///
/// # Example
///
/// ```
/// use mainstay::saga::{Cx, DefinitionError, Reconciled, Saga, Step, StepError};
///
/// /// The bank knows no keys, but lists transfers by reference.
/// struct Bank;
///
/// impl Bank {
///     async fn transfer(&self, _reference: &str) -> Result<u64, std::io::Error> { Ok(7) }
///     async fn find(&self, _reference: &str) -> Result<Option<u64>, std::io::Error> { Ok(Some(7)) }
/// }
///
/// async fn pay(cx: Cx<Bank, u64>, (): ()) -> Result<u64, StepError> {
///     Ok(cx.app().transfer(cx.idempotency_key()).await?)
/// }
///
/// async fn find(cx: Cx<Bank, u64>, (): ()) -> Result<Reconciled<u64>, StepError> {
///     Ok(match cx.app().find(cx.idempotency_key()).await? {
///         Some(transfer) => Reconciled::Applied(transfer),
///         None => Reconciled::NotApplied,
///     })
/// }
///
/// let payment = Saga::builder("payment")
///     .pivot("pay", Step::new(pay).at_most_once())
///     .reconcile(find)
///     .build()?;
/// # Ok::<(), DefinitionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reconciled<Output> {
    /// It had its effect, and this is what it returned or would have.
    Applied(Output),
    /// No attempt has had an effect, and none that may still be on its way will.
    NotApplied,
    /// It cannot tell.
    Unknown,
}

/// Why a definition is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// A saga without a step.
    #[error("a saga has at least one step")]
    Empty,
    /// A name that is empty, too long, or not made of letters, digits, `_`, `-`, `.` and `:`.
    #[error("`{0}` is no name: 1 to 100 letters, digits, `_`, `-`, `.` or `:`")]
    BadName(String),
    /// Two steps of the same name: the journal could not tell them apart.
    #[error("two steps have the name `{0}`")]
    Duplicate(String),
    /// A time that has passed before it begins.
    #[error("`{0}` has no time, its timeout, deadline and key validity must be longer than zero")]
    NoTime(String),
    /// A setting for effects on an undo, a check or a question.
    #[error("`{setting}` of `{step}` stands on no step, pivot or then: only they have it")]
    #[non_exhaustive]
    Misplaced {
        /// The step.
        step: String,
        /// The setting.
        setting: &'static str,
    },
    /// Versions count from 1.
    #[error("versions count from 1")]
    NoVersion,
    /// A [migration](super::Migration) that does not fit the definition.
    #[error("the migration from version {from}, {what}: found {found}, expected {expected}")]
    #[non_exhaustive]
    Migration {
        /// The version from which it comes.
        from: u32,
        /// The step or the setting that it is about.
        what: String,
        /// What is said of it.
        found: String,
        /// What should be.
        expected: &'static str,
    },
}

/// Why a saga could not be started, or its end not be told.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SagaError {
    /// The business key has been used, for another input.
    #[error("saga {0} has this key and another input")]
    OtherInput(SagaId),
    /// The input cannot be written down; nothing was started.
    #[error("the input cannot be recorded: {0}")]
    Input(String),
    /// The saga ended, and its output does not read as the type that is asked for.
    #[error("the output cannot be read: {0}")]
    Output(String),
    /// This definition, in this version, was not registered when the engine was started.
    #[error("definition {name} version {version} is not registered here")]
    #[non_exhaustive]
    Unregistered {
        /// The definition's name.
        name: String,
        /// Its version.
        version: u32,
    },
    /// Two different definitions were registered under one name and version.
    #[error("definition {name} version {version} is registered twice and differs")]
    #[non_exhaustive]
    Ambiguous {
        /// The definition's name.
        name: String,
        /// Its version.
        version: u32,
    },
    /// A step is to be one transaction with its record ([`tx`](super::tx)), and this engine's journal is of another kind, or
    /// is behind a wrapper that does not pass its transactions on.
    #[error(
        "step `{step}` of {definition} needs a transaction of a {needed} journal, and this engine's lends none"
    )]
    #[non_exhaustive]
    OtherJournal {
        /// The definition's name.
        definition: String,
        /// The step.
        step: String,
        /// The kind of journal that it needs.
        needed: &'static str,
    },
    /// The engine is shutting down, or has.
    #[error("the engine is shutting down")]
    Stopping,
    /// The log of this saga cannot be read.
    #[error("saga {id} cannot be read: {reason}")]
    #[non_exhaustive]
    Unreadable {
        /// The saga.
        id: SagaId,
        /// What is wrong with it.
        reason: String,
    },
    /// A payload can be neither sealed nor opened now, or not at all.
    #[error("what is under key `{key_id}` cannot be sealed or opened")]
    #[non_exhaustive]
    Sealed {
        /// The name of the key; empty where there is none.
        key_id: String,
        /// Why.
        #[source]
        error: SealError,
    },
    /// The saga has ended or is under way, and the key to what it worked on was destroyed.
    #[error("what saga {id} worked on was erased: key `{key_id}` is gone")]
    #[non_exhaustive]
    Erased {
        /// The saga.
        id: SagaId,
        /// The name of the key.
        key_id: String,
    },
    /// An operator's word about a saga that does not wait for one.
    #[error("saga {0} has no open incident")]
    NotHeld(SagaId),
    /// An operator's word without a name or a reason to it.
    #[error("an operator's decision needs an actor and a reason")]
    Unsigned,
    /// An operator's decision that makes no sense for this incident.
    #[error("saga {id}: {reason}")]
    #[non_exhaustive]
    NotAllowed {
        /// The saga.
        id: SagaId,
        /// Why not.
        reason: String,
    },
    /// Going on is not possible, because the reason to stop is still there.
    #[error("saga {id} cannot go on: {class:?}")]
    #[non_exhaustive]
    StillHeld {
        /// The saga.
        id: SagaId,
        /// Why.
        class: Class,
    },
    /// The journal refused.
    #[error("the journal refused")]
    Journal(#[from] JournalError),
}
