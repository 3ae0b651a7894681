//! A queue in its journal: each entry is a log, and whose turn it is to replay is one more.

use std::fmt;
use std::sync::Arc;

use super::codec::{Draft, Receipt};
use super::error::QueueError;
use super::fact::{
    Body, FORMAT, Fact, Life, SUSPECTED, Stage, headline, is_suspected, read_headline,
};
use super::lane::{EntryId, Lane};
use super::words::{Found, Waits};
use crate::error::ConfigError;
use crate::journal::{
    Append, Begin, Begun, Claim, Head, InstanceId, Journal, JournalError, Labels, Listing, Log,
    LogId, Prune, Status,
};
use crate::rt;
use crate::saga::seal::{ANSWER_WITHIN, Keyed, PayloadCodec, Seal, SealError};

/// Heads are listed, and logs are claimed, in pages of this size.
const PAGE: usize = 512;

/// The version of the kind.
const VERSION: u32 = 1;

/// Claimed so often since its last record, an entry is a suspect: two owners have died, and a third has it. One death says
/// nothing, since everything that waits is owned by whoever replays.
const SUSPICIOUS: u32 = 3;

pub(super) struct Store {
    pub(super) journal: Arc<dyn Journal>,
    /// Of entries.
    kind: Arc<str>,
    /// Of the log whose owner replays.
    turn: Arc<str>,
    seals: Option<Arc<dyn PayloadCodec>>,
}

/// What a second request under a known key is answered.
pub(super) struct Known {
    pub(super) id: EntryId,
    pub(super) stage: Stage,
    /// As a line counts it, where it is not over.
    pub(super) found: Option<Found>,
}

impl Known {
    fn of(head: &Head) -> Self {
        Self {
            id: head.id.into(),
            stage: stage_of(head),
            found: (head.status != Status::Ended).then(|| found(head, None)),
        }
    }

    /// What its caller is told.
    pub(super) fn receipt(&self, key: String) -> Result<Receipt, QueueError> {
        match self.stage {
            Stage::Dropped => Err(QueueError::Dropped(self.id)),
            stage => Ok(Receipt {
                entry: self.id,
                key,
                stage,
            }),
        }
    }
}

impl Store {
    pub(super) fn new(
        name: &str,
        journal: Arc<dyn Journal>,
        seals: Option<Arc<dyn PayloadCodec>>,
    ) -> Result<Self, ConfigError> {
        let is_name = (1..=100).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        if !is_name {
            let expected = "1 to 100 visible ASCII letters";
            return Err(ConfigError::new(
                "queue.name",
                name.escape_debug(),
                expected,
            ));
        }
        Ok(Self {
            journal,
            kind: format!("queue/{name}").into(),
            turn: format!("queue-turn/{name}").into(),
            seals,
        })
    }

    /// Writes an entry down, or finds the one that has its key. The request is compared by whoever asks.
    pub(super) async fn begin(&self, draft: Draft) -> Result<Result<Found, Known>, QueueError> {
        let mut labels = Labels::new(draft.lane.tenant_name());
        labels.subject.clone_from(&draft.subject);
        if let Some(seals) = &self.seals {
            labels.key_id = answer(seals.choose(&labels)).await?;
        }
        let seal = self.seal_of(&labels).await?;
        let digest = digest(seal.as_deref(), &draft);
        let bound = bound_to(&self.kind, &labels, &draft.lane, draft.key.as_str());
        let bytes = draft.bytes();
        let body = match &seal {
            Some(seal) => Body::sealed(
                &seal
                    .seal(&draft.payload, &bound)
                    .map_err(QueueError::Sealed)?,
            ),
            None => Body::plain(draft.payload.clone()),
        };
        let fact = Fact::Queued {
            lane: draft.lane.as_str().to_owned(),
            body,
        };
        let (labels, at) = (Arc::new(labels), rt::wall());
        let begin = Begin::new(
            labels,
            Arc::clone(&self.kind),
            draft.key.as_str(),
            &digest,
            FORMAT,
            written(&fact)?,
            at,
        );
        let begin =
            begin
                .version(VERSION)
                .stage(headline(Stage::Waiting.as_str(), bytes, &draft.lane));
        match self.journal.begin(begin).await? {
            Begun::Created(head) => Ok(Ok(found(&head, None))),
            Begun::Existing(head) => {
                if head.digest == digest {
                    return Ok(Err(Known::of(&head)));
                }
                self.known_as(&head, &draft).await.map(Err)
            }
        }
    }

    /// Whether an entry that was written under another key of a seal is this request.
    async fn is_of(&self, head: &Head, draft: &Draft) -> Result<bool, QueueError> {
        let seal = self.seal_of(&head.labels).await?;
        Ok(head.digest == digest(seal.as_deref(), draft))
    }

    /// The entry that has the key of this request, if there is one; whether it is this request is compared.
    pub(super) async fn known(&self, draft: &Draft) -> Result<Option<Known>, QueueError> {
        for status in [Status::Running, Status::Held, Status::Ended] {
            let listing = Listing::new(status, 1)
                .kind(Arc::clone(&self.kind))
                .tenant(draft.lane.tenant_name())
                .key(draft.key.as_str());
            if let Some(head) = self.journal.list(listing).await?.first() {
                return self.known_as(head, draft).await.map(Some);
            }
        }
        Ok(None)
    }

    async fn known_as(&self, head: &Head, draft: &Draft) -> Result<Known, QueueError> {
        let id = EntryId::from(head.id);
        if !self.is_of(head, draft).await? {
            return Err(QueueError::OtherRequest(id));
        }
        Ok(Known::of(head))
    }

    async fn seal_of(&self, labels: &Labels) -> Result<Option<Arc<dyn Seal>>, QueueError> {
        match (&self.seals, &labels.key_id) {
            (_, None) => Ok(None),
            (Some(seals), Some(_)) => answer(seals.fetch(labels)).await.map(Some),
            (None, Some(_)) => {
                let error =
                    SealError::refused("it is sealed, and this queue has no codec of seals");
                Err(QueueError::Sealed(error))
            }
        }
    }

    /// What is to be done, in plain.
    pub(super) async fn open(&self, head: &Head, life: &Life) -> Result<Vec<u8>, SealError> {
        let torn = || SealError::refused("its letters are torn");
        let bytes = life.body.bytes().ok_or_else(torn)?;
        let seal = match self.seal_of(&head.labels).await {
            Ok(seal) => seal,
            Err(QueueError::Sealed(error)) => return Err(error),
            Err(other) => return Err(SealError::unavailable(other)),
        };
        match (seal, life.body.is_sealed()) {
            (None, false) => Ok(bytes),
            (Some(seal), true) => {
                let bound = bound_to(&self.kind, &head.labels, &life.lane, &head.key);
                seal.open(&bytes, &bound)
            }
            _ => Err(SealError::refused("it is not sealed as its log says")),
        }
    }

    /// All entries that are not over, in the order in which they were read: of one that is told twice the last word counts.
    /// Poisoned ones are read first and last: one that is retried meanwhile, or becomes poison, is found twice. Missed is
    /// only one that is both within one look, both by another instance; the next look finds it.
    pub(super) async fn all(&self, me: Option<InstanceId>) -> Result<Vec<Found>, JournalError> {
        let mut all = Vec::new();
        for status in [Status::Held, Status::Running, Status::Held] {
            self.list(status, None, &mut all, me).await?;
        }
        Ok(all)
    }

    /// Entries that wait for their turn, after this one.
    pub(super) async fn waiting_after(
        &self,
        after: Option<EntryId>,
        me: Option<InstanceId>,
    ) -> Result<Vec<Found>, JournalError> {
        let mut all = Vec::new();
        self.list(Status::Running, after, &mut all, me).await?;
        Ok(all)
    }

    async fn list(
        &self,
        status: Status,
        mut after: Option<EntryId>,
        all: &mut Vec<Found>,
        me: Option<InstanceId>,
    ) -> Result<(), JournalError> {
        loop {
            let mut listing = Listing::new(status, PAGE).kind(Arc::clone(&self.kind));
            listing.after = after.map(LogId::from);
            let page = self.journal.list(listing).await?;
            all.extend(page.iter().map(|head| found(head, me)));
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.id.into()),
                _ => return Ok(()),
            }
        }
    }

    /// Heads of poisoned entries, oldest first.
    pub(super) async fn poisoned(&self, limit: usize) -> Result<Vec<Head>, JournalError> {
        let listing = Listing::new(Status::Held, limit).kind(Arc::clone(&self.kind));
        self.journal.list(listing).await
    }

    /// Owns entries that nobody does; a page of them.
    pub(super) async fn claim(&self, me: InstanceId) -> Result<(Vec<Found>, bool), JournalError> {
        let claim = Claim::new(vec![(Arc::clone(&self.kind), VERSION)], PAGE).owner(me);
        let heads = self.journal.claim(claim).await?;
        let full = heads.len() == PAGE;
        let found = heads.iter().map(|head| found(head, Some(me)));
        Ok((found.collect(), full))
    }

    /// Takes the turn to replay, if nobody has it. Its token.
    pub(super) async fn take_turn(&self, me: InstanceId) -> Result<Option<u64>, JournalError> {
        let labels = Arc::new(Labels::default());
        let turn = Arc::clone(&self.turn);
        let begin = Begin::new(labels, turn, "turn", "", FORMAT, "{}", rt::wall());
        let begun = self.journal.begin(begin.version(VERSION)).await?;
        let (Begun::Created(head) | Begun::Existing(head)) = begun;
        if head.owner == Some(me) {
            // It was claimed, and the answer was lost: no claim hands it out again while this lease lasts.
            return Ok(Some(head.place.epoch.get()));
        }
        let claim = Claim::new(vec![(Arc::clone(&self.turn), VERSION)], 1).owner(me);
        let heads = self.journal.claim(claim).await?;
        Ok(heads.first().map(|head| head.place.epoch.get()))
    }

    /// Adds a fact to an entry, at the place where its log was read. One that goes on waiting is a suspect from then on, or
    /// is not.
    pub(super) async fn record(
        &self,
        head: &Head,
        fact: &Fact,
        suspect: bool,
    ) -> Result<(), QueueError> {
        let (bytes, lane) = line_of(head);
        let (status, stage) = match fact {
            Fact::Applied { .. } => (Status::Ended, Stage::Applied),
            Fact::Dropped { .. } => (Status::Ended, Stage::Dropped),
            Fact::Poisoned { .. } => (Status::Held, Stage::Poisoned),
            Fact::Queued { .. }
            | Fact::Retried { .. }
            | Fact::Suspected { .. }
            | Fact::Survived { .. } => (Status::Running, Stage::Waiting),
        };
        let word = match stage {
            Stage::Waiting if suspect => SUSPECTED,
            _ => stage.as_str(),
        };
        let headline = match status {
            Status::Ended => word.to_owned(),
            Status::Running | Status::Held => headline(word, bytes, &lane),
        };
        let labels = Arc::clone(&head.labels);
        let body = written(fact)?;
        let append = Append::new(
            head.id,
            head.place,
            status,
            labels,
            FORMAT,
            body,
            rt::wall(),
        );
        self.journal.append(append.stage(headline)).await?;
        Ok(())
    }

    /// A log of this queue.
    pub(super) async fn load(&self, id: EntryId) -> Result<Log, QueueError> {
        let log = match self.journal.load(id.into()).await {
            Err(JournalError::Missing(_)) => return Err(QueueError::Missing(id)),
            log => log?,
        };
        if log.head.kind == self.kind {
            Ok(log)
        } else {
            Err(QueueError::Missing(id))
        }
    }

    /// Forgets what ended longer ago than this, a little at a time. Whether there may be more.
    pub(super) async fn prune(&self, keep: std::time::Duration) -> Result<bool, JournalError> {
        let prune = Prune::new(keep, PAGE).kind(Arc::clone(&self.kind));
        Ok(self.journal.prune(prune).await? == PAGE)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("kind", &self.kind)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

impl From<LogId> for EntryId {
    fn from(log: LogId) -> Self {
        Self::new(log.get())
    }
}

impl From<EntryId> for LogId {
    fn from(entry: EntryId) -> Self {
        Self::new(entry.get())
    }
}

/// An entry by its head, as seen by this instance.
fn found(head: &Head, me: Option<InstanceId>) -> Found {
    let (bytes, lane) = line_of(head);
    let waits = match head.status {
        Status::Held => Waits::Operator,
        Status::Running | Status::Ended => Waits::Turn,
    };
    Found::new(head.id.into(), lane, bytes, head.begun)
        .waits(waits)
        .owned(me.is_some() && head.owner == me)
        .suspect(head.recoveries >= SUSPICIOUS || is_suspected(&head.stage))
}

/// Bytes and lane of an entry. One whose head was written by something else has a lane of its own: it becomes an incident
/// when it is replayed, and stops nobody.
pub(super) fn line_of(head: &Head) -> (u64, Lane) {
    let tenant = &head.labels.tenant;
    let own = || (0, Lane::new(format!("entry {}", head.id)).tenant(tenant));
    read_headline(&head.stage, tenant).unwrap_or_else(own)
}

fn stage_of(head: &Head) -> Stage {
    match head.status {
        Status::Running => Stage::Waiting,
        Status::Held => Stage::Poisoned,
        Status::Ended if &*head.stage == Stage::Dropped.as_str() => Stage::Dropped,
        Status::Ended => Stage::Applied,
    }
}

fn written(fact: &Fact) -> Result<String, QueueError> {
    // Text in an enum: there is nothing in it that JSON cannot say.
    serde_json::to_string(fact).map_err(|error| JournalError::backend(error).into())
}

fn digest(seal: Option<&dyn Seal>, draft: &Draft) -> String {
    let plain = draft.digest().hex(32);
    let Some(seal) = seal else { return plain };
    let digest = seal.digest(plain.as_bytes());
    let hex = digest.iter().map(|byte| format!("{byte:02x}"));
    format!("sealed:{}", hex.collect::<String>())
}

/// What a sealed payload is bound to: moved to another entry it does not open.
fn bound_to(kind: &str, labels: &Labels, lane: &Lane, key: &str) -> Vec<u8> {
    let subject = labels.subject.as_deref();
    let fields = [
        "mainstay queue 1",
        kind,
        &labels.tenant,
        if subject.is_some() { "subject" } else { "" },
        subject.unwrap_or_default(),
        labels.key_id.as_deref().unwrap_or_default(),
        lane.as_str(),
        key,
    ];
    let mut bound = Vec::new();
    for field in fields {
        bound.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bound.extend_from_slice(field.as_bytes());
    }
    bound
}

async fn answer<T>(keyed: Keyed<'_, T>) -> Result<T, QueueError> {
    tokio::select! {
        biased;
        answer = keyed => answer.map_err(QueueError::Sealed),
        () = rt::sleep(ANSWER_WITHIN) => {
            Err(QueueError::Sealed(SealError::unavailable("it did not answer in time")))
        }
    }
}

/// Of an operator's words, as much as belongs into a record.
pub(super) fn cut(words: &str) -> String {
    words.chars().take(1_000).collect()
}
