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
//! [{"retry_at":{"step":"notify","attempt":7,"since":1764129600000,"at":1764133200000,"error":"503"}}]
//! [{"cancelled":{"step":"post_gl","effect":"none","actor":"ann","reason":"paid by card"}},"unwind"]
//! [{"migrated":{"from":"9c..","to":"77..","version":2,"retold":1,"keys":{"pay":"create_payment"}}},{"done":{"step":"pay","output":"PAY-1"}}]
//! [{"proposed":{"number":1,"incident":1,"operation":"abandon","actor":"ann","reason":"settled by hand"}}]
//! ```
//!
//! The version of this format stands beside each record ([`FORMAT`]). Kinds of facts that later versions add are new
//! names in the same list, and new fields of known facts are left out where they say nothing; a reader that meets a name
//! or a version that it does not know refuses the log, because a fact that is skipped may be the one that matters.
//!
//! # Room for what is to come
//!
//! - **Branches** that run side by side: `done`, `failed`, `undone`, `intent` and `retry_at` name their step already, so
//!   the facts stay; the machine keeps a frontier of several steps, and what is undone is the reverse of the order in
//!   which `done` was written.
//! - **Timers**: a step of a new kind whose `retry_at` is written at once, without an attempt; parking is the same.
//! - **Signals**: a second name beside `cancel` in [`Message`], and a fact that says which message it took.
//! - **Children**: a fact with the child's id before the child is started under a key made of its parent's; its end comes
//!   as a message.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::payload::Payload;
use crate::time::Timestamp;

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
    /// An operator decided about the incident. Followed in the same record by what the decision makes true.
    Resolved(Resolution),
    /// An operator wants something done about the incident, and another one must agree first. It waits on.
    Proposed(Proposal),
    /// The last proposal is off. It waits on.
    #[non_exhaustive]
    TurnedDown {
        /// The number of the proposal.
        proposal: u32,
        /// Who turned it down.
        actor: Box<str>,
        /// Why.
        reason: Box<str>,
    },
    /// Somebody wanted something done about the incident who may not. It waits on.
    Refused(Denial),
    /// A step that runs at most once may run from here on.
    #[non_exhaustive]
    Intent {
        /// Its name.
        step: Box<str>,
        /// Counts the intents of this step from 1; a second one follows an answer that the first had no effect, or an
        /// operator's decision.
        number: u32,
    },
    /// An attempt ended, and the next one is some time away.
    RetryAt(Again),
    /// Somebody asked for it to be undone, and it is. Followed in the same record by [`Unwind`](Self::Unwind).
    Cancelled(Cancellation),
    /// Somebody asked for it to be undone, and it goes on.
    #[non_exhaustive]
    CancelRefused {
        /// Who asked.
        actor: Box<str>,
        /// Why they asked.
        reason: Box<str>,
        /// Why not.
        because: Refusal,
    },
    /// Processes died over it, and it is run once more, alone among those of which that is so.
    #[non_exhaustive]
    Suspected {
        /// Counts such runs from 1, without anything else written in between.
        run: u32,
    },
    /// It goes on in the form of another version of its definition. Followed in the same record by what is so in that
    /// form: see [`Migrated::retold`].
    Migrated(Migrated),
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
    /// The trace context from which it came, where its caller [gave one](super::Key::traceparent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Box<str>>,
}

/// How a saga was carried over to another version of its definition ([`Migration`](super::Migration)).
///
/// The facts before it are those of the form that it had, and stay as they were written. The facts after it are those of
/// the form that it has, from that form's beginning on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Migrated {
    /// The fingerprint of the form that it had.
    pub from: Box<str>,
    /// The fingerprint of the form that it has.
    pub to: Box<str>,
    /// The version of the form that it has.
    pub version: u32,
    /// How many of the facts that follow, in the same record, say in this form what was so in the other. Nothing of what
    /// they say happened at the time of the record.
    pub retold: u32,
    /// Steps whose idempotency keys are made of the name that they had before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<Box<str>, Box<str>>,
    /// Steps and undos that have had other keys before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<Generation>,
    /// What the saga works on from here on, where that was converted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Payload>,
    /// Since when the step that is next may have been begun, where it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Whether an operator allowed the step that is next, which runs at most once, to run again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub permitted: bool,
    /// How many incidents there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub incidents: u32,
    /// How many proposals there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub proposals: u32,
    /// Whether a wish to cancel was answered.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cancel_answered: bool,
    /// Whether an operator let it go on, so that its deadline does nothing any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub overruled: bool,
}

/// How many keys a step, or its undo, has had before the one that it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Generation {
    /// The step.
    pub step: Box<str>,
    /// Whether it is about the undo.
    #[serde(default, skip_serializing_if = "is_false")]
    pub undo: bool,
    /// How many.
    pub number: u32,
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
    /// How often it was tried: from the first time where that was [written](Again), else since the process last took
    /// the saga up.
    pub attempts: u32,
}

/// A wait between two attempts that is long enough to be written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Again {
    /// The step.
    pub step: Box<str>,
    /// Whether it is undone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub undo: bool,
    /// The number of the attempt that ended.
    pub attempt: u32,
    /// When the first attempt began, by the writer's wall clock.
    pub since: Timestamp,
    /// When the next one is made, by the writer's wall clock.
    pub at: Timestamp,
    /// What the attempt said.
    pub error: Box<str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// A wish that a saga be undone, granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cancellation {
    /// The step that would have been next.
    pub step: Box<str>,
    /// Whether it may have had an effect.
    pub effect: Effect,
    /// Who asked.
    pub actor: Box<str>,
    /// Why.
    pub reason: Box<str>,
}

impl Cancellation {
    /// The same as a reason to turn back.
    pub(crate) fn failure(&self) -> Failure {
        Failure {
            step: self.step.clone(),
            effect: self.effect,
            error: format!("cancelled by {}: {}", self.actor, self.reason).into(),
            attempts: 0,
        }
    }
}

/// Why a saga is not cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// The pivot may have had its effect or not; an operator must find out first.
    InDoubt,
    /// The pivot is done.
    TooLate,
    /// It is being undone already.
    Unwinding,
}

/// What is posted to a saga, beside its records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Message {
    /// A wish that it be undone.
    #[non_exhaustive]
    Cancel {
        /// Who asks.
        actor: Box<str>,
        /// Why.
        reason: Box<str>,
    },
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
    /// How often it was tried: from the first time where that was [written](Again), else since the process last took
    /// the saga up.
    pub attempts: u32,
    /// What an operator can do about it. Empty in logs from before this was written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Operation>,
}

/// What kind of trouble an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Class {
    /// One process after the other died while it ran this saga.
    CrashLoop,
    /// The program's definition is not the one that the saga began with.
    DefinitionChanged,
    /// A step after the pivot used up its attempts.
    Exhausted,
    /// A step said that an operator must look.
    Halted,
    /// An undo used up its attempts.
    UndoFailed,
    /// The pivot, or a step after it that must not simply be run again, ended without an answer, so the saga can go
    /// neither forward nor back.
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
            Self::CrashLoop => "crash_loop",
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
    /// Who agreed, where two must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<Box<str>>,
    /// With [`Operation::RetryAsNew`]: how many keys the step or its undo has had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
}

/// What an operator wants done, where two must want it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Proposal {
    /// Counts the proposals of one saga from 1. A later one takes the place of an earlier one.
    pub number: u32,
    /// The number of the incident.
    pub incident: u32,
    /// What is to be done.
    pub operation: Operation,
    /// The step that it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Box<str>>,
    /// With [`Operation::SupplyOutput`]: the output of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Payload>,
    /// Who wants it.
    pub actor: Box<str>,
    /// Why.
    pub reason: Box<str>,
}

/// What somebody may not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Denial {
    /// The number of the incident.
    pub incident: u32,
    /// What was to be done.
    pub operation: Operation,
    /// With an approval or its opposite: the number of the proposal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<u32>,
    /// Who wanted it.
    pub actor: Box<str>,
    /// Why not.
    pub why: Box<str>,
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
    /// Go on where it stopped, under a new idempotency key.
    RetryAsNew,
    /// Take the undo for done.
    SkipUndo,
    /// Take the step for done, with an output that the operator gives.
    SupplyOutput,
    /// Turn back and undo what was done.
    Unwind,
}

impl Operation {
    /// The word for it, in records and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Abandon => "abandon",
            Self::Retry => "retry",
            Self::RetryAsNew => "retry_as_new",
            Self::SkipUndo => "skip_undo",
            Self::SupplyOutput => "supply_output",
            Self::Unwind => "unwind",
        }
    }

    /// What it does, and what the operator answers for.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Abandon => {
                "ends the saga as it is: nothing more is done or undone, and what is wrong is put right by hand"
            }
            Self::Retry => {
                "goes on where it stopped, in the same direction and under the same key: for when the cause is gone"
            }
            Self::RetryAsNew => {
                "goes on where it stopped under a new key: only when no call under the old one had an effect or will"
            }
            Self::SkipUndo => {
                "takes the undo for done and goes on with the next: only when it was done by hand"
            }
            Self::SupplyOutput => {
                "takes the step for done with this output and goes on: only when its effect is there"
            }
            Self::Unwind => {
                "turns back and undoes what was done: at the pivot only when it had no effect and will have none"
            }
        }
    }
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
