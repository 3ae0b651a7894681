//! An engine under construction.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;

use super::action::Recorded;
use super::definition::{Registered, Saga};
use super::engine::{Bounds, Definitions, Edition, Engine};
use super::error::SagaError;
use super::instance::{keep, prune};
use super::intake::take_in;
use super::lease::Lease;
use super::migration::Migrations;
use super::probe::Probe;
use super::room::Room;
use super::sagas::Sagas;
use super::seal::PayloadCodec;
use super::watch::watch;
use crate::journal::{Join, Journal, Transactions};
use crate::num::Period;
use crate::rt;

/// An engine under construction: definitions first, then [`start`](Self::start).
#[must_use = "an engine carries nothing on until it is started"]
pub struct SagasBuilder<App> {
    journal: Arc<dyn Journal>,
    app: Arc<App>,
    definitions: Definitions<App>,
    migrations: Migrations<App>,
    ambiguous: Option<Edition>,
    probe: Option<Arc<dyn Probe>>,
    codec: Option<Arc<dyn PayloadCodec>>,
    name: String,
    lease: Period,
    poll: Period,
    in_flight: NonZeroUsize,
    in_flight_of: HashMap<Box<str>, usize>,
    backlog: Option<NonZeroUsize>,
    retention: Option<Period>,
    crash_limit: NonZeroU32,
}

impl<App: Send + Sync + 'static> SagasBuilder<App> {
    pub(super) fn new(journal: Arc<dyn Journal>, app: Arc<App>) -> Self {
        Self {
            journal,
            app,
            definitions: HashMap::new(),
            migrations: Migrations::default(),
            ambiguous: None,
            probe: None,
            codec: None,
            name: String::new(),
            lease: Period::secs(15),
            poll: Period::secs(1),
            // 256 is not zero.
            in_flight: NonZeroUsize::MIN.saturating_add(255),
            in_flight_of: HashMap::new(),
            backlog: None,
            retention: None,
            // 5 is not zero.
            crash_limit: NonZeroU32::MIN.saturating_add(4),
        }
    }

    /// Lets the engine carry sagas of this definition on. Several versions of one name can be registered, so that old
    /// sagas end as they began. With the [migrations](Saga::migrate) of a definition it carries on sagas of the versions
    /// from which they come, too: in the new form where that can be, in the old one where that is registered.
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
        for plan in &saga.migrations {
            self.migrations.add(
                plan,
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

    /// At most so many sagas of the definition with this name, in all its versions, run a step or write at the same
    /// time, within [`in_flight`](Self::in_flight). For a definition whose receiver can take no more, or one that must
    /// leave room for others. Defaults to no bound of its own.
    pub fn in_flight_of(mut self, definition: &str, sagas: NonZeroUsize) -> Self {
        self.in_flight_of.insert(definition.into(), sagas.get());
        self
    }

    /// At most so many sagas are taken over and wait here for room in flight, but two are always allowed. Defaults to
    /// as many as may be in flight. What is not taken over is
    /// free for other instances; a tenant gets half of this at most, so that others are always reached.
    pub const fn backlog(mut self, sagas: NonZeroUsize) -> Self {
        self.backlog = Some(sagas);
        self
    }

    /// What people call this instance, for instance the pod's name; it need not be unique. It is in the journal and in
    /// events, never in metrics. Defaults to nothing.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long the journal believes that this instance lives without hearing from it; then others take its sagas over.
    /// Defaults to 15 s. It is renewed every third of it, and effects are begun during the first two thirds after a
    /// renewal: see [`lease`](super::lease).
    ///
    /// Shorter: a killed instance's sagas continue sooner, and a pause of the process or a journal that is away for two
    /// thirds of it stops all effects. The end of a lease should come later than a failover of the journal takes.
    pub const fn lease(mut self, lease: Period) -> Self {
        self.lease = lease;
        self
    }

    /// How long it takes at most until this instance looks for sagas that nobody carries on. Defaults to 1 s. Where the
    /// store gives hints it looks at once for what is new or handed over; the end of a lease gives none.
    pub const fn poll(mut self, poll: Period) -> Self {
        self.poll = poll;
        self
    }

    /// How long sagas of the registered definitions are kept after their end; then they are removed with their results,
    /// a few at a time, and their keys are free again. Running sagas and those that wait for an operator never are.
    /// Defaults to for ever.
    ///
    /// Longer than anybody may come back with the same key: a start after that is a new saga.
    pub const fn retention(mut self, retention: Period) -> Self {
        self.retention = Some(retention);
        self
    }

    /// How often a saga is run that has already been taken over twice without getting further, before it is an incident
    /// of class [`CrashLoop`](super::entry::Class::CrashLoop). Defaults to 5: with the two before, seven processes
    /// died. Fewer would take a saga for deadly that was unlucky while processes were killed in quick succession: with
    /// processes that live for 400 ms the default took one of the first thousands for deadly, and 30 none of 10,000.
    ///
    /// From the second takeover on a saga is suspected. That is written down before it runs, and suspected sagas make
    /// their first attempt one after the other, so that those that ran beside the one that ends the process get further
    /// and are cleared, and only that one runs out of its tries.
    pub const fn crash_limit(mut self, runs: NonZeroU32) -> Self {
        self.crash_limit = runs;
        self
    }

    /// Seals payloads before they are written and opens them after they are read; [`seal`](super::seal) has the whole.
    /// Defaults to none: payloads are plain, and whoever opens the journal reads them.
    pub fn codec(mut self, codec: Arc<dyn PayloadCodec>) -> Self {
        self.codec = Some(codec);
        self
    }

    pub(super) fn probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Joins the journal and begins to carry on what nobody else does: unfinished sagas of the registered definitions
    /// and versions, as room allows. Returns at once, however many there are.
    ///
    /// Any number of engines may share a journal, in one process or in many: `docs/instances.md`. A journal that was
    /// left without [`shutdown`](Sagas::shutdown) still believes in the instance that left until its lease is over; the
    /// sagas of that one continue then. A file that is opened anew forgets the leases it finds.
    ///
    /// # Errors
    ///
    /// [`SagaError::Ambiguous`] when one name and version was registered with two chains;
    /// [`SagaError::OtherJournal`] when a step needs a transaction that the journal does not lend; [`SagaError::Journal`] when
    /// the journal cannot be joined. One saga that cannot be read or continued is no error here: it becomes an
    /// [incident](Sagas::incidents).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves at most a lease without an instance, which ends by itself.
    pub async fn start(self) -> Result<Sagas<App>, SagaError> {
        if let Some((name, version)) = self.ambiguous {
            return Err(SagaError::Ambiguous {
                name: name.into(),
                version,
            });
        }
        let lends = self.journal.transactions();
        let lends = lends.as_ref().map(Transactions::medium);
        for definition in self.definitions.values() {
            if let Some((step, needed)) = definition.misplaced(lends) {
                return Err(SagaError::OtherJournal {
                    definition: definition.shape().name.to_string(),
                    step: step.to_owned(),
                    needed,
                });
            }
        }
        // Each once: those that are registered, and those that are taken over from.
        let editions: BTreeSet<(Arc<str>, u32)> = self
            .definitions
            .keys()
            .map(|(name, version)| (name.as_ref().into(), *version))
            .chain(self.migrations.editions())
            .collect();
        let editions: Vec<(Arc<str>, u32)> = editions.into_iter().collect();
        let engine = Arc::new(Engine::new(
            self.journal,
            self.app,
            (self.definitions, self.migrations),
            self.probe,
            self.codec,
            Bounds {
                room: Room::new(self.in_flight.get(), self.in_flight_of),
                backlog: self.backlog.unwrap_or(self.in_flight).get(),
                crash_limit: self.crash_limit.get(),
            },
        ));
        let mut lease = Lease::new(self.lease);
        lease.asked(rt::now());
        let join = Join::new(self.name.clone(), lease.length());
        lease.joined(engine.journal.join(join).await?);
        engine.stand(lease.standing());
        let sagas = Sagas::of(Arc::clone(&engine));
        engine.serve(keep(Arc::clone(&engine), self.name, lease));
        if let Some(retention) = self.retention {
            let names: BTreeSet<Arc<str>> =
                editions.iter().map(|(name, _)| Arc::clone(name)).collect();
            let names = names.into_iter().collect();
            engine.serve(prune(Arc::clone(&engine), names, retention.get()));
        }
        let names: BTreeSet<Arc<str>> = editions.iter().map(|(name, _)| Arc::clone(name)).collect();
        engine.serve(watch(Arc::clone(&engine), names.into_iter()));
        if !editions.is_empty() {
            engine.serve(take_in(Arc::clone(&engine), editions, self.poll.get()));
        }
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
