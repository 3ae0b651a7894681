//! What each operation says to SQLite. Everything here runs inside the writer's transaction.

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, params};

use std::time::Duration;

use crate::journal::{
    Append, Beat, Begin, Begun, Claim, Epoch, Head, InstanceId, Join, JournalError, Labels,
    Listing, Log, LogId, Mail, Place, Post, Postbox, Posted, Prune, Pulse, Record, Release, Status,
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

const HEAD: &str = "id, tenant, kind, key, subject, key_id, digest, status, epoch, records, claims, begun, \
                    version, stage, owner, recoveries, posted, read, updated";

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
            "INSERT INTO log (tenant, kind, key, subject, key_id, digest, status, epoch, records, claims, begun,
                              version, stage, owner, updated, written)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, 0, ?9, ?10, ?11, ?12, ?9, ?13)",
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
            i64::from(begin.version),
            &*begin.stage,
            begin.owner.map(|owner| signed(owner.get())),
            now().as_millis(),
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
            return follow(connection, append);
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

/// Says of a log what its new record says.
fn follow(connection: &Connection, append: &Append) -> Result<(), Fault> {
    let at = now();
    let wake = append.park.map_or(0, |delay| later(at, delay));
    let free = append.status != Status::Running || append.park.is_some();
    connection
        .prepare_cached(
            "UPDATE log SET records = records + 1, status = ?2, recoveries = 0, updated = ?3, written = ?4,
                    stage = coalesce(?5, stage), owner = CASE WHEN ?6 THEN NULL ELSE owner END,
                    read = max(read, min(posted, coalesce(?7, read))),
                    wake = CASE WHEN posted > max(read, coalesce(?7, read)) THEN 0 ELSE ?8 END
             WHERE id = ?1",
        )?
        .execute(params![
            signed(append.id.get()),
            append.status.as_str(),
            append.at.as_millis(),
            at.as_millis(),
            append.stage.as_deref(),
            free,
            append.read.map(signed),
            wake,
        ])?;
    Ok(())
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
    // Listed as JSON, so that the statement is the same however many there are.
    let kinds: Vec<(&str, u32)> = claim
        .kinds
        .iter()
        .map(|(kind, version)| (&**kind, *version))
        .collect();
    let kinds = serde_json::json!(kinds);
    let except = serde_json::json!(claim.except);
    let statement = format!(
        "SELECT {HEAD} FROM log WHERE {} AND id > ?1 AND wake <= ?2
           AND (owner IS NULL OR owner NOT IN (SELECT id FROM instance WHERE until > ?2))
           AND (kind, version) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))
           AND tenant NOT IN (SELECT value FROM json_each(?4))
         ORDER BY id LIMIT ?5",
        with_status(Status::Running),
    );
    let mut heads = Vec::new();
    let mut prepared = connection.prepare_cached(&statement)?;
    let mut rows = prepared.query(params![
        claim.after.map_or(0, |id| signed(id.get())),
        now().as_millis(),
        kinds.to_string(),
        except.to_string(),
        limit(claim.limit),
    ])?;
    while let Some(row) = rows.next()? {
        // One that cannot be read is handed out as well: who loads it is told that it is damaged, and can tell others.
        heads.push(head(row)?.head);
    }
    for head in &mut heads {
        connection
            .prepare_cached(
                "UPDATE log SET epoch = epoch + 1, claims = claims + 1, recoveries = recoveries + 1, owner = ?2
                 WHERE id = ?1",
            )?
            .execute(params![
                signed(head.id.get()),
                claim.owner.map(|owner| signed(owner.get()))
            ])?;
        head.place.epoch = head.place.epoch.next();
        head.owner = claim.owner;
        head.claims = head.claims.saturating_add(1);
        head.recoveries = head.recoveries.saturating_add(1);
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
    let mail = mail(connection, &head)?;
    Ok(Log::checked(head, records, mail)?)
}

/// The messages of a log that no record has read.
fn mail(connection: &Connection, head: &Head) -> Result<Vec<Mail>, Fault> {
    if !head.mail.has_unread() {
        return Ok(Vec::new());
    }
    let mut prepared = connection.prepare_cached(
        "SELECT number, dedup, at, format, body FROM mail WHERE log = ?1 AND number > ?2 ORDER BY number",
    )?;
    let mut rows = prepared.query(params![signed(head.id.get()), signed(head.mail.read)])?;
    let mut mail = Vec::new();
    while let Some(row) = rows.next()? {
        let number = unsigned(row.get(0)?);
        let ((dedup, a), (body, b)) = (text(row, 1)?, text(row, 4)?);
        let format = u16::try_from(row.get::<_, i64>(3)?);
        let (true, true, Ok(format)) = (a, b, format) else {
            let reason = format!("message {number} cannot be read");
            return Err(JournalError::damaged(head.id, reason).into());
        };
        let at = Timestamp::from_millis(row.get(2)?);
        mail.push(Mail::new(number, dedup, format, body, at));
    }
    Ok(mail)
}

pub(super) fn list(connection: &Connection, listing: &Listing) -> Result<Vec<Head>, Fault> {
    let statement = format!(
        "SELECT {HEAD} FROM log WHERE {} AND id > ?1 AND (?3 IS NULL OR kind = ?3) AND (?4 IS NULL OR tenant = ?4)
           AND (?5 IS NULL OR key = ?5) AND (?6 IS NULL OR stage = ?6) AND (?7 IS NULL OR begun < ?7)
           AND (?8 IS NULL OR updated < ?8) ORDER BY id LIMIT ?2",
        with_status(listing.status),
    );
    let mut prepared = connection.prepare_cached(&statement)?;
    let mut rows = prepared.query(params![
        listing.after.map_or(0, |id| signed(id.get())),
        limit(listing.limit),
        listing.kind.as_deref(),
        listing.tenant,
        listing.key,
        listing.stage.as_deref(),
        listing.begun_before.map(Timestamp::as_millis),
        listing.updated_before.map(Timestamp::as_millis),
    ])?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next()? {
        heads.push(head(row)?.head);
    }
    Ok(heads)
}

pub(super) fn join(connection: &Connection, join: &Join) -> Result<InstanceId, Fault> {
    let at = now();
    connection
        .prepare_cached("DELETE FROM instance WHERE until <= ?1")?
        .execute(params![at.as_millis()])?;
    connection
        .prepare_cached("INSERT INTO instance (name, until) VALUES (?1, ?2)")?
        .execute(params![join.name, later(at, join.lease)])?;
    Ok(InstanceId::new(unsigned(connection.last_insert_rowid())))
}

pub(super) fn beat(connection: &Connection, beat: &Beat) -> Result<Pulse, Fault> {
    let at = now();
    let instance = signed(beat.instance.get());
    let renewed = connection
        .prepare_cached("UPDATE instance SET until = ?2 WHERE id = ?1 AND until > ?3")?
        .execute(params![instance, later(at, beat.lease), at.as_millis()])?;
    if renewed == 0 {
        return Err(JournalError::Lapsed(beat.instance).into());
    }
    let statement = format!(
        "SELECT id FROM log WHERE {} AND owner = ?1 AND posted > read ORDER BY id LIMIT ?2",
        with_status(Status::Running)
    );
    let mut prepared = connection.prepare_cached(&statement)?;
    let mut rows = prepared.query(params![instance, limit(beat.limit)])?;
    let mut mail = Vec::new();
    while let Some(row) = rows.next()? {
        mail.push(LogId::new(unsigned(row.get(0)?)));
    }
    Ok(Pulse::new(mail))
}

pub(super) fn leave(connection: &Connection, instance: InstanceId) -> Result<(), Fault> {
    let instance = signed(instance.get());
    connection
        .prepare_cached("DELETE FROM instance WHERE id = ?1")?
        .execute(params![instance])?;
    let statement = format!(
        "UPDATE log SET owner = NULL, recoveries = max(0, recoveries - 1) WHERE {} AND owner = ?1",
        with_status(Status::Running)
    );
    connection
        .prepare_cached(&statement)?
        .execute(params![instance])?;
    Ok(())
}

pub(super) fn release(connection: &Connection, release: &Release) -> Result<(), Fault> {
    let given = connection
        .prepare_cached(
            "UPDATE log SET owner = NULL, recoveries = max(0, recoveries - 1)
             WHERE id = ?1 AND epoch = ?2 AND records = ?3 AND owner IS NOT NULL",
        )?
        .execute(params![
            signed(release.id.get()),
            signed(release.place.epoch.get()),
            signed(release.place.records),
        ])?;
    if given == 0 {
        // Nobody's already, or somewhere else, or nowhere.
        one(connection, release.id)?;
    }
    Ok(())
}

pub(super) fn post(connection: &Connection, post: &Post) -> Result<Posted, Fault> {
    let id = signed(post.id.get());
    let known: Option<i64> = connection
        .prepare_cached("SELECT number FROM mail WHERE log = ?1 AND dedup = ?2")?
        .query_row(params![id, post.dedup], |row| row.get(0))
        .optional()?;
    if let Some(number) = known {
        return Ok(Posted::Known(unsigned(number)));
    }
    let head = one(connection, post.id)?;
    if head.status == Status::Ended {
        return Ok(Posted::Ended);
    }
    let number = head.mail.posted.saturating_add(1);
    connection
        .prepare_cached(
            "INSERT INTO mail (log, number, dedup, at, format, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            id,
            signed(number),
            post.dedup,
            post.at.as_millis(),
            i64::from(post.format),
            post.body,
        ])?;
    connection
        .prepare_cached("UPDATE log SET posted = ?2, wake = 0 WHERE id = ?1")?
        .execute(params![id, signed(number)])?;
    Ok(Posted::Added(number))
}

pub(super) fn prune(connection: &Connection, prune: &Prune) -> Result<usize, Fault> {
    let before = now().as_millis().saturating_sub(millis(prune.older_than));
    let mut ids = Vec::new();
    let mut prepared = connection.prepare_cached(
        "SELECT id FROM log WHERE status = 'ended' AND written < ?1 AND (?2 IS NULL OR kind = ?2)
         ORDER BY written, id LIMIT ?3",
    )?;
    let mut rows = prepared.query(params![before, prune.kind.as_deref(), limit(prune.limit)])?;
    while let Some(row) = rows.next()? {
        ids.push(row.get::<_, i64>(0)?);
    }
    for id in &ids {
        for statement in [
            "DELETE FROM mail WHERE log = ?1",
            "DELETE FROM record WHERE log = ?1",
            "DELETE FROM log WHERE id = ?1",
        ] {
            connection.prepare_cached(statement)?.execute(params![id])?;
        }
    }
    Ok(ids.len())
}

/// The clock that parks, prunes and ends leases. It is one for all, since one process has the file.
fn now() -> Timestamp {
    rt::wall()
}

fn later(at: Timestamp, delay: Duration) -> i64 {
    at.as_millis().saturating_add(millis(delay))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
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
