//! An engine under construction, and how it takes up what it finds.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::action::Recorded;
use super::definition::{Registered, Saga};
use super::engine::{BusinessKey, Cell, Edition, Engine, Leaving};
use super::error::SagaError;
use super::handle::Phase;
use super::probe::Probe;
use super::sagas::Sagas;
use super::seal::PayloadCodec;
use crate::journal::{Claim, Head, Journal};

/// Claims are taken in pages of this size, so that no transaction of a store grows with the backlog.
const PAGE: usize = 256;

/// An engine under construction: definitions first, then [`start`](Self::start).
#[must_use = "an engine carries nothing on until it is started"]
pub struct SagasBuilder<App> {
    journal: Arc<dyn Journal>,
    app: Arc<App>,
    definitions: HashMap<Edition, Arc<dyn Registered<App>>>,
    ambiguous: Option<Edition>,
    probe: Option<Arc<dyn Probe>>,
    codec: Option<Arc<dyn PayloadCodec>>,
    in_flight: NonZeroUsize,
}

impl<App: Send + Sync + 'static> SagasBuilder<App> {
    pub(super) fn new(journal: Arc<dyn Journal>, app: Arc<App>) -> Self {
        Self {
            journal,
            app,
            definitions: HashMap::new(),
            ambiguous: None,
            probe: None,
            codec: None,
            // 256 is not zero.
            in_flight: NonZeroUsize::MIN.saturating_add(255),
        }
    }

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
            self.codec,
            self.in_flight.get(),
        );
        let engine = Arc::new(engine);
        let sagas = Sagas::of(Arc::clone(&engine));
        let mut found = VecDeque::new();
        let mut claim = Claim::new(kinds, PAGE);
        loop {
            let page = engine.journal.claim(claim.clone()).await?;
            let Some(last) = page.last() else { break };
            claim = claim.after(last.id);
            for head in page {
                let cell = Cell::new(head.digest.clone(), Phase::Running(head.id.into()));
                if engine.enter(&BusinessKey::of(&head), &cell).is_none() {
                    // Made here and not by the task that recovers: one that is cut off before it begins leaves too.
                    let leaving = Leaving::new(
                        Arc::clone(&engine),
                        BusinessKey::of(&head),
                        Arc::clone(&cell),
                    );
                    found.push_back((head, cell, leaving));
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

fn kinds<'a>(editions: impl Iterator<Item = &'a Edition>) -> Vec<(Arc<str>, u32)> {
    editions
        .map(|(name, version)| (name.as_ref().into(), *version))
        .collect()
}

/// Carries the sagas on that a start found, as room becomes free.
async fn recover<App: Send + Sync + 'static>(
    engine: Arc<Engine<App>>,
    // Those that are not reached leave the table and are told so, by the drop of what waits here.
    mut waiting: VecDeque<(Head, Arc<Cell>, Leaving<App>)>,
) {
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
