//! From the end of an attempt to the facts that follow from it.

use std::num::NonZeroU32;

use super::{Attempt, Course, Ending, Execution, Illegal, Verdict};
use crate::saga::entry::{Class, Effect, Fact, Failure, Finish, Trouble};
use crate::saga::payload::Payload;
use crate::saga::shape::{Kind, StepShape};

impl Execution {
    pub(super) fn settle_step(
        &mut self,
        index: usize,
        ending: Ending,
        attempt: Attempt,
    ) -> Result<Verdict, Illegal> {
        let Some(step) = self.shape.steps.get(index).cloned() else {
            return Err(Illegal::new("an attempt", "there is no such step"));
        };
        let more = has_more(step.attempts, attempt) && !step.at_most_once;
        let sure = step.kind == Kind::Check || !self.may_have_happened();
        // Rule 25.
        let unanswered = if step.in_journal {
            Effect::None
        } else {
            Effect::Possible
        };
        let guesses = step.kind == Kind::Then && step.at_most_once;
        let error = match ending {
            Ending::Done(output) => return self.done(&step, output),
            Ending::Halt(error) => return Ok(self.incident(Class::Halted, &step, error, attempt)),
            Ending::Unreadable(error) => {
                return Ok(self.incident(Class::Unreadable, &step, error, attempt));
            }
            Ending::Unrecordable(error) => {
                return Ok(self.incident(Class::Unrecordable, &step, error, attempt));
            }
            Ending::Refused(error) if step.kind != Kind::Then => {
                return Ok(self.fail(&step, Effect::None, error, attempt));
            }
            Ending::Fail(error) if step.kind != Kind::Then => {
                let effect = if sure { Effect::None } else { Effect::Possible };
                return Ok(self.fail(&step, effect, error, attempt));
            }
            // Rule 17: surely without effect, so that nothing is in doubt.
            Ending::Fail(error) | Ending::Refused(error) if guesses && sure => {
                return Ok(self.incident(Class::Exhausted, &step, error, attempt));
            }
            Ending::Unknown(error) if step.kind != Kind::Then => {
                return Ok(self.fail(&step, unanswered, error, attempt));
            }
            Ending::Panicked if step.kind != Kind::Then => {
                return Ok(self.fail(&step, unanswered, "it panicked".into(), attempt));
            }
            other => words(other),
        };
        if more {
            self.uncertain = true;
            return Ok(Verdict::Again);
        }
        if step.kind == Kind::Then && !step.at_most_once {
            return Ok(self.incident(Class::Exhausted, &step, error, attempt));
        }
        Ok(self.fail(&step, unanswered, error, attempt))
    }

    pub(super) fn settle_undo(
        &self,
        index: usize,
        ending: Ending,
        attempt: Attempt,
    ) -> Result<Verdict, Illegal> {
        let (Some(step), Course::Unwinding(stack)) = (self.shape.steps.get(index), &self.course)
        else {
            return Err(Illegal::new("an attempt", "there is no such step"));
        };
        Ok(match ending {
            Ending::Done(_) => {
                let mut facts = vec![Fact::Undone {
                    step: step.name.clone(),
                }];
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

    pub(super) fn done(&mut self, step: &StepShape, output: Payload) -> Result<Verdict, Illegal> {
        let done = Fact::Done {
            step: step.name.clone(),
            output,
        };
        if self.outputs.len().saturating_add(1) == self.shape.steps.len() {
            return Ok(Verdict::Record(vec![
                done,
                Fact::Finished(Finish::Completed),
            ]));
        }
        if step.kind == Kind::Check {
            // What is not written has no time; a check has no key to be forgotten.
            self.apply(&done, self.tries.since)?;
            self.unwritten.push(done);
            return Ok(Verdict::Ride);
        }
        Ok(Verdict::Record(vec![done]))
    }

    /// Turns back, or asks, or stops where turning back is not allowed (rules 10, 16 and 17).
    fn fail(
        &mut self,
        step: &StepShape,
        effect: Effect,
        error: Box<str>,
        attempt: Attempt,
    ) -> Verdict {
        let doubtful = effect == Effect::Possible && step.kind != Kind::Check;
        if doubtful && step.reconciles {
            return self.doubt(error, attempt);
        }
        if doubtful && step.kind != Kind::Step {
            return self.incident(Class::UnknownOutcome, step, error, attempt);
        }
        Verdict::Record(self.failed(step, effect, error, attempt))
    }

    /// The facts of turning back.
    pub(super) fn failed(
        &self,
        step: &StepShape,
        effect: Effect,
        error: Box<str>,
        attempt: Attempt,
    ) -> Vec<Fact> {
        // Rule 6.
        let effect = if step.kind == Kind::Check {
            Effect::None
        } else {
            effect
        };
        let failure = Failure {
            step: step.name.clone(),
            effect,
            error,
            attempts: attempt.number,
        };
        let nothing_to_undo = self.undo_order(&failure).is_empty();
        let mut facts = vec![Fact::Failed(failure), Fact::Unwind];
        if nothing_to_undo {
            facts.push(Fact::Finished(Finish::Compensated));
        }
        facts
    }

    fn incident(
        &self,
        class: Class,
        step: &StepShape,
        error: Box<str>,
        attempt: Attempt,
    ) -> Verdict {
        Verdict::Record(self.trouble(class, step, error, attempt))
    }

    pub(super) fn trouble(
        &self,
        class: Class,
        step: &StepShape,
        error: Box<str>,
        attempt: Attempt,
    ) -> Vec<Fact> {
        vec![Fact::Incident(Trouble {
            number: self.incidents.saturating_add(1),
            class,
            step: Some(step.name.clone()),
            error,
            attempts: attempt.number,
            allowed: self.options(true),
        })]
    }
}

fn has_more(allowed: Option<NonZeroU32>, attempt: Attempt) -> bool {
    !attempt.last && allowed.is_none_or(|allowed| attempt.number < allowed.get())
}

pub(super) fn words(ending: Ending) -> Box<str> {
    match ending {
        Ending::RetryAfter(error, _)
        | Ending::Refused(error)
        | Ending::Retry(error)
        | Ending::Fail(error)
        | Ending::Unknown(error)
        | Ending::Halt(error) => error,
        Ending::Unreadable(error) | Ending::Unrecordable(error) => error,
        Ending::TimedOut => "it took too long".into(),
        Ending::Panicked => "it panicked".into(),
        Ending::NotApplied => "it had no effect".into(),
        Ending::Done(_) => "it is done".into(),
    }
}
