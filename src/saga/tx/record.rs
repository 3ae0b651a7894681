//! The record of an attempt that writes it itself: made when the output is known, and found again when nobody knows
//! whether it was committed.
//!
//! Rules
//!
//! 1. A record is drafted once per attempt, and none after the engine has closed the recorder: work that comes to its
//!    end later finds that out before it commits, and takes its effect back.
//! 2. Without a draft nothing is committed, so an attempt that ended in any way had no effect.
//! 3. With a draft the store is asked, whatever the attempt said, unless the commit was confirmed or the effect was
//!    taken back for sure.

#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    expect(
        dead_code,
        reason = "no store lends transactions, so no step asks for a record"
    )
)]

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::journal::{Append, Transactions};
use crate::saga::entry::Fact;
use crate::saga::error::StepError;
use crate::saga::machine::{Attempt, Ending, Execution, Verdict};
use crate::saga::payload::Payload;
use crate::saga::probe::{Probe, Site, What, Wish};
use crate::saga::run::{Leave, Run, Writing};

/// One attempt's record.
pub(crate) struct Recorder {
    transactions: Transactions,
    writing: Writing,
    execution: Execution,
    attempt: Attempt,
    probe: Option<Arc<dyn Probe>>,
    state: Mutex<State>,
}

enum State {
    /// Nothing is drafted.
    Open,
    /// The engine waits for nothing any more.
    Closed,
    /// A probe wants the process to die before the record is written.
    Dead,
    Drafted(Draft),
    Durable(Draft),
    Unwritable(String),
}

/// What is to be true when the record is durable.
pub(super) struct Draft {
    append: Append,
    facts: Vec<Fact>,
}

impl Recorder {
    pub(crate) fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Held for single changes, none of which can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the engine is on trial, and its time virtual.
    #[cfg(feature = "sqlite")]
    pub(crate) fn is_on_trial(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether work may still begin.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.state(), State::Open)
    }

    /// The record of this output, to be written in the transaction of the effect.
    pub(crate) fn draft(&self, output: Payload) -> Result<Append, StepError> {
        let mut state = self.state();
        if !matches!(*state, State::Open) {
            return Err(StepError::retry("nobody waits for it any more"));
        }
        if let Some(probe) = &self.probe
            && matches!(probe.before(&Site::write()), Wish::Crash)
        {
            *state = State::Dead;
            return Err(StepError::retry("the process dies"));
        }
        let made = self.made(output);
        let (next, answer) = match made {
            Ok(draft) => {
                let append = draft.append.clone();
                (State::Drafted(draft), Ok(append))
            }
            Err(why) => {
                let answer = Err(StepError::retry(&why));
                (State::Unwritable(why), answer)
            }
        };
        *state = next;
        answer
    }

    fn made(&self, output: Payload) -> Result<Draft, String> {
        let mut execution = self.execution.clone();
        let verdict = execution.settle(Ending::Done(output), self.attempt);
        match verdict.map_err(|illegal| illegal.to_string())? {
            Verdict::Record(facts) => {
                let stage = execution.stage_after(&facts);
                let append = self.writing.append(&execution.entry(&facts), stage, None)?;
                Ok(Draft { append, facts })
            }
            Verdict::Again | Verdict::Ride => Err("its end is nothing to be written".into()),
        }
    }

    /// Effect and record are committed.
    pub(crate) fn durable(&self) {
        let mut state = self.state();
        *state = match std::mem::replace(&mut *state, State::Closed) {
            State::Drafted(draft) => State::Durable(draft),
            other => other,
        };
    }

    /// Effect and record were taken back, surely.
    pub(crate) fn taken_back(&self) {
        let mut state = self.state();
        if matches!(*state, State::Drafted(_)) {
            *state = State::Open;
        }
    }

    fn close(&self) -> State {
        std::mem::replace(&mut *self.state(), State::Closed)
    }
}

/// Neither the saga's state nor the record.
impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("transactions", &self.transactions)
            .finish_non_exhaustive()
    }
}

/// What became of an attempt that writes its own record.
pub(crate) enum Concluded {
    /// This, and it had no effect.
    Ended(Ending),
    /// What it did is durable, and the execution knows.
    Recorded,
}

impl<App: Send + Sync + 'static> Run<App> {
    /// The record of an attempt; `None` where the journal has no transactions to lend.
    pub(crate) fn recorder(&self, execution: &Execution, number: u32) -> Option<Arc<Recorder>> {
        Some(Arc::new(Recorder {
            transactions: self.engine.journal.transactions()?,
            writing: self.writing(),
            execution: execution.clone(),
            attempt: Attempt::new(number, false),
            probe: self.engine.probe.clone(),
            state: Mutex::new(State::Open),
        }))
    }

    /// Finds out what an attempt did before anything else is done.
    pub(crate) async fn conclude(
        &mut self,
        execution: &mut Execution,
        recorder: &Recorder,
        ending: Ending,
    ) -> Result<Concluded, Leave> {
        let draft = match recorder.close() {
            State::Durable(draft) => draft,
            State::Drafted(draft) => {
                let append = &draft.append;
                let there = self
                    .engine
                    .ask(|_| recorder.transactions.look(append.clone()))
                    .await?;
                if !there {
                    return Ok(Concluded::Ended(ending));
                }
                draft
            }
            State::Open | State::Closed => {
                return Ok(Concluded::Ended(match ending {
                    // By a probe, or a defect of ours. Without its record it must not count.
                    Ending::Done(_) => Ending::Halt("it is done, and not recorded".into()),
                    ending => ending,
                }));
            }
            State::Dead => return Err(self.engine.die()),
            State::Unwritable(why) => {
                let why = format!("a record that cannot be written: {why}");
                return Err(Leave::Unreadable(why));
            }
        };
        self.wrote();
        self.engine.probed(&Site::write(), false).await?;
        execution
            .written(&draft.facts, draft.append.at)
            .map_err(|illegal| Leave::Unreadable(illegal.to_string()))?;
        Ok(Concluded::Recorded)
    }
}

impl Site {
    /// A journal record.
    pub(crate) fn write() -> Self {
        Self {
            what: What::Write,
            step: "".into(),
        }
    }
}
