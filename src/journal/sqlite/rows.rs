//! How heads and texts lie in their rows, and how numbers and times are said.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, PrepFlags, Row, Statement, params};

use crate::journal::{
    Epoch, Head, InstanceId, JournalError, Labels, LogId, Place, Postbox, Status,
};
use crate::rt;
use crate::time::Timestamp;

/// Why an operation did not do its work: a rule of journals, or the store itself.
pub(super) enum Fault {
    /// A refusal; nothing was changed and the batch goes on.
    Answer(JournalError),
    /// The store failed; the batch is rolled back.
    Store(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

impl From<JournalError> for Fault {
    fn from(refusal: JournalError) -> Self {
        Self::Answer(refusal)
    }
}

/// A statement that is kept: it is not to lie in the memory that SQLite has for what does not last.
pub(super) fn persistent<'c>(
    connection: &'c Connection,
    text: &str,
) -> rusqlite::Result<Statement<'c>> {
    connection.prepare_with_flags(text, PrepFlags::SQLITE_PREPARE_PERSISTENT)
}

/// The columns of a head, in the order in which [`head`] reads them.
pub(super) const HEAD: &str = "id, tenant, kind, key, subject, key_id, digest, status, epoch, records, claims, begun, \
                    version, stage, owner, recoveries, posted, read, updated";

pub(super) fn one(connection: &Connection, id: LogId) -> Result<Head, Fault> {
    let statement = format!("SELECT {HEAD} FROM log WHERE id = ?1");
    let found = connection
        .prepare_cached(&statement)?
        .query_row(params![signed(id.get())], head)
        .optional()?;
    Ok(found.ok_or(JournalError::Missing(id))?.whole()?)
}

/// A head as it lies there.
pub(super) struct Found {
    pub(super) head: Head,
    /// What of it cannot be read, and was replaced.
    damage: Option<&'static str>,
}

impl Found {
    /// The head, if all of it could be read.
    pub(super) fn whole(self) -> Result<Head, JournalError> {
        match self.damage {
            None => Ok(self.head),
            Some(damage) => Err(JournalError::damaged(self.head.id, damage)),
        }
    }
}

/// Reads a head in the order of [`HEAD`].
pub(super) fn head(row: &Row<'_>) -> rusqlite::Result<Found> {
    let (labels, labelled) = labels(row, [1, 4, 5])?;
    let ((kind, a), (key, b), (digest, c)) = (text(row, 2)?, text(row, 3)?, text(row, 6)?);
    let (stage, d) = text(row, 13)?;
    let status = Status::parse(&text(row, 7)?.0);
    let damage = match status {
        None => Some("its status is no word that is known"),
        Some(_) if !(labelled && a && b && c && d) => Some("its head is no text"),
        Some(_) => None,
    };
    let epoch = Epoch::new(unsigned(row.get(8)?));
    let head = Head {
        id: LogId::new(unsigned(row.get(0)?)),
        labels: Arc::new(labels),
        kind: kind.into(),
        version: u32::try_from(row.get::<_, i64>(12)?).unwrap_or(0),
        key,
        digest,
        stage: stage.into(),
        owner: row
            .get::<_, Option<i64>>(14)?
            .map(|owner| InstanceId::new(unsigned(owner))),
        recoveries: u32::try_from(row.get::<_, i64>(15)?).unwrap_or(u32::MAX),
        mail: Postbox::new(unsigned(row.get(16)?), unsigned(row.get(17)?)),
        updated: Timestamp::from_millis(row.get(18)?),
        // Nobody carries on what is held.
        status: status.unwrap_or(Status::Held),
        place: Place::new(epoch, unsigned(row.get(9)?)),
        claims: unsigned(row.get(10)?),
        begun: Timestamp::from_millis(row.get(11)?),
    };
    Ok(Found { head, damage })
}

/// Tenant, subject and key id, and whether they are the text that they should be.
pub(super) fn labels(row: &Row<'_>, at: [usize; 3]) -> rusqlite::Result<(Labels, bool)> {
    let [tenant, subject, key_id] = at;
    let (tenant, mut whole) = text(row, tenant)?;
    let mut optional = |at| match row.get_ref(at)? {
        ValueRef::Null => Ok::<_, rusqlite::Error>(None),
        _ => text(row, at).map(|(value, readable)| {
            whole &= readable;
            Some(value)
        }),
    };
    let mut labels = Labels::new(tenant);
    labels.subject = optional(subject)?;
    labels.key_id = optional(key_id)?;
    Ok((labels, whole))
}

/// A text, and whether it is one: a disk, or a shell, can leave bytes in its place. That damages one log, and an error
/// of the statement would stop the store for all.
pub(super) fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<(String, bool)> {
    let bytes = match row.get_ref(at)? {
        ValueRef::Text(bytes) => bytes,
        // The tables are strict.
        other => {
            let kind = other.data_type();
            return Err(rusqlite::Error::InvalidColumnType(at, String::new(), kind));
        }
    };
    let text = String::from_utf8_lossy(bytes);
    let readable = matches!(text, std::borrow::Cow::Borrowed(_));
    Ok((text.into_owned(), readable))
}

/// The condition on the status, said so that SQLite sees that the index of open logs will do.
pub(super) fn with_status(status: Status) -> String {
    let is = format!("status = '{}'", status.as_str());
    match status {
        Status::Ended => is,
        Status::Running | Status::Held => format!("{is} AND status <> 'ended'"),
    }
}

/// The clock that parks, prunes and ends leases. It is one for all, since one process has the file.
pub(super) fn now() -> Timestamp {
    rt::wall()
}

pub(super) fn later(at: Timestamp, delay: Duration) -> i64 {
    at.as_millis().saturating_add(millis(delay))
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// SQLite's integers are signed. Ids, epochs and counts start at 1 and count up, so both ways are exact in practice,
/// and saturate where they are not.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
