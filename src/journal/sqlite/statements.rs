//! What is written to logs and read from them. Everything here runs inside the writer's transaction.

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Statement, ToSql, params};

use super::heads::Heads;
use super::rows::{
    self, Fault, HEAD, head, labels, later, limit, millis, now, persistent, signed, text, unsigned,
    with_status,
};
use crate::journal::{
    Append, Begin, Begun, Epoch, Head, JournalError, Labels, Listing, Log, LogId, Mail, Place,
    Post, Posted, Prune, Record, Status,
};
use crate::time::Timestamp;

const CREATE: &str = "INSERT INTO log (tenant, kind, key, subject, key_id, digest, status, epoch, records, claims, begun,
    version, stage, owner, updated, written)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, 0, ?9, ?10, ?11, ?12, ?9, ?13)";

/// The next record of a log, if the statement after it finds the log where it should be.
const ADD: &str =
    "INSERT INTO record (log, seq, epoch, at, tenant, subject, key_id, format, body, stage)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// The statements of every start, every record and every commit. The others are prepared when they are first asked for
/// and found again by their text, which takes as long as a short statement does.
pub(super) struct Prepared<'c> {
    pub(super) connection: &'c Connection,
    pub(super) begin: Statement<'c>,
    pub(super) commit: Statement<'c>,
    find: Statement<'c>,
    create: Statement<'c>,
    add: Statement<'c>,
    pub(super) heads: Heads<'c>,
}

impl<'c> Prepared<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let find = format!("SELECT {HEAD} FROM log WHERE tenant = ?1 AND kind = ?2 AND key = ?3");
        let prepare = |text| persistent(connection, text);
        Ok(Self {
            connection,
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
            find: prepare(&find)?,
            create: prepare(CREATE)?,
            add: prepare(ADD)?,
            heads: Heads::new(connection)?,
        })
    }
}

pub(super) fn begin(prepared: &mut Prepared<'_>, begin: &Begin) -> Result<Begun, Fault> {
    let labels = &begin.labels;
    let created = prepared.create.execute(params![
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
    ]);
    // The key that is taken is found out by the insert itself: most are not, and a look before it would cost as much.
    // Refused, it changes nothing, and not the number that the next log gets either.
    match created {
        Ok(_) => {}
        Err(error) if is_constraint(&error) => {
            let found = prepared
                .find
                .query_row(params![labels.tenant, &*begin.kind, begin.key], head)
                .optional()?;
            let mut head = found.ok_or(error)?.whole()?;
            prepared.heads.see(&mut head);
            return Ok(Begun::Existing(head));
        }
        Err(error) => return Err(error.into()),
    }
    let head = Head::of(
        LogId::new(unsigned(prepared.connection.last_insert_rowid())),
        begin,
    );
    write(
        &mut prepared.add,
        (head.id, head.place),
        labels,
        begin.at,
        begin.format,
        &begin.body,
        // Its row has it.
        None,
    )?;
    prepared.heads.created(&head);
    Ok(Begun::Created(head))
}

pub(super) fn append(prepared: &mut Prepared<'_>, append: &Append) -> Result<(), Fault> {
    if add(prepared, append)? || look(prepared, append)? {
        return Ok(());
    }
    let found = one(prepared, append.id)?.place;
    Err(JournalError::conflict(append.id, append.expect, found).into())
}

fn one(prepared: &Prepared<'_>, id: LogId) -> Result<Head, Fault> {
    let mut head = rows::one(prepared.connection, id)?;
    prepared.heads.see(&mut head);
    Ok(head)
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// Adds a record where it follows, and says whether it did. Where it does not, nothing is changed.
pub(super) fn add(prepared: &mut Prepared<'_>, append: &Append) -> Result<bool, Fault> {
    if !(prepared.heads.ends_at(append) && is_plain(append)) {
        // Its row is to say how things stand.
        prepared.heads.settle(append.id)?;
    }
    let next = append.expect.after();
    // The record comes before the head: one that lies in its way refuses it while nothing is changed.
    let written = write(
        &mut prepared.add,
        (append.id, next),
        &append.labels,
        append.at,
        append.format,
        &append.body,
        append.stage.as_deref(),
    );
    match written {
        Ok(_) if follow(prepared, append)? => Ok(true),
        Ok(_) => {
            // The log ends elsewhere, or is not there.
            prepared
                .connection
                .prepare_cached("DELETE FROM record WHERE log = ?1 AND seq = ?2")?
                .execute(params![signed(append.id.get()), signed(next.records)])?;
            Ok(false)
        }
        Err(error) if is_constraint(&error) => {
            if one(prepared, append.id)?.place != append.expect {
                return Ok(false);
            }
            let reason = format!(
                "record {} is there, and its head does not know",
                next.records
            );
            Err(JournalError::damaged(append.id, reason).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a record leaves its log running or ends it, and changes nothing else.
const fn is_plain(append: &Append) -> bool {
    append.park.is_none()
        && append.read.is_none()
        && append.version.is_none()
        && matches!(append.status, Status::Running | Status::Ended)
}

/// Whether a record is there; `false` when the log ends where it was to follow.
pub(super) fn look(prepared: &Prepared<'_>, append: &Append) -> Result<bool, Fault> {
    let next = append.expect.after();
    let found = one(prepared, append.id)?.place;
    if found == append.expect {
        return Ok(false);
    }
    if found == next && is_there(prepared.connection, append, next)? {
        return Ok(true);
    }
    Err(JournalError::conflict(append.id, append.expect, found).into())
}

/// Says of a log what its new record says, if the log ends where the record was to follow.
fn follow(prepared: &mut Prepared<'_>, append: &Append) -> Result<bool, Fault> {
    if is_plain(append) {
        let follows = match append.status {
            Status::Ended => prepared.heads.end(append, now())?,
            _ => {
                prepared.heads.advance(prepared.connection, append)?
                    || prepared.heads.follow(append)?
            }
        };
        if follows {
            return Ok(true);
        }
    }
    change(prepared.connection, append)
}

/// The same for records that change more, and for logs that are held or parked.
fn change(connection: &Connection, append: &Append) -> Result<bool, Fault> {
    let runs = append.status == Status::Running;
    let at = now();
    let wake = match append.park {
        Some(delay) if runs => later(at, delay),
        _ => 0,
    };
    let free = !runs || append.park.is_some();
    let written = connection
        .prepare_cached(
            "UPDATE log SET records = records + 1, status = ?4, recoveries = 0, updated = ?5, written = ?6,
                    stage = coalesce(?7, stage), owner = CASE WHEN ?8 THEN NULL ELSE owner END,
                    read = max(read, min(posted, coalesce(?9, read))),
                    wake = CASE WHEN posted > max(read, coalesce(?9, read)) THEN 0 ELSE ?10 END
             WHERE id = ?1 AND epoch = ?2 AND records = ?3",
        )?
        .execute(params![
            signed(append.id.get()),
            signed(append.expect.epoch.get()),
            signed(append.expect.records),
            append.status.as_str(),
            append.at.as_millis(),
            at.as_millis(),
            append.stage.as_deref(),
            free,
            append.read.map(signed),
            wake,
        ])?;
    if written == 1
        && let Some(version) = append.version
    {
        // A statement of its own: almost no record has one, and the column is in an index.
        connection
            .prepare_cached("UPDATE log SET version = ?2 WHERE id = ?1")?
            .execute(params![signed(append.id.get()), i64::from(version)])?;
    }
    Ok(written == 1)
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

pub(super) fn load(prepared: &Prepared<'_>, id: LogId) -> Result<Log, Fault> {
    let head = one(prepared, id)?;
    let mut statement = prepared.connection.prepare_cached(
        "SELECT seq, epoch, at, tenant, subject, key_id, format, body FROM record WHERE log = ?1 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![signed(id.get())])?;
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
    let mail = mail(prepared.connection, &head)?;
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

/// The statement of a listing, and what it is told. Only what is asked for is in it, so that SQLite can take the index
/// that answers it.
fn listed(listing: &Listing) -> (String, Vec<Box<dyn ToSql>>) {
    let mut statement = format!(
        "SELECT {HEAD} FROM log WHERE {}",
        with_status(listing.status)
    );
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut narrow = |condition: &str, value: Option<Box<dyn ToSql>>| {
        if let Some(value) = value {
            values.push(value);
            statement.push_str(&format!(" AND {condition} ?{}", values.len()));
        }
    };
    let word = |text: &str| -> Box<dyn ToSql> { Box::new(text.to_owned()) };
    let time = |at: Timestamp| -> Box<dyn ToSql> { Box::new(at.as_millis()) };
    narrow("tenant =", listing.tenant.as_deref().map(word));
    // Of ended logs there may be millions of a tenant or a kind: they are walked in the order of their ids, and not all of
    // them read and sorted. Of both, a tenant's are fewer; the plus is what says so.
    let kind = match (listing.status, &listing.key, &listing.tenant) {
        (Status::Ended, None, Some(_)) => "+kind =",
        _ => "kind =",
    };
    narrow(kind, listing.kind.as_deref().map(word));
    narrow("key =", listing.key.as_deref().map(word));
    narrow("stage =", listing.stage.as_deref().map(word));
    narrow("begun <", listing.begun_before.map(time));
    narrow("updated <", listing.updated_before.map(time));
    narrow(
        "id >",
        listing
            .after
            .map(|id| -> Box<dyn ToSql> { Box::new(signed(id.get())) }),
    );
    values.push(Box::new(limit(listing.limit)));
    statement.push_str(&format!(" ORDER BY id LIMIT ?{}", values.len()));
    (statement, values)
}

pub(super) fn list(prepared: &mut Prepared<'_>, listing: &Listing) -> Result<Vec<Head>, Fault> {
    if listing.status == Status::Running {
        prepared.heads.write_all()?;
    }
    let (statement, values) = listed(listing);
    let mut statement = prepared.connection.prepare_cached(&statement)?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next()? {
        heads.push(head(row)?.head);
    }
    Ok(heads)
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
    let head = rows::one(connection, post.id)?;
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

/// Removes what ended first, kind by kind: the index of the ended has them in this order.
pub(super) fn prune(connection: &Connection, prune: &Prune) -> Result<usize, Fault> {
    let before = now().as_millis().saturating_sub(millis(prune.older_than));
    let kinds = match &prune.kind {
        Some(kind) => vec![kind.to_string()],
        None => ended_kinds(connection)?,
    };
    let mut over: Vec<(i64, i64)> = Vec::new();
    for kind in kinds {
        let mut prepared = connection.prepare_cached(ENDED)?;
        let mut rows = prepared.query(params![kind, before, limit(prune.limit)])?;
        while let Some(row) = rows.next()? {
            over.push((row.get(0)?, row.get(1)?));
        }
    }
    over.sort_unstable();
    over.truncate(prune.limit);
    for (_, id) in &over {
        for statement in [
            "DELETE FROM mail WHERE log = ?1",
            "DELETE FROM record WHERE log = ?1",
            "DELETE FROM log WHERE id = ?1",
        ] {
            connection.prepare_cached(statement)?.execute(params![id])?;
        }
    }
    Ok(over.len())
}

const ENDED: &str =
    "SELECT written, id FROM log WHERE status = 'ended' AND kind = ?1 AND written < ?2
                     ORDER BY written, id LIMIT ?3";

/// One step from kind to kind, however many logs each has.
const NEXT_KIND: &str = "SELECT min(kind) FROM log WHERE status = 'ended' AND kind > ?1";

fn ended_kinds(connection: &Connection) -> Result<Vec<String>, Fault> {
    let mut kinds = Vec::new();
    // Before every kind but the empty one, which no definition has.
    let mut last = String::new();
    loop {
        let next: Option<String> =
            connection
                .prepare_cached(NEXT_KIND)?
                .query_row(params![last], |row| match row.get_ref(0)? {
                    rusqlite::types::ValueRef::Null => Ok(None),
                    _ => Ok(Some(text(row, 0)?.0)),
                })?;
        match next {
            Some(kind) if kind > last => {
                kinds.push(kind.clone());
                last = kind;
            }
            _ => return Ok(kinds),
        }
    }
}

fn write(
    add: &mut Statement<'_>,
    (id, place): (LogId, Place),
    labels: &Labels,
    at: Timestamp,
    format: u16,
    body: &str,
    stage: Option<&str>,
) -> rusqlite::Result<usize> {
    add.execute(params![
        signed(id.get()),
        signed(place.records),
        signed(place.epoch.get()),
        at.as_millis(),
        labels.tenant,
        labels.subject,
        labels.key_id,
        i64::from(format),
        body,
        stage,
    ])
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    /// Ended logs outnumber the others by far: whoever looks for the others must not read them all.
    #[test]
    fn listings_and_prunings_have_their_index() {
        let connection = schema::example();
        let all = |status| Listing::new(status, 9);
        for (listing, index) in [
            (all(Status::Running).after(LogId::new(7)), "log_open"),
            (all(Status::Held), "log_open"),
            (all(Status::Held).stage("paying"), "log_open"),
            (
                all(Status::Ended).tenant("acme").kind("pay").key("1"),
                "sqlite_autoindex_log_1",
            ),
            (
                all(Status::Ended).after(LogId::new(7)),
                "INTEGER PRIMARY KEY (rowid>?)",
            ),
            (
                all(Status::Ended).kind("pay").after(LogId::new(7)),
                "log_past_of (kind=? AND id>?)",
            ),
            (
                all(Status::Ended).tenant("acme").after(LogId::new(7)),
                "log_past (tenant=? AND id>?)",
            ),
            (
                all(Status::Ended).kind("refund").stage("paying"),
                "log_past_of (kind=?)",
            ),
            (
                all(Status::Ended).tenant("acme").kind("pay"),
                "log_past (tenant=?)",
            ),
        ] {
            let plan = schema::plan(&connection, &listed(&listing).0);
            assert!(plan.contains(index), "{listing:?}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{listing:?}: {plan}");
        }
        for (statement, index) in [
            (
                ENDED,
                "USING COVERING INDEX log_ended (kind=? AND written<?)",
            ),
            (NEXT_KIND, "USING COVERING INDEX log_past_of (kind>?)"),
        ] {
            let plan = schema::plan(&connection, statement);
            assert!(plan.contains(index), "{statement}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{statement}: {plan}");
        }
    }
}
