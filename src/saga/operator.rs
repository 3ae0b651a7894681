//! What an operator sees and decides.

use std::sync::Arc;

use super::SagaId;
use super::codec;
use super::ended::Incident;
use super::engine::{BusinessKey, Cell, Leaving};
use super::entry::{Class, Operation};
use super::error::{SagaError, cut};
use super::handle::Phase;
use super::history::History;
use super::machine::Execution;
use super::offer;
use super::sagas::Sagas;
use crate::journal::{Append, Head, Listing, Log, Status};
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
        self.resolve(saga, Operation::Retry, actor, reason).await
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
        self.resolve(saga, Operation::Abandon, actor, reason).await
    }

    async fn resolve(
        &self,
        saga: SagaId,
        operation: Operation,
        actor: &str,
        reason: &str,
    ) -> Result<(), SagaError> {
        if actor.trim().is_empty() || reason.trim().is_empty() {
            return Err(SagaError::Unsigned);
        }
        if self.engine().is_stopping() {
            return Err(SagaError::Stopping);
        }
        let sagas = self.clone();
        let (actor, reason) = (cut(actor), cut(reason));
        let (answer, answered) = tokio::sync::oneshot::channel();
        // On a task of its own: a caller that goes away must not leave a decision that nobody carries out.
        let engine = Arc::clone(self.engine());
        self.engine().spawn(async move {
            let result = decide(&sagas, saga, operation, &actor, &reason).await;
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
    use crate::journal::JournalError;
    let log = match journal.load(id.log()).await {
        Err(JournalError::Damaged { reason, .. }) => {
            return Err(SagaError::Unreadable { id, reason });
        }
        other => other?,
    };
    let facts = codec::decode(&log).map_err(|reason| SagaError::Unreadable { id, reason })?;
    Ok((log, History::of(&facts)))
}

/// Records the decision and, for a retry, carries the saga on.
async fn decide<App: Send + Sync + 'static>(
    sagas: &Sagas<App>,
    saga: SagaId,
    operation: Operation,
    actor: &str,
    reason: &str,
) -> Result<(), SagaError> {
    let engine = sagas.engine();
    let (log, history) = read(&*engine.journal, saga).await?;
    let Some(held) = &history.held else {
        return Err(SagaError::NotHeld(saga));
    };
    if operation == Operation::Retry {
        let started = history.started.as_ref();
        let same = started.is_some_and(|started| {
            engine
                .definition(&started.definition, started.version)
                .is_some_and(|known| known.fingerprint() == &*started.fingerprint)
        });
        if !same {
            return Err(SagaError::StillHeld {
                id: saga,
                class: Class::DefinitionChanged,
            });
        }
    }
    let mut head = log.head;
    let cell = Cell::new(head.digest.clone(), Phase::Running(saga));
    let business = BusinessKey::of(&head);
    // Entered before the decision is written, so that whoever starts the same key from now on finds this run.
    if engine.enter(&business, &cell).is_some() {
        return Err(SagaError::NotHeld(saga));
    }
    let leaving = Leaving::new(Arc::clone(engine), business, Arc::clone(&cell));
    let facts = Execution::resolve(held, operation, actor, reason);
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
    engine.ask(|journal| journal.append(append.clone())).await?;
    head.place = head.place.after();
    head.status = codec::status(&facts);
    if operation == Operation::Retry {
        let engine = Arc::clone(engine);
        let permits = Arc::clone(&engine);
        engine.spawn(async move {
            let _leaving = leaving;
            if let Some(permit) = permits.permit().await {
                permits.carry(head, None, cell, permit).await;
            }
        });
    } else if let Ok(Some(rest)) =
        super::handle::look(&*engine.journal, engine.codec.as_deref(), saga).await
    {
        observe::saga_ended(&head.kind, saga.get(), rest.as_str());
        leaving.tell(Phase::Rested(saga, rest));
    }
    Ok(())
}
