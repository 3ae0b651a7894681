//! What a journal is asked to do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::log::{Head, InstanceId, Labels, LogId, Place, Status};
use crate::time::Timestamp;

/// Asks for a log under a business key, with its first record.
#[derive(Clone)]
#[non_exhaustive]
pub struct Begin {
    /// Tenant, subject and key id of every record of this log.
    pub labels: Arc<Labels>,
    /// What kind of work: the definition's name.
    pub kind: Arc<str>,
    /// The version of that kind. Defaults to 1.
    pub version: u32,
    /// What it is at, for those who list logs. Defaults to nothing.
    pub stage: Arc<str>,
    /// Who carries it on. Defaults to nobody, so that whoever claims next does.
    pub owner: Option<InstanceId>,
    /// The business key, unique per (tenant, kind).
    pub key: String,
    /// A digest of what the work is to be done on, so that a second start with something else is noticed.
    pub digest: String,
    /// When.
    pub at: Timestamp,
    /// The version of the record format.
    pub format: u16,
    /// The first record.
    pub body: String,
}

impl Begin {
    /// Asks for a log; every argument is the field of that name.
    pub fn new(
        labels: Arc<Labels>,
        kind: impl Into<Arc<str>>,
        key: impl Into<String>,
        digest: impl Into<String>,
        format: u16,
        body: impl Into<String>,
        at: Timestamp,
    ) -> Self {
        Self {
            labels,
            kind: kind.into(),
            version: 1,
            stage: "".into(),
            owner: None,
            key: key.into(),
            digest: digest.into(),
            at,
            format,
            body: body.into(),
        }
    }

    /// The version of its kind.
    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// What it is at.
    #[must_use]
    pub fn stage(mut self, stage: impl Into<Arc<str>>) -> Self {
        self.stage = stage.into();
        self
    }

    /// Who carries it on.
    #[must_use]
    pub const fn owner(mut self, owner: InstanceId) -> Self {
        self.owner = Some(owner);
        self
    }
}

/// Everything but what it says.
impl fmt::Debug for Begin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begin")
            .field("labels", &self.labels)
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("stage", &self.stage)
            .field("owner", &self.owner)
            .field("key", &self.key)
            .field("digest", &self.digest)
            .field("at", &self.at)
            .field("format", &self.format)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// The answer to [`Begin`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Begun {
    /// The log is new, and its first record is durable.
    Created(Head),
    /// The key was taken; nothing was written. The caller compares the digests.
    Existing(Head),
}

/// Adds a record to a log whose end the writer knows.
#[derive(Clone)]
#[non_exhaustive]
pub struct Append {
    /// The log.
    pub id: LogId,
    /// Where the log must end for this record to follow.
    pub expect: Place,
    /// What the log is after this record. One that is held or ended has no owner.
    pub status: Status,
    /// What it is at after this record; `None` leaves it.
    pub stage: Option<Arc<str>>,
    /// Nobody carries the log on for so long, by the store's clock; then whoever claims it first. `None`: its owner goes
    /// on.
    pub park: Option<Duration>,
    /// So many messages have been read, this record included; `None` leaves the count.
    pub read: Option<u64>,
    /// Which version of its kind goes on after this record; `None` leaves it.
    pub version: Option<u32>,
    /// The labels of the record.
    pub labels: Arc<Labels>,
    /// When.
    pub at: Timestamp,
    /// The version of the record format.
    pub format: u16,
    /// The record.
    pub body: String,
}

impl Append {
    /// Adds a record; every argument is the field of that name.
    pub fn new(
        id: LogId,
        expect: Place,
        status: Status,
        labels: Arc<Labels>,
        format: u16,
        body: impl Into<String>,
        at: Timestamp,
    ) -> Self {
        Self {
            id,
            expect,
            status,
            stage: None,
            park: None,
            read: None,
            version: None,
            labels,
            at,
            format,
            body: body.into(),
        }
    }

    /// What the log is at after this record.
    #[must_use]
    pub fn stage(mut self, stage: impl Into<Arc<str>>) -> Self {
        self.stage = Some(stage.into());
        self
    }

    /// Nobody carries the log on for so long.
    #[must_use]
    pub const fn park(mut self, delay: Duration) -> Self {
        self.park = Some(delay);
        self
    }

    /// So many messages have been read, this record included.
    #[must_use]
    pub const fn read(mut self, messages: u64) -> Self {
        self.read = Some(messages);
        self
    }

    /// From this record on the log is of this version of its kind: claims of another leave it alone.
    #[must_use]
    pub const fn version(mut self, version: u32) -> Self {
        self.version = Some(version);
        self
    }
}

/// Everything but what it says.
impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("id", &self.id)
            .field("expect", &self.expect)
            .field("status", &self.status)
            .field("stage", &self.stage)
            .field("park", &self.park)
            .field("read", &self.read)
            .field("version", &self.version)
            .field("labels", &self.labels)
            .field("at", &self.at)
            .field("format", &self.format)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// Takes over logs that nobody carries on: running, not parked, and without an owner or with one whose lease is over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claim {
    /// The kinds that the caller can carry on, each with a version; others are left alone.
    pub kinds: Vec<(Arc<str>, u32)>,
    /// Who carries them on from now on. Defaults to nobody in particular: then whoever claims next takes them over.
    pub owner: Option<InstanceId>,
    /// Tenants of whose logs none is wanted now: the caller has enough of theirs.
    pub except: Vec<String>,
    /// Only logs after this one.
    pub after: Option<LogId>,
    /// At most so many.
    pub limit: usize,
}

impl Claim {
    /// Takes over at most `limit` logs of these kinds, oldest first.
    #[must_use]
    pub const fn new(kinds: Vec<(Arc<str>, u32)>, limit: usize) -> Self {
        Self {
            kinds,
            owner: None,
            except: Vec::new(),
            after: None,
            limit,
        }
    }

    /// For this instance.
    #[must_use]
    pub const fn owner(mut self, owner: InstanceId) -> Self {
        self.owner = Some(owner);
        self
    }

    /// None of these tenants'.
    #[must_use]
    pub fn except(mut self, tenants: Vec<String>) -> Self {
        self.except = tenants;
        self
    }

    /// Only logs after `id`.
    #[must_use]
    pub const fn after(mut self, id: LogId) -> Self {
        self.after = Some(id);
        self
    }
}

/// Lists heads without taking them over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listing {
    /// Only logs in this status.
    pub status: Status,
    /// Only logs of this kind.
    pub kind: Option<Arc<str>>,
    /// Only this tenant's.
    pub tenant: Option<String>,
    /// Only logs with this business key.
    pub key: Option<String>,
    /// Only logs that are at this.
    pub stage: Option<Arc<str>>,
    /// Only logs that began before this.
    pub begun_before: Option<Timestamp>,
    /// Only logs whose last record was written before this.
    pub updated_before: Option<Timestamp>,
    /// Only logs after this one.
    pub after: Option<LogId>,
    /// At most so many.
    pub limit: usize,
}

impl Listing {
    /// At most `limit` logs in `status`, oldest first.
    #[must_use]
    pub const fn new(status: Status, limit: usize) -> Self {
        Self {
            status,
            kind: None,
            tenant: None,
            key: None,
            stage: None,
            begun_before: None,
            updated_before: None,
            after: None,
            limit,
        }
    }

    /// Only logs of this kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<Arc<str>>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Only this tenant's.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Only logs with this business key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only logs that are at this.
    #[must_use]
    pub fn stage(mut self, stage: impl Into<Arc<str>>) -> Self {
        self.stage = Some(stage.into());
        self
    }

    /// Only logs that began before this.
    #[must_use]
    pub const fn begun_before(mut self, at: Timestamp) -> Self {
        self.begun_before = Some(at);
        self
    }

    /// Only logs whose last record was written before this: those that have not moved since.
    #[must_use]
    pub const fn updated_before(mut self, at: Timestamp) -> Self {
        self.updated_before = Some(at);
        self
    }

    /// Only logs after `id`.
    #[must_use]
    pub const fn after(mut self, id: LogId) -> Self {
        self.after = Some(id);
        self
    }
}

/// Begins a lease: from now on there is one more instance that may own logs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Join {
    /// What people call it, for instance a pod's name. Need not be unique.
    pub name: String,
    /// How long it is believed to live without a word, by the store's clock.
    pub lease: Duration,
}

impl Join {
    /// Every argument is the field of that name.
    #[must_use]
    pub fn new(name: impl Into<String>, lease: Duration) -> Self {
        Self {
            name: name.into(),
            lease,
        }
    }
}

/// Says that an instance is alive.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Beat {
    /// Which one.
    pub instance: InstanceId,
    /// How long it is believed to live from now on, by the store's clock.
    pub lease: Duration,
    /// At most so many logs with mail are named in the answer.
    pub limit: usize,
}

impl Beat {
    /// Every argument is the field of that name.
    #[must_use]
    pub const fn new(instance: InstanceId, lease: Duration, limit: usize) -> Self {
        Self {
            instance,
            lease,
            limit,
        }
    }
}

/// The answer to [`Beat`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pulse {
    /// Logs of this instance with messages that no record has read, oldest first.
    pub mail: Vec<LogId>,
}

impl Pulse {
    /// These logs have mail.
    #[must_use]
    pub const fn new(mail: Vec<LogId>) -> Self {
        Self { mail }
    }
}

/// Gives a log back that its owner will not carry on: a claim that counts as no recovery.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Release {
    /// The log.
    pub id: LogId,
    /// Where its owner left it. A log that is elsewhere is left as it is.
    pub place: Place,
}

impl Release {
    /// Every argument is the field of that name.
    #[must_use]
    pub const fn new(id: LogId, place: Place) -> Self {
        Self { id, place }
    }
}

/// Posts a message to whoever carries a log on, or will.
#[derive(Clone)]
#[non_exhaustive]
pub struct Post {
    /// The log.
    pub id: LogId,
    /// What makes a second posting of the same message the same message.
    pub dedup: String,
    /// When.
    pub at: Timestamp,
    /// The version of its format.
    pub format: u16,
    /// The message.
    pub body: String,
}

impl Post {
    /// Every argument is the field of that name.
    pub fn new(
        id: LogId,
        dedup: impl Into<String>,
        format: u16,
        body: impl Into<String>,
        at: Timestamp,
    ) -> Self {
        Self {
            id,
            dedup: dedup.into(),
            at,
            format,
            body: body.into(),
        }
    }
}

/// Everything but what it says.
impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post")
            .field("id", &self.id)
            .field("dedup", &self.dedup)
            .field("at", &self.at)
            .field("format", &self.format)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// The answer to [`Post`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Posted {
    /// It is there, under this number. A parked log can be claimed at once.
    Added(u64),
    /// It was there already, under this number; nothing was written. Also when it has been read since.
    Known(u64),
    /// The log has ended; nothing was written.
    Ended,
}

/// Removes logs that have ended, with all that belongs to them. Their business keys are free again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Prune {
    /// Only logs that ended longer ago than this, by the store's clock.
    pub older_than: Duration,
    /// Only logs of this kind.
    pub kind: Option<Arc<str>>,
    /// At most so many.
    pub limit: usize,
}

impl Prune {
    /// At most `limit` logs of any kind that ended longer ago than this.
    #[must_use]
    pub const fn new(older_than: Duration, limit: usize) -> Self {
        Self {
            older_than,
            kind: None,
            limit,
        }
    }

    /// Only logs of this kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<Arc<str>>) -> Self {
        self.kind = Some(kind.into());
        self
    }
}
