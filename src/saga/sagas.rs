//! The engine in the user's hands.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::SagaId;
use super::action::Recorded;
use super::definition::Saga;
use super::engine::{BusinessKey, Cell, Engine, Leaving, is_in_step};
use super::entry::Fact;
use super::error::SagaError;
use super::handle::{Away, Handle, Phase};
use super::key::Key;
use super::machine::Execution;
use super::offer::Offer;
use super::payload::Payload;
use super::sealing::Sealing;
use super::setup::SagasBuilder;
use super::start::{Start, nonce};
use crate::journal::{InstanceId, Journal};
use crate::observe::Origin;
use crate::rt;

/// Starts sagas and carries them on. Clones are the same engine; when the last one is dropped, its tasks are stopped as
/// if the process had died, which is safe: others take its sagas over when its lease is over. [`shutdown`](Self::shutdown)
/// is the polite way, after which they do so at once.
pub struct Sagas<App: Send + Sync + 'static> {
    owner: Arc<Owner<App>>,
}

/// How long the journal has to take note that an engine goes.
const LEAVING: Duration = Duration::from_secs(1);

/// Stops the tasks of an engine that nobody holds.
struct Owner<App: Send + Sync + 'static> {
    engine: Arc<Engine<App>>,
}

impl<App: Send + Sync + 'static> Drop for Owner<App> {
    fn drop(&mut self) {
        self.engine.stop();
        self.engine.abort();
        self.engine.abort_services();
    }
}

impl<App: Send + Sync + 'static> Sagas<App> {
    /// An engine over a journal. `app` is what steps get from [`Cx::app`](super::Cx::app).
    pub fn builder(journal: Arc<dyn Journal>, app: impl Into<Arc<App>>) -> SagasBuilder<App> {
        SagasBuilder::new(journal, app.into())
    }

    pub(super) fn of(engine: Arc<Engine<App>>) -> Self {
        Self {
            owner: Arc::new(Owner { engine }),
        }
    }

    pub(super) fn engine(&self) -> &Arc<Engine<App>> {
        &self.owner.engine
    }

    /// Starts a saga under a business key, or finds the one that has it, running or ended.
    ///
    /// When this returns a handle, the start is durable. It waits while as many sagas are in flight as the engine
    /// allows, and while the journal fails for a reason that may pass. A start from within a step does not wait for that, since the step holds a place itself; the saga then
    /// waits for one. A step that waits for the *end* of a saga of its own engine keeps its place meanwhile: give such
    /// a step a timeout and attempts that allow for it, or an engine of its own to the sagas that it starts.
    ///
    /// Two inputs are the same when they are written the same, but for the order of the fields of a map. The order of
    /// a set counts, so a `HashSet` has no place in an input.
    ///
    /// # Errors
    ///
    /// [`SagaError::OtherInput`] when the key was used for another input, [`SagaError::Input`] when the input cannot be
    /// written down, [`SagaError::Sealed`] when it cannot be sealed, [`SagaError::Erased`] when the saga that has the key
    /// cannot be asked for its input any more, [`SagaError::Unregistered`], [`SagaError::Stopping`],
    /// [`SagaError::Journal`]. After an error of
    /// the journal the saga may have been started: start it again with the same key.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the saga started; it is then carried on as any other. Start it again with the
    /// same key to get its handle.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::Arc;
    /// use mainstay::journal::memory::MemoryJournal;
    /// use mainstay::saga::{Cx, Ended, Saga, Sagas, StepError};
    ///
    /// async fn double(cx: Cx<(), u64>, (): ()) -> Result<u64, StepError> {
    ///     Ok(cx.input() * 2)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let doubling = Saga::builder("doubling").check("double", double).build()?;
    /// let sagas = Sagas::builder(Arc::new(MemoryJournal::new()), ()).register(&doubling).start().await?;
    ///
    /// let first = sagas.start(&doubling, "INV-1", 21).await?;
    /// assert_eq!(first.ended().await?, Ended::Completed(42));
    ///
    /// let again = sagas.start(&doubling, "INV-1", 21).await?;
    /// assert_eq!(again.id(), first.id(), "one key, one saga");
    /// assert!(sagas.start(&doubling, "INV-1", 22).await.is_err(), "another input");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start<Input, Output>(
        &self,
        saga: &Saga<App, Input, Output>,
        key: impl Into<Key>,
        input: Input,
    ) -> Result<Handle<Output>, SagaError>
    where
        Input: Recorded + Sync,
        Output: DeserializeOwned,
    {
        let engine = self.engine();
        let registered = engine.definition(saga.name(), saga.version());
        if registered.is_none_or(|registered| registered.fingerprint() != saga.fingerprint()) {
            return Err(SagaError::Unregistered {
                name: saga.name().into(),
                version: saga.version(),
            });
        }
        let Key {
            key,
            labels,
            traceparent,
        } = key.into();
        let input = Payload::of(&input).map_err(|error| SagaError::Input(error.0))?;
        // What cannot be read back (a float that is no number, a field that is not written) is found before anything
        // is done, and not by a recovery.
        if let Err(error) = input.read::<Input>() {
            return Err(SagaError::Input(error.0));
        }
        let first = saga.shape().steps.first();
        let first: Arc<str> = first.map_or_else(|| "".into(), |step| (&*step.name).into());
        let codec = engine.codec.as_deref();
        let sealing = Sealing::choose(codec, labels, saga.name(), &key).await?;
        let offer = Arc::new(Offer::new(input, sealing)?);
        let business = BusinessKey {
            tenant: offer.sealing.labels().tenant.as_str().into(),
            definition: saga.name().into(),
            key,
        };
        loop {
            if let Some(cell) = engine.cell(&business)
                && let Some(handle) = self.join(&cell, &offer).await?
            {
                return Ok(handle);
            }
            // A step that waits for a place while it holds one could wait for itself.
            let permit = if is_in_step() {
                None
            } else {
                let seat = engine.permit(&business.tenant, &business.definition).await;
                Some(seat.ok_or(SagaError::Stopping)?)
            };
            if engine.is_stopping() {
                return Err(SagaError::Stopping);
            }
            let cell = Cell::new(offer.digest.clone(), Phase::Starting);
            if engine.enter(&business, &cell).is_some() {
                continue;
            }
            let mut facts = Execution::begin(saga.shape(), &nonce(), offer.input.clone());
            if let Some(Fact::Started(started)) = facts.first_mut() {
                started.traceparent.clone_from(&traceparent);
            }
            let leaving = Leaving::new(Arc::clone(engine), business.clone(), Arc::clone(&cell));
            let start = Start {
                version: saga.version(),
                offer: Arc::clone(&offer),
                facts,
                stage: first.clone(),
                leaving,
                origin: Origin::here(),
            };
            // On a task of its own: a caller that goes away must not leave a saga in the journal that nobody runs.
            engine.spawn(start.begin(
                Arc::clone(engine),
                business.clone(),
                Arc::clone(&cell),
                permit,
            ));
            if let Some(handle) = self.join(&cell, &offer).await? {
                return Ok(handle);
            }
        }
    }

    /// The handle of a saga that is being started or carried on here. `None` when that start came to nothing and was
    /// not this caller's.
    async fn join<Output: DeserializeOwned>(
        &self,
        cell: &Cell,
        offer: &Offer,
    ) -> Result<Option<Handle<Output>>, SagaError> {
        let mut phase = cell.phase.subscribe();
        let known = phase
            .wait_for(|phase| !matches!(phase, Phase::Starting))
            .await;
        let Ok(known) = known.map(|phase| phase.clone()) else {
            return Err(SagaError::Stopping);
        };
        let codec = self.engine().codec.as_deref();
        let id = match known {
            // Another caller's input was refused; this one's need not be.
            Phase::Refused(SagaError::OtherInput(_)) if cell.digest != offer.digest => {
                return Ok(None);
            }
            Phase::Refused(error) => return Err(error),
            Phase::Starting => return Ok(None),
            Phase::Running(id)
            | Phase::Rested(id, _)
            | Phase::Elsewhere(id, _)
            | Phase::Stopped(id, _) => id,
        };
        let same = offer.is_of(codec, &cell.digest).await;
        if !same.map_err(|error| error.of(id))? {
            return Err(SagaError::OtherInput(id));
        }
        let engine = self.engine();
        let here: std::sync::Weak<Engine<App>> = Arc::downgrade(engine);
        Ok(Some(Handle::new(
            id,
            phase,
            Arc::clone(&engine.journal),
            engine.codec.clone(),
            engine.stop_signal(),
            here,
        )))
    }

    /// The handle of a saga that is known to be in the journal.
    pub(super) fn found<Output: DeserializeOwned>(&self, id: SagaId) -> Handle<Output> {
        let engine = self.engine();
        let here: std::sync::Weak<Engine<App>> = Arc::downgrade(engine);
        let (_, phase) = tokio::sync::watch::channel(Phase::Elsewhere(id, Away::Taken));
        Handle::new(
            id,
            phase,
            Arc::clone(&engine.journal),
            engine.codec.clone(),
            engine.stop_signal(),
            here,
        )
    }

    /// How many sagas this engine has taken up and not brought to rest.
    #[must_use]
    pub fn running(&self) -> usize {
        self.engine().sagas()
    }

    /// How many sagas this engine has taken over and not yet begun to carry on, for want of room.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.engine().backlog.len()
    }

    /// The number under which the journal knows this engine now. `None` while its lease is in doubt or over.
    #[must_use]
    pub fn instance(&self) -> Option<InstanceId> {
        self.engine().present()
    }

    /// How many tasks this engine has for its sagas.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.engine().live()
    }

    /// Stops: no saga is started or taken over any more, steps that run end and are recorded, and what is unfinished is
    /// given back, so that another instance takes it up at once, or the next engine. After `grace` whatever still runs is
    /// cut off, which is what a crash does. At the end it leaves the journal, which may take a second more where the
    /// journal does not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the engine stopping. Call it again to wait again.
    pub async fn shutdown(&self, grace: Duration) -> Drained {
        let engine = self.engine();
        engine.stop();
        let unfinished = engine.sagas();
        let cut_off = tokio::select! {
            biased;
            () = engine.idle() => 0,
            () = rt::sleep(grace) => {
                let cut_off = engine.abort();
                engine.idle().await;
                cut_off
            }
        };
        // The lease was kept until here for what still ran.
        let instance = engine.known_as();
        engine.end_services().await;
        if let Some(instance) = instance {
            tokio::select! {
                biased;
                // If this is lost, the lease ends by itself.
                _ = engine.journal.leave(instance) => {}
                () = rt::sleep(LEAVING) => {}
            }
        }
        Drained {
            unfinished,
            cut_off,
        }
    }

    /// Ends as a process that dies: nothing is given back, and the lease runs on.
    pub(super) async fn crash(&self) {
        let engine = self.engine();
        engine.stop();
        engine.abort();
        engine.abort_services();
        engine.idle().await;
        engine.end_services().await;
    }
}

/// What a shutdown left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// How many sagas were under way when it began; those that were on their last step have ended.
    pub unfinished: usize,
    /// How many tasks did not end within the grace and were cut off.
    pub cut_off: usize,
}

impl<App: Send + Sync + 'static> Clone for Sagas<App> {
    fn clone(&self) -> Self {
        Self {
            owner: Arc::clone(&self.owner),
        }
    }
}

impl<App: Send + Sync + 'static> fmt::Debug for Sagas<App> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sagas")
            .field("running", &self.running())
            .finish_non_exhaustive()
    }
}
