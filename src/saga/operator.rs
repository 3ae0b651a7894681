//! What an operator sees and decides.

use std::sync::Arc;

use super::SagaId;
use super::codec;
use super::ended::Incident;
use super::engine::{BusinessKey, Cell, Engine, Leaving};
use super::entry::{Class, Fact, Operation};
use super::error::SagaError;
use super::handle::{Away, Phase};
use super::history::History;
use super::machine::{Decision, Execution, give_up};
use super::offer;
use super::sagas::Sagas;
use crate::journal::{Append, Head, JournalError, Listing, Log, Status};
use crate::observe;
use crate::rt;

/// Incidents are listed in pages of this size.
const PAGE: usize = 256;

impl<App: Send + Sync + 'static> Sagas<App> {
    /// Every saga that waits for an operator, oldest first: those that the journal holds, of whatever definition, and
    /// those whose logs this engine could not read.
    ///
    /// # Errors
    ///
    /// [`SagaError::Journal`]. A log that cannot be read is listed and is no error.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn incidents(&self) -> Result<Vec<Incident>, SagaError> {
        let journal = &self.engine().journal;
        let mut incidents = self.engine().unreadable();
        let mut listing = Listing::new(Status::Held, PAGE);
        loop {
            let page = journal.list(listing.clone()).await?;
            let Some(last) = page.last() else { break };
            listing = listing.after(last.id);
            for head in page {
                let incident = match self.read(head.id.into()).await {
                    Ok((log, history)) => Incident::of(&log.head, &history),
                    Err(SagaError::Unreadable { reason, .. }) => {
                        Some(Incident::unreadable(&head, &reason))
                    }
                    Err(error) => return Err(error),
                };
                incidents.extend(incident);
            }
        }
        incidents.sort_by_key(|incident| incident.saga);
        Ok(incidents)
    }

    /// Unfinished sagas of definitions that were not registered here, oldest first. Nobody in this process carries them
    /// on: after a definition was taken out of a program, this is where its sagas are seen.
    ///
    /// # Errors
    ///
    /// [`SagaError::Journal`].
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn unregistered(&self) -> Result<Vec<Head>, SagaError> {
        let engine = self.engine();
        let mut found = Vec::new();
        let mut listing = Listing::new(Status::Running, PAGE);
        loop {
            let page = engine.journal.list(listing.clone()).await?;
            let Some(last) = page.last() else { break };
            listing = listing.after(last.id);
            let unknown = |head: &Head| {
                engine
                    .definitions
                    .keys()
                    .all(|(name, _)| **name != *head.kind)
            };
            found.extend(page.into_iter().filter(unknown));
        }
        Ok(found)
    }

    /// Lets a saga that waits go on where it stopped, in the direction it had.
    ///
    /// # Errors
    ///
    /// [`SagaError::NotHeld`] when it does not wait, [`SagaError::StillHeld`] when the program's definition is still
    /// not the one that the saga began with, [`SagaError::Unsigned`] without an actor or a reason,
    /// [`SagaError::Journal`] with a conflict when another operator was faster.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the decision recorded; the saga then goes on at once or with the next engine.
    pub async fn retry(&self, saga: SagaId, actor: &str, reason: &str) -> Result<(), SagaError> {
        self.decide(saga, Decision::new(Operation::Retry, actor, reason))
            .await
    }

    /// Ends a saga that waits, as it is. What was done stays done, and nothing is undone.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry), without `StillHeld`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the decision recorded.
    pub async fn abandon(&self, saga: SagaId, actor: &str, reason: &str) -> Result<(), SagaError> {
        self.decide(saga, Decision::new(Operation::Abandon, actor, reason))
            .await
    }

    /// Carries out an operator's decision about a saga that waits: any of [`Incident::operations`].
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry); [`SagaError::NotAllowed`] when the operation makes no sense there, or its output does
    /// not read as the step's.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the decision recorded; the saga then goes on at once or with the next engine.
    pub async fn decide(&self, saga: SagaId, decision: Decision) -> Result<(), SagaError> {
        if !decision.is_signed() {
            return Err(SagaError::Unsigned);
        }
        if self.engine().is_stopping() {
            return Err(SagaError::Stopping);
        }
        let sagas = self.clone();
        let (answer, answered) = tokio::sync::oneshot::channel();
        // On a task of its own: a caller that goes away must not leave a decision that nobody carries out.
        let engine = Arc::clone(self.engine());
        self.engine().spawn(async move {
            let result = decide(&sagas, saga, &decision).await;
            drop(sagas);
            drop(engine);
            // A caller that no longer listens finds the decision in the history.
            drop(answer.send(result));
        });
        answered.await.unwrap_or(Err(SagaError::Stopping))
    }

    async fn read(&self, id: SagaId) -> Result<(Log, History), SagaError> {
        read(&*self.engine().journal, id).await
    }
}

async fn read(
    journal: &dyn crate::journal::Journal,
    id: SagaId,
) -> Result<(Log, History), SagaError> {
    let (log, facts) = load(journal, id).await?;
    Ok((log, History::of(&facts)))
}

/// A log and its facts.
pub(super) async fn load(
    journal: &dyn crate::journal::Journal,
    id: SagaId,
) -> Result<(Log, Vec<Fact>), SagaError> {
    let log = match journal.load(id.log()).await {
        Err(JournalError::Damaged { reason, .. }) => {
            return Err(SagaError::Unreadable { id, reason });
        }
        other => other?,
    };
    let facts = codec::decode(&log).map_err(|reason| SagaError::Unreadable { id, reason })?;
    Ok((log, facts))
}

/// Whether this very record is where it was to be.
async fn is_written<App: Send + Sync + 'static>(
    engine: &Engine<App>,
    append: &Append,
) -> Result<bool, JournalError> {
    let log = engine.ask(|journal| journal.load(append.id)).await?;
    let place = append.expect.after();
    let mut records = log.records.iter();
    Ok(records.any(|record| record.seq == place.records && record.body == append.body))
}

/// Records the decision and, for a retry, carries the saga on.
async fn decide<App: Send + Sync + 'static>(
    sagas: &Sagas<App>,
    saga: SagaId,
    decision: &Decision,
) -> Result<(), SagaError> {
    let engine = sagas.engine();
    let (log, history) = read(&*engine.journal, saga).await?;
    let Some(held) = &history.held else {
        return Err(SagaError::NotHeld(saga));
    };
    let facts = if decision.operation() == Operation::Abandon {
        give_up(held, decision)
    } else {
        let started = history.started.as_ref();
        let known = started
            .and_then(|started| engine.definition(&started.definition, started.version))
            .filter(|known| {
                started.is_some_and(|started| known.fingerprint() == &*started.fingerprint)
            })
            .ok_or(SagaError::StillHeld {
                id: saga,
                class: Class::DefinitionChanged,
            })?;
        let unreadable = |reason| SagaError::Unreadable { id: saga, reason };
        let facts = codec::decode_dated(&log).map_err(unreadable)?;
        let dated = facts.iter().map(|(fact, at)| (fact, *at));
        let execution = Execution::replay(Arc::clone(known.shape()), dated)
            .map_err(|illegal| unreadable(illegal.to_string()))?;
        let not_allowed = |reason| SagaError::NotAllowed { id: saga, reason };
        let facts = execution
            .decide(decision)
            .map_err(|illegal| not_allowed(illegal.to_string()))?;
        for fact in &facts {
            if let Fact::Done { step, output } = fact {
                let mut steps = known.shape().steps.iter();
                let index = steps.position(|known| known.name == *step).unwrap_or(0);
                let fits = known.fits(index, output);
                fits.map_err(|error| not_allowed(format!("the output: {}", error.0)))?;
            }
        }
        facts
    };
    let head = log.head;
    let cell = Cell::new(head.digest.clone(), Phase::Running(saga));
    let business = BusinessKey::of(&head);
    // Entered before the decision is written, so that whoever starts the same key from now on finds this run.
    if engine.enter(&business, &cell).is_some() {
        return Err(SagaError::NotHeld(saga));
    }
    let leaving = Leaving::new(Arc::clone(engine), business, cell);
    let nonce = history.started.as_ref().map(|started| &*started.nonce);
    let codec = engine.codec.as_deref();
    let added = offer::added(codec, &head, nonce.unwrap_or_default(), &facts).await?;
    let unwritable = |reason: String| SagaError::Unreadable { id: saga, reason };
    let body = codec::encode(&added).map_err(|error| unwritable(error.to_string()))?;
    let format =
        codec::format(&added).ok_or_else(|| unwritable("it would be sealed in part".into()))?;
    let labels = Arc::clone(&head.labels);
    let append = Append::new(
        head.id,
        head.place,
        codec::status(&facts),
        labels,
        format,
        body,
        rt::wall(),
    );
    // A decision whose reply is lost is a decision: it must be carried out.
    let written = engine.ask(|journal| journal.append(append.clone())).await;
    if let Err(error) = written {
        // The log is free for all as soon as the decision is written: if its reply was lost, somebody may have it.
        let conflict = matches!(error, JournalError::Conflict { .. });
        if !conflict || !is_written(&**engine, &append).await? {
            return Err(error.into());
        }
    }
    if codec::status(&facts) == Status::Running {
        // Nobody's now. Whoever claims it first carries it on, this engine most likely.
        leaving.tell(Phase::Elsewhere(saga, Away::Taken));
        engine.look();
    } else if let Ok(Some(rest)) = super::handle::look(&*engine.journal, codec, saga).await {
        observe::saga_ended(&head.kind, saga.get(), rest.as_str());
        leaving.tell(Phase::Rested(saga, rest));
    }
    Ok(())
}
