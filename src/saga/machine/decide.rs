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
            return Err(Illegal {
                fact: "an attempt",
                why: "there is no such step",
            });
        };
        let more = has_more(step.attempts, attempt);
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

    pub(super) fn settle_undo(
        &self,
        index: usize,
        ending: Ending,
        attempt: Attempt,
    ) -> Result<Verdict, Illegal> {
        let (Some(step), Course::Unwinding(stack)) = (self.shape.steps.get(index), &self.course)
        else {
            return Err(Illegal {
                fact: "an attempt",
                why: "there is no such step",
            });
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

    fn done(&mut self, step: &StepShape, output: Payload) -> Result<Verdict, Illegal> {
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
        Verdict::Record(facts)
    }

    fn incident(
        &self,
        class: Class,
        step: &StepShape,
        error: Box<str>,
        attempt: Attempt,
    ) -> Verdict {
        Verdict::Record(vec![Fact::Incident(Trouble {
            number: self.incidents.saturating_add(1),
            class,
            step: Some(step.name.clone()),
            error,
            attempts: attempt.number,
        })])
    }
}

fn has_more(allowed: Option<NonZeroU32>, attempt: Attempt) -> bool {
    !attempt.last && allowed.is_none_or(|allowed| attempt.number < allowed.get())
}

fn words(ending: Ending) -> Box<str> {
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
        Ending::Done(_) => "it is done".into(),
    }
}
