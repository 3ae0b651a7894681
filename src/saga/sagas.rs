//! The engine in the user's hands.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::SagaId;
use super::action::Recorded;
use super::codec;
use super::definition::{Registered, Saga};
use super::engine::{BusinessKey, Cell, Edition, Engine, Leaving};
use super::entry::{FORMAT, Fact};
use super::error::SagaError;
use super::handle::{Handle, Phase, look};
use super::machine::Execution;
use super::payload::Payload;
use super::probe::{Probe, Site, What};
use crate::journal::{Begin, Begun, Claim, Head, Journal, Labels};
use crate::rt;

/// Claims are taken in pages of this size, so that no transaction of a store grows with the backlog.
const PAGE: usize = 256;

/// A business key with what the journal labels the saga's records with.
///
/// # Example
///
/// ```
/// use mainstay::saga::Key;
///
/// let plain: Key = "INV-1".into();
/// let of_a_tenant = Key::new("INV-1").tenant("acme").subject("customer-7");
/// ```
#[derive(Clone, Debug)]
pub struct Key {
    key: Box<str>,
    labels: Labels,
}

impl Key {
    /// A key, unique per tenant and definition.
    pub fn new(key: impl Into<Box<str>>) -> Self {
        Self {
            key: key.into(),
            labels: Labels::new(""),
        }
    }

    /// Whose saga this is. Two tenants can have the same key and never see each other's saga.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.labels.tenant = tenant.into();
        self
    }

    /// Whose data the saga's payloads hold.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.labels.subject = Some(subject.into());
        self
    }

    /// The key under which payloads are encrypted.
    #[must_use]
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.labels.key_id = Some(key_id.into());
        self
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self::new(key)
    }
}

/// An engine under construction: definitions first, then [`start`](Self::start).
#[must_use = "an engine carries nothing on until it is started"]
pub struct SagasBuilder<App> {
    journal: Arc<dyn Journal>,
    app: Arc<App>,
    definitions: HashMap<Edition, Arc<dyn Registered<App>>>,
    ambiguous: Option<Edition>,
    probe: Option<Arc<dyn Probe>>,
    in_flight: NonZeroUsize,
}

impl<App: Send + Sync + 'static> SagasBuilder<App> {
    /// Lets the engine carry sagas of this definition on. Several versions of one name can be registered, so that old
    /// sagas end as they began.
    pub fn register<Input: Recorded + Sync, Output>(
        mut self,
        saga: &Saga<App, Input, Output>,
    ) -> Self {
        let edition: Edition = (saga.name().into(), saga.version());
        let known = self.definitions.get(&edition);
        if known.is_some_and(|known| known.fingerprint() != saga.fingerprint()) {
            self.ambiguous.get_or_insert(edition);
        } else {
            self.definitions.insert(
                edition,
                Arc::clone(&saga.definition) as Arc<dyn Registered<App>>,
            );
        }
        self
    }

    /// At most so many sagas run a step or write at the same time; others wait. Defaults to 256: enough to share the
    /// syncs of a disk, few enough not to flood what lies below. A saga that waits between attempts does not count.
    pub const fn in_flight(mut self, sagas: NonZeroUsize) -> Self {
        self.in_flight = sagas;
        self
    }

    pub(super) fn probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Takes over every unfinished saga of the registered definitions and begins to carry them on.
    ///
    /// Start one engine per journal: with the stores of this crate a start takes over whatever is unfinished, also
    /// from another engine of the same process, which then can no longer append.
    ///
    /// # Errors
    ///
    /// [`SagaError::Ambiguous`] when one name and version was registered with two chains; [`SagaError::Journal`] when
    /// the journal cannot be read. One saga that cannot be read or continued is no error here: it becomes an
    /// [incident](Sagas::incidents).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves some sagas under a new epoch and running nowhere; the next start takes them over.
    pub async fn start(self) -> Result<Sagas<App>, SagaError> {
        if let Some((name, version)) = self.ambiguous {
            return Err(SagaError::Ambiguous {
                name: name.into(),
                version,
            });
        }
        let kinds = kinds(self.definitions.keys());
        let engine = Engine::new(
            self.journal,
            self.app,
            self.definitions,
            self.probe,
            self.in_flight.get(),
        );
        let engine = Arc::new(engine);
        let sagas = Sagas {
            owner: Arc::new(Owner {
                engine: Arc::clone(&engine),
            }),
        };
        let mut found = VecDeque::new();
        let mut claim = Claim::new(kinds, PAGE);
        loop {
            let page = engine.journal.claim(claim.clone()).await?;
            let Some(last) = page.last() else { break };
            claim = claim.after(last.id);
            for head in page {
                let cell = Cell::new(head.digest.clone(), Phase::Running(head.id.into()));
                if engine.enter(&BusinessKey::of(&head), &cell).is_none() {
                    found.push_back((head, cell));
                }
            }
        }
        engine.spawn(recover(Arc::clone(&engine), found));
        Ok(sagas)
    }
}

impl<App> fmt::Debug for SagasBuilder<App> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let definitions: Vec<_> = self.definitions.keys().collect();
        f.debug_struct("SagasBuilder")
            .field("definitions", &definitions)
            .finish_non_exhaustive()
    }
}

fn kinds<'a>(editions: impl Iterator<Item = &'a Edition>) -> Vec<Arc<str>> {
    let mut kinds: Vec<Arc<str>> = editions.map(|(name, _)| name.as_ref().into()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Carries the sagas on that a start found, as room becomes free.
async fn recover<App: Send + Sync + 'static>(
    engine: Arc<Engine<App>>,
    found: VecDeque<(Head, Arc<Cell>)>,
) {
    // Those that are not reached leave the table and are told so, by the drop of what waits here.
    let mut waiting: VecDeque<_> = found
        .into_iter()
        .map(|(head, cell)| {
            let leaving = Leaving::new(
                Arc::clone(&engine),
                BusinessKey::of(&head),
                Arc::clone(&cell),
            );
            (head, cell, leaving)
        })
        .collect();
    while let Some(permit) = engine.permit().await {
        let Some((head, cell, leaving)) = waiting.pop_front() else {
            break;
        };
        let carry = Arc::clone(&engine).carry(head, None, cell, permit);
        engine.spawn(async move {
            let _leaving = leaving;
            carry.await;
        });
    }
}

/// Starts sagas and carries them on. Clones are the same engine; when the last one is dropped, its tasks are stopped as
/// if the process had died, which is safe; [`shutdown`](Self::shutdown) is the polite way.
pub struct Sagas<App: Send + Sync + 'static> {
    owner: Arc<Owner<App>>,
}

/// Stops the tasks of an engine that nobody holds.
struct Owner<App: Send + Sync + 'static> {
    engine: Arc<Engine<App>>,
}

impl<App: Send + Sync + 'static> Drop for Owner<App> {
    fn drop(&mut self) {
        self.engine.stop();
        self.engine.abort();
    }
}

impl<App: Send + Sync + 'static> Sagas<App> {
    /// An engine over a journal. `app` is what steps get from [`Cx::app`](super::Cx::app).
    pub fn builder(journal: Arc<dyn Journal>, app: impl Into<Arc<App>>) -> SagasBuilder<App> {
        SagasBuilder {
            journal,
            app: app.into(),
            definitions: HashMap::new(),
            ambiguous: None,
            probe: None,
            // 256 is not zero.
            in_flight: NonZeroUsize::MIN.saturating_add(255),
        }
    }

    pub(super) fn engine(&self) -> &Arc<Engine<App>> {
        &self.owner.engine
    }

    /// Starts a saga under a business key, or finds the one that has it, running or ended.
    ///
    /// When this returns a handle, the start is durable. It waits while as many sagas are in flight as the engine
    /// allows.
    ///
    /// # Errors
    ///
    /// [`SagaError::OtherInput`] when the key was used for another input, [`SagaError::Input`] when the input cannot be
    /// written down, [`SagaError::Unregistered`], [`SagaError::Stopping`], [`SagaError::Journal`]. After an error of
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
        let Key { key, labels } = key.into();
        let input = Payload::of(&input).map_err(|error| SagaError::Input(error.0))?;
        let digest = input.digest();
        let business = BusinessKey {
            tenant: labels.tenant.as_str().into(),
            definition: saga.name().into(),
            key,
        };
        loop {
            if let Some(cell) = engine.cell(&business)
                && let Some(handle) = self.join(&cell, &digest).await?
            {
                return Ok(handle);
            }
            let permit = engine.permit().await.ok_or(SagaError::Stopping)?;
            let cell = Cell::new(digest.clone(), Phase::Starting);
            if engine.enter(&business, &cell).is_some() {
                continue;
            }
            let facts = Execution::begin(saga.shape(), &nonce(), input.clone());
            let leaving = Leaving::new(Arc::clone(engine), business.clone(), Arc::clone(&cell));
            let start = Start {
                labels: Arc::new(labels.clone()),
                facts,
                leaving,
            };
            // On a task of its own: a caller that goes away must not leave a saga in the journal that nobody runs.
            engine.spawn(start.begin(
                Arc::clone(engine),
                business.clone(),
                Arc::clone(&cell),
                permit,
            ));
            if let Some(handle) = self.join(&cell, &digest).await? {
                return Ok(handle);
            }
        }
    }

    /// The handle of a saga that is being started or carried on here. `None` when that start came to nothing and was
    /// not this caller's.
    async fn join<Output: DeserializeOwned>(
        &self,
        cell: &Cell,
        digest: &str,
    ) -> Result<Option<Handle<Output>>, SagaError> {
        let mut phase = cell.phase.subscribe();
        let known = phase
            .wait_for(|phase| !matches!(phase, Phase::Starting))
            .await;
        let Ok(known) = known.map(|phase| phase.clone()) else {
            return Err(SagaError::Stopping);
        };
        let id = match known {
            // Another caller's input was refused; this one's need not be.
            Phase::Refused(SagaError::OtherInput(_)) if cell.digest != digest => return Ok(None),
            Phase::Refused(error) => return Err(error),
            Phase::Starting => return Ok(None),
            Phase::Running(id)
            | Phase::Rested(id, _)
            | Phase::Elsewhere(id)
            | Phase::Stopped(id, _) => id,
        };
        if cell.digest != digest {
            return Err(SagaError::OtherInput(id));
        }
        Ok(Some(Handle::new(
            id,
            phase,
            Arc::clone(&self.engine().journal),
        )))
    }

    /// How many sagas this engine has taken up and not brought to rest.
    #[must_use]
    pub fn running(&self) -> usize {
        self.engine().sagas()
    }

    /// How many tasks this engine has.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.engine().live()
    }

    /// Stops: no saga is started any more, steps that run end and are recorded, and what is unfinished stays in the
    /// journal for the next engine. After `grace` whatever still runs is cut off, which is what a crash does.
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
        Drained {
            unfinished,
            cut_off,
        }
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

/// Drawn once per saga.
fn nonce() -> String {
    format!("{:016x}", rt::entropy())
}

/// A saga that is about to be in the journal.
struct Start<App: Send + Sync + 'static> {
    labels: Arc<Labels>,
    facts: Vec<Fact>,
    leaving: Leaving<App>,
}

impl<App: Send + Sync + 'static> Start<App> {
    /// Writes the start, and carries the saga on if it is new.
    async fn begin(
        self,
        engine: Arc<Engine<App>>,
        key: BusinessKey,
        cell: Arc<Cell>,
        permit: OwnedSemaphorePermit,
    ) {
        let begin = match codec::encode(&self.facts) {
            Ok(body) => Begin::new(
                self.labels,
                &*key.definition,
                key.key,
                cell.digest.clone(),
                FORMAT,
                body,
                rt::wall(),
            ),
            Err(error) => {
                return self
                    .leaving
                    .tell(Phase::Refused(SagaError::Input(error.to_string())));
            }
        };
        let site = Site {
            what: What::Write,
            step: "".into(),
        };
        if engine.probed(&site, true).is_err() {
            return self.leaving.tell(Phase::Refused(SagaError::Stopping));
        }
        let begun = engine.journal.begin(begin).await;
        if engine.probed(&site, false).is_err() {
            return self.leaving.tell(Phase::Refused(SagaError::Stopping));
        }
        match begun {
            Err(error) => self.leaving.tell(Phase::Refused(error.into())),
            Ok(Begun::Created(head)) => {
                cell.phase.send_replace(Phase::Running(head.id.into()));
                engine.carry(head, Some(self.facts), cell, permit).await;
            }
            Ok(Begun::Existing(head)) => {
                drop(permit);
                let id: SagaId = head.id.into();
                if head.digest != cell.digest {
                    return self.leaving.tell(Phase::Refused(SagaError::OtherInput(id)));
                }
                let phase = match look(&*engine.journal, id).await {
                    Ok(Some(rest)) => Phase::Rested(id, rest),
                    Ok(None) => Phase::Elsewhere(id),
                    Err(error) => Phase::Refused(error),
                };
                self.leaving.tell(phase);
            }
        }
    }
}
