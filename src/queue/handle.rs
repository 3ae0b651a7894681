//! The queue in a program's hands.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

use super::codec::{Draft, Receipt};
use super::config::QueueConfig;
use super::error::QueueError;
use super::fact::{Fact, Life, Stage};
use super::lane::{EntryId, Lane};
use super::machine::Line;
use super::store::{Store, cut, line_of};
use super::verdict::Poison;
use super::words::Full;
use crate::error::{LayerKind, Reason, Rejected};
use crate::journal::{InstanceId, Journal, JournalError};
use crate::num::Period;
use crate::observe::{self, QueueTold, Rejections};
use crate::order::Order;
use crate::rng::Rng;
use crate::rt;
use crate::saga::seal::PayloadCodec;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::time::Timestamp;

/// A durable queue. Clones are the same one.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use mainstay::journal::memory::MemoryJournal;
/// use mainstay::queue::{Draft, Lane, Queue, QueueConfig, Stage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let journal = Arc::new(MemoryJournal::new()); // a file or a database, where it matters
/// let queue = Queue::open("ledger", journal, QueueConfig::new()).await?;
/// let draft = Draft::new("order-17", Lane::new("account-7"), b"100".to_vec())?;
/// let receipt = queue.enqueue(draft.clone()).await?;
/// assert_eq!(receipt.stage, Stage::Waiting);
///
/// assert_eq!(queue.enqueue(draft).await?.entry, receipt.entry, "the same request is the same entry");
/// assert_eq!(queue.status().depth, 1);
/// assert!(queue.must_wait(&Lane::new("account-7")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Queue(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) name: observe::Name,
    pub(super) store: Store,
    pub(super) config: QueueConfig,
    line: Mutex<Line>,
    /// What the line says of its depth, for those who only want to know whether it is zero.
    depth: AtomicU64,
    rng: Mutex<Rng>,
    /// Tells this opening from others in the records of suspects.
    pub(super) me: u64,
    /// Something was queued here, or decided by an operator.
    pub(super) wake: Notify,
    /// Held by the drain of this instance.
    pub(super) draining: tokio::sync::Mutex<()>,
    pub(super) told: QueueTold,
    rejections: &'static Rejections,
}

/// What a queue holds, as this instance knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// How many entries are counted against the bound: waiting, under way, poisoned, being written down.
    pub depth: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many of them wait for an operator.
    pub poisoned: usize,
    /// How many are being replayed by this instance.
    pub under_way: u32,
    /// When the oldest was queued.
    pub oldest: Option<Timestamp>,
}

/// A poisoned entry.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incident {
    /// Which entry.
    pub entry: EntryId,
    /// The lane that it stops.
    pub lane: Lane,
    /// Its idempotency key.
    pub key: String,
    /// Why; `None` where its record does not read.
    pub why: Option<Poison>,
    /// When it was queued.
    pub queued: Timestamp,
    /// Since when it is poison.
    pub since: Timestamp,
}

/// Not its names.
impl fmt::Debug for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incident")
            .field("entry", &self.entry)
            .field("why", &self.why)
            .field("queued", &self.queued)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// Opens a queue in a journal, and reads what waits there. The journal should not be in the database whose absence is
    /// what the queue is for. It may hold sagas and other queues as well; then the ages that an engine of sagas tells are
    /// those of the logs that began first, and a long queue in front of them hides some.
    ///
    /// # Errors
    ///
    /// If the name is not 1 to 100 visible ASCII letters, or the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn open(
        name: &str,
        journal: Arc<dyn Journal>,
        config: QueueConfig,
    ) -> Result<Self, QueueError> {
        Self::opened(name, journal, config, None).await
    }

    /// The same, with payloads that only the holder of a key can read: see [`seal`](crate::saga::seal). Keys, lanes and
    /// tenants stay readable. An entry whose key is gone becomes poison; one whose key cannot be had now waits.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn open_sealed(
        name: &str,
        journal: Arc<dyn Journal>,
        config: QueueConfig,
        seals: Arc<dyn PayloadCodec>,
    ) -> Result<Self, QueueError> {
        Self::opened(name, journal, config, Some(seals)).await
    }

    async fn opened(
        name: &str,
        journal: Arc<dyn Journal>,
        config: QueueConfig,
        seals: Option<Arc<dyn PayloadCodec>>,
    ) -> Result<Self, QueueError> {
        let store = Store::new(name, journal, seals)?;
        let name: observe::Name = name.into();
        let queue = Self(Arc::new(Shared {
            rejections: Rejections::of(LayerKind::Gate, &name),
            told: QueueTold::new(Arc::clone(&name)),
            name,
            store,
            config,
            line: Mutex::new(Line::new(config)),
            depth: AtomicU64::new(0),
            rng: Mutex::new(Rng::new(rt::entropy())),
            me: rt::entropy(),
            wake: Notify::new(),
            draining: tokio::sync::Mutex::new(()),
        }));
        queue.0.look(None).await?;
        queue.0.tell();
        Ok(queue)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &QueueConfig {
        &self.0.config
    }

    /// Writes an entry down. Once this returns it survives whatever the store does.
    ///
    /// A key that is known, with the same request, is the same entry: nothing is written, and the receipt says how far it
    /// has come, also where there is no room for another.
    ///
    /// # Errors
    ///
    /// If there is no room, the request is too long, the key is that of another request or of an entry that was dropped,
    /// or the store or the codec of seals fails. After a failure of the store the entry may be there all the same; the
    /// same call again tells.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the entry there or not there; the same call again tells. Room stays taken until this
    /// instance has looked.
    pub async fn enqueue(&self, draft: Draft) -> Result<Receipt, QueueError> {
        let shared = &self.0;
        let bytes = draft.bytes();
        let key = draft.key.as_str().to_owned();
        if let Err(full) = shared.with(|line| line.reserve(bytes)) {
            // Whoever lost its receipt is not told that there is no room for what is there.
            let known = match full {
                Full::Entry => None,
                Full::Entries | Full::Bytes => shared.store.known(&draft).await?,
            };
            return known.map_or_else(|| Err(full.into()), |known| known.receipt(key));
        }
        let mut room = Room {
            shared,
            bytes: Some(bytes),
        };
        let begun = shared.store.begin(draft).await;
        match begun {
            Ok(Ok(found)) => {
                let id = found.id;
                room.settle(|line, bytes| line.queued(bytes, found));
                shared.told.queued();
                shared.tell();
                shared.wake.notify_one();
                let (entry, stage) = (id, Stage::Waiting);
                Ok(Receipt { entry, key, stage })
            }
            Ok(Err(known)) => {
                room.settle(|line, bytes| match &known.found {
                    Some(found) => line.queued(bytes, found.clone()),
                    None => line.released(bytes),
                });
                known.receipt(key)
            }
            // It may be written all the same, and is counted until a look says so.
            Err(QueueError::Store(error)) if error.is_transient() => Err(error.into()),
            Err(error) => {
                room.settle(|line, bytes| line.released(bytes));
                Err(error)
            }
        }
    }

    /// Whether a new write of this lane must go behind an entry that waits here. One atomic load where nothing waits.
    ///
    /// What this instance has queued it knows at once; what another one has, after [`QueueConfig::look`] at most.
    #[must_use]
    #[inline]
    pub fn must_wait(&self, lane: &Lane) -> bool {
        !self.is_idle() && lock(&self.0.line).must_wait(lane)
    }

    /// Whether nothing waits, as far as this instance knows: one atomic load.
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.0.depth.load(Ordering::Acquire) == 0
    }

    /// What it holds.
    #[must_use]
    pub fn status(&self) -> QueueStatus {
        self.0.status()
    }

    /// Poisoned entries, the oldest first.
    ///
    /// # Errors
    ///
    /// If the store fails.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn poisoned(&self, limit: usize) -> Result<Vec<Incident>, QueueError> {
        let heads = self.0.store.poisoned(limit).await?;
        let mut incidents = Vec::with_capacity(heads.len());
        for head in heads {
            let entry = EntryId::from(head.id);
            let why = match self.0.store.load(entry).await {
                Ok(log) => Life::read(&log).ok().and_then(|life| life.poison()),
                Err(QueueError::Store(JournalError::Damaged { .. })) => None,
                // Somebody decided meanwhile, and it was forgotten.
                Err(QueueError::Missing(_)) => continue,
                Err(error) => return Err(error),
            };
            incidents.push(Incident {
                entry,
                lane: line_of(&head).1,
                why,
                queued: head.begun,
                since: head.updated,
                key: head.key,
            });
        }
        Ok(incidents)
    }

    /// The life of an entry, as far as it is remembered.
    ///
    /// # Errors
    ///
    /// If it is not there or does not read, or the store fails.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn life(&self, entry: EntryId) -> Result<Life, QueueError> {
        let log = self.0.store.load(entry).await?;
        Life::read(&log).map_err(|why| QueueError::Unreadable(entry, why.into()))
    }

    /// Has a poisoned entry tried again, with all its attempts. Who and why stands in its record and in an event.
    ///
    /// # Errors
    ///
    /// If it is not poisoned, or the store fails.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it done or not done; [`life`](Self::life) tells.
    pub async fn retry(&self, entry: EntryId, order: &Order) -> Result<(), QueueError> {
        let fact = Fact::Retried {
            actor: cut(order.actor()),
            reason: cut(order.reason()),
        };
        self.decide(entry, &fact, order).await?;
        self.0.with(|line| line.retried(entry));
        self.0.wake.notify_one();
        Ok(())
    }

    /// Gives a poisoned entry up: it will not be applied, and its lane goes on. Who and why stands in its record and in an
    /// event, and whoever comes with its key again is told that it was dropped.
    ///
    /// # Errors
    ///
    /// If it is not poisoned, or the store fails.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it done or not done; [`life`](Self::life) tells.
    pub async fn discard(&self, entry: EntryId, order: &Order) -> Result<(), QueueError> {
        let fact = Fact::Dropped {
            actor: cut(order.actor()),
            reason: cut(order.reason()),
        };
        self.decide(entry, &fact, order).await?;
        self.0.with(|line| line.gone(entry));
        self.0.wake.notify_one();
        Ok(())
    }

    async fn decide(&self, entry: EntryId, fact: &Fact, order: &Order) -> Result<(), QueueError> {
        let log = self.0.store.load(entry).await?;
        if log.head.status != crate::journal::Status::Held {
            return Err(QueueError::NotPoisoned(entry));
        }
        // One that was deadly is not let loose beside others.
        let was_deadly = Life::read(&log).is_ok_and(|life| life.poison() == Some(Poison::Deadly));
        match self.0.store.record(&log.head, fact, was_deadly).await {
            Err(QueueError::Store(JournalError::Conflict { .. })) => {
                return Err(QueueError::NotPoisoned(entry));
            }
            recorded => recorded?,
        }
        self.0.told.decided(entry, fact, order);
        self.0.tell();
        Ok(())
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("name", &self.0.name)
            .field("line", &*lock(&self.0.line))
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// One look at the line, or one change of it.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        let mut line = lock(&self.line);
        let answer = change(&mut line);
        self.depth.store(line.depth(), Ordering::Release);
        answer
    }

    /// A change of the line that draws from chance.
    pub(super) fn with_chance<T>(&self, change: impl FnOnce(&mut Line, &mut Rng) -> T) -> T {
        let mut rng = lock(&self.rng).fork();
        self.with(|line| change(line, &mut rng))
    }

    /// Reads what waits, whoever queued it. `me`: whose entries are this instance's own.
    pub(super) async fn look(&self, me: Option<InstanceId>) -> Result<(), JournalError> {
        let look = self.with(Line::look);
        let found = self.store.all(me).await?;
        self.with(|line| line.looked(look, found));
        Ok(())
    }

    pub(super) fn status(&self) -> QueueStatus {
        let line = lock(&self.line);
        QueueStatus {
            depth: line.depth(),
            bytes: line.bytes(),
            poisoned: line.poison(),
            under_way: line.under_way(),
            oldest: line.oldest(),
        }
    }

    /// Tells those who watch.
    pub(super) fn tell(&self) {
        self.told.holds(&self.status(), rt::wall());
    }

    /// A refusal by this queue, counted.
    pub(super) fn reject(&self, reason: Reason, after: Period) -> Rejected {
        let rejected = Rejected::new(LayerKind::Gate, reason).retry_after(after.get());
        self.rejections.note(&rejected);
        rejected
    }
}

/// Room that an entry takes while it is written down. Dropped before that is decided, only a look can tell.
struct Room<'s> {
    shared: &'s Shared,
    bytes: Option<u64>,
}

impl Room<'_> {
    fn settle(&mut self, settle: impl FnOnce(&mut Line, u64)) {
        if let Some(bytes) = self.bytes.take() {
            self.shared.with(|line| settle(line, bytes));
        }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.bytes.is_some() {
            self.settle(Line::lost);
            self.shared.wake.notify_one();
        }
    }
}
