//! What a journal keeps: logs, their heads and their records.

use std::fmt;
use std::sync::Arc;

use super::request::Begin;
use crate::time::Timestamp;

/// Names one log within its journal. Ids grow in the order in which logs are begun and are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(u64);

impl LogId {
    /// The log with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Names one of several programs that write to the same journal, from its [`join`](super::Journal::join) to its end.
/// Numbers grow and are never used twice: a program that was taken for dead comes back under another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(u64);

impl InstanceId {
    /// The instance with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The number of a writer's turn. Each claim of a log raises it, and an append of an earlier epoch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch in which every log begins.
    pub const FIRST: Self = Self(1);

    /// The epoch with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, the fencing token that effects carry.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The epoch that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Where a log ends and whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Whose turn.
    pub epoch: Epoch,
    /// How many records the log has.
    pub records: u64,
}

impl Place {
    /// The place after `records` records in `epoch`.
    #[must_use]
    pub const fn new(epoch: Epoch, records: u64) -> Self {
        Self { epoch, records }
    }

    /// The place after one more record in the same epoch.
    #[must_use]
    pub const fn after(self) -> Self {
        Self {
            epoch: self.epoch,
            records: self.records.saturating_add(1),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of epoch {}", self.records, self.epoch)
    }
}

/// Whom the payloads of a log are about, and under which key they are sealed.
///
/// Every record carries these from the first version on, so that payloads can be encrypted per subject and erased by
/// forgetting a key, without rewriting a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Labels {
    /// The tenant whose work this is; empty where there is only one.
    pub tenant: String,
    /// The person or company whose data the payloads hold.
    pub subject: Option<String>,
    /// The key under which the payloads are encrypted; `None` while they are plain.
    pub key_id: Option<String>,
}

impl Labels {
    /// Labels of a tenant's work about nobody in particular.
    #[must_use]
    pub fn new(tenant: impl Into<String>) -> Self {
        Self {
            tenant: tenant.into(),
            subject: None,
            key_id: None,
        }
    }

    /// Whose data the payloads hold.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Under which key the payloads are encrypted.
    #[must_use]
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }
}

/// What a log is waiting for, for those who list logs without reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Somebody must carry it on.
    Running,
    /// It waits for an operator.
    Held,
    /// Nothing will be added.
    Ended,
}

impl Status {
    /// The word that stores write.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Held => "held",
            Self::Ended => "ended",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "running" => Some(Self::Running),
            "held" => Some(Self::Held),
            "ended" => Some(Self::Ended),
            _ => None,
        }
    }
}

/// What is known of a log without reading its records.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The log.
    pub id: LogId,
    /// The labels with which it began.
    pub labels: Arc<Labels>,
    /// What kind of work.
    pub kind: Arc<str>,
    /// The version of that kind with which it goes on: the one with which it began, until a record
    /// [says another](super::Append::version).
    pub version: u32,
    /// The business key.
    pub key: String,
    /// The digest with which it began.
    pub digest: String,
    /// What it waits for.
    pub status: Status,
    /// What it is at, in its writer's words, for those who list logs.
    pub stage: Arc<str>,
    /// Where it ends and whose turn it is.
    pub place: Place,
    /// Who carries it on. Nobody while it is held, parked or ended.
    pub owner: Option<InstanceId>,
    /// How often it was claimed.
    pub claims: u64,
    /// How often it was claimed since its last record, without those claims that were given back: how many owners died
    /// over it, the present one included.
    pub recoveries: u32,
    /// How many messages were posted to it, and how many of them its records have read.
    pub mail: Postbox,
    /// When it began.
    pub begun: Timestamp,
    /// When its last record was written.
    pub updated: Timestamp,
}

/// How many messages a log has got and read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Postbox {
    /// Messages posted.
    pub posted: u64,
    /// Messages that a record has read.
    pub read: u64,
}

impl Postbox {
    /// So many posted, so many of them read.
    #[must_use]
    pub const fn new(posted: u64, read: u64) -> Self {
        Self { posted, read }
    }

    /// Whether there is something to read.
    #[must_use]
    pub const fn has_unread(self) -> bool {
        self.posted > self.read
    }
}

impl Head {
    /// The head of a log that has its first record.
    #[must_use]
    pub fn of(id: LogId, begin: &Begin) -> Self {
        Self {
            id,
            labels: Arc::clone(&begin.labels),
            kind: Arc::clone(&begin.kind),
            version: begin.version,
            key: begin.key.clone(),
            digest: begin.digest.clone(),
            status: Status::Running,
            stage: Arc::clone(&begin.stage),
            place: Place::new(Epoch::FIRST, 1),
            owner: begin.owner,
            claims: 0,
            recoveries: 0,
            mail: Postbox::default(),
            begun: begin.at,
            updated: begin.at,
        }
    }
}

/// One record as it was written.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Its place in the log, the first is 1.
    pub seq: u64,
    /// The epoch of its writer.
    pub epoch: Epoch,
    /// The labels of its payloads.
    pub labels: Labels,
    /// When it was written, by the writer's wall clock.
    pub at: Timestamp,
    /// The version of its format.
    pub format: u16,
    /// The record.
    pub body: String,
}

impl Record {
    /// A record; every argument is the field of that name.
    #[must_use]
    pub const fn new(
        seq: u64,
        epoch: Epoch,
        labels: Labels,
        format: u16,
        body: String,
        at: Timestamp,
    ) -> Self {
        Self {
            seq,
            epoch,
            labels,
            at,
            format,
            body,
        }
    }
}

/// Everything but what it says.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("seq", &self.seq)
            .field("epoch", &self.epoch)
            .field("labels", &self.labels)
            .field("at", &self.at)
            .field("format", &self.format)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// A message to whoever carries a log on: a wish to cancel, a signal.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mail {
    /// Its place among the messages of its log, the first is 1.
    pub number: u64,
    /// What makes a second posting of the same message the same message.
    pub dedup: String,
    /// When it was posted, by the sender's wall clock.
    pub at: Timestamp,
    /// The version of its format.
    pub format: u16,
    /// The message.
    pub body: String,
}

impl Mail {
    /// A message; every argument is the field of that name.
    #[must_use]
    pub const fn new(number: u64, dedup: String, format: u16, body: String, at: Timestamp) -> Self {
        Self {
            number,
            dedup,
            at,
            format,
            body,
        }
    }
}

/// Everything but what it says.
impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("number", &self.number)
            .field("dedup", &self.dedup)
            .field("at", &self.at)
            .field("format", &self.format)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// A whole log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// Its head.
    pub head: Head,
    /// Its records in order, without a gap.
    pub records: Vec<Record>,
    /// Its messages that no record has read, in order.
    pub mail: Vec<Mail>,
}

impl Log {
    /// Puts a log together and checks that no record and no unread message is missing from it.
    ///
    /// # Errors
    ///
    /// [`JournalError::Damaged`](super::JournalError::Damaged) where the records do not count 1, 2, 3 up to the
    /// number that the head knows, or the messages from the first unread one: a log that was read in part must not be
    /// taken for the whole.
    pub fn checked(
        head: Head,
        records: Vec<Record>,
        mail: Vec<Mail>,
    ) -> Result<Self, super::JournalError> {
        let mut expected = 1_u64;
        for record in &records {
            if record.seq != expected {
                let reason = format!("record {expected} is missing, {} follows", record.seq);
                return Err(super::JournalError::damaged(head.id, reason));
            }
            expected = expected.saturating_add(1);
        }
        let found = expected.saturating_sub(1);
        if found != head.place.records {
            let reason = format!("{found} records of {} are there", head.place.records);
            return Err(super::JournalError::damaged(head.id, reason));
        }
        let unread = head.mail.read.saturating_add(1)..=head.mail.posted;
        if !mail.iter().map(|mail| mail.number).eq(unread) {
            let reason = "a message that nobody has read is missing";
            return Err(super::JournalError::damaged(head.id, reason));
        }
        Ok(Self {
            head,
            records,
            mail,
        })
    }
}
