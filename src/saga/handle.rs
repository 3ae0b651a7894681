//! One saga in the hands of whoever started it.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::SagaId;
use super::codec;
use super::ended::{Ended, Incident, Rest};
use super::entry::Operation;
use super::error::SagaError;
use super::history::History;
use super::offer;
use super::seal::PayloadCodec;
use crate::journal::{Journal, Log, LogId};
use crate::observe;
use crate::rt;

/// How long to wait before looking again for the end of a saga that another instance carries on; twice as long each
/// time, up to the longest.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOK_AGAIN_AT_MOST: Duration = Duration::from_secs(1);

/// Where sagas that are carried on in this process are found.
pub(super) trait Here: Send + Sync {
    /// What is known of a log that is carried on here.
    fn phase(&self, log: LogId) -> Option<watch::Receiver<Phase>>;

    /// What was found to be wrong with a log that cannot be carried on, and that nothing may be added to.
    fn unreadable(&self, saga: SagaId) -> Option<Incident>;
}

/// Why a saga is not carried on here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Away {
    /// Somebody else has it.
    Taken,
    /// Somebody else may have it.
    Lapsed,
    /// It has time.
    Parked,
}

/// What an operator may do, in words with commas between them.
struct Allowed<'a>(&'a [Operation]);

impl fmt::Display for Allowed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, operation) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{}", operation.as_str())?;
        }
        Ok(())
    }
}

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
    Elsewhere(SagaId, Away),
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
                    Allowed(incident.operations()),
                );
            }
            Self::Rested(id, rest) => observe::saga_ended(saga, id.get(), rest.as_str()),
            Self::Elsewhere(id, Away::Taken) => {
                observe::saga_left(saga, id.get(), "somebody else wrote to its log");
            }
            Self::Elsewhere(id, Away::Lapsed) => {
                observe::saga_left(saga, id.get(), "the lease is over");
            }
            Self::Stopped(id, SagaError::Stopping) => {
                observe::saga_left(saga, id.get(), "the engine stops");
            }
            Self::Stopped(id, _) => observe::saga_left(saga, id.get(), "the journal refused"),
            // The wait was told when it began.
            Self::Starting
            | Self::Running(_)
            | Self::Refused(_)
            | Self::Elsewhere(_, Away::Parked) => {}
        }
    }

    /// How a run ended, for its span.
    pub(super) fn ended(&self) -> observe::Ended {
        use observe::Ended;
        match self {
            Self::Rested(_, Rest::Incident(incident)) => Ended::badly(incident.class.as_str()),
            Self::Rested(_, rest) => Ended::well(rest.as_str()),
            Self::Elsewhere(_, Away::Taken) => Ended::badly("taken"),
            Self::Elsewhere(_, Away::Lapsed) => Ended::badly("lapsed"),
            Self::Elsewhere(_, Away::Parked) => Ended::well("parked"),
            Self::Stopped(_, SagaError::Stopping) => Ended::well("stopping"),
            Self::Stopped(..) | Self::Starting | Self::Running(_) | Self::Refused(_) => {
                Ended::badly("journal_refused")
            }
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
    here: Weak<dyn Here>,
    output: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Handle<T> {
    pub(super) fn new(
        id: SagaId,
        phase: watch::Receiver<Phase>,
        journal: Arc<dyn Journal>,
        codec: Option<Arc<dyn PayloadCodec>>,
        stop: watch::Receiver<bool>,
        here: Weak<dyn Here>,
    ) -> Self {
        Self {
            id,
            phase,
            journal,
            codec,
            stop,
            here,
            output: PhantomData,
        }
    }

    /// The saga.
    #[must_use]
    pub const fn id(&self) -> SagaId {
        self.id
    }

    /// Waits until the saga has ended, or waits for an operator, whichever instance carries it on.
    ///
    /// What it returns is durable. It may be called again, for instance after an operator's decision. The end of a saga
    /// that another instance carries on, or that waits for a later time, is found by looking into the journal, at first
    /// after 50 ms and then up to once a second.
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
        loop {
            let known = phase
                .wait_for(|phase| !matches!(phase, Phase::Starting | Phase::Running(_)))
                .await;
            match known.map(|phase| phase.clone()) {
                // Its sender is gone: the task was stopped from outside.
                Err(_) => return Err(SagaError::Stopping),
                Ok(Phase::Refused(error) | Phase::Stopped(_, error)) => return Err(error),
                // An incident that is not in the log is over when the saga is given up.
                Ok(Phase::Rested(_, Rest::Incident(incident)))
                    if incident.number == 0 && self.is_unreadable() =>
                {
                    return Ok(Ended::Incident(incident));
                }
                // Another may have been since.
                Ok(Phase::Rested(_, Rest::Incident(_))) => {}
                Ok(Phase::Rested(_, rest)) => return rest.typed(),
                Ok(Phase::Elsewhere(..) | Phase::Starting | Phase::Running(_)) => {}
            }
            match self.watched().await? {
                Seen::Rest(rest) => return rest.typed(),
                Seen::Here(here) => phase = here,
            }
        }
    }

    /// Whether the log still counts as one that cannot be read, as far as anybody knows here.
    fn is_unreadable(&self) -> bool {
        let here = self.here.upgrade();
        here.is_none_or(|here| here.unreadable(self.id).is_some())
    }

    /// Waits for an end that only the journal tells, or until the saga is carried on here.
    async fn watched(&self) -> Result<Seen, SagaError> {
        let mut stop = self.stop.clone();
        let mut delay = LOOK_AGAIN;
        loop {
            // Asked before the look, so that an end before the stop is found.
            let stopped = *stop.borrow() || stop.has_changed().is_err();
            let here = self.here.upgrade();
            if let Some(here) = here {
                if let Some(phase) = here.phase(self.id.log()) {
                    return Ok(Seen::Here(phase));
                }
                if let Some(incident) = here.unreadable(self.id) {
                    return Ok(Seen::Rest(Rest::Incident(incident)));
                }
            }
            match look(&*self.journal, self.codec.as_deref(), self.id).await {
                Ok(Some(rest)) => return Ok(Seen::Rest(rest)),
                // A failure that may pass is no end.
                Err(SagaError::Journal(error)) if error.is_transient() && !stopped => {}
                Err(error) => return Err(error),
                Ok(None) if stopped => return Err(SagaError::Stopping),
                Ok(None) => {}
            }
            tokio::select! {
                // An error is an engine that is gone, which is seen above.
                _ = stop.wait_for(|stop| *stop) => {}
                () = rt::sleep(delay) => {}
            }
            delay = delay.saturating_mul(2).min(LOOK_AGAIN_AT_MOST);
        }
    }
}

/// What became of a saga that was not carried on here.
enum Seen {
    /// It rests.
    Rest(Rest),
    /// It is carried on here again.
    Here(watch::Receiver<Phase>),
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
    let facts = match codec::decode(log) {
        Ok(facts) => facts,
        Err(reason) => {
            let id = log.head.id.into();
            let given_up = codec::given_up(log).map(Rest::given_up);
            return given_up
                .ok_or(SagaError::Unreadable { id, reason })
                .map(Some);
        }
    };
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
            here: Weak::clone(&self.here),
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
