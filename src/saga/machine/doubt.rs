//! What is done when it is not known whether a step had its effect (rules 16 to 18).

use super::decide::words;
use super::{Attempt, Doubt, Ending, Execution, Illegal, Verdict};
use crate::saga::entry::{Class, Effect, Fact};
use crate::saga::shape::{Kind, StepShape};
use crate::time::Timestamp;

impl Execution {
    /// Whether the step that is next may have had its effect already.
    pub(super) fn may_have_happened(&self) -> bool {
        let Some(step) = self.frontier() else {
            return false;
        };
        // Rules 6, 17 and 25.
        step.kind != Kind::Check
            && !step.in_journal
            && self.uncertain
            && (!step.at_most_once || self.tries.intents > 0)
    }

    /// Takes note of the time before an attempt: a step whose receiver may have forgotten the key is in doubt (rule 18).
    pub fn check_key(&mut self, now: Timestamp) {
        let Some(valid) = self.frontier().and_then(|step| step.key_valid_for) else {
            return;
        };
        let forward = self.failure.is_none() && self.held.is_none();
        if forward && self.may_have_happened() && now.since(self.tries.since) > valid {
            self.tries.doubt.get_or_insert(Doubt::Interrupted(
                "it may have been done, and its key may be forgotten",
            ));
        }
    }

    /// Leaves a failure to be asked about, where it can be.
    pub(super) fn doubt(&mut self, error: Box<str>, attempt: Attempt) -> Verdict {
        self.uncertain = true;
        self.tries.doubt = Some(Doubt::Failed {
            error,
            attempts: attempt.number,
        });
        Verdict::Ride
    }

    /// What follows when nobody can tell.
    pub(super) fn unresolved(&self, step: &StepShape, doubt: &Doubt) -> Vec<Fact> {
        let (error, attempts) = match doubt {
            Doubt::Failed { error, attempts } => (error.clone(), *attempts),
            Doubt::Interrupted(why) => ((*why).into(), self.tried()),
        };
        let attempt = Attempt::new(attempts, true);
        match step.kind {
            Kind::Check | Kind::Step => self.failed(step, Effect::Possible, error, attempt),
            Kind::Pivot | Kind::Then => self.trouble(Class::UnknownOutcome, step, error, attempt),
        }
    }

    pub(super) fn settle_doubt(
        &mut self,
        index: usize,
        ending: Ending,
        attempt: Attempt,
    ) -> Result<Verdict, Illegal> {
        let (Some(step), Some(doubt)) = (
            self.shape.steps.get(index).cloned(),
            self.tries.doubt.clone(),
        ) else {
            return Err(Illegal::new("an answer", "nothing was asked"));
        };
        let held = |class, error| Ok(Verdict::Record(self.trouble(class, &step, error, attempt)));
        match ending {
            Ending::Done(output) => return self.done(&step, output),
            Ending::Halt(error) => return held(Class::Halted, error),
            Ending::Unreadable(error) => return held(Class::Unreadable, error),
            Ending::Unrecordable(error) => return held(Class::Unrecordable, error),
            Ending::NotApplied => {
                if let (Doubt::Failed { error, attempts }, true) = (&doubt, step.kind != Kind::Then)
                {
                    let attempt = Attempt::new(*attempts, true);
                    let facts = self.failed(&step, Effect::None, error.clone(), attempt);
                    return Ok(Verdict::Record(facts));
                }
                self.uncertain = false;
                self.tries.doubt = None;
                self.tries.intended = false;
                // After the pivot it is run again, and not in a hurry: it failed before.
                return Ok(match doubt {
                    Doubt::Failed { .. } => Verdict::Again,
                    Doubt::Interrupted(_) => Verdict::Ride,
                });
            }
            Ending::Retry(_) | Ending::RetryAfter(..) | Ending::TimedOut | Ending::Panicked
                if !attempt.last =>
            {
                return Ok(Verdict::Again);
            }
            _ => {}
        }
        let why = match &doubt {
            Doubt::Failed { error, .. } => error.clone(),
            Doubt::Interrupted(why) => (*why).into(),
        };
        let doubt = Doubt::Failed {
            error: format!("{why}; asked about it: {}", words(ending)).into(),
            attempts: match doubt {
                Doubt::Failed { attempts, .. } => attempts,
                Doubt::Interrupted(_) => self.tried(),
            },
        };
        Ok(Verdict::Record(self.unresolved(&step, &doubt)))
    }
}
