//! Heads in memory, and their rows, which come after their records.
//!
//! Everything that a record changes of its log's head is in the record: how many there are, when the last was written, what
//! the log is at. Writing it into the row of the log as well, each time, costs more than half of what the record itself does.
//! One writer has the file, so it knows where the logs that it writes to end, and writes their rows when somebody is about
//! to read them.
//!
//! # Rules
//!
//! 1. Only the row of a running log that nobody has parked lags, and only by records that change nothing else. Any other
//!    record brings the row up to date in its own transaction, and so do a claim, a release and a step's work.
//! 2. A row lags by no more than about [a second](LAG), so that a shell sees what is going on. A listing of running logs
//!    sees no row that lags.
//! 3. What lags is known on the disk: before its row lags, a log is in a range of the table `log_behind`. Logs that began
//!    since the last reckoning need no word for it, since the last range has no end; others have one of their own.
//! 4. Whoever opens the file, or begins a transaction after one that was rolled back, gives the rows in those ranges what
//!    their records say. So a record that a shell put behind the last one of such a log is believed after a crash, and
//!    one that the disk has lost at its end is not missed, where a row that does not lag would tell.
//! 5. There are at most about [so many](MANY) since the last reckoning: then all rows are written, and nothing is known
//!    any more. So it is when the journal is closed.
//! 6. When somebody else has written to the file, what is known is written, whatever became of the rows otherwise, and
//!    known no more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Statement, params};

use super::rows::{persistent, signed, unsigned};
use crate::journal::{Append, Head, LogId, Place};
use crate::time::{Tick, Timestamp};

/// Rule 2.
pub(super) const LAG: Duration = Duration::from_secs(1);

/// Rule 5. Bounds the memory, and what opening the file after a crash takes.
const MANY: usize = 16_384;

/// The last range of `log_behind` ends here.
const ENDLESS: i64 = i64::MAX;

/// What a record changes of a row that no index knows of. SQLite takes a row out of an index and puts it back for every
/// column of it that is named, the same value or not; so none is.
const ADVANCE: &str =
    "UPDATE log SET records = ?4, recoveries = 0, updated = ?5, stage = coalesce(?6, stage)
    WHERE id = ?1 AND epoch = ?2 AND records = ?3 AND status = 'running' AND wake = 0";

/// The same of what was acknowledged already, so that it asks for nothing but the place of the row.
const WRITE: &str =
    "UPDATE log SET records = ?3, recoveries = 0, updated = ?4, stage = coalesce(?5, stage)
    WHERE id = ?1 AND records = ?2";

/// The end of a log that nobody has parked; as most logs end.
const END: &str =
    "UPDATE log SET records = ?4, recoveries = 0, updated = ?5, stage = coalesce(?6, stage),
    status = 'ended', owner = NULL, written = ?7
    WHERE id = ?1 AND epoch = ?2 AND records = ?3 AND status = 'running' AND wake = 0";

/// Rule 4: those that may lag, whatever a shell has made of them since.
const MAY_LAG: &str = "SELECT log.id FROM log_behind CROSS JOIN log
    WHERE log.id BETWEEN log_behind.first AND log_behind.last";

const CATCH_UP: &str = "UPDATE log SET records = last.seq, recoveries = 0, updated = last.at,
    stage = coalesce((SELECT stage FROM record WHERE record.log = ?1 AND record.seq > log.records AND stage IS NOT NULL
                      ORDER BY record.seq DESC LIMIT 1), stage)
    FROM (SELECT seq, at, epoch FROM record WHERE record.log = ?1 ORDER BY seq DESC LIMIT 1) AS last
    WHERE id = ?1 AND last.seq > records AND last.epoch <= log.epoch";

/// What is known of the logs that are written to.
pub(super) struct Heads<'c> {
    known: HashMap<LogId, Known>,
    /// Ids from here on are in the range without an end.
    from: LogId,
    /// How many became known since the last reckoning.
    entered: usize,
    /// Since when a row lags.
    lags_since: Option<Tick>,
    /// When the transaction under way began.
    now: Tick,
    /// Whether a transaction was rolled back.
    doubtful: bool,
    /// SQLite's count of what others wrote.
    theirs: i64,
    others: Statement<'c>,
    write: Statement<'c>,
    advance: Statement<'c>,
    end: Statement<'c>,
}

/// A running log that nobody has parked.
struct Known {
    place: Place,
    /// How many records its row knows.
    row: u64,
    /// Whether it is in a range of `log_behind`.
    covered: bool,
    updated: Timestamp,
    /// What the records say that the row does not know.
    stage: Option<Arc<str>>,
}

impl<'c> Heads<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let first: i64 = connection.query_row(
            "SELECT first FROM log_behind WHERE last = ?1",
            params![ENDLESS],
            |row| row.get(0),
        )?;
        let mut others = persistent(connection, "PRAGMA data_version")?;
        Ok(Self {
            known: HashMap::new(),
            from: LogId::new(unsigned(first)),
            entered: 0,
            lags_since: None,
            now: Tick::ZERO,
            doubtful: false,
            theirs: others.query_row([], |row| row.get(0))?,
            others,
            write: persistent(connection, WRITE)?,
            advance: persistent(connection, ADVANCE)?,
            end: persistent(connection, END)?,
        })
    }

    /// A transaction has begun.
    pub(super) fn begun(&mut self, connection: &Connection, now: Tick) -> rusqlite::Result<()> {
        self.now = now;
        let theirs = self.others.query_row([], |row| row.get(0))?;
        if theirs != self.theirs {
            self.theirs = theirs;
            self.others_wrote()?;
        }
        if self.doubtful || self.entered >= MANY {
            return self.reckon(connection);
        }
        if self.due_in(now).is_some_and(|left| left.is_zero()) {
            self.write_all()?;
        }
        Ok(())
    }

    /// When rows have to be written, if any lags.
    pub(super) fn due_in(&self, now: Tick) -> Option<Duration> {
        self.lags_since
            .map(|since| LAG.saturating_sub(now.since(since)))
    }

    /// Whether no row can lag.
    pub(super) const fn are_untouched(&self) -> bool {
        self.entered == 0 && !self.doubtful
    }

    /// A log has begun.
    pub(super) fn created(&mut self, head: &Head) {
        self.enter(head.id, head.place, head.updated);
    }

    /// A log whose row is up to date runs, and nobody has parked it.
    fn enter(&mut self, id: LogId, place: Place, updated: Timestamp) {
        self.entered = self.entered.saturating_add(1);
        let known = Known {
            place,
            row: place.records,
            covered: id >= self.from,
            updated,
            stage: None,
        };
        self.known.insert(id, known);
    }

    /// Whether the log is known to end where this record is to follow.
    pub(super) fn ends_at(&self, append: &Append) -> bool {
        self.known
            .get(&append.id)
            .is_some_and(|known| known.place == append.expect)
    }

    /// The head of a known log learns of its next record, and its row does not. `false` when it is not known.
    pub(super) fn advance(
        &mut self,
        connection: &Connection,
        append: &Append,
    ) -> rusqlite::Result<bool> {
        let Some(known) = self.known.get_mut(&append.id) else {
            return Ok(false);
        };
        if !known.covered {
            connection
                .prepare_cached("INSERT OR IGNORE INTO log_behind (first, last) VALUES (?1, ?1)")?
                .execute(params![signed(append.id.get())])?;
            known.covered = true;
        }
        self.lags_since.get_or_insert(self.now);
        known.place = append.expect.after();
        known.updated = append.at;
        if let Some(stage) = &append.stage {
            known.stage = Some(Arc::clone(stage));
        }
        Ok(true)
    }

    /// The row of a log learns of its next record, and the log is known from then on. `false`, and nothing is changed, when
    /// it does not end there, does not run or is parked.
    pub(super) fn follow(&mut self, append: &Append) -> rusqlite::Result<bool> {
        let next = append.expect.after();
        let written = self.advance.execute(params![
            signed(append.id.get()),
            signed(next.epoch.get()),
            signed(append.expect.records),
            signed(next.records),
            append.at.as_millis(),
            append.stage.as_deref(),
        ])?;
        if written == 1 {
            self.enter(append.id, next, append.at);
        }
        Ok(written == 1)
    }

    /// The row of a log, known or not, learns of its last record. `false`, and nothing is changed, when it does not end
    /// there, does not run or is parked.
    pub(super) fn end(&mut self, append: &Append, now: Timestamp) -> rusqlite::Result<bool> {
        let (row, stage) = match self.known.get(&append.id) {
            Some(known) => (known.row, known.stage.as_deref()),
            None => (append.expect.records, None),
        };
        let next = append.expect.after();
        let written = self.end.execute(params![
            signed(append.id.get()),
            signed(next.epoch.get()),
            signed(row),
            signed(next.records),
            append.at.as_millis(),
            append.stage.as_deref().or(stage),
            now.as_millis(),
        ])?;
        if written == 1 {
            self.known.remove(&append.id);
        }
        Ok(written == 1)
    }

    /// What a row that was read just now does not know yet.
    pub(super) fn see(&self, head: &mut Head) {
        let Some(known) = self.known.get(&head.id).filter(|known| known.lags()) else {
            return;
        };
        head.place = known.place;
        head.updated = known.updated;
        head.recoveries = 0;
        if let Some(stage) = &known.stage {
            head.stage = Arc::clone(stage);
        }
    }

    /// Brings the row of a log up to date. From then on its row is what counts, until a record follows it.
    pub(super) fn settle(&mut self, id: LogId) -> rusqlite::Result<()> {
        match self.known.remove(&id) {
            Some(mut known) => known.write(&mut self.write, id),
            None => Ok(()),
        }
    }

    /// Brings all rows up to date.
    pub(super) fn write_all(&mut self) -> rusqlite::Result<()> {
        self.lags_since = None;
        for (id, known) in &mut self.known {
            known.write(&mut self.write, *id)?;
        }
        Ok(())
    }

    /// Brings all rows up to date, and knows no log from then on: what comes next may be taken back without a word.
    pub(super) fn let_go(&mut self) -> rusqlite::Result<()> {
        self.write_all()?;
        self.known.clear();
        Ok(())
    }

    /// Rule 6. A row that somebody else has given another place is theirs.
    fn others_wrote(&mut self) -> rusqlite::Result<()> {
        self.lags_since = None;
        for (id, mut known) in self.known.drain() {
            known.try_write(&mut self.write, id)?;
        }
        Ok(())
    }

    /// Brings all rows up to date, and reckons anew which may lag.
    pub(super) fn reckon(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.write_all()?;
        if self.doubtful {
            catch_up(connection)?;
            self.doubtful = false;
        }
        self.known.clear();
        self.entered = 0;
        self.from = start(connection)?;
        Ok(())
    }

    /// A transaction was rolled back: what is known may not be so. The next one begins with what the records say.
    pub(super) fn rolled_back(&mut self) {
        self.known.clear();
        self.lags_since = None;
        self.doubtful = true;
    }
}

impl Known {
    const fn lags(&self) -> bool {
        self.row != self.place.records
    }

    /// Writes the row if it lags.
    fn write(&mut self, write: &mut Statement<'_>, id: LogId) -> rusqlite::Result<()> {
        match self.try_write(write, id)? {
            0 if self.lags() => Err(rusqlite::Error::StatementChangedRows(0)),
            _ => {
                self.row = self.place.records;
                Ok(())
            }
        }
    }

    /// The same where the row need not be as it was left. Answers with how many rows were written.
    fn try_write(&mut self, write: &mut Statement<'_>, id: LogId) -> rusqlite::Result<usize> {
        if !self.lags() {
            return Ok(0);
        }
        write.execute(params![
            signed(id.get()),
            signed(self.row),
            signed(self.place.records),
            self.updated.as_millis(),
            self.stage.take().as_deref(),
        ])
    }
}

/// Gives the rows that may lag what their records say.
pub(super) fn catch_up(connection: &Connection) -> rusqlite::Result<()> {
    let ids: Vec<i64> = connection
        .prepare_cached(MAY_LAG)?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut update = connection.prepare_cached(CATCH_UP)?;
    for id in ids {
        update.execute(params![id])?;
    }
    Ok(())
}

/// No row lags. From here on those of logs to come may; answers with the first of them.
pub(super) fn start(connection: &Connection) -> rusqlite::Result<LogId> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'log'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let first = last.unwrap_or(0).saturating_add(1);
    connection
        .prepare_cached("DELETE FROM log_behind")?
        .execute([])?;
    connection
        .prepare_cached("INSERT INTO log_behind (first, last) VALUES (?1, ?2)")?
        .execute(params![first, ENDLESS])?;
    Ok(LogId::new(unsigned(first)))
}

#[cfg(test)]
mod tests {
    use super::super::statements::{self, Prepared};
    use super::super::{schema, turns};
    use super::*;
    use crate::journal::{Begin, Begun, Claim, Labels, Listing, Release, Status};

    /// A journal in memory, its statements, and a clock.
    struct Bench<'c> {
        prepared: Prepared<'c>,
        now: Tick,
    }

    impl<'c> Bench<'c> {
        fn new(connection: &'c Connection) -> Self {
            Self {
                prepared: Prepared::new(connection).unwrap(),
                now: Tick::ZERO,
            }
        }

        fn transaction(&mut self) {
            let connection = self.prepared.connection;
            self.prepared.heads.begun(connection, self.now).unwrap();
        }

        fn begin(&mut self, key: &str) -> Head {
            let at = Timestamp::from_millis(1);
            let labels = Arc::new(Labels::new("acme"));
            let begin = Begin::new(labels, "pay", key, "digest", 1, "[]", at).stage("new");
            match statements::begin(&mut self.prepared, &begin) {
                Ok(Begun::Created(head)) => head,
                _ => panic!("the key is free"),
            }
        }

        #[expect(clippy::unused_self, reason = "it reads as the others do")]
        fn next(&self, head: &Head) -> Append {
            let labels = Arc::clone(&head.labels);
            let at = Timestamp::from_millis(2);
            Append::new(head.id, head.place, Status::Running, labels, 1, "[1]", at)
        }

        fn append(&mut self, head: &mut Head, change: impl FnOnce(Append) -> Append) {
            let append = change(self.next(head));
            assert!(statements::append(&mut self.prepared, &append).is_ok());
            head.place = head.place.after();
        }

        /// How many records a row knows, and what it says the log is at.
        fn row(&self, id: LogId) -> (u64, String) {
            let ask = "SELECT records, stage FROM log WHERE id = ?1";
            let read = |row: &rusqlite::Row<'_>| Ok((unsigned(row.get(0)?), row.get(1)?));
            let connection = self.prepared.connection;
            connection.query_row(ask, [signed(id.get())], read).unwrap()
        }

        fn records(&self, id: LogId) -> u64 {
            self.row(id).0
        }

        fn ranges(&self) -> Vec<(i64, i64)> {
            let mut ask = self
                .prepared
                .connection
                .prepare("SELECT first, last FROM log_behind ORDER BY first")
                .unwrap();
            let rows = ask.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            rows.unwrap().map(Result::unwrap).collect()
        }
    }

    /// The process is killed and the next one opens the file.
    fn killed(bench: Bench<'_>) -> Bench<'_> {
        let connection = bench.prepared.connection;
        drop(bench);
        catch_up(connection).unwrap();
        start(connection).unwrap();
        Bench::new(connection)
    }

    #[test]
    fn rule_1_a_row_lags_until_something_else_changes() {
        let connection = schema::example();
        let mut bench = Bench::new(&connection);
        let changes: [fn(Append) -> Append; 6] = [
            |append| append.park(Duration::from_secs(1)),
            |append| append.read(0),
            |append| append.version(2),
            |mut append| {
                append.status = Status::Held;
                append
            },
            |mut append| {
                append.status = Status::Ended;
                append
            },
            |append| append,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut head = bench.begin(&number.to_string());
            bench.append(&mut head, |append| append.stage("first"));
            bench.append(&mut head, |append| append);
            assert_eq!(bench.row(head.id), (1, "new".to_owned()));
            bench.append(&mut head, change);
            let due = match number {
                // The control: nothing else is changed.
                5 => (1, "new".to_owned()),
                _ => (4, "first".to_owned()),
            };
            assert_eq!(bench.row(head.id), due, "change {number}");
        }
    }

    #[test]
    fn rule_1_claims_and_releases_find_rows_up_to_date() {
        let connection = schema::example();
        let mut bench = Bench::new(&connection);
        let (mut claimed, mut released) = (bench.begin("1"), bench.begin("2"));
        bench.append(&mut claimed, |append| append);
        bench.append(&mut released, |append| append);
        let claim = Claim::new(vec![("pay".into(), 1)], 1);
        let heads = turns::claim(&mut bench.prepared, &claim).unwrap_or_default();
        assert_eq!(heads.len(), 1);
        assert_eq!(
            (heads[0].place.records, heads[0].recoveries, heads[0].claims),
            (2, 1, 1)
        );
        let release = Release::new(released.id, released.place);
        assert!(turns::release(&mut bench.prepared, &release).is_ok());
        assert_eq!(bench.records(released.id), 2);
        // The next record of a claimed log writes the row, and it lags again after that.
        claimed.place = heads[0].place;
        bench.append(&mut claimed, |append| append);
        assert_eq!(bench.records(claimed.id), 3);
        bench.append(&mut claimed, |append| append);
        assert_eq!(bench.records(claimed.id), 3);
    }

    #[test]
    fn rule_2_a_second_and_no_more() {
        let connection = schema::example();
        let mut bench = Bench::new(&connection);
        bench.transaction();
        let mut head = bench.begin("1");
        assert_eq!(bench.prepared.heads.due_in(bench.now), None);
        bench.append(&mut head, |append| append);
        assert_eq!(bench.prepared.heads.due_in(bench.now), Some(LAG));
        bench.now = Tick::from_nanos(999_999_999);
        bench.transaction();
        assert_eq!(bench.records(head.id), 1);
        bench.now = Tick::from_nanos(1_000_000_000);
        bench.transaction();
        assert_eq!(bench.records(head.id), 2);
        assert_eq!(bench.prepared.heads.due_in(bench.now), None);
        // From the next record on, again.
        bench.append(&mut head, |append| append);
        assert_eq!(bench.prepared.heads.due_in(bench.now), Some(LAG));
    }

    #[test]
    fn rule_2_a_listing_of_running_logs_sees_none_that_lags() {
        let connection = schema::example();
        let mut bench = Bench::new(&connection);
        let mut head = bench.begin("1");
        bench.append(&mut head, |append| append.stage("paying"));
        let mut list = |status| {
            let listing = Listing::new(status, 9).stage("paying");
            statements::list(&mut bench.prepared, &listing).map_or(0, |found| found.len())
        };
        assert_eq!(list(Status::Held), 0);
        assert_eq!(list(Status::Running), 1);
        assert_eq!(bench.row(head.id), (2, "paying".to_owned()));
    }

    #[test]
    fn rule_3_what_lags_is_known_on_the_disk_before() {
        let connection = schema::example();
        let mut bench = Bench::new(&connection);
        let mut old = bench.begin("1");
        bench.prepared.heads.reckon(&connection).unwrap();
        let mut new = bench.begin("2");
        assert_eq!(bench.ranges(), [(2, ENDLESS)]);
        // Its row is written, since nothing is known of it.
        bench.append(&mut old, |append| append);
        assert_eq!((bench.records(old.id), bench.ranges().len()), (2, 1));
        bench.append(&mut old, |append| append);
        bench.append(&mut old, |append| append.stage("late"));
        bench.append(&mut new, |append| append);
        assert_eq!((bench.records(old.id), bench.records(new.id)), (2, 1));
        assert_eq!(bench.ranges(), [(1, 1), (2, ENDLESS)]);
        let bench = killed(bench);
        assert_eq!(bench.row(old.id), (4, "late".to_owned()));
        assert_eq!(bench.row(new.id), (2, "new".to_owned()));
        assert_eq!(bench.ranges(), [(3, ENDLESS)]);
    }

    #[test]
    fn rule_4_only_rows_that_may_lag_catch_up() {
        let connection = schema::example();
        let mut bench = Bench::new(&connection);
        let (mut good, bad) = (bench.begin("1"), bench.begin("2"));
        bench.append(&mut good, |append| append);
        connection
            .execute_batch(
                "INSERT INTO record SELECT log, 2, epoch + 1, at, tenant, subject, key_id, format, body, stage
                 FROM record WHERE log = 2",
            )
            .unwrap();
        let bench = killed(bench);
        assert_eq!((bench.records(good.id), bench.records(bad.id)), (2, 1));
        // A row that knows more than there is stays as it is: its log is damaged.
        connection
            .execute_batch(
                "DELETE FROM record WHERE log = 1 AND seq = 2; UPDATE log_behind SET first = 1",
            )
            .unwrap();
        let bench = killed(bench);
        assert_eq!(bench.records(good.id), 2);
        // Nothing lags any more, so nothing is believed.
        connection
            .execute_batch(
                "INSERT INTO record SELECT log, 3, epoch, at, tenant, subject, key_id, format, body, stage
                 FROM record WHERE log = 1 AND seq = 1",
            )
            .unwrap();
        let bench = killed(bench);
        assert_eq!(bench.records(good.id), 2);
    }

    #[test]
    fn rule_4_what_was_rolled_back_is_not_known() {
        let connection = schema::example();
        let mut bench = Bench::new(&connection);
        let mut head = bench.begin("1");
        bench.append(&mut head, |append| append);
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut ahead = head.clone();
        bench.append(&mut ahead, |append| append);
        assert!(bench.prepared.heads.ends_at(&bench.next(&ahead)));
        let gone = bench.begin("2");
        connection.execute_batch("ROLLBACK").unwrap();
        bench.prepared.heads.rolled_back();
        assert!(!bench.prepared.heads.are_untouched());
        bench.transaction();
        assert!(!bench.prepared.heads.ends_at(&bench.next(&ahead)));
        assert_eq!(bench.records(head.id), 2);
        bench.append(&mut head, |append| append);
        assert_eq!(bench.begin("3").id, gone.id, "its number is free again");
        let mut loaded = head.clone();
        bench.prepared.heads.see(&mut loaded);
        assert_eq!(loaded.place, head.place);
        // And where the journal is closed before anything else is done.
        assert_eq!(bench.records(head.id), 3);
        bench.append(&mut head, |append| append);
        bench.prepared.heads.rolled_back();
        bench.prepared.heads.reckon(&connection).unwrap();
        assert_eq!(bench.records(head.id), 4);
    }

    /// However many run, so many are known; and so many are looked at after a crash.
    #[test]
    fn rule_5_what_is_known_is_bounded() {
        let connection = schema::example();
        let mut bench = Bench::new(&connection);
        connection.execute_batch("BEGIN").unwrap();
        let mut most = 0;
        for number in 0..MANY + 10 {
            bench.transaction();
            let mut head = bench.begin(&number.to_string());
            if number % 4 == 0 {
                bench.append(&mut head, |append| append);
            }
            most = most.max(bench.prepared.heads.known.len());
        }
        assert_eq!((most, bench.prepared.heads.known.len()), (MANY, 10));
        let first = i64::try_from(MANY).unwrap() + 1;
        assert_eq!(bench.ranges(), [(first, ENDLESS)]);
        let behind =
            "SELECT count(*) FROM log WHERE records < (SELECT max(seq) FROM record WHERE log = id)";
        let behind: i64 = connection.query_row(behind, [], |row| row.get(0)).unwrap();
        // Of the ten after the reckoning.
        assert_eq!(behind, 3);
    }

    /// What is looked at after a crash are the logs of the ranges and their last records.
    #[test]
    fn catching_up_reads_no_log_that_does_not_lag() {
        let connection = schema::example();
        for (statement, has) in [
            (
                MAY_LAG,
                "log USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
            ),
            (CATCH_UP, "USING INTEGER PRIMARY KEY (rowid=?)"),
            (CATCH_UP, "USING INDEX sqlite_autoindex_record_1 (log=?)"),
        ] {
            let plan = schema::plan(&connection, statement);
            assert!(plan.contains(has), "{statement}: {plan}");
            assert!(
                !plan.replace("SCAN log_behind", "").contains("SCAN log")
                    && !plan.contains("SCAN record"),
                "{statement}: {plan}"
            );
        }
    }
}
