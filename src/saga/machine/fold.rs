//! From facts to state. The only place where the state of a saga changes, but for what is true of this process alone.

use super::reform::may_be_retold;
use super::{Course, Execution, Illegal, Owed, Tries};
use crate::saga::entry::{Effect, Fact, Failure, Finish, Operation, Proposal, Resolution};
use crate::saga::shape::{Kind, StepShape};
use crate::time::Timestamp;

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

    /// The step that is run or undone next, and which of the two.
    pub(super) fn at(&self) -> Option<(usize, bool, &StepShape)> {
        let (index, undo) = match &self.course {
            Course::Forward => (self.outputs.len(), false),
            Course::Unwinding(stack) => (*stack.last()?, true),
            Course::Over(_) => return None,
        };
        Some((index, undo, self.shape.steps.get(index)?))
    }

    fn is_next(&self, name: &str, undo: bool) -> bool {
        self.at()
            .is_some_and(|(_, course, step)| course == undo && *step.name == *name)
    }

    /// Something new is next, and nothing was written about it yet.
    fn turn_page(&mut self, at: Timestamp) {
        self.uncertain = false;
        self.tries = Tries {
            since: at,
            ..Tries::default()
        };
    }

    /// Takes a fact in.
    pub(super) fn apply(&mut self, fact: &Fact, at: Timestamp) -> Result<(), Illegal> {
        if self.retelling.is_some() && !may_be_retold(fact) {
            return Err(Illegal::new("a fact", "it is none that is told again"));
        }
        self.take(fact, at)?;
        self.told();
        Ok(())
    }

    fn take(&mut self, fact: &Fact, at: Timestamp) -> Result<(), Illegal> {
        let refuse = |fact, why| Err(Illegal::new(fact, why));
        if matches!(self.course, Course::Over(_)) {
            return refuse("a fact", "the saga is over");
        }
        if self.started == matches!(fact, Fact::Started(_)) {
            return refuse("a fact", "a saga begins with its start, once");
        }
        let is_word = matches!(
            fact,
            Fact::Proposed(_) | Fact::TurnedDown { .. } | Fact::Refused(_)
        );
        if self.held.is_some() && !is_word && !matches!(fact, Fact::Resolved(_)) {
            return refuse("a fact", "the saga waits for an operator");
        }
        let owed = self.owed.take();
        if let Some(owed) = owed.filter(|owed| !owed.is(fact)) {
            return refuse("a fact", owed.why());
        }
        if !is_word && !matches!(fact, Fact::Suspected { .. } | Fact::Incident(_)) {
            self.suspicions = 0;
        }
        match fact {
            Fact::Started(_) => {
                self.started = true;
                self.turn_page(at);
            }
            Fact::Done { step, output } => {
                let Some(next) = self.frontier().filter(|_| self.is_next(step, false)) else {
                    return refuse("done", "another step was next, or the saga unwinds");
                };
                // Rule 17.
                if next.at_most_once && self.tries.intents == 0 && owed.is_none() {
                    return refuse("done", "a step that runs at most once has an intent first");
                }
                self.outputs.push(output.clone());
                self.turn_page(at);
            }
            Fact::Failed(failure) => self.turn_back("failed", failure.clone())?,
            Fact::Cancelled(cancellation) => {
                if std::mem::replace(&mut self.cancel_answered, true) {
                    return refuse("cancelled", "that was answered");
                }
                self.turn_back("cancelled", cancellation.failure())?;
            }
            Fact::CancelRefused { because, .. } => {
                if std::mem::replace(&mut self.cancel_answered, true) {
                    return refuse("cancel refused", "that was answered");
                }
                if !self.refusals().contains(because) {
                    return refuse("cancel refused", "that is not why");
                }
            }
            Fact::Unwind => {
                let Some(failure) = self.failure.as_ref().filter(|_| owed.is_some()) else {
                    return refuse("unwind", "nothing failed, or it unwinds already");
                };
                self.course = Course::Unwinding(self.undo_order(failure));
                self.turn_page(at);
            }
            Fact::Undone { step } => {
                if !self.is_next(step, true) {
                    return refuse("undone", "another step was next, or nothing is undone");
                }
                if let Course::Unwinding(stack) = &mut self.course {
                    stack.pop();
                }
                self.turn_page(at);
            }
            Fact::Intent { step, number } => {
                let Some(next) = self.frontier().filter(|_| self.is_next(step, false)) else {
                    return refuse("intent", "another step was next, or the saga unwinds");
                };
                if !next.at_most_once || *number != self.tries.intents.saturating_add(1) {
                    return refuse("intent", "its number does not follow, or it needs none");
                }
                if self.tries.intents == 0 {
                    // Whatever process there was before, it did not run this.
                    self.uncertain = false;
                    self.tries.since = at;
                }
                self.tries.intents = *number;
                self.tries.intended = true;
                self.tries.doubt = None;
            }
            Fact::RetryAt(again) => {
                if !self.is_next(&again.step, again.undo) {
                    return refuse("retry at", "another step was next");
                }
                let before = self.tries.waiting.as_ref();
                if before.is_some_and(|(before, _)| before.attempt >= again.attempt) {
                    return refuse("retry at", "the number of its attempt does not follow");
                }
                self.uncertain = true;
                self.tries.waiting = Some((again.clone(), again.at.since(at)));
            }
            Fact::Suspected { run } => {
                if *run != self.suspicions.saturating_add(1) {
                    return refuse("suspected", "its number does not follow");
                }
                self.suspicions = *run;
            }
            Fact::Incident(trouble) => {
                if trouble.number != self.incidents.saturating_add(1) {
                    return refuse("incident", "its number does not follow");
                }
                let named = trouble.step.as_ref();
                let next = self.at().map(|(_, _, step)| &step.name);
                if named.is_some_and(|step| next.is_none_or(|next| next != step)) {
                    return refuse("incident", "another step was next");
                }
                self.incidents = trouble.number;
                self.proposal = None;
                self.held = Some(trouble.clone());
            }
            Fact::Resolved(resolution) => self.resolved(resolution, at)?,
            Fact::Proposed(proposal) => self.proposed(proposal)?,
            Fact::TurnedDown { proposal, .. } => {
                if self.proposal != Some(*proposal) {
                    return refuse("turned down", "there is no such open proposal");
                }
                self.proposal = None;
            }
            Fact::Refused(denial) => {
                let held = self.held.as_ref();
                if held.is_none_or(|held| held.number != denial.incident) {
                    return refuse("refused", "there is no such open incident");
                }
            }
            Fact::Migrated(_) => {
                return refuse("migrated", "the whole log is read in another form then");
            }
            Fact::Finished(finish) => {
                let legal = match finish {
                    Finish::Abandoned => owed == Some(Owed::Abandoned),
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

    fn turn_back(&mut self, what: &'static str, failure: Failure) -> Result<(), Illegal> {
        // Rule 28.
        if self.is_gone(&failure) {
            self.failure = Some(failure);
            self.owed = Some(Owed::Unwind);
            return Ok(());
        }
        let Some(next) = self
            .frontier()
            .filter(|_| self.is_next(&failure.step, false))
        else {
            return Err(Illegal::new(
                what,
                "another step was next, or the saga unwinds",
            ));
        };
        let stays = next.kind == Kind::Then
            || (next.kind == Kind::Pivot && failure.effect == Effect::Possible);
        if stays {
            return Err(Illegal::new(what, "there is no way back from this step"));
        }
        self.failure = Some(failure);
        self.owed = Some(Owed::Unwind);
        Ok(())
    }

    /// Rule 25.
    fn proposed(&mut self, proposal: &Proposal) -> Result<(), Illegal> {
        let held = self.held.as_ref();
        let Some(held) = held.filter(|held| held.number == proposal.incident) else {
            return Err(Illegal::new("proposed", "there is no such open incident"));
        };
        if proposal.number != self.proposals.saturating_add(1) {
            return Err(Illegal::new("proposed", "its number does not follow"));
        }
        if !self.permits(held, proposal.operation) {
            return Err(Illegal::new(
                "proposed",
                "this operation is not allowed here",
            ));
        }
        self.proposals = proposal.number;
        self.proposal = Some(proposal.number);
        Ok(())
    }

    fn resolved(&mut self, resolution: &Resolution, at: Timestamp) -> Result<(), Illegal> {
        let held = self.held.take();
        let Some(held) = held.filter(|held| held.number == resolution.incident) else {
            return Err(Illegal::new("resolved", "there is no such open incident"));
        };
        let operation = resolution.operation;
        if !self.permits(&held, operation) {
            return Err(Illegal::new(
                "resolved",
                "this operation is not allowed here",
            ));
        }
        self.proposal = None;
        // What stopped may have had its effect meanwhile, or before.
        self.uncertain = true;
        self.overruled |= self.course == Course::Forward;
        let reconciles = self.frontier().is_some_and(|next| next.reconciles);
        if held.step.is_some() {
            // Rules 18 and 19: it begins anew, as far as the age of its key and its attempts go.
            self.tries.since = at;
            self.tries.waiting = None;
        }
        self.tries.doubt = None;
        // Rule 17: an operator's word is worth an intent, but where the step itself can be asked, and where the incident
        // said nothing of a step.
        let retried = operation == Operation::Retry;
        self.tries.intended &= retried && (reconciles || held.step.is_none());
        if operation == Operation::RetryAsNew {
            let key = self.at().map(|(index, undo, _)| (index, undo));
            let next = key.map(|(index, undo)| self.generation(index, undo).saturating_add(1));
            let (Some(key), true) = (key, next == resolution.generation) else {
                return Err(Illegal::new("resolved", "its generation does not follow"));
            };
            self.generations
                .insert(key, resolution.generation.unwrap_or(0));
        }
        self.owed = match operation {
            Operation::Abandon => Some(Owed::Abandoned),
            Operation::SkipUndo => Some(Owed::Undone),
            Operation::SupplyOutput => Some(Owed::Output),
            Operation::Unwind => Some(Owed::Failure),
            Operation::Retry | Operation::RetryAsNew => None,
        };
        Ok(())
    }
}

impl Owed {
    const fn is(self, fact: &Fact) -> bool {
        match self {
            Self::Abandoned => matches!(fact, Fact::Finished(Finish::Abandoned)),
            Self::Failure => matches!(fact, Fact::Failed(_)),
            Self::Output => matches!(fact, Fact::Done { .. }),
            Self::Undone => matches!(fact, Fact::Undone { .. }),
            Self::Unwind => matches!(fact, Fact::Unwind),
        }
    }

    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Unwind => "a failure is recorded with the decision to unwind",
            Self::Abandoned | Self::Failure | Self::Output | Self::Undone => {
                "an operator's decision is recorded with what it makes true"
            }
        }
    }
}
