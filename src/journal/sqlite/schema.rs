//! Tables, their version, and the settings that durability depends on.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::file::PATIENCE;
use super::heads;
use crate::journal::JournalError;

/// The version of the tables below, in `user_version`.
const KNOWN: i64 = 3;

/// "msty" in `application_id`: tells a journal from any other SQLite file.
const APPLICATION: i64 = 0x6d73_7479;

/// Ids are never used again after pruning (`AUTOINCREMENT`). Records lie in the order in which they are written, so that a
/// commit writes few pages whole, and not a little of the pages of each log: a sync costs what its pages cost. Before
/// version 3 they lay in the order of their logs; a file of that time keeps them so, and all statements are the same.
const LOGS: &str = "
CREATE TABLE log (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    subject    TEXT,
    key_id     TEXT,
    digest     TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    records    INTEGER NOT NULL,
    claims     INTEGER NOT NULL,
    begun      INTEGER NOT NULL,
    version    INTEGER NOT NULL DEFAULT 1,
    stage      TEXT    NOT NULL DEFAULT '',
    owner      INTEGER,
    recoveries INTEGER NOT NULL DEFAULT 0,
    posted     INTEGER NOT NULL DEFAULT 0,
    read       INTEGER NOT NULL DEFAULT 0,
    wake       INTEGER NOT NULL DEFAULT 0,
    updated    INTEGER NOT NULL DEFAULT 0,
    written    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (tenant, kind, key)
) STRICT;
CREATE INDEX log_open ON log (status, id) WHERE status <> 'ended';
CREATE TABLE record (
    log        INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    tenant     TEXT    NOT NULL,
    subject    TEXT,
    key_id     TEXT,
    format     INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    stage      TEXT,
    PRIMARY KEY (log, seq)
) STRICT;
";

/// From version 1, whose logs had one writer and no mail. What the head now says of a log, its records said before.
const FROM_1: &str = "
ALTER TABLE log ADD COLUMN version    INTEGER NOT NULL DEFAULT 1;
ALTER TABLE log ADD COLUMN stage      TEXT    NOT NULL DEFAULT '';
ALTER TABLE log ADD COLUMN owner      INTEGER;
ALTER TABLE log ADD COLUMN recoveries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN posted     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN read       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN wake       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN updated    INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN written    INTEGER NOT NULL DEFAULT 0;
UPDATE log SET version = coalesce((SELECT CASE WHEN json_valid(body) THEN json_extract(body, '$[0].started.version') END
                                   FROM record WHERE log = id AND seq = 1), 1),
               updated = coalesce((SELECT max(at) FROM record WHERE log = id), begun);
UPDATE log SET written = updated;
";

/// What version 2 has besides. No question that is asked all the time reads logs that it does not answer with, however
/// many there are: those whose turn it is are found by owner (nobody's too) and kind, the parked by when they wake,
/// those with mail by owner, the ended by kind and age. Each index holds only the logs that it is about.
const SINCE_2: &str = "
CREATE INDEX log_turn ON log (owner, kind, version, wake, id) WHERE status = 'running';
CREATE INDEX log_parked ON log (wake) WHERE wake > 0;
CREATE INDEX log_mail ON log (owner, id) WHERE posted > read AND status = 'running';
CREATE INDEX log_ended ON log (kind, written, id) WHERE status = 'ended';
CREATE TABLE instance (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL,
    until      INTEGER NOT NULL
) STRICT;
CREATE TABLE mail (
    log        INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    dedup      TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    format     INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    PRIMARY KEY (log, number),
    UNIQUE (log, dedup)
) STRICT, WITHOUT ROWID;
";

/// Before version 3 a record did not say what its log is at, since its head did.
const FROM_2: &str = "ALTER TABLE record ADD COLUMN stage TEXT;";

/// What version 3 has besides: ranges of logs whose heads may know less than their records.
const SINCE_3: &str = "
CREATE TABLE log_behind (
    first      INTEGER PRIMARY KEY,
    last       INTEGER NOT NULL
) STRICT;
";

/// What came later and changes nothing for a program that does not know of it, so that it is no version: it is made
/// wherever it is missing. Operators look for what has become of a tenant's sagas, or of a definition's; without these that
/// reads all of them.
const SINCE: &str = "
CREATE INDEX IF NOT EXISTS log_past ON log (tenant, id) WHERE status = 'ended';
CREATE INDEX IF NOT EXISTS log_past_of ON log (kind, id) WHERE status = 'ended';
";

/// How many prepared statements are kept: all of them, with the forms of a listing that a program uses.
const STATEMENTS: usize = 64;

/// Opens the file, creates or checks the tables, and checks that what is committed will stay.
pub(super) fn open(path: &Path) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(JournalError::backend)?;
    connection
        .busy_timeout(PATIENCE)
        .map_err(JournalError::backend)?;
    check_owner(&connection)?;
    // `fullfsync` matters on macOS, where fsync leaves data in the drive's cache. The inner pages of the indexes of
    // millions of logs have room in 16 MiB, beside what is written just now; in SQLite's own two they have not.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; \
             PRAGMA checkpoint_fullfsync = ON; PRAGMA cache_size = -16384;",
        )
        .map_err(JournalError::backend)?;
    // SQLite answers a setting that it does not take with silence, so both that durability rests on are read back.
    let mode: String = read(&connection, "PRAGMA journal_mode")?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(JournalError::Unsafe {
            setting: "journal_mode",
            found: mode,
            needed: "wal",
        });
    }
    let level: i64 = read(&connection, "PRAGMA synchronous")?;
    if level != 2 {
        let found = level.to_string();
        return Err(JournalError::Unsafe {
            setting: "synchronous",
            found,
            needed: "2 (full)",
        });
    }
    migrate(&connection)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Refuses a file of somebody else before anything in it is changed.
fn check_owner(connection: &Connection) -> Result<(), JournalError> {
    let found: i64 = read(connection, "PRAGMA user_version")?;
    let application: i64 = read(connection, "PRAGMA application_id")?;
    let tables: i64 = read(connection, "SELECT count(*) FROM sqlite_schema")?;
    let fresh = found == 0 && application == 0 && tables == 0;
    if fresh || (application == APPLICATION && (1..=KNOWN).contains(&found)) {
        Ok(())
    } else {
        Err(JournalError::Schema {
            found,
            known: KNOWN,
        })
    }
}

fn migrate(connection: &Connection) -> Result<(), JournalError> {
    let found: i64 = read(connection, "PRAGMA user_version")?;
    let steps = match found {
        0 => [LOGS, SINCE_2, "", SINCE_3],
        1 => [FROM_1, SINCE_2, FROM_2, SINCE_3],
        2 => ["", "", FROM_2, SINCE_3],
        _ => [""; 4],
    };
    // One transaction: a crash leaves the file as it was or as it is to be. Whoever opens the file is alone with it, so
    // the leases that it finds are of processes that are gone.
    let all = format!(
        "BEGIN IMMEDIATE; {} {SINCE} PRAGMA application_id = {APPLICATION}; \
         PRAGMA user_version = {KNOWN}; DELETE FROM instance;",
        steps.concat()
    );
    connection
        .execute_batch(&all)
        .and_then(|()| heads::catch_up(connection))
        .and_then(|()| heads::start(connection))
        .and_then(|_| connection.execute_batch("COMMIT"))
        .map_err(JournalError::backend)
}

fn read<T: rusqlite::types::FromSql>(
    connection: &Connection,
    statement: &str,
) -> Result<T, JournalError> {
    connection
        .query_row(statement, [], |row| row.get(0))
        .map_err(JournalError::backend)
}

/// The tables of a new journal, in memory.
#[cfg(test)]
pub(super) fn example() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(LOGS).unwrap();
    connection.execute_batch(SINCE_2).unwrap();
    connection.execute_batch(SINCE_3).unwrap();
    connection.execute_batch(SINCE).unwrap();
    heads::start(&connection).unwrap();
    connection
}

/// How SQLite would answer, line by line.
#[cfg(test)]
pub(super) fn plan(connection: &Connection, statement: &str) -> String {
    let mut prepared = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
        .unwrap();
    let values = (0..prepared.parameter_count()).map(|_| 7);
    let lines = prepared
        .query_map(rusqlite::params_from_iter(values), |row| {
            row.get::<_, String>(3)
        })
        .unwrap();
    lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}
