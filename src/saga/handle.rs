//! One saga in the hands of whoever started it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::SagaId;
use super::codec;
use super::ended::{Ended, Rest};
use super::error::SagaError;
use super::history::History;
use super::offer;
use super::seal::PayloadCodec;
use crate::journal::{Journal, Log};
use crate::observe;
use crate::rt;

/// How long to wait before looking again for the end of a saga that another engine carries on.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What is known in this process about a saga that was started or recovered here.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// The journal has not answered yet.
    Starting,
    /// It is carried on here.
    Running(SagaId),
    /// It rests.
    Rested(SagaId, Rest),
    /// It is in the journal, and carried on by somebody else or by nobody.
    Elsewhere(SagaId),
    /// It was not started.
    Refused(SagaError),
    /// This process will not carry it on; the journal has it.
    Stopped(SagaId, SagaError),
}

impl Phase {
    /// Says how it went, without a word of what it was about.
    pub(super) fn report(&self, saga: &observe::Name) {
        match self {
            Self::Rested(id, Rest::Incident(incident)) => {
                observe::saga_held(
                    saga,
                    id.get(),
                    incident.class.as_str(),
                    incident.step.as_deref(),
                );
            }
            Self::Rested(id, rest) => observe::saga_ended(saga, id.get(), rest.as_str()),
            Self::Elsewhere(id) => {
                observe::saga_left(saga, id.get(), "somebody else wrote to its log")
            }
            Self::Stopped(id, SagaError::Stopping) => {
                observe::saga_left(saga, id.get(), "the engine stops");
            }
            Self::Stopped(id, _) => observe::saga_left(saga, id.get(), "the journal refused"),
            Self::Starting | Self::Running(_) | Self::Refused(_) => {}
        }
    }
}

/// A saga that was started: await its [end](Self::ended).
///
/// Dropping the handle changes nothing; the saga goes on.
pub struct Handle<T> {
    id: SagaId,
    phase: watch::Receiver<Phase>,
    journal: Arc<dyn Journal>,
    codec: Option<Arc<dyn PayloadCodec>>,
    stop: watch::Receiver<bool>,
    output: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Handle<T> {
    pub(super) fn new(
        id: SagaId,
        phase: watch::Receiver<Phase>,
        journal: Arc<dyn Journal>,
        codec: Option<Arc<dyn PayloadCodec>>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            id,
            phase,
            journal,
            codec,
            stop,
            output: PhantomData,
        }
    }

    /// The saga.
    #[must_use]
    pub const fn id(&self) -> SagaId {
        self.id
    }

    /// Waits until the saga has ended, or waits for an operator.
    ///
    /// What it returns is durable. It may be called again, for instance after an operator's decision.
    ///
    /// # Errors
    ///
    /// [`SagaError::Stopping`] when the engine stopped before the end (the journal has the saga, and the next engine
    /// carries it on), [`SagaError::Journal`] when the journal stopped, [`SagaError::Output`] when the output does not
    /// read as a `T`, [`SagaError::Erased`] when the key to the output was destroyed, [`SagaError::Sealed`] when it
    /// cannot be opened for another reason.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops the waiting.
    pub async fn ended(&self) -> Result<Ended<T>, SagaError> {
        let mut phase = self.phase.clone();
        let known = phase
            .wait_for(|phase| !matches!(phase, Phase::Starting | Phase::Running(_)))
            .await;
        match known.map(|phase| phase.clone()) {
            // Its sender is gone: the task was stopped from outside.
            Err(_) => Err(SagaError::Stopping),
            Ok(Phase::Refused(error) | Phase::Stopped(_, error)) => Err(error),
            // An incident that is not in the log cannot be resolved.
            Ok(Phase::Rested(_, Rest::Incident(incident))) if incident.number == 0 => {
                Ok(Ended::Incident(incident))
            }
            // Another may have been since.
            Ok(Phase::Rested(_, Rest::Incident(_))) => self.watched().await,
            Ok(Phase::Rested(_, rest)) => rest.typed(),
            Ok(Phase::Elsewhere(_) | Phase::Starting | Phase::Running(_)) => self.watched().await,
        }
    }

    /// Waits for an end that only the journal tells.
    async fn watched(&self) -> Result<Ended<T>, SagaError> {
        let mut stop = self.stop.clone();
        loop {
            // Asked before the look, so that an end before the stop is found.
            let stopped = *stop.borrow() || stop.has_changed().is_err();
            if let Some(rest) = look(&*self.journal, self.codec.as_deref(), self.id).await? {
                return rest.typed();
            }
            if stopped {
                return Err(SagaError::Stopping);
            }
            tokio::select! {
                // An error is an engine that is gone, which is seen above.
                _ = stop.wait_for(|stop| *stop) => {}
                () = rt::sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

/// Where a saga rests according to the journal; `None` while it is under way.
pub(super) async fn look(
    journal: &dyn Journal,
    codec: Option<&dyn PayloadCodec>,
    id: SagaId,
) -> Result<Option<Rest>, SagaError> {
    rest(codec, &journal.load(id.log()).await?).await
}

/// Where a saga rests according to its log; `None` while it is under way.
pub(super) async fn rest(
    codec: Option<&dyn PayloadCodec>,
    log: &Log,
) -> Result<Option<Rest>, SagaError> {
    let facts = codec::decode(log).map_err(|reason| SagaError::Unreadable {
        id: log.head.id.into(),
        reason,
    })?;
    match Rest::of(&log.head, &History::of(&facts)) {
        Some(rest) => offer::opened(codec, &log.head, &facts, rest)
            .await
            .map(Some),
        None => Ok(None),
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            phase: self.phase.clone(),
            journal: Arc::clone(&self.journal),
            codec: self.codec.clone(),
            stop: self.stop.clone(),
            output: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
