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
//!    forgotten. They wait for the record of a step that is one transaction with its effect, too (rule 27).
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
//!
//! Doubt
//!
//! 16. A step that can be reconciled is asked where rules 5 and 10 would have to guess. `Applied` is as if it had said so
//!     itself. `NotApplied` is a sure failure of a step that failed, and lets one run that was only interrupted.
//!     `Unknown`, or no answer, is what rules 5 and 10 say.
//! 17. A step that runs at most once has its intent durable before it runs, and is run once per intent: it is not tried
//!     again after an attempt without an answer, and after a crash with an intent it is in doubt. Without an intent it
//!     surely never ran. In doubt and without an answer it is undone before the pivot, and an incident from the pivot on.
//! 18. So is a step, in doubt, of which an attempt may have been made and whose receiver may have forgotten the key
//!     meanwhile. Time is counted from the record before the first possible attempt, by the wall clocks of the writers,
//!     and anew from an operator's decision about the step.
//!
//! Waiting
//!
//! 19. A wait that is written down keeps the number of attempts and the time of the first over restarts. It is over when
//!     anything else about the step is written. An incident about the saga as a whole, and its end, are not.
//!
//! Turning back on request
//!
//! 20. A wish to cancel is answered once. Before the pivot is done, and not while an attempt runs, the saga turns back: the
//!     wish and the decision to unwind are one record, and the step that would have been next counts as rule 5 says. After
//!     the pivot, and while it unwinds, the wish is refused and the refusal written. An undo is never cancelled.
//! 21. A pivot that may have had its effect is not cancelled: it is asked (rule 16), or an operator is.
//! 22. When the time of the whole is over, the saga turns back as if the next step had failed, under rules 20 and 21. After
//!     the pivot, while it unwinds, and once an operator let it go on, time does nothing.
//!
//! Crash loops
//!
//! 23. A saga over which processes died is suspected, in writing, before it runs again. After so many such runs without
//!     anything else written it is an incident. One that is carried over to another form stays suspected, and is counted
//!     from the beginning.
//!
//! Operators
//!
//! 24. `RetryAsNew` needs a step or an undo that stopped, no check; from then on its keys are new. `SupplyOutput` needs a
//!     step that stopped, and makes it done. `SkipUndo` needs an undo that stopped, and makes it done. `Unwind` needs a
//!     saga that goes forward and whose pivot is not done; the pivot counts as without effect then, by the operator's
//!     word. What a decision makes true is in its record.
//! 25. While an incident is open, what somebody proposed, turned down, or was refused may be written; the saga waits on.
//!     Proposals are numbered, are of operations that are allowed, and the last one takes the place of those before it.
//!     The end of the incident is the end of its proposals.
//! 26. A log that cannot be read can be given up without being read, and in no other way be decided about: its last
//!     record then is a resolution of incident 0, which no log that can be read has, and the end. It stays unreadable,
//!     and its head says that it has ended.
//!
//! One transaction
//!
//! 27. A step whose effect is one transaction with its record has had no effect as long as it is not recorded: it is never
//!     in doubt, in whatever way attempts of it ended, here or in a process that died. When it fails for good, or its
//!     attempts are used up, rules 4 and 10 say what follows, and rules 5, 16, 17, 18 and 21 nothing.
//!
//! Another form
//!
//! 28. A saga that is carried over to another version of its definition ([`Migration`](super::Migration)) says so, and says
//!     in the same record, in the words of the new form, what was so. From there on it is a saga of that form that has
//!     come so far: the facts that say it again obey the rules, and those before them are not looked at any more. Where
//!     it turned back at a step that surely had no effect, that step need not be in the new form.
//! 29. It keeps its keys: what a step had, the step that takes its place has. No two steps have one.
//! 30. It keeps what is known of attempts: a step that may have been begun counts as one from the same time on.

mod decide;
mod doubt;
mod fold;
mod operate;
mod reform;
mod retell;
#[cfg(test)]
mod tests;
mod turn;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::entry::{Again, Fact, Failure, Finish, Started, Trouble};
use super::payload::Payload;
use super::shape::{Shape, StepShape};
use crate::time::Timestamp;

pub(crate) use operate::stage_of;
pub use operate::{give_up, give_up_unread};
use reform::Outline;
pub(crate) use retell::Way;
pub use words::{Attempt, Decision, Ending, Illegal, Next, Verdict};

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
    /// How many there were, and the number of the open one (rule 25).
    proposals: u32,
    proposal: Option<u32>,
    /// What the same record must go on with.
    owed: Option<Owed>,
    /// Facts that are true for this process and not yet durable: outputs of checks (rule 3).
    unwritten: Vec<Fact>,
    /// Whether an earlier attempt of what runs next may have had its effect (rule 5).
    uncertain: bool,
    tries: Tries,
    /// How many keys a step (`false`) or its undo (`true`) has had before (rule 24).
    generations: BTreeMap<(usize, bool), u32>,
    /// Names of which keys are made, where they are not those of the steps (rule 29).
    keys: BTreeMap<usize, Box<str>>,
    /// What of the record of a migration is still to come (rule 28).
    retelling: Option<Retelling>,
    /// Rule 20: once.
    cancel_answered: bool,
    /// Rule 22: an operator let it go on.
    overruled: bool,
    /// Rule 23.
    suspicions: u32,
}

/// What must follow in the same record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Abandoned,
    Failure,
    Output,
    Undone,
    Unwind,
}

/// What was so in another form, while it is told again.
#[derive(Clone, Copy, Debug)]
struct Retelling {
    left: u32,
    since: Option<Timestamp>,
    permitted: bool,
}

/// What is known of the attempts of what runs next.
#[derive(Clone, Debug, Default)]
struct Tries {
    /// When the record before the first possible attempt was written.
    since: Timestamp,
    /// Rule 17.
    intents: u32,
    /// Whether the last intent still allows a run, or has had it.
    intended: bool,
    /// The last wait that was written down, and how long it is (rule 19).
    waiting: Option<(Again, Duration)>,
    doubt: Option<Doubt>,
}

/// Why a step is not simply run again.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Doubt {
    /// It failed, and may have had its effect.
    Failed { error: Box<str>, attempts: u32 },
    /// It was interrupted, or its key has been forgotten.
    Interrupted(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Course {
    Forward,
    /// Steps that are still to be undone, the next one last.
    Unwinding(Vec<usize>),
    Over(Finish),
}

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
            proposals: 0,
            proposal: None,
            owed: None,
            unwritten: Vec::new(),
            uncertain: false,
            tries: Tries {
                since: Timestamp::from_millis(0),
                intents: 0,
                intended: false,
                waiting: None,
                doubt: None,
            },
            generations: BTreeMap::new(),
            keys: BTreeMap::new(),
            retelling: None,
            cancel_answered: false,
            overruled: false,
            suspicions: 0,
        }
    }

    /// A saga from all its facts, each with the time at which it was written, taken up by a process that did not see what
    /// happened after the last one.
    ///
    /// # Errors
    ///
    /// When a fact cannot follow from those before it.
    pub fn replay<'a>(
        shape: Arc<Shape>,
        facts: impl IntoIterator<Item = (&'a Fact, Timestamp)>,
    ) -> Result<Self, Illegal> {
        let mut execution = Self::new(shape);
        let mut wrong = None;
        let mut outline = Outline::default();
        for (fact, at) in facts {
            outline.add(fact)?;
            if let Fact::Migrated(migrated) = fact {
                // What was wrong before it was said in the words of another form; so is this, where a later one follows.
                wrong = execution.reform(migrated, at).err();
            } else if wrong.is_none() {
                wrong = execution.apply(fact, at).err();
            }
        }
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if execution.retelling.is_some() {
            return Err(Illegal::new(
                "the end of the log",
                "what was so in another form is told in one record",
            ));
        }
        if !execution.started {
            return Err(Illegal::new("nothing", "a saga begins with its start"));
        }
        if let Some(owed) = execution.owed {
            return Err(Illegal::new("the end of the log", owed.why()));
        }
        let over = match &execution.course {
            Course::Forward => execution.frontier().is_none(),
            Course::Unwinding(stack) => stack.is_empty(),
            Course::Over(_) => false,
        };
        if over {
            return Err(Illegal::new(
                "the end of the log",
                "the end is recorded with the last fact",
            ));
        }
        // What ran when the process ended is not known, so what runs first now may be a repetition.
        execution.uncertain = true;
        if execution.tries.intended && execution.course == Course::Forward {
            execution.tries.doubt = Some(Doubt::Interrupted(
                "it runs at most once, and the process ended after it may have begun",
            ));
        }
        Ok(execution)
    }

    /// A saga that has just begun here: as [`replay`](Self::replay), and this process knows that nothing has run.
    ///
    /// # Errors
    ///
    /// As [`replay`](Self::replay).
    pub fn fresh<'a>(
        shape: Arc<Shape>,
        facts: impl IntoIterator<Item = (&'a Fact, Timestamp)>,
    ) -> Result<Self, Illegal> {
        let mut execution = Self::replay(shape, facts)?;
        execution.uncertain = false;
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
                Some(step) if self.tries.doubt.is_some() && step.reconciles => {
                    Next::Reconcile(self.outputs.len())
                }
                Some(_) if self.tries.doubt.is_some() => Next::Write,
                Some(step) if step.needs_answers() && !self.unwritten.is_empty() => Next::Write,
                Some(step) if step.at_most_once && !self.tries.intended => Next::Write,
                Some(_) => Next::Run(self.outputs.len()),
                None => Next::End(Finish::Completed),
            },
        }
    }

    /// The facts to be written when [`next`](Self::next) says so, beside those that wait.
    #[must_use]
    pub fn due(&self) -> Vec<Fact> {
        let Some(step) = self.frontier().filter(|_| self.next() == Next::Write) else {
            return Vec::new();
        };
        match &self.tries.doubt {
            Some(doubt) => self.unresolved(step, doubt),
            None if step.at_most_once => vec![Fact::Intent {
                step: step.name.clone(),
                number: self.tries.intents.saturating_add(1),
            }],
            None => Vec::new(),
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
            Next::Reconcile(index) => self.settle_doubt(index, ending, attempt),
            Next::End(_) | Next::Hold | Next::Write => {
                Err(Illegal::new("an attempt", "nothing was to be run"))
            }
        }
    }

    /// The facts of the next record: those that wait, and these.
    #[must_use]
    pub fn entry(&self, facts: &[Fact]) -> Vec<Fact> {
        self.unwritten.iter().chain(facts).cloned().collect()
    }

    /// Takes note that [`entry`](Self::entry) with these facts is durable, written at this time.
    ///
    /// # Errors
    ///
    /// When a fact cannot follow; nothing that [`settle`](Self::settle) returned does that.
    pub fn written(&mut self, facts: &[Fact], at: Timestamp) -> Result<(), Illegal> {
        self.unwritten.clear();
        facts.iter().try_for_each(|fact| self.apply(fact, at))
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
            traceparent: None,
        })]
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

    /// How many keys the step with this index, or its undo, has had before this one (rule 24).
    #[must_use]
    pub fn generation(&self, index: usize, undo: bool) -> u32 {
        self.generations.get(&(index, undo)).copied().unwrap_or(0)
    }

    /// The name of which the idempotency key of the step with this index, and of its undo, is made (rule 29).
    #[must_use]
    pub fn key_name(&self, index: usize) -> &str {
        match (self.keys.get(&index), self.shape.steps.get(index)) {
            (Some(name), _) => name,
            (None, Some(step)) => &step.name,
            (None, None) => "",
        }
    }

    /// The wait that was written down last, if nothing else has been written about the step since, and how long it was
    /// to be.
    #[must_use]
    pub fn waiting(&self) -> Option<(&Again, Duration)> {
        self.tries
            .waiting
            .as_ref()
            .map(|(again, delay)| (again, *delay))
    }

    pub(super) fn frontier(&self) -> Option<&StepShape> {
        self.shape.steps.get(self.outputs.len())
    }
}
