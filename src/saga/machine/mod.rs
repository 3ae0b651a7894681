//! The rules of a saga, as a machine: facts in, the next thing to do out.
//!
//! The same fold runs while a saga is carried on, when it is recovered, and in tests. It reads no clock, draws nothing
//! and writes nothing.
//!
//! # Rules
//!
//! Order
//!
//! 1. Steps run in the order of the definition, one at a time, each with the output of the one before it.
//! 2. Nothing that has an effect runs before everything it depends on is durable: the start, the outputs of the steps
//!    before it, the decision to unwind, the undo before it.
//! 3. Outputs of checks wait for the next record. A run of checks costs one write, and only when an effect follows: a
//!    check that runs again after a crash may answer differently, and an effect must not depend on an answer that is
//!    forgotten.
//!
//! Failure before the pivot
//!
//! 4. `Refused`, and `Fail` in a step of which no attempt ended without an answer, surely had no effect: the steps before
//!    it are undone.
//! 5. In every other failure (`Unknown`, a panic, attempts used up, `Fail` after an attempt without an answer, also one
//!    of an earlier process) the step may have had its effect: it is undone too, first, with `None`.
//! 6. A check has no effect, however it fails.
//! 7. The failure, its effect and the decision to unwind are one record. From then on the saga only undoes, after every
//!    crash as well.
//! 8. Undos run in the reverse order of their steps, each after the one before it is durable.
//! 9. An undo that fails is tried again, whatever it says, up to its attempts; then it is an incident.
//!
//! The pivot and after
//!
//! 10. A pivot that surely had no effect (rule 4) unwinds. One that may have had its effect is an incident: the saga can
//!     go neither forward nor back.
//! 11. After the pivot a step is tried again, whatever it says, up to its attempts (without end by default); then it is
//!     an incident. It is never undone.
//!
//! Incidents and the end
//!
//! 12. `Halt` is an incident at once, everywhere. So is a payload that cannot be read or written.
//! 13. A saga with an open incident does nothing until an operator resolves it. `Retry` goes on where it stopped, in the
//!     direction it had; `Abandon` ends it.
//! 14. The end rides with the last fact. Nothing follows it.
//! 15. A log that breaks these rules is refused, never interpreted.

mod decide;
mod fold;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::entry::{Fact, Failure, Finish, Operation, Resolution, Started, Trouble};
use super::payload::Payload;
use super::shape::{Kind, Shape, StepShape};

/// One saga under way.
#[derive(Clone, Debug)]
pub struct Execution {
    shape: Arc<Shape>,
    started: bool,
    /// Of the finished steps, in order: its length is the frontier.
    outputs: Vec<Payload>,
    course: Course,
    failure: Option<Failure>,
    held: Option<Trouble>,
    incidents: u32,
    abandoned: bool,
    /// Facts that are true for this process and not yet durable: outputs of checks (rule 3).
    unwritten: Vec<Fact>,
    /// Whether an earlier attempt of what runs next may have had its effect (rule 5).
    uncertain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Course {
    Forward,
    /// Steps that are still to be undone, the next one last.
    Unwinding(Vec<usize>),
    Over(Finish),
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Nothing: it is over.
    End(Finish),
    /// Nothing until an operator decides.
    Hold,
    /// Run the step with this index.
    Run(usize),
    /// Undo the step with this index.
    Undo(usize),
    /// Write [`Execution::entry`] with no further facts.
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
    /// These facts are to be written, as [`Execution::entry`], before anything else is done.
    Record(Vec<Fact>),
    /// Go on: the output waits for the next record (rule 3).
    Ride,
}

/// A fact that cannot follow from what is known (rule 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Illegal {
    fact: &'static str,
    why: &'static str,
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot follow here: {}", self.fact, self.why)
    }
}

impl std::error::Error for Illegal {}

impl Execution {
    /// A saga of which nothing is known yet.
    #[must_use]
    pub const fn new(shape: Arc<Shape>) -> Self {
        Self {
            shape,
            started: false,
            outputs: Vec::new(),
            course: Course::Forward,
            failure: None,
            held: None,
            incidents: 0,
            abandoned: false,
            unwritten: Vec::new(),
            uncertain: false,
        }
    }

    /// A saga from all its records, taken up by a process that did not see what happened after the last one.
    ///
    /// # Errors
    ///
    /// When a fact cannot follow from those before it.
    pub fn replay<'a>(
        shape: Arc<Shape>,
        facts: impl IntoIterator<Item = &'a Fact>,
    ) -> Result<Self, Illegal> {
        let mut execution = Self::new(shape);
        for fact in facts {
            execution.apply(fact)?;
        }
        if !execution.started {
            return Err(Illegal {
                fact: "nothing",
                why: "a saga begins with its start",
            });
        }
        if execution.failure.is_some() && execution.course == Course::Forward {
            return Err(Illegal {
                fact: "the end of the log",
                why: "a failure is recorded with the decision to unwind",
            });
        }
        let over = match &execution.course {
            Course::Forward => execution.frontier().is_none(),
            Course::Unwinding(stack) => stack.is_empty(),
            Course::Over(_) => false,
        };
        if over || execution.abandoned && !matches!(execution.course, Course::Over(_)) {
            return Err(Illegal {
                fact: "the end of the log",
                why: "the end is recorded with the last fact",
            });
        }
        // What ran when the process ended is not known, so what runs first now may be a repetition.
        execution.uncertain = true;
        Ok(execution)
    }

    /// What is to be done next.
    #[must_use]
    pub fn next(&self) -> Next {
        if let Course::Over(finish) = self.course {
            return Next::End(finish);
        }
        if self.held.is_some() {
            return Next::Hold;
        }
        match &self.course {
            Course::Unwinding(stack) => {
                // An empty stack is over in the same record.
                stack
                    .last()
                    .map_or(Next::End(Finish::Compensated), |step| Next::Undo(*step))
            }
            _ => match self.frontier() {
                Some(step) if step.kind != Kind::Check && !self.unwritten.is_empty() => Next::Write,
                Some(_) => Next::Run(self.outputs.len()),
                None => Next::End(Finish::Completed),
            },
        }
    }

    /// Decides what follows from an attempt of what [`next`](Self::next) asked for.
    ///
    /// # Errors
    ///
    /// When nothing was asked for.
    pub fn settle(&mut self, ending: Ending, attempt: Attempt) -> Result<Verdict, Illegal> {
        match self.next() {
            Next::Run(index) => self.settle_step(index, ending, attempt),
            Next::Undo(index) => self.settle_undo(index, ending, attempt),
            Next::End(_) | Next::Hold | Next::Write => Err(Illegal {
                fact: "an attempt",
                why: "nothing was to be run",
            }),
        }
    }

    /// The facts of the next record: those that wait, and these.
    #[must_use]
    pub fn entry(&self, facts: &[Fact]) -> Vec<Fact> {
        self.unwritten.iter().chain(facts).cloned().collect()
    }

    /// Takes note that [`entry`](Self::entry) with these facts is durable.
    ///
    /// # Errors
    ///
    /// When a fact cannot follow; nothing that [`settle`](Self::settle) returned does that.
    pub fn written(&mut self, facts: &[Fact]) -> Result<(), Illegal> {
        self.unwritten.clear();
        facts.iter().try_for_each(|fact| self.apply(fact))
    }

    /// The facts that begin a saga.
    #[must_use]
    pub fn begin(shape: &Shape, nonce: &str, input: Payload) -> Vec<Fact> {
        vec![Fact::Started(Started {
            definition: shape.name.clone(),
            version: shape.version,
            fingerprint: shape.fingerprint().into(),
            nonce: nonce.into(),
            input,
        })]
    }

    /// The facts by which an operator resolves the open incident, `None` when there is none.
    #[must_use]
    pub fn resolve(held: &Trouble, operation: Operation, actor: &str, reason: &str) -> Vec<Fact> {
        let resolved = Fact::Resolved(Resolution {
            incident: held.number,
            operation,
            actor: actor.into(),
            reason: reason.into(),
        });
        match operation {
            Operation::Retry => vec![resolved],
            Operation::Abandon => vec![resolved, Fact::Finished(Finish::Abandoned)],
        }
    }

    /// The step with this index gets the output before it: `None` is the first step's `()`.
    #[must_use]
    pub fn input_of(&self, index: usize) -> Option<&Payload> {
        self.outputs.get(index.checked_sub(1)?)
    }

    /// What the step with this index returned, `None` when it is not known to be done.
    #[must_use]
    pub fn output_of(&self, index: usize) -> Option<&Payload> {
        self.outputs.get(index)
    }

    /// The output of the last step of a completed saga.
    #[must_use]
    pub fn result(&self) -> Option<&Payload> {
        self.outputs
            .last()
            .filter(|_| self.course == Course::Over(Finish::Completed))
    }

    /// Why it turned back, once it did.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The open incident.
    #[must_use]
    pub const fn held(&self) -> Option<&Trouble> {
        self.held.as_ref()
    }

    /// Whether it undoes, or undid.
    #[must_use]
    pub const fn is_unwinding(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn frontier(&self) -> Option<&StepShape> {
        self.shape.steps.get(self.outputs.len())
    }
}
