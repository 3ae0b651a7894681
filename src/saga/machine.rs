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
//! 4. `Fail` in a step of which no attempt ended without an answer surely had no effect: the steps before it are undone.
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

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::entry::{
    Class, Effect, Fact, Failure, Finish, Operation, Resolution, Started, Trouble,
};
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
    /// It said that it surely had no effect and will not succeed.
    Fail(Box<str>),
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
            return Err(Illegal { fact: "nothing", why: "a saga begins with its start" });
        }
        if execution.failure.is_some() && execution.course == Course::Forward {
            return Err(Illegal { fact: "the end of the log", why: "a failure is recorded with the decision to unwind" });
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
                stack.last().map_or(Next::End(Finish::Compensated), |step| Next::Undo(*step))
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
            Next::End(_) | Next::Hold | Next::Write => {
                Err(Illegal { fact: "an attempt", why: "nothing was to be run" })
            }
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
        self.outputs.last().filter(|_| self.course == Course::Over(Finish::Completed))
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

    fn frontier(&self) -> Option<&StepShape> {
        self.shape.steps.get(self.outputs.len())
    }

    // === decisions ===

    fn settle_step(&mut self, index: usize, ending: Ending, attempt: Attempt) -> Result<Verdict, Illegal> {
        let Some(step) = self.shape.steps.get(index).cloned() else {
            return Err(Illegal { fact: "an attempt", why: "there is no such step" });
        };
        let more = has_more(step.attempts, attempt);
        let error = match ending {
            Ending::Done(output) => return self.done(&step, output),
            Ending::Halt(error) => return Ok(self.incident(Class::Halted, &step, error, attempt)),
            Ending::Unreadable(error) => return Ok(self.incident(Class::Unreadable, &step, error, attempt)),
            Ending::Unrecordable(error) => {
                return Ok(self.incident(Class::Unrecordable, &step, error, attempt));
            }
            Ending::Fail(error) if step.kind != Kind::Then => {
                let sure = step.kind == Kind::Check || !self.uncertain;
                let effect = if sure { Effect::None } else { Effect::Possible };
                return Ok(self.fail(&step, effect, error, attempt));
            }
            Ending::Unknown(error) if step.kind != Kind::Then => {
                return Ok(self.fail(&step, Effect::Possible, error, attempt));
            }
            Ending::Panicked if step.kind != Kind::Then => {
                return Ok(self.fail(&step, Effect::Possible, "it panicked".into(), attempt));
            }
            other => words(other),
        };
        if more {
            self.uncertain = true;
            return Ok(Verdict::Again);
        }
        if step.kind == Kind::Then {
            return Ok(self.incident(Class::Exhausted, &step, error, attempt));
        }
        Ok(self.fail(&step, Effect::Possible, error, attempt))
    }

    fn settle_undo(&self, index: usize, ending: Ending, attempt: Attempt) -> Result<Verdict, Illegal> {
        let (Some(step), Course::Unwinding(stack)) = (self.shape.steps.get(index), &self.course) else {
            return Err(Illegal { fact: "an attempt", why: "there is no such step" });
        };
        Ok(match ending {
            Ending::Done(_) => {
                let mut facts = vec![Fact::Undone { step: step.name.clone() }];
                if stack.len() == 1 {
                    facts.push(Fact::Finished(Finish::Compensated));
                }
                Verdict::Record(facts)
            }
            Ending::Halt(error) => self.incident(Class::Halted, step, error, attempt),
            Ending::Unreadable(error) => self.incident(Class::Unreadable, step, error, attempt),
            _ if has_more(step.undo_attempts, attempt) => Verdict::Again,
            other => self.incident(Class::UndoFailed, step, words(other), attempt),
        })
    }

    fn done(&mut self, step: &StepShape, output: Payload) -> Result<Verdict, Illegal> {
        let done = Fact::Done { step: step.name.clone(), output };
        if self.outputs.len().saturating_add(1) == self.shape.steps.len() {
            return Ok(Verdict::Record(vec![done, Fact::Finished(Finish::Completed)]));
        }
        if step.kind == Kind::Check {
            self.apply(&done)?;
            self.unwritten.push(done);
            return Ok(Verdict::Ride);
        }
        Ok(Verdict::Record(vec![done]))
    }

    /// Turns back, or stops where turning back is not allowed (rule 10).
    fn fail(&self, step: &StepShape, effect: Effect, error: Box<str>, attempt: Attempt) -> Verdict {
        if step.kind == Kind::Pivot && effect == Effect::Possible {
            return self.incident(Class::UnknownOutcome, step, error, attempt);
        }
        // Rule 6.
        let effect = if step.kind == Kind::Check { Effect::None } else { effect };
        let failure = Failure { step: step.name.clone(), effect, error, attempts: attempt.number };
        let nothing_to_undo = self.undo_order(&failure).is_empty();
        let mut facts = vec![Fact::Failed(failure), Fact::Unwind];
        if nothing_to_undo {
            facts.push(Fact::Finished(Finish::Compensated));
        }
        Verdict::Record(facts)
    }

    fn incident(&self, class: Class, step: &StepShape, error: Box<str>, attempt: Attempt) -> Verdict {
        Verdict::Record(vec![Fact::Incident(Trouble {
            number: self.incidents.saturating_add(1),
            class,
            step: Some(step.name.clone()),
            error,
            attempts: attempt.number,
        })])
    }

    /// What a failure leaves to be undone, the first to undo last (rules 5 and 8).
    fn undo_order(&self, failure: &Failure) -> Vec<usize> {
        let finished = self.outputs.len();
        let reached = if failure.effect == Effect::Possible { finished.saturating_add(1) } else { finished };
        let steps = self.shape.steps.iter().take(reached).enumerate();
        steps.filter(|(_, step)| step.kind == Kind::Step).map(|(index, _)| index).collect()
    }

    // === the fold ===

    /// Takes a fact in.
    fn apply(&mut self, fact: &Fact) -> Result<(), Illegal> {
        let refuse = |fact, why| Err(Illegal { fact, why });
        if matches!(self.course, Course::Over(_)) {
            return refuse("a fact", "the saga is over");
        }
        if self.started == matches!(fact, Fact::Started(_)) {
            return refuse("a fact", "a saga begins with its start, once");
        }
        if self.held.is_some() && !matches!(fact, Fact::Resolved(_)) {
            return refuse("a fact", "the saga waits for an operator");
        }
        if self.abandoned && !matches!(fact, Fact::Finished(Finish::Abandoned)) {
            return refuse("a fact", "the saga was abandoned");
        }
        if self.failure.is_some() && self.course == Course::Forward && !matches!(fact, Fact::Unwind) {
            return refuse("a fact", "a failure is recorded with the decision to unwind");
        }
        match fact {
            Fact::Started(_) => self.started = true,
            Fact::Done { step, output } => {
                if self.course != Course::Forward {
                    return refuse("done", "the saga unwinds");
                }
                if self.frontier().is_none_or(|next| next.name != *step) {
                    return refuse("done", "another step was next");
                }
                self.outputs.push(output.clone());
                self.uncertain = false;
            }
            Fact::Failed(failure) => {
                if self.course != Course::Forward {
                    return refuse("failed", "the saga unwinds");
                }
                let Some(next) = self.frontier().filter(|next| next.name == failure.step) else {
                    return refuse("failed", "another step was next");
                };
                let stays = next.kind == Kind::Then
                    || (next.kind == Kind::Pivot && failure.effect == Effect::Possible);
                if stays {
                    return refuse("failed", "there is no way back from this step");
                }
                self.failure = Some(failure.clone());
            }
            Fact::Unwind => {
                let Some(failure) = self.failure.as_ref().filter(|_| self.course == Course::Forward) else {
                    return refuse("unwind", "nothing failed, or it unwinds already");
                };
                self.course = Course::Unwinding(self.undo_order(failure));
                self.uncertain = false;
            }
            Fact::Undone { step } => {
                let Course::Unwinding(stack) = &mut self.course else {
                    return refuse("undone", "the saga does not unwind");
                };
                let next = stack.last().and_then(|index| self.shape.steps.get(*index));
                if next.is_none_or(|next| next.name != *step) {
                    return refuse("undone", "another step was next");
                }
                stack.pop();
            }
            Fact::Incident(trouble) => {
                if trouble.number != self.incidents.saturating_add(1) {
                    return refuse("incident", "its number does not follow");
                }
                self.incidents = trouble.number;
                self.held = Some(trouble.clone());
            }
            Fact::Resolved(resolution) => {
                if self.held.as_ref().is_none_or(|held| held.number != resolution.incident) {
                    return refuse("resolved", "there is no such open incident");
                }
                self.held = None;
                // What stopped may have had its effect meanwhile, or before.
                self.uncertain = true;
                self.abandoned = resolution.operation == Operation::Abandon;
            }
            Fact::Finished(finish) => {
                let legal = match finish {
                    Finish::Abandoned => self.abandoned,
                    Finish::Compensated => self.course == Course::Unwinding(Vec::new()),
                    Finish::Completed => self.course == Course::Forward && self.frontier().is_none(),
                };
                if !legal {
                    return refuse("finished", "there is more to do");
                }
                self.course = Course::Over(*finish);
            }
        }
        Ok(())
    }
}

fn has_more(allowed: Option<NonZeroU32>, attempt: Attempt) -> bool {
    !attempt.last && allowed.is_none_or(|allowed| attempt.number < allowed.get())
}

fn words(ending: Ending) -> Box<str> {
    match ending {
        Ending::Retry(error) | Ending::Fail(error) | Ending::Unknown(error) | Ending::Halt(error) => error,
        Ending::Unreadable(error) | Ending::Unrecordable(error) => error,
        Ending::TimedOut => "it took too long".into(),
        Ending::Panicked => "it panicked".into(),
        Ending::Done(_) => "it is done".into(),
    }
}
