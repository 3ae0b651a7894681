//! What only the SQLite journal promises: its file, its lock, its syncs, and that it stops when it must.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "its child processes are told by the environment what to do"
)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{
    Append, Begin, Begun, Claim, Head, Journal, JournalError, Labels, Listing, LogId, Place, Status,
};
use mainstay::time::Timestamp;
use rusqlite::Connection;

fn begin(key: &str, body: &str) -> Begin {
    let labels = Arc::new(Labels::new("acme"));
    Begin::new(
        labels,
        "pay",
        key,
        "digest",
        1,
        body,
        Timestamp::from_millis(0),
    )
}

async fn create(journal: &SqliteJournal, key: &str) -> Head {
    match journal.begin(begin(key, "[]")).await.unwrap() {
        Begun::Created(head) => head,
        other => panic!("{other:?}"),
    }
}

fn append(head: &Head, place: Place, body: &str) -> Append {
    let labels = Arc::clone(&head.labels);
    Append::new(
        head.id,
        place,
        Status::Running,
        labels,
        1,
        body,
        Timestamp::from_millis(0),
    )
}

/// Runs one ignored test of this file in a process of its own.
fn child(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("MAINSTAY_TEST_FILE", path);
    command
}

fn file() -> std::path::PathBuf {
    std::env::var_os("MAINSTAY_TEST_FILE").unwrap().into()
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    create(&journal, "1").await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn a_second_opening_in_this_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    assert!(matches!(
        SqliteJournal::open(&path),
        Err(JournalError::InUse(_))
    ));
    // By another name too.
    let detour = folder
        .path()
        .join(".")
        .join("..")
        .join(folder.path().file_name().unwrap());
    let detour = SqliteJournal::open(detour.join("journal.sqlite"));
    assert!(matches!(detour, Err(JournalError::InUse(_))));
    drop(journal);
    SqliteJournal::open(&path).unwrap();
}

#[test]
#[ignore = "a child process of the test below"]
fn child_opens() {
    println!("opened: {:?}", SqliteJournal::open(file()).map(drop));
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    let output = child("child_opens", &path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("opened: Err(InUse"), "{said}");
    drop(journal);
    let output = child("child_opens", &path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("opened: Ok"), "{said}");
}

#[tokio::test]
async fn a_shell_can_look_at_it_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    create(&journal, "1").await;
    let shell = Connection::open(&path).unwrap();
    let (kind, status): (String, String) = shell
        .query_row("SELECT kind, status FROM log", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!((kind.as_str(), status.as_str()), ("pay", "running"));
    create(&journal, "2").await;
}

#[test]
fn a_later_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    drop(SqliteJournal::open(&path).unwrap());
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 4")
        .unwrap();
    let refused = SqliteJournal::open(&path).unwrap_err();
    assert!(
        matches!(
            refused,
            JournalError::Schema {
                found: 4,
                known: 3,
                ..
            }
        ),
        "{refused:?}"
    );
}

#[test]
fn a_file_of_somebody_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.sqlite");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();
    assert!(matches!(
        SqliteJournal::open(&path),
        Err(JournalError::Schema { .. })
    ));
    let tables: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
    // A file that is no database at all.
    let path = folder.path().join("letter.txt");
    std::fs::write(
        &path,
        "dear reader, this is no database, whatever its size may be",
    )
    .unwrap();
    assert!(SqliteJournal::open(&path).is_err());
}

#[tokio::test]
async fn a_record_that_is_missing_damages_its_log_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    let (holed, short, whole) = (
        create(&journal, "1").await,
        create(&journal, "2").await,
        create(&journal, "3").await,
    );
    for head in [&holed, &short, &whole] {
        journal
            .append(append(head, head.place, "[1]"))
            .await
            .unwrap();
        journal
            .append(append(head, head.place.after(), "[2]"))
            .await
            .unwrap();
    }
    drop(journal);
    let shell = Connection::open(&path).unwrap();
    shell
        .execute("DELETE FROM record WHERE log = ?1 AND seq = 2", [1])
        .unwrap();
    shell
        .execute("DELETE FROM record WHERE log = ?1 AND seq = 3", [2])
        .unwrap();
    drop(shell);
    let journal = SqliteJournal::open(&path).unwrap();
    for id in [holed.id, short.id] {
        let refused = journal.load(id).await.unwrap_err();
        assert!(
            matches!(refused, JournalError::Damaged { id: found, .. } if found == id),
            "{refused:?}"
        );
    }
    assert_eq!(journal.load(whole.id).await.unwrap().records.len(), 3);
}

#[tokio::test]
#[ignore = "a child process of the test below"]
async fn child_fills_the_disk() {
    let journal = SqliteJournal::open(file()).unwrap();
    let mut head = create(&journal, "1").await;
    let page = "x".repeat(4_000);
    for number in 1.. {
        match journal.append(append(&head, head.place, &page)).await {
            Ok(()) => head.place = head.place.after(),
            Err(error) => {
                println!("acknowledged {number}");
                println!("refused {}", matches!(error, JournalError::Closed(Some(_))));
                break;
            }
        }
    }
    // Stopped for good, for reading too: nobody is told what may not be on the disk.
    let after = journal.append(append(&head, head.place, "[]")).await;
    println!(
        "stopped {}",
        matches!(after, Err(JournalError::Closed(Some(_))))
    );
    println!(
        "unread {}",
        matches!(
            journal.load(head.id).await,
            Err(JournalError::Closed(Some(_)))
        )
    );
}

/// Rule 5: a file that may not grow stands for a full disk and for a failed sync.
#[cfg(unix)]
#[tokio::test]
async fn a_failed_commit_stops_the_store_and_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let this = std::env::current_exe().unwrap();
    let script = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" --exact child_fills_the_disk --ignored --nocapture";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(this)
        .env("MAINSTAY_TEST_FILE", &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("refused true"),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        said.contains("stopped true") && said.contains("unread true"),
        "{said}"
    );
    let acknowledged: usize = said
        .lines()
        .find_map(|line| line.strip_prefix("acknowledged "))
        .and_then(|number| number.parse().ok())
        .unwrap();
    let journal = SqliteJournal::open(&path).unwrap();
    let head = match journal.begin(begin("1", "[]")).await.unwrap() {
        Begun::Existing(head) => head,
        other => panic!("{other:?}"),
    };
    let records = journal.load(head.id).await.unwrap().records;
    println!("{acknowledged} acknowledged, {} there", records.len());
    assert!(records.len() >= acknowledged && acknowledged > 20);
    assert_eq!(records[0].body, "[]");
}

// === a damaged log and its neighbours ===

/// Rule 8: what one log holds is no reason to stop the store for all others.
#[tokio::test]
async fn a_text_that_is_no_text_damages_its_log_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    let (body, label, key) = (
        create(&journal, "1").await,
        create(&journal, "2").await,
        create(&journal, "3").await,
    );
    let whole = create(&journal, "4").await;
    drop(journal);
    let shell = Connection::open(&path).unwrap();
    for damage in [
        "UPDATE record SET body = CAST(x'5bff5d' AS TEXT) WHERE log = 1",
        "UPDATE record SET subject = CAST(x'ff' AS TEXT) WHERE log = 2",
        "UPDATE log SET key = CAST(x'33ff' AS TEXT) WHERE id = 3",
    ] {
        assert_eq!(shell.execute(damage, []).unwrap(), 1);
    }
    drop(shell);
    let journal = SqliteJournal::open(&path).unwrap();
    // All are handed out and listed: a log that nobody is shown is a log that nobody repairs.
    let claimed = journal.claim(Claim::new(vec![("pay".into(), 1)], 10)).await;
    assert_eq!(claimed.unwrap().len(), 4);
    let listed = journal.list(Listing::new(Status::Running, 10)).await;
    assert_eq!(listed.unwrap().len(), 4);
    for id in [body.id, label.id, key.id] {
        let refused = journal.load(id).await.unwrap_err();
        assert!(
            matches!(refused, JournalError::Damaged { id: found, .. } if found == id),
            "{refused:?}"
        );
    }
    assert_eq!(journal.load(whole.id).await.unwrap().records.len(), 1);
}

/// A head that lags behind its records: the place is taken, and only this log is damaged.
#[tokio::test]
async fn a_record_in_the_way_is_damage_and_stops_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    let (lags, whole) = (create(&journal, "1").await, create(&journal, "2").await);
    let shell = Connection::open(&path).unwrap();
    shell
        .execute(
            "INSERT INTO record SELECT log, 2, epoch, at, tenant, subject, key_id, format, '[2]', NULL FROM record WHERE log = 1",
            [],
        )
        .unwrap();
    drop(shell);
    // In one batch: each is asked before the first is answered.
    let (before, refused, after) = (
        journal.append(append(&whole, whole.place, "[a]")),
        journal.append(append(&lags, lags.place, "[b]")),
        journal.append(append(&whole, whole.place.after(), "[c]")),
    );
    before.await.unwrap();
    let refused = refused.await.unwrap_err();
    assert!(
        matches!(refused, JournalError::Damaged { id, .. } if id == lags.id),
        "{refused:?}"
    );
    after.await.unwrap();
    assert_eq!(journal.load(whole.id).await.unwrap().records.len(), 3);
    let shell = Connection::open(&path).unwrap();
    let records: i64 = shell
        .query_row("SELECT records FROM log WHERE id = 1", [], |row| row.get(0))
        .unwrap();
    assert_eq!(records, 1, "a refused append changes nothing");
}

/// Ahead of its log, under another epoch, or of a log that is not there: what is refused is not there either.
#[tokio::test]
async fn an_append_that_is_refused_leaves_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    let head = create(&journal, "1").await;
    let mut gone = head.clone();
    gone.id = LogId::new(99);
    let ahead = Place::new(head.place.epoch, 5);
    let other = Place::new(head.place.epoch.next(), head.place.records);
    for refused in [
        append(&head, ahead, "[1]"),
        append(&head, other, "[2]"),
        append(&head, other, "[3]").park(std::time::Duration::from_secs(1)),
    ] {
        let refused = journal.append(refused).await;
        assert!(
            matches!(refused, Err(JournalError::Conflict { .. })),
            "{refused:?}"
        );
    }
    let missing = journal.append(append(&gone, head.place, "[4]")).await;
    assert!(
        matches!(missing, Err(JournalError::Missing(_))),
        "{missing:?}"
    );
    let shell = Connection::open(&path).unwrap();
    let records: i64 = shell
        .query_row("SELECT count(*) FROM record", [], |row| row.get(0))
        .unwrap();
    assert_eq!(records, 1);
    assert_eq!(journal.load(head.id).await.unwrap().head.place, head.place);
}

/// A start that finds its key taken changes nothing, and not the number of the next log either.
#[tokio::test]
async fn a_key_that_is_taken_costs_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path().join("journal.sqlite")).unwrap();
    let first = create(&journal, "1").await;
    for _ in 0..3 {
        let again = journal.begin(begin("1", "[9]")).await.unwrap();
        assert!(matches!(again, Begun::Existing(head) if head.id == first.id));
    }
    assert_eq!(create(&journal, "2").await.id, LogId::new(2));
    assert_eq!(journal.load(first.id).await.unwrap().records.len(), 1);
}

/// Refused, acknowledged and lost replies in one batch: each gets its own answer.
#[tokio::test]
async fn a_refusal_fails_nobody_else_in_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path().join("journal.sqlite")).unwrap();
    let head = create(&journal, "1").await;
    let good = journal.append(append(&head, head.place, "[1]"));
    let lost = journal.append(append(&head, head.place, "[1]"));
    let stale = journal.append(append(&head, head.place, "[2]"));
    let next = journal.append(append(&head, head.place.after(), "[3]"));
    let missing = journal.load(LogId::new(99));
    let (good, lost, stale, next, missing) = tokio::join!(good, lost, stale, next, missing);
    assert!(good.is_ok() && lost.is_ok() && next.is_ok());
    assert!(
        matches!(stale, Err(JournalError::Conflict { .. })),
        "{stale:?}"
    );
    assert!(
        matches!(missing, Err(JournalError::Missing(_))),
        "{missing:?}"
    );
    assert_eq!(journal.load(head.id).await.unwrap().records.len(), 3);
}

// === rows that come after their records ===

/// How many records the row of a log knows, as a shell sees it.
fn row(path: &Path, id: LogId) -> u64 {
    let shell = Connection::open(path).unwrap();
    let id = i64::try_from(id.get()).unwrap();
    let ask = "SELECT records FROM log WHERE id = ?1";
    let records: i64 = shell.query_row(ask, [id], |row| row.get(0)).unwrap();
    u64::try_from(records).unwrap()
}

async fn with_records(journal: &SqliteJournal, key: &str) -> Head {
    let mut head = create(journal, key).await;
    for body in ["[1]", "[2]"] {
        let next = append(&head, head.place, body);
        journal.append(next).await.unwrap();
        head.place = head.place.after();
    }
    head
}

/// Nobody asks for anything any more, and a shell sees how things stand nevertheless.
#[tokio::test]
async fn a_row_lags_by_a_second_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    let began = std::time::Instant::now();
    let head = with_records(&journal, "1").await;
    let written = journal.written();
    assert_eq!((written.operations, written.commits), (3, 3));
    while row(&path, head.id) < 3 {
        assert!(began.elapsed().as_secs() < 20, "its row still lags");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // Once, and then there is nothing more to write.
    let changes = || {
        std::fs::metadata(folder.path().join("journal.sqlite-wal"))
            .unwrap()
            .len()
    };
    let after = changes();
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    assert_eq!(changes(), after);
    // Nobody asked for it, so that it is none of the commits that writers share.
    let written = journal.written();
    assert_eq!((written.operations, written.commits), (3, 3));
}

#[tokio::test]
async fn a_journal_that_is_closed_has_no_row_that_lags() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    let head = with_records(&journal, "1").await;
    drop(journal);
    assert_eq!(row(&path, head.id), 3);
}

/// What somebody else wrote to a row counts, and not what was known of it before.
#[tokio::test]
async fn what_a_shell_writes_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    let (moved, held) = (
        with_records(&journal, "1").await,
        with_records(&journal, "2").await,
    );
    let other = with_records(&journal, "3").await;
    let shell = Connection::open(&path).unwrap();
    let parked = with_records(&journal, "4").await;
    for change in [
        "UPDATE log SET epoch = 7 WHERE id = 1",
        "UPDATE log SET status = 'held' WHERE id = 2",
        "UPDATE log SET wake = 9000000000000 WHERE id = 4",
    ] {
        assert_eq!(shell.execute(change, []).unwrap(), 1);
    }
    drop(shell);
    let late = journal.append(append(&moved, moved.place, "[3]")).await;
    assert!(
        matches!(late, Err(JournalError::Conflict { .. })),
        "{late:?}"
    );
    assert_eq!(
        journal.load(moved.id).await.unwrap().head.place.epoch.get(),
        7
    );
    let listed = journal.list(Listing::new(Status::Held, 9)).await.unwrap();
    assert_eq!(listed.first().map(|head| head.id), Some(held.id));
    for log in [&moved, &held, &parked] {
        assert_eq!(journal.load(log.id).await.unwrap().records.len(), 3);
    }
    // And it goes on for everybody else.
    let next = append(&other, other.place, "[3]");
    journal.append(next).await.unwrap();
    assert_eq!(journal.load(other.id).await.unwrap().records.len(), 4);
}

/// A shell that writes to the file of a program that was killed finds rows that lag, and spoils no log by what it writes.
#[tokio::test]
async fn what_a_shell_writes_after_a_crash_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    let mut logs = Vec::new();
    for key in ["1", "2", "3", "4", "5"] {
        logs.push(with_records(&journal, key).await.id);
    }
    let killed = folder.path().join("killed.sqlite");
    let shell = Connection::open(&path).unwrap();
    shell
        .execute("VACUUM INTO ?1", [killed.to_str().unwrap()])
        .unwrap();
    let shell = Connection::open(&killed).unwrap();
    for change in [
        "UPDATE log SET epoch = 7 WHERE id = 1",
        "UPDATE log SET status = 'held', owner = NULL WHERE id = 2",
        "UPDATE log SET wake = 9000000000000 WHERE id = 3",
        "UPDATE log SET status = 'ended' WHERE id = 4",
    ] {
        assert_eq!(shell.execute(change, []).unwrap(), 1);
    }
    drop(shell);
    assert_eq!(row(&killed, logs[0]), 1, "it lags, or this shows nothing");
    let journal = SqliteJournal::open(&killed).unwrap();
    for id in logs {
        assert_eq!(journal.load(id).await.unwrap().records.len(), 3, "log {id}");
    }
}

/// A second start of a log whose row lags is told how the log stands, and not its row.
#[tokio::test]
async fn a_second_start_sees_what_its_row_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path().join("journal.sqlite")).unwrap();
    let mut head = create(&journal, "1").await;
    let mut next = append(&head, head.place, "[1]").stage("paying");
    next.at = Timestamp::from_millis(7);
    journal.append(next).await.unwrap();
    head.place = head.place.after();
    (head.stage, head.updated) = ("paying".into(), Timestamp::from_millis(7));
    let again = journal.begin(begin("1", "[9]")).await.unwrap();
    assert!(
        matches!(&again, Begun::Existing(found) if *found == head),
        "{again:?}"
    );
}

/// Reads beside somebody else who writes to the file cost no commit.
#[tokio::test]
async fn a_shell_that_writes_makes_no_reader_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    let head = create(&journal, "1").await;
    let shell = Connection::open(&path).unwrap();
    shell.execute_batch("CREATE TABLE theirs (x)").unwrap();
    let frames = || {
        std::fs::metadata(folder.path().join("journal.sqlite-wal"))
            .unwrap()
            .len()
    };
    journal.load(head.id).await.unwrap();
    for number in 0..5 {
        shell
            .execute("INSERT INTO theirs VALUES (?1)", [number])
            .unwrap();
        let before = frames();
        journal.load(head.id).await.unwrap();
        assert_eq!(frames(), before, "nothing is written");
    }
}
