//! What operators may decide, and what follows from it (rules 13 and 24).

use std::sync::Arc;

use super::{Course, Decision, Execution, Illegal};
use crate::saga::entry::{Effect, Fact, Failure, Finish, Operation, Resolution, Trouble};
use crate::saga::shape::Kind;

impl Execution {
    /// What an operator can decide about the open incident, with [what each does](Operation::hint). Empty without one.
    #[must_use]
    pub fn allowed(&self) -> Vec<Operation> {
        self.held
            .as_ref()
            .map_or_else(Vec::new, |held| self.options(held.step.is_some()))
    }

    /// What an operator could decide about an incident at this place.
    pub(super) fn options(&self, has_step: bool) -> Vec<Operation> {
        let Some((_, undo, step)) = self.at() else {
            return vec![Operation::Abandon];
        };
        let mut all = vec![Operation::Abandon, Operation::Retry];
        if has_step && step.kind != Kind::Check {
            all.push(Operation::RetryAsNew);
        }
        if has_step {
            all.push(if undo {
                Operation::SkipUndo
            } else {
                Operation::SupplyOutput
            });
        }
        if self.is_revocable() {
            all.push(Operation::Unwind);
        }
        all
    }

    pub(super) fn permits(&self, held: &Trouble, operation: Operation) -> bool {
        self.options(held.step.is_some()).contains(&operation)
    }

    /// What the journal is to say that the saga is at; `None` leaves it.
    pub(crate) fn stage(&self) -> Option<Arc<str>> {
        self.stage_after(match self.course {
            Course::Over(_) => &[Fact::Finished(Finish::Completed)],
            Course::Forward | Course::Unwinding(_) => &[],
        })
    }

    /// What the journal is to say that the saga is at once these facts are written; `None` leaves it.
    pub(crate) fn stage_after(&self, facts: &[Fact]) -> Option<Arc<str>> {
        let mut at = self.at().map(|(index, undo, _)| (index, undo));
        let mut stack = match &self.course {
            Course::Unwinding(stack) => stack.clone(),
            Course::Forward | Course::Over(_) => Vec::new(),
        };
        for fact in facts {
            let failure = match fact {
                Fact::Done { .. } => {
                    at = at.map(|(index, _)| (index.saturating_add(1), false));
                    continue;
                }
                Fact::Undone { .. } => {
                    stack.pop();
                    at = stack.last().map(|index| (*index, true));
                    continue;
                }
                Fact::Finished(Finish::Abandoned) => return None,
                Fact::Finished(_) => return Some("".into()),
                Fact::Failed(failure) => failure.clone(),
                Fact::Cancelled(cancellation) => cancellation.failure(),
                _ => continue,
            };
            stack = self.undo_order(&failure);
            at = stack.last().map(|index| (*index, true));
        }
        let (index, undo) = at?;
        let step = self.shape.steps.get(index)?;
        Some(stage_of(&step.name, undo))
    }

    /// The facts by which a decision about the open incident becomes true.
    ///
    /// # Errors
    ///
    /// When there is no incident, when the operation makes no sense for it, and when it needs an output and has none.
    pub fn decide(&self, decision: &Decision) -> Result<Vec<Fact>, Illegal> {
        let refuse = |why| Err(Illegal::new("this decision", why));
        let Some(held) = &self.held else {
            return refuse("no incident is open");
        };
        let operation = decision.operation;
        if !self.permits(held, operation) {
            return refuse(match operation {
                Operation::SkipUndo => "no undo has stopped",
                Operation::SupplyOutput => "no step has stopped",
                Operation::Unwind => "the saga unwinds already, or its pivot is done",
                _ => "no step or undo with an effect has stopped",
            });
        }
        let Some((index, undo, step)) = self.at() else {
            return refuse("the saga is over");
        };
        let mut resolution = signed(held, decision);
        let name = step.name.clone();
        // Rule 25: what stopped there had no effect.
        let possible = step.kind == Kind::Step && !step.in_journal;
        if operation == Operation::RetryAsNew {
            resolution.generation = Some(self.generation(index, undo).saturating_add(1));
        }
        let mut facts = vec![Fact::Resolved(resolution)];
        match operation {
            Operation::Retry | Operation::RetryAsNew => {}
            Operation::Abandon => facts.push(Fact::Finished(Finish::Abandoned)),
            Operation::SupplyOutput => {
                let Some(output) = decision.output.clone() else {
                    return refuse("it needs the output of the step");
                };
                facts.push(Fact::Done { step: name, output });
                if index.saturating_add(1) == self.shape.steps.len() {
                    facts.push(Fact::Finished(Finish::Completed));
                }
            }
            Operation::SkipUndo => {
                facts.push(Fact::Undone { step: name });
                if matches!(&self.course, Course::Unwinding(stack) if stack.len() == 1) {
                    facts.push(Fact::Finished(Finish::Compensated));
                }
            }
            Operation::Unwind => {
                let failure = Failure {
                    step: name,
                    // At the pivot the operator's word is that there was none.
                    effect: if possible {
                        Effect::Possible
                    } else {
                        Effect::None
                    },
                    error: format!("turned back by {}: {}", decision.actor, decision.reason).into(),
                    attempts: held.attempts,
                };
                let nothing_to_undo = self.undo_order(&failure).is_empty();
                facts.extend([Fact::Failed(failure), Fact::Unwind]);
                if nothing_to_undo {
                    facts.push(Fact::Finished(Finish::Compensated));
                }
            }
        }
        Ok(facts)
    }
}

/// What the journal says a saga is at: the step that is next, or the undo.
pub(crate) fn stage_of(step: &str, undo: bool) -> Arc<str> {
    if undo {
        // A name has no space in it.
        format!("undo {step}").into()
    } else {
        step.into()
    }
}

/// The facts by which a saga whose definition is not known is given up.
#[must_use]
pub fn give_up(held: &Trouble, decision: &Decision) -> Vec<Fact> {
    let mut resolution = signed(held, decision);
    resolution.operation = Operation::Abandon;
    vec![
        Fact::Resolved(resolution),
        Fact::Finished(Finish::Abandoned),
    ]
}

/// The facts by which a log that cannot be read is given up (rule 26).
#[must_use]
pub fn give_up_unread(decision: &Decision) -> Vec<Fact> {
    let resolution = Resolution {
        incident: 0,
        operation: Operation::Abandon,
        actor: decision.actor.clone(),
        reason: decision.reason.clone(),
        approver: decision.approver.clone(),
        generation: None,
    };
    vec![
        Fact::Resolved(resolution),
        Fact::Finished(Finish::Abandoned),
    ]
}

fn signed(held: &Trouble, decision: &Decision) -> Resolution {
    Resolution {
        incident: held.number,
        operation: decision.operation,
        actor: decision.actor.clone(),
        reason: decision.reason.clone(),
        approver: decision.approver.clone(),
        generation: None,
    }
}
