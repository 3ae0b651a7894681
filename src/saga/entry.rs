//! What a saga writes down.
//!
//! A record is a list of facts that become true together. Its JSON is made for the eye: facts carry names of steps and
//! not numbers, so that `SELECT body FROM record WHERE log = 17` tells the story.
//!
//! ```json
//! [{"started":{"definition":"invoice_payment","version":1,"fingerprint":"9c..","nonce":"51..","input":{"no":"INV-1"}}}]
//! [{"done":{"step":"create_payment","output":"PAY-1"}}]
//! [{"failed":{"step":"post_gl","effect":"possible","error":"timed out","attempts":3}},"unwind"]
//! [{"undone":{"step":"create_payment"}},{"finished":"compensated"}]
//! ```
//!
//! The version of this format stands beside each record ([`FORMAT`]). Kinds of facts that later versions add (timers,
//! signals, branches, children, migrations, intents) are new names in the same list; a reader that meets a name or a
//! version that it does not know refuses the log, because a fact that is skipped may be the one that matters.

use serde::{Deserialize, Serialize};

use super::payload::Payload;

/// The version of the record format that this crate writes.
pub const FORMAT: u16 = 1;

/// Something that happened to a saga and will stay true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Fact {
    /// It began. The first fact of every saga, and the first only.
    Started(Started),
    /// A step is done.
    #[non_exhaustive]
    Done {
        /// Its name.
        step: Box<str>,
        /// What it returned.
        output: Payload,
    },
    /// A step will not be done. Followed in the same record by [`Unwind`](Self::Unwind).
    Failed(Failure),
    /// From here on the saga only undoes. This never changes back.
    Unwind,
    /// A step is undone.
    #[non_exhaustive]
    Undone {
        /// Its name.
        step: Box<str>,
    },
    /// It waits for an operator.
    Incident(Trouble),
    /// An operator decided about the incident.
    Resolved(Resolution),
    /// It is over. The last fact of every saga.
    Finished(Finish),
}

/// How a saga began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Started {
    /// The definition's name.
    pub definition: Box<str>,
    /// The definition's version.
    pub version: u32,
    /// The definition's fingerprint.
    pub fingerprint: Box<str>,
    /// Drawn once. Part of every idempotency key, so that a journal that was restored from a backup and counts its
    /// ids again does not repeat the keys of the sagas that were lost.
    pub nonce: Box<str>,
    /// What the saga works on.
    pub input: Payload,
}

/// Why a saga turned back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Failure {
    /// The step that failed.
    pub step: Box<str>,
    /// Whether it may have had an effect all the same.
    pub effect: Effect,
    /// What the step said.
    pub error: Box<str>,
    /// How often it was tried, since the process last took the saga up.
    pub attempts: u32,
}

/// Whether a step that failed had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// Surely not: there is nothing to undo.
    None,
    /// Perhaps: it is undone without its output.
    Possible,
}

/// Why a saga waits for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Trouble {
    /// Counts the incidents of one saga from 1.
    pub number: u32,
    /// What kind of trouble.
    pub class: Class,
    /// The step that it is about, where it is about one.
    pub step: Option<Box<str>>,
    /// What the step or the engine said.
    pub error: Box<str>,
    /// How often it was tried, since the process last took the saga up.
    pub attempts: u32,
}

/// What kind of trouble an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Class {
    /// The program's definition is not the one that the saga began with.
    DefinitionChanged,
    /// A step after the pivot used up its attempts.
    Exhausted,
    /// A step said that an operator must look.
    Halted,
    /// An undo used up its attempts.
    UndoFailed,
    /// The pivot ended without an answer, so the saga can go neither forward nor back.
    UnknownOutcome,
    /// What the journal holds cannot be read as a saga.
    Unreadable,
    /// A step is done, and its output cannot be written down.
    Unrecordable,
}

impl Class {
    /// The word for it, in records and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DefinitionChanged => "definition_changed",
            Self::Exhausted => "exhausted",
            Self::Halted => "halted",
            Self::UndoFailed => "undo_failed",
            Self::UnknownOutcome => "unknown_outcome",
            Self::Unreadable => "unreadable",
            Self::Unrecordable => "unrecordable",
        }
    }
}

/// What an operator decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Resolution {
    /// The number of the incident.
    pub incident: u32,
    /// What is to be done.
    pub operation: Operation,
    /// Who decided.
    pub actor: Box<str>,
    /// Why.
    pub reason: Box<str>,
}

/// What an operator can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Operation {
    /// End the saga as it is; whatever is to be put right was, or will be, by hand.
    Abandon,
    /// Go on where it stopped.
    Retry,
}

/// How a saga ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finish {
    /// By an operator, half way.
    Abandoned,
    /// Everything that was done is undone.
    Compensated,
    /// Every step is done.
    Completed,
}
