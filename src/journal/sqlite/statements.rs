//! What each operation says to SQLite. Everything here runs inside the writer's transaction.

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, params};

use crate::journal::{
    Append, Begin, Begun, Claim, Epoch, Head, JournalError, Labels, Listing, Log, LogId, Place,
    Record, Status,
};
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

const HEAD: &str =
    "id, tenant, kind, key, subject, key_id, digest, status, epoch, records, claims, begun";

pub(super) fn begin(connection: &Connection, begin: &Begin) -> Result<Begun, Fault> {
    let labels = &begin.labels;
    let statement = format!("SELECT {HEAD} FROM log WHERE tenant = ?1 AND kind = ?2 AND key = ?3");
    // Nobody writes between this look and the insert: there is one writer, and it is in a transaction.
    let existing = connection
        .prepare_cached(&statement)?
        .query_row(params![labels.tenant, &*begin.kind, begin.key], head)
        .optional()?;
    if let Some(existing) = existing {
        return Ok(Begun::Existing(existing.whole()?));
    }
    connection
        .prepare_cached(
            "INSERT INTO log (tenant, kind, key, subject, key_id, digest, status, epoch, records, claims, begun)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, 0, ?9)",
        )?
        .execute(params![
            labels.tenant,
            &*begin.kind,
            begin.key,
            labels.subject,
            labels.key_id,
            begin.digest,
            Status::Running.as_str(),
            signed(Epoch::FIRST.get()),
            begin.at.as_millis(),
        ])?;
    let head = Head::of(LogId::new(unsigned(connection.last_insert_rowid())), begin);
    write(
        connection,
        head.id,
        head.place,
        labels,
        begin.at,
        begin.format,
        &begin.body,
    )?;
    Ok(Begun::Created(head))
}

pub(super) fn append(connection: &Connection, append: &Append) -> Result<(), Fault> {
    // The condition is the insert's own, so there is no moment between looking and writing. The record comes before the
    // head: one that lies in its way refuses it while nothing is changed.
    let written = connection
        .prepare_cached(
            "INSERT INTO record (log, seq, epoch, at, tenant, subject, key_id, format, body)
             SELECT id, records + 1, epoch, ?4, ?5, ?6, ?7, ?8, ?9 FROM log
             WHERE id = ?1 AND epoch = ?2 AND records = ?3",
        )?
        .execute(params![
            signed(append.id.get()),
            signed(append.expect.epoch.get()),
            signed(append.expect.records),
            append.at.as_millis(),
            append.labels.tenant,
            append.labels.subject,
            append.labels.key_id,
            i64::from(append.format),
            append.body,
        ]);
    let next = append.expect.after();
    match written {
        Ok(0) => {}
        Ok(_) => {
            connection
                .prepare_cached("UPDATE log SET records = records + 1, status = ?1 WHERE id = ?2")?
                .execute(params![append.status.as_str(), signed(append.id.get())])?;
            return Ok(());
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            let reason = format!(
                "record {} is there, and its head does not know",
                next.records
            );
            return Err(JournalError::damaged(append.id, reason).into());
        }
        Err(error) => return Err(error.into()),
    }
    let found = one(connection, append.id)?.place;
    if found == next && is_there(connection, append, next)? {
        return Ok(());
    }
    Err(JournalError::conflict(append.id, append.expect, found).into())
}

/// Whether the record at the end of the log is the one that is to be written: its reply was lost.
fn is_there(connection: &Connection, append: &Append, at: Place) -> Result<bool, Fault> {
    let last: Option<(i64, String)> = connection
        .prepare_cached("SELECT epoch, body FROM record WHERE log = ?1 AND seq = ?2")?
        .query_row(
            params![signed(append.id.get()), signed(at.records)],
            |row| Ok((row.get(0)?, text(row, 1)?.0)),
        )
        .optional()?;
    Ok(last.is_some_and(|(epoch, body)| unsigned(epoch) == at.epoch.get() && body == append.body))
}

pub(super) fn claim(connection: &Connection, claim: &Claim) -> Result<Vec<Head>, Fault> {
    let kinds: Vec<&str> = claim.kinds.iter().map(AsRef::as_ref).collect();
    let places = vec!["?"; kinds.len()].join(", ");
    let statement = format!(
        "SELECT {HEAD} FROM log WHERE {} AND id > {} AND kind IN ({places}) ORDER BY id LIMIT {}",
        with_status(Status::Running),
        claim.after.map_or(0, |id| signed(id.get())),
        limit(claim.limit),
    );
    let mut heads = Vec::new();
    let mut prepared = connection.prepare(&statement)?;
    let mut rows = prepared.query(rusqlite::params_from_iter(kinds))?;
    while let Some(row) = rows.next()? {
        // One that cannot be read is handed out as well: who loads it is told that it is damaged, and can tell others.
        heads.push(head(row)?.head);
    }
    for head in &mut heads {
        connection
            .prepare_cached("UPDATE log SET epoch = epoch + 1, claims = claims + 1 WHERE id = ?1")?
            .execute(params![signed(head.id.get())])?;
        head.place.epoch = head.place.epoch.next();
        head.claims = head.claims.saturating_add(1);
    }
    Ok(heads)
}

pub(super) fn load(connection: &Connection, id: LogId) -> Result<Log, Fault> {
    let head = one(connection, id)?;
    let mut prepared = connection.prepare_cached(
        "SELECT seq, epoch, at, tenant, subject, key_id, format, body FROM record WHERE log = ?1 ORDER BY seq",
    )?;
    let mut rows = prepared.query(params![signed(id.get())])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let format: i64 = row.get(6)?;
        let format = u16::try_from(format)
            .map_err(|_| JournalError::damaged(id, format!("a record has format {format}")))?;
        let (labels, labelled) = labels(row, [3, 4, 5])?;
        let (body, readable) = text(row, 7)?;
        if !(labelled && readable) {
            let reason = format!("record {} is no text", unsigned(row.get(0)?));
            return Err(JournalError::damaged(id, reason).into());
        }
        records.push(Record::new(
            unsigned(row.get(0)?),
            Epoch::new(unsigned(row.get(1)?)),
            labels,
            format,
            body,
            Timestamp::from_millis(row.get(2)?),
        ));
    }
    Ok(Log::checked(head, records)?)
}

pub(super) fn list(connection: &Connection, listing: &Listing) -> Result<Vec<Head>, Fault> {
    let statement = format!(
        "SELECT {HEAD} FROM log WHERE {} AND id > ?1 ORDER BY id LIMIT ?2",
        with_status(listing.status),
    );
    let mut prepared = connection.prepare_cached(&statement)?;
    let after = listing.after.map_or(0, |id| signed(id.get()));
    let mut rows = prepared.query(params![after, limit(listing.limit)])?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next()? {
        heads.push(head(row)?.head);
    }
    Ok(heads)
}

fn one(connection: &Connection, id: LogId) -> Result<Head, Fault> {
    let statement = format!("SELECT {HEAD} FROM log WHERE id = ?1");
    let found = connection
        .prepare_cached(&statement)?
        .query_row(params![signed(id.get())], head)
        .optional()?;
    Ok(found.ok_or(JournalError::Missing(id))?.whole()?)
}

fn write(
    connection: &Connection,
    id: LogId,
    place: Place,
    labels: &Labels,
    at: Timestamp,
    format: u16,
    body: &str,
) -> Result<(), Fault> {
    connection
        .prepare_cached(
            "INSERT INTO record (log, seq, epoch, at, tenant, subject, key_id, format, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            signed(id.get()),
            signed(place.records),
            signed(place.epoch.get()),
            at.as_millis(),
            labels.tenant,
            labels.subject,
            labels.key_id,
            i64::from(format),
            body,
        ])?;
    Ok(())
}

/// A head as it lies there.
struct Found {
    head: Head,
    /// What of it cannot be read, and was replaced.
    damage: Option<&'static str>,
}

impl Found {
    /// The head, if all of it could be read.
    fn whole(self) -> Result<Head, JournalError> {
        match self.damage {
            None => Ok(self.head),
            Some(damage) => Err(JournalError::damaged(self.head.id, damage)),
        }
    }
}

/// Reads a head in the order of [`HEAD`].
fn head(row: &Row<'_>) -> rusqlite::Result<Found> {
    let (labels, labelled) = labels(row, [1, 4, 5])?;
    let ((kind, a), (key, b), (digest, c)) = (text(row, 2)?, text(row, 3)?, text(row, 6)?);
    let status = Status::parse(&text(row, 7)?.0);
    let damage = match status {
        None => Some("its status is no word that is known"),
        Some(_) if !(labelled && a && b && c) => Some("its head is no text"),
        Some(_) => None,
    };
    let epoch = Epoch::new(unsigned(row.get(8)?));
    let head = Head {
        id: LogId::new(unsigned(row.get(0)?)),
        labels: Arc::new(labels),
        kind: kind.into(),
        key,
        digest,
        // Nobody carries on what is held.
        status: status.unwrap_or(Status::Held),
        place: Place::new(epoch, unsigned(row.get(9)?)),
        claims: unsigned(row.get(10)?),
        begun: Timestamp::from_millis(row.get(11)?),
    };
    Ok(Found { head, damage })
}

/// Tenant, subject and key id, and whether they are the text that they should be.
fn labels(row: &Row<'_>, at: [usize; 3]) -> rusqlite::Result<(Labels, bool)> {
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
fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<(String, bool)> {
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
fn with_status(status: Status) -> String {
    let is = format!("status = '{}'", status.as_str());
    match status {
        Status::Ended => is,
        Status::Running | Status::Held => format!("{is} AND status <> 'ended'"),
    }
}

/// SQLite's integers are signed. Ids, epochs and counts start at 1 and count up, so both ways are exact in practice,
/// and saturate where they are not.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sqlite::schema::TABLES;

    /// Ended logs outnumber the others by far: whoever looks for the others must not read them all.
    #[test]
    fn open_logs_are_found_by_their_index() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        for status in [Status::Running, Status::Held] {
            let statement = format!(
                "EXPLAIN QUERY PLAN SELECT {HEAD} FROM log WHERE {} AND id > 7 ORDER BY id LIMIT 9",
                with_status(status)
            );
            let plan: String = connection
                .query_row(&statement, [], |row| row.get(3))
                .unwrap();
            assert!(plan.contains("log_open"), "{plan}");
        }
    }
}
