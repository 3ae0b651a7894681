//! What the machine is told, and what it answers.

use std::fmt;
use std::time::Duration;

use crate::saga::entry::{Fact, Finish, Operation};
use crate::saga::error::cut;
use crate::saga::payload::Payload;

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Nothing: it is over.
    End(Finish),
    /// Nothing until an operator decides.
    Hold,
    /// Find out whether the step with this index has had its effect. It must not be run.
    Reconcile(usize),
    /// Run the step with this index.
    Run(usize),
    /// Undo the step with this index.
    Undo(usize),
    /// Write [`Execution::entry`](super::Execution::entry) with the facts of [`Execution::due`](super::Execution::due).
    Write,
}

/// How an attempt of a step or an undo ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// With an output (`()` for an undo).
    Done(Payload),
    /// It said that trying again may help.
    Retry(Box<str>),
    /// It said that trying again may help after this time.
    RetryAfter(Box<str>, Duration),
    /// It said that this attempt surely had no effect and another will not succeed.
    Fail(Box<str>),
    /// It said that no attempt has had an effect or will.
    Refused(Box<str>),
    /// It said that it may have had its effect and cannot tell.
    Unknown(Box<str>),
    /// It said that an operator must look.
    Halt(Box<str>),
    /// It took longer than it was given.
    TimedOut,
    /// It panicked.
    Panicked,
    /// It was not run: what it is to get cannot be read.
    Unreadable(Box<str>),
    /// It is done, and its output cannot be written.
    Unrecordable(Box<str>),
    /// It was asked, and no attempt has had an effect or will.
    NotApplied,
}

impl Ending {
    /// What it said; nothing where it is done.
    pub(crate) fn said(&self) -> Box<str> {
        match self {
            Self::Done(_) => "".into(),
            other => super::decide::words(other.clone()),
        }
    }

    /// How long it asked to wait.
    pub(crate) const fn hint(&self) -> Duration {
        match self {
            Self::RetryAfter(_, after) => *after,
            _ => Duration::ZERO,
        }
    }
}

/// Which attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Counts from 1.
    pub number: u32,
    /// Whether the time for all attempts together is over.
    pub last: bool,
}

impl Attempt {
    /// The attempt with this number; `last` when there is no time for another.
    #[must_use]
    pub const fn new(number: u32, last: bool) -> Self {
        Self { number, last }
    }
}

/// What follows from an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Try again after a while.
    Again,
    /// These facts are to be written, as [`Execution::entry`](super::Execution::entry), before anything else is done.
    Record(Vec<Fact>),
    /// Ask again what is next: an output waits for the next record (rule 3), or what is known has changed.
    Ride,
}

/// A fact that cannot follow from what is known (rule 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Illegal {
    pub(super) fact: &'static str,
    pub(super) why: &'static str,
}

impl Illegal {
    pub(super) const fn new(fact: &'static str, why: &'static str) -> Self {
        Self { fact, why }
    }
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot follow here: {}", self.fact, self.why)
    }
}

impl std::error::Error for Illegal {}

/// What an operator decided about an open incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub(super) operation: Operation,
    pub(super) output: Option<Payload>,
    pub(super) actor: Box<str>,
    pub(super) reason: Box<str>,
    pub(super) approver: Option<Box<str>>,
}

impl Decision {
    /// Signed by an actor, with a reason; long texts are cut.
    #[must_use]
    pub fn new(operation: Operation, actor: &str, reason: &str) -> Self {
        Self {
            operation,
            output: None,
            actor: cut(actor),
            reason: cut(reason),
            approver: None,
        }
    }

    /// What is to be done.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// Whether there is an actor and a reason.
    pub(crate) fn is_signed(&self) -> bool {
        !self.actor.trim().is_empty() && !self.reason.trim().is_empty()
    }

    /// Who decided.
    pub(crate) fn actor(&self) -> &str {
        &self.actor
    }

    /// Why.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// What was given for the output of the step.
    pub(crate) const fn given(&self) -> Option<&Payload> {
        self.output.as_ref()
    }

    /// With the output that [`Operation::SupplyOutput`] needs.
    #[must_use]
    pub fn output(mut self, output: Payload) -> Self {
        self.output = Some(output);
        self
    }

    /// With the one who agreed.
    #[must_use]
    pub fn approver(mut self, approver: impl Into<Box<str>>) -> Self {
        self.approver = Some(approver.into());
        self
    }
}
