//! What a journal is asked to do.

use std::fmt;
use std::sync::Arc;

use super::log::{Head, Labels, LogId, Place, Status};
use crate::time::Timestamp;

/// Asks for a log under a business key, with its first record.
#[derive(Clone)]
#[non_exhaustive]
pub struct Begin {
    /// Tenant, subject and key id of every record of this log.
    pub labels: Arc<Labels>,
    /// What kind of work: the definition's name.
    pub kind: Arc<str>,
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
            key: key.into(),
            digest: digest.into(),
            at,
            format,
            body: body.into(),
        }
    }
}

/// Everything but what it says.
impl fmt::Debug for Begin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begin")
            .field("labels", &self.labels)
            .field("kind", &self.kind)
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
    /// What the log is after this record.
    pub status: Status,
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
            labels,
            at,
            format,
            body: body.into(),
        }
    }
}

/// Everything but what it says.
impl fmt::Debug for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Append")
            .field("id", &self.id)
            .field("expect", &self.expect)
            .field("status", &self.status)
            .field("labels", &self.labels)
            .field("at", &self.at)
            .field("format", &self.format)
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// Takes over logs that nobody carries on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claim {
    /// The kinds that the caller can carry on; others are left alone.
    pub kinds: Vec<Arc<str>>,
    /// Only logs after this one.
    pub after: Option<LogId>,
    /// At most so many.
    pub limit: usize,
}

impl Claim {
    /// Takes over at most `limit` logs of these kinds, oldest first.
    #[must_use]
    pub const fn new(kinds: Vec<Arc<str>>, limit: usize) -> Self {
        Self {
            kinds,
            after: None,
            limit,
        }
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
            after: None,
            limit,
        }
    }

    /// Only logs after `id`.
    #[must_use]
    pub const fn after(mut self, id: LogId) -> Self {
        self.after = Some(id);
        self
    }
}
