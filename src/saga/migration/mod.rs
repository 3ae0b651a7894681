//! Carries running sagas over to another version of their definition.
//!
//! For a definition that changes while sagas of it are under way for days: a step gets another name, one is added behind
//! where most sagas are, an output gets a field. Not for sagas that take seconds: [register](super::SagasBuilder::register)
//! the old version beside the new one until its last saga has ended. Nor for a change of what an effect *means*: that is
//! another step.
//!
//! ```text
//!   version 1      validate ── reserve ── score ── transfer ── notify
//!                     │           │       removed     │          │
//!   version 2      validate ──── hold ───────────── transfer ── file ── notify
//!                              renamed                          added
//! ```
//!
//! A migration belongs to the new definition ([`Saga::migrate`](super::Saga::migrate)) and says of every step that is gone
//! or new what became of it. When an engine takes up a saga that has the old form, it makes of the saga's facts those that
//! the new form would have, and writes them as one record, under the lease's epoch and where the log ends, before anything
//! of the new form runs. A process that dies before that record is durable leaves a saga of the old form, one that dies
//! after it a saga of the new. The record also moves the log to the new version, so that a program that does not know it
//! leaves the log alone.
//!
//! # Rules
//!
//! A step has *been begun* when it is done, or when it is next and may have been tried: an effect that runs at most once
//! and has no [intent](super::entry::Fact::Intent), one that is [one transaction](super::tx) with its record, and a check,
//! have not.
//!
//! 1. Every effect that has been begun has a step of the new form that takes its place, of the same kind, in the same
//!    order.
//! 2. Nothing that has not been begun stands before one that has, but for a check that has answered, or that was
//!    [added with an answer](Migration::added_check). What is behind the last step that was begun can be added, removed,
//!    moved and changed at will; a check that has answered can be removed, and one that is moved behind asks again.
//! 3. A step that may have been begun and is not done keeps what is said of its repetition: one that runs at most once
//!    does so in the new form, and none becomes one transaction with its record.
//! 4. The idempotency keys of a step that takes another's place are those of the other, whatever its name is. A new step
//!    has a name that makes no other's keys. A step that may have been begun is repeated under its old key, and what it is
//!    given is what the new form says: another output where the one before it is converted, or where the step before it is
//!    gone or new. So what it asks of its receiver must not depend on that; a receiver compares, or answers the first.
//! 5. Attempts, waits, operators' decisions and the time since when a key is in use are kept.
//! 6. A saga that undoes goes on undoing: what was done and is not undone, and the step that failed where it may have had
//!    its effect, has its place in the new form (rule 1). The step that failed without an effect may be gone.
//! 7. An output or input whose type has changed is [converted](Migration::converted), once, and what comes out is
//!    recorded, sealed as the log is. One that does not read as the new type is refused.
//! 8. What these rules do not allow is refused: the saga goes on in its old form where that is registered as well, and
//!    otherwise waits for an operator, as an incident of class
//!    [`DefinitionChanged`](super::entry::Class::DefinitionChanged) that names the step, what was found and what was
//!    expected. A saga that waits for an operator is not carried over before the operator lets it go on. One over which
//!    processes die while it is converted waits for an operator too, as an incident of class
//!    [`CrashLoop`](super::entry::Class::CrashLoop).
//!
//! Rules 1 to 3 are why no effect is lost or done twice: a step that was begun is never run as another one, none is
//! taken for done that was not, and none is left out of what is undone. The point of no return cannot move behind
//! what was done, since kinds stay.
//!
//! # Example
//!
//! ```
//! use mainstay::saga::{Cx, DefinitionError, Kind, Migration, Saga, Shape, StepError, StepShape};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Held { key: String, until: u64 }
//!
//! async fn hold(cx: Cx<(), u64>, (): ()) -> Result<Held, StepError> {
//!     Ok(Held { key: cx.idempotency_key().to_owned(), until: 30 })
//! }
//! async fn release(_: Cx<(), u64>, _: Option<Held>) -> Result<(), StepError> { Ok(()) }
//! async fn transfer(_: Cx<(), u64>, _: Held) -> Result<(), StepError> { Ok(()) }
//! async fn file(_: Cx<(), u64>, (): ()) -> Result<(), StepError> { Ok(()) }
//! async fn notify(_: Cx<(), u64>, (): ()) -> Result<(), StepError> { Ok(()) }
//!
//! /// What version 1 was: `Saga::shape` of it, or written down when it is taken out.
//! fn version_1() -> Shape {
//!     Shape::new("payment", 1, vec![
//!         StepShape::new("reserve", Kind::Step),
//!         StepShape::new("score", Kind::Check),
//!         StepShape::new("transfer", Kind::Pivot),
//!         StepShape::new("notify", Kind::Then),
//!     ])
//! }
//!
//! fn payment() -> Result<Saga<(), u64, ()>, DefinitionError> {
//!     Saga::builder("payment")
//!         .version(2)
//!         .step("hold", hold).undo(release)
//!         .pivot("transfer", transfer)
//!         .then("file", file)
//!         .then("notify", notify)
//!         .build()?
//!         .migrate(
//!             Migration::from_shape(&version_1())
//!                 .renamed("reserve", "hold")
//!                 // `reserve` returned a bare key.
//!                 .converted("hold", |key: String| Ok(Held { key, until: 0 }))
//!                 .removed("score")
//!                 .added("file"),
//!         )
//! }
//!
//! # fn main() -> Result<(), DefinitionError> {
//! let payment = payment()?;
//! assert_eq!(payment.migrations().count(), 1);
//!
//! // What is not said is refused.
//! let vague = payment.clone().migrate(Migration::from_shape(&version_1()));
//! assert_eq!(
//!     vague.unwrap_err().to_string(),
//!     "the migration from version 1, step `reserve`: found that it is gone, expected to be renamed or removed",
//! );
//! # Ok(())
//! # }
//! ```
//!
//! [`Trial::migrating_from`](super::testing::Trial::migrating_from) runs sagas of the old definition to every place at which
//! they may be left, and finishes them in the new one.
//!
//! # Sources
//!
//! What programs do that cannot: hold a running saga to the code that began it, by versions that are kept side by side
//! (Temporal's worker versioning), or by patches in the code. That a saga of another form must be refused, and never be
//! looked up by name and hoped for, answers reports of engines whose recovery met steps that were gone.

mod carry;
mod plan;
mod registry;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::cut;
use super::machine::Illegal;
use super::payload::Payload;
use super::shape::Shape;

pub use plan::Plan;
pub(super) use registry::Migrations;

/// Makes of a payload of the old form one of the new.
type Convert = Arc<dyn Fn(&Payload) -> Result<Payload, String> + Send + Sync>;

/// With what a step that is added counts as done, or why that cannot be written; `None` where it does not.
type Answer = Option<Result<Payload, String>>;

/// How sagas that have the form of one version go on as those of a later one. The [module](self) has the rules and an
/// example.
///
/// Steps of one name are the same step, wherever they stand. Every other step of either form must be named: as
/// [renamed](Self::renamed), [removed](Self::removed) or [added](Self::added).
#[derive(Clone)]
#[must_use = "a migration does nothing until a definition has it"]
pub struct Migration {
    from: Shape,
    renamed: Vec<(Box<str>, Box<str>)>,
    removed: Vec<Box<str>>,
    added: Vec<(Box<str>, Answer)>,
    converted: Vec<(Box<str>, Convert)>,
    input: Option<Convert>,
}

impl Migration {
    /// From sagas that have this form: [`Saga::shape`](super::Saga::shape) of the old definition. Where that is not in the
    /// program any more, its name, version, and the names, kinds and at-most-once settings of its steps are enough; the
    /// fingerprint of the form must be the one that the sagas have.
    pub fn from_shape(from: &Shape) -> Self {
        Self {
            from: from.clone(),
            renamed: Vec::new(),
            removed: Vec::new(),
            added: Vec::new(),
            converted: Vec::new(),
            input: None,
        }
    }

    /// The step `old` has the name `new` now. Its idempotency keys stay.
    pub fn renamed(mut self, old: impl Into<Box<str>>, new: impl Into<Box<str>>) -> Self {
        self.renamed.push((old.into(), new.into()));
        self
    }

    /// The step `old` is gone. A saga that has begun it is not carried over, unless it is a check.
    pub fn removed(mut self, old: impl Into<Box<str>>) -> Self {
        self.removed.push(old.into());
        self
    }

    /// The step `new` is new. A saga that has begun a step behind it is not carried over.
    pub fn added(mut self, new: impl Into<Box<str>>) -> Self {
        self.added.push((new.into(), None));
        self
    }

    /// The check `new` is new, and answers this in sagas that are already past it. Others are asked.
    pub fn added_check(mut self, new: impl Into<Box<str>>, answer: &impl Serialize) -> Self {
        let answer = Payload::of(answer).map_err(|error| error.0);
        self.added.push((new.into(), Some(answer)));
        self
    }

    /// The output of the step that is called `step` now has another type. What the function makes of it is recorded, once;
    /// an error, which must not quote personal data, is an incident.
    pub fn converted<Old, New>(
        mut self,
        step: impl Into<Box<str>>,
        convert: impl Fn(Old) -> Result<New, String> + Send + Sync + 'static,
    ) -> Self
    where
        Old: DeserializeOwned,
        New: Serialize,
    {
        self.converted.push((step.into(), erased(convert)));
        self
    }

    /// What the saga works on has another type. As [`converted`](Self::converted).
    ///
    /// The key of a saga stays that of the input with which it was started: a start under the same key with the new input
    /// is one with another input.
    pub fn converted_input<Old, New>(
        mut self,
        convert: impl Fn(Old) -> Result<New, String> + Send + Sync + 'static,
    ) -> Self
    where
        Old: DeserializeOwned,
        New: Serialize,
    {
        self.input = Some(erased(convert));
        self
    }
}

fn erased<Old, New>(convert: impl Fn(Old) -> Result<New, String> + Send + Sync + 'static) -> Convert
where
    Old: DeserializeOwned,
    New: Serialize,
{
    Arc::new(move |payload: &Payload| {
        let old = payload
            .read()
            .map_err(|error| format!("it does not read: {}", error.0))?;
        let new = convert(old).map_err(|why| String::from(cut(&why)))?;
        Payload::of(&new).map_err(|error| format!("it cannot be written: {}", error.0))
    })
}

/// Names of steps, and neither functions nor outputs.
impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |(name, _): &(Box<str>, _)| name.clone();
        f.debug_struct("Migration")
            .field("from", &self.from)
            .field("renamed", &self.renamed)
            .field("removed", &self.removed)
            .field("added", &self.added.iter().map(names).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Why a saga is not carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotMigrated {
    /// Its facts are not those of a saga of the form from which the migration comes.
    Illegal(Illegal),
    /// An effect might be lost, or done twice.
    #[non_exhaustive]
    Refused {
        /// The step that it is about; empty where it is about the saga as a whole.
        step: Box<str>,
        /// What was found of it.
        found: Box<str>,
        /// What was expected.
        expected: Box<str>,
    },
}

impl NotMigrated {
    pub(super) fn refused(
        step: &str,
        found: impl Into<Box<str>>,
        expected: impl Into<Box<str>>,
    ) -> Self {
        Self::Refused {
            step: step.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}

impl fmt::Display for NotMigrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Illegal(illegal) => illegal.fmt(f),
            Self::Refused {
                step,
                found,
                expected,
            } if step.is_empty() => write!(f, "found {found}, expected {expected}"),
            Self::Refused {
                step,
                found,
                expected,
            } => write!(f, "step `{step}`: found {found}, expected {expected}"),
        }
    }
}

impl std::error::Error for NotMigrated {}
