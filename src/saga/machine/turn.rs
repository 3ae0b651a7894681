//! What may turn a saga back, or stop it, between attempts (rules 19 to 23).

use super::{Attempt, Course, Doubt, Execution, Illegal, Next};
use crate::saga::entry::{Again, Cancellation, Class, Effect, Fact, Finish, Refusal};
use crate::saga::shape::Kind;
use crate::time::Timestamp;

impl Execution {
    /// The number of the last attempt that was written down.
    pub(super) fn tried(&self) -> u32 {
        self.waiting().map_or(0, |(again, _)| again.attempt)
    }

    /// The facts by which a long wait after an attempt is written down. `since` is when the first attempt began.
    ///
    /// # Errors
    ///
    /// When nothing is to be run, or the number of the attempt does not follow.
    pub fn postpone(
        &self,
        attempt: u32,
        error: impl Into<Box<str>>,
        since: Timestamp,
        at: Timestamp,
    ) -> Result<Vec<Fact>, Illegal> {
        let runs = matches!(self.next(), Next::Run(_) | Next::Undo(_));
        let Some((_, undo, step)) = self.at().filter(|_| runs && attempt > self.tried()) else {
            return Err(Illegal::new("a wait", "there was no such attempt"));
        };
        Ok(vec![Fact::RetryAt(Again {
            step: step.name.clone(),
            undo,
            attempt,
            since,
            at,
            error: error.into(),
        })])
    }

    /// Why a wish to cancel would be refused now.
    pub(super) fn refusals(&self) -> &'static [Refusal] {
        match (&self.course, self.frontier().map(|step| step.kind)) {
            (Course::Unwinding(_), _) => &[Refusal::Unwinding],
            (_, Some(Kind::Then)) => &[Refusal::TooLate],
            (_, Some(Kind::Pivot)) => &[Refusal::InDoubt],
            _ => &[],
        }
    }

    /// Whether time or a wish can still turn the saga back: its pivot is not known to be done.
    #[must_use]
    pub fn is_revocable(&self) -> bool {
        self.course == Course::Forward
            && self.frontier().is_some_and(|step| step.kind != Kind::Then)
    }

    /// Whether the pivot is done, so that the saga only goes forward.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.course == Course::Forward
            && self.frontier().is_some_and(|step| step.kind == Kind::Then)
    }

    /// Whether the deadline of the whole means anything now (rule 22).
    #[must_use]
    pub fn heeds_deadline(&self) -> bool {
        self.is_revocable() && !self.overruled
    }

    /// The facts by which a wish to cancel is answered. `None` when the pivot must be asked first: then this is to be
    /// called again after that.
    ///
    /// Empty when it was answered, or there is nothing to cancel any more.
    pub fn cancel(&mut self, actor: &str, reason: &str) -> Option<Vec<Fact>> {
        if self.cancel_answered || self.held.is_some() || matches!(self.course, Course::Over(_)) {
            return Some(Vec::new());
        }
        let refused = |because| Fact::CancelRefused {
            actor: actor.into(),
            reason: reason.into(),
            because,
        };
        if let Course::Unwinding(_) = self.course {
            return Some(vec![refused(Refusal::Unwinding)]);
        }
        let Some(step) = self.frontier().cloned() else {
            return Some(Vec::new());
        };
        if step.kind == Kind::Then {
            return Some(vec![refused(Refusal::TooLate)]);
        }
        if step.kind == Kind::Pivot && self.may_have_happened() {
            if step.reconciles {
                self.ask();
                return None;
            }
            let mut facts = vec![refused(Refusal::InDoubt)];
            let why = "it was to be cancelled while the pivot was in doubt".into();
            let attempt = Attempt::new(self.tried(), true);
            facts.extend(self.trouble(Class::UnknownOutcome, &step, why, attempt));
            return Some(facts);
        }
        let cancellation = Cancellation {
            step: step.name.clone(),
            effect: self.effect_now(),
            actor: actor.into(),
            reason: reason.into(),
        };
        let nothing_to_undo = self.undo_order(&cancellation.failure()).is_empty();
        let mut facts = vec![Fact::Cancelled(cancellation), Fact::Unwind];
        if nothing_to_undo {
            facts.push(Fact::Finished(Finish::Compensated));
        }
        Some(facts)
    }

    /// The facts by which the end of the time for the whole turns the saga back. Empty when it does nothing; `None` when
    /// the pivot must be asked first: then this is to be called again after that.
    pub fn expire(&mut self) -> Option<Vec<Fact>> {
        let Some(step) = self.frontier().filter(|_| self.heeds_deadline()).cloned() else {
            return Some(Vec::new());
        };
        if self.held.is_some() {
            return Some(Vec::new());
        }
        let why = "the deadline of the saga has passed".into();
        let attempt = Attempt::new(self.tried(), true);
        if step.kind == Kind::Pivot && self.may_have_happened() {
            if step.reconciles {
                self.ask();
                return None;
            }
            return Some(self.trouble(Class::UnknownOutcome, &step, why, attempt));
        }
        Some(self.failed(&step, self.effect_now(), why, attempt))
    }

    fn effect_now(&self) -> Effect {
        if self.may_have_happened() {
            Effect::Possible
        } else {
            Effect::None
        }
    }

    fn ask(&mut self) {
        self.tries
            .doubt
            .get_or_insert(Doubt::Interrupted("it was to be turned back"));
    }

    /// The facts to be written before a saga is run over which processes died: one more suspicion, or an incident when
    /// there were `limit` of them (rule 23).
    #[must_use]
    pub fn suspect(&self, limit: u32) -> Vec<Fact> {
        match self.at() {
            Some((_, _, step)) if self.suspicions >= limit => {
                let why = "one process after the other ended while it ran";
                let attempt = Attempt::new(self.tried(), true);
                self.trouble(Class::CrashLoop, step, why.into(), attempt)
            }
            _ => vec![Fact::Suspected {
                run: self.suspicions.saturating_add(1),
            }],
        }
    }

    /// Whether the last thing that was written is a suspicion (rule 23).
    #[must_use]
    pub const fn is_suspected(&self) -> bool {
        self.suspicions > 0
    }
}
