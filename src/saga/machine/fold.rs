//! From facts to state. The only place where the state of a saga changes, but for what is true of this process alone.

use super::{Course, Execution, Illegal};
use crate::saga::entry::{Effect, Fact, Failure, Finish, Operation};
use crate::saga::shape::Kind;

impl Execution {
    /// What a failure leaves to be undone, the first to undo last (rules 5 and 8).
    pub(super) fn undo_order(&self, failure: &Failure) -> Vec<usize> {
        let finished = self.outputs.len();
        let reached = if failure.effect == Effect::Possible {
            finished.saturating_add(1)
        } else {
            finished
        };
        let steps = self.shape.steps.iter().take(reached).enumerate();
        steps
            .filter(|(_, step)| step.kind == Kind::Step)
            .map(|(index, _)| index)
            .collect()
    }

    /// Takes a fact in.
    pub(super) fn apply(&mut self, fact: &Fact) -> Result<(), Illegal> {
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
        if self.failure.is_some() && self.course == Course::Forward && !matches!(fact, Fact::Unwind)
        {
            return refuse(
                "a fact",
                "a failure is recorded with the decision to unwind",
            );
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
                let Some(failure) = self
                    .failure
                    .as_ref()
                    .filter(|_| self.course == Course::Forward)
                else {
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
                let next = match &self.course {
                    Course::Unwinding(stack) => {
                        stack.last().and_then(|index| self.shape.steps.get(*index))
                    }
                    _ => self.frontier(),
                };
                if trouble
                    .step
                    .as_ref()
                    .is_some_and(|step| next.is_none_or(|next| next.name != *step))
                {
                    return refuse("incident", "another step was next");
                }
                self.incidents = trouble.number;
                self.held = Some(trouble.clone());
            }
            Fact::Resolved(resolution) => {
                if self
                    .held
                    .as_ref()
                    .is_none_or(|held| held.number != resolution.incident)
                {
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
                    Finish::Completed => {
                        self.course == Course::Forward && self.frontier().is_none()
                    }
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
