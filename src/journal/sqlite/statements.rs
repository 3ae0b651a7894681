//! What each operation says to SQLite. Everything here runs inside the writer's transaction.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

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
        return Ok(Begun::Existing(existing?));
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
    // The condition is the update's own, so there is no moment between looking and writing.
    let moved = connection
        .prepare_cached(
            "UPDATE log SET records = records + 1, status = ?1 WHERE id = ?2 AND epoch = ?3 AND records = ?4",
        )?
        .execute(params![
            append.status.as_str(),
            signed(append.id.get()),
            signed(append.expect.epoch.get()),
            signed(append.expect.records),
        ])?;
    let next = append.expect.after();
    if moved == 1 {
        write(
            connection,
            append.id,
            next,
            &append.labels,
            append.at,
            append.format,
            &append.body,
        )?;
        return Ok(());
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
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    Ok(last.is_some_and(|(epoch, body)| unsigned(epoch) == at.epoch.get() && body == append.body))
}

pub(super) fn claim(connection: &Connection, claim: &Claim) -> Result<Vec<Head>, Fault> {
    let kinds: Vec<&str> = claim.kinds.iter().map(AsRef::as_ref).collect();
    let places = vec!["?"; kinds.len()].join(", ");
    let statement = format!(
        "SELECT {HEAD} FROM log WHERE status = 'running' AND id > {} AND kind IN ({places}) ORDER BY id LIMIT {}",
        claim.after.map_or(0, |id| signed(id.get())),
        limit(claim.limit),
    );
    let mut heads = Vec::new();
    let mut prepared = connection.prepare(&statement)?;
    let mut rows = prepared.query(rusqlite::params_from_iter(kinds))?;
    while let Some(row) = rows.next()? {
        // A head that makes no sense is left where it is: the others are not to wait for it.
        if let Ok(head) = head(row)? {
            heads.push(head);
        }
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
        let mut labels = Labels::new(row.get::<_, String>(3)?);
        labels.subject = row.get(4)?;
        labels.key_id = row.get(5)?;
        records.push(Record::new(
            unsigned(row.get(0)?),
            Epoch::new(unsigned(row.get(1)?)),
            labels,
            format,
            row.get(7)?,
            Timestamp::from_millis(row.get(2)?),
        ));
    }
    Ok(Log::checked(head, records)?)
}

pub(super) fn list(connection: &Connection, listing: &Listing) -> Result<Vec<Head>, Fault> {
    let statement =
        format!("SELECT {HEAD} FROM log WHERE status = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    let mut prepared = connection.prepare_cached(&statement)?;
    let after = listing.after.map_or(0, |id| signed(id.get()));
    let mut rows = prepared.query(params![
        listing.status.as_str(),
        after,
        limit(listing.limit)
    ])?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next()? {
        heads.push(head(row)??);
    }
    Ok(heads)
}

fn one(connection: &Connection, id: LogId) -> Result<Head, Fault> {
    let statement = format!("SELECT {HEAD} FROM log WHERE id = ?1");
    let found = connection
        .prepare_cached(&statement)?
        .query_row(params![signed(id.get())], head)
        .optional()?;
    Ok(found.ok_or(JournalError::Missing(id))??)
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

/// Reads a head in the order of [`HEAD`]. The inner error is about this log alone.
fn head(row: &Row<'_>) -> rusqlite::Result<Result<Head, JournalError>> {
    let id = LogId::new(unsigned(row.get(0)?));
    let mut labels = Labels::new(row.get::<_, String>(1)?);
    labels.subject = row.get(4)?;
    labels.key_id = row.get(5)?;
    let kind: String = row.get(2)?;
    let word: String = row.get(7)?;
    let Some(status) = Status::parse(&word) else {
        return Ok(Err(JournalError::damaged(
            id,
            "its status is no word that is known",
        )));
    };
    let epoch = Epoch::new(unsigned(row.get(8)?));
    Ok(Ok(Head {
        id,
        labels: Arc::new(labels),
        kind: kind.into(),
        key: row.get(3)?,
        digest: row.get(6)?,
        status,
        place: Place::new(epoch, unsigned(row.get(9)?)),
        claims: unsigned(row.get(10)?),
        begun: Timestamp::from_millis(row.get(11)?),
    }))
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
