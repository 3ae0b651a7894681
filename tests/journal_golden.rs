//! What earlier versions of this crate wrote is read, and carried on to the right end.
//!
//! `tests/golden` holds, for each version of the SQLite schema, a journal as the crate of that version left it when its
//! process died, and the same as text (`.sql`); and, for each version of the record format, one log per course, a
//! record a line. They are never written again. A new version adds its own with
//! `MAINSTAY_GOLDEN=folder cargo test --test journal_golden -- --ignored --exact writes_a_journal`.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "it is told by the environment where to write, and waits for real journals"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Journal as _, Listing, Prune, Status};
use mainstay::saga::entry::{Fact, Finish};
use mainstay::saga::machine::{Execution, Next};
use mainstay::saga::{Cx, Ended, Saga, Sagas, StepError};
use mainstay::time::Timestamp;

/// What the sagas of the golden files do, by their keys, while the world is broken.
const KEYS: [&str; 8] = [
    "completed",
    "compensated",
    "incident",
    "abandoned",
    "held",
    "forward",
    "unwinding",
    "late",
];

struct World {
    broken: bool,
}

type Context = Cx<World, String>;

/// Whether this saga is to have trouble at this place.
async fn trouble(cx: &Context, place: &str) -> Result<(), StepError> {
    if !cx.app().broken {
        return Ok(());
    }
    match (cx.business_key(), place) {
        ("compensated" | "incident" | "abandoned" | "unwinding", "charge") => {
            Err(StepError::fail("the card is \"closed\""))
        }
        ("incident" | "abandoned", "release") => Err(StepError::halt("the shelf is gone")),
        ("held", "post") => Err(StepError::halt("the period is closed")),
        ("forward", "charge") | ("unwinding", "release") | ("late", "notify") => {
            std::future::pending().await
        }
        _ => Ok(()),
    }
}

async fn validate(cx: Context, (): ()) -> Result<u64, StepError> {
    trouble(&cx, "validate").await.map(|()| 129_900)
}

async fn reserve(cx: Context, minor: u64) -> Result<(String, u64), StepError> {
    trouble(&cx, "reserve").await?;
    Ok((format!("shelf of {} ä", cx.input()), minor))
}

async fn release(cx: Context, _made: Option<(String, u64)>) -> Result<(), StepError> {
    trouble(&cx, "release").await
}

async fn charge(cx: Context, (_, minor): (String, u64)) -> Result<u64, StepError> {
    trouble(&cx, "charge").await.map(|()| minor)
}

async fn refund(cx: Context, _made: Option<u64>) -> Result<(), StepError> {
    trouble(&cx, "refund").await
}

async fn post(cx: Context, _minor: u64) -> Result<Option<String>, StepError> {
    trouble(&cx, "post").await.map(|()| None)
}

async fn notify(cx: Context, _entry: Option<String>) -> Result<String, StepError> {
    trouble(&cx, "notify").await?;
    Ok(format!("told {}", cx.input()))
}

fn order() -> Saga<World, String, String> {
    Saga::builder("order")
        .version(3)
        .check("validate", validate)
        .step("reserve", reserve)
        .undo(release)
        .step("charge", charge)
        .undo(refund)
        .pivot("post", post)
        .then("notify", notify)
        .build()
        .unwrap()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

async fn sagas(path: &Path, broken: bool) -> Sagas<World> {
    let journal = Arc::new(SqliteJournal::open(path).unwrap());
    Sagas::builder(journal, World { broken })
        .register(&order())
        .start()
        .await
        .unwrap()
}

/// Writes a journal as this version does, with a saga for every course, and dies with three of them under way.
#[tokio::test]
#[ignore = "it is run once for each version of the schema"]
async fn writes_a_journal() {
    let Some(folder) = std::env::var_os("MAINSTAY_GOLDEN") else {
        return;
    };
    let folder = PathBuf::from(folder);
    let path = folder.join("running.sqlite");
    let engine = sagas(&path, true).await;
    for key in KEYS {
        let handle = engine
            .start(&order(), key, format!("order {key}"))
            .await
            .unwrap();
        let wait = tokio::time::timeout(Duration::from_millis(500), handle.ended());
        if let ("abandoned", Ok(Ok(Ended::Incident(incident)))) = (key, wait.await) {
            engine
                .abandon(incident.saga, "ann", "settled by hand")
                .await
                .unwrap();
        }
    }
    // As it lies there while it runs: a journal that is closed has nothing left to catch up with.
    let dead = folder.join("journal.sqlite");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute("VACUUM INTO ?1", [dead.to_str().unwrap()])
        .unwrap();
}

// === journals of the SQLite schema ===

/// A copy that a test may write to.
fn copied(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    std::fs::copy(golden(name), &path).unwrap();
    (folder, path)
}

fn version_of(path: &Path) -> i64 {
    let shell = rusqlite::Connection::open(path).unwrap();
    shell
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap()
}

async fn is(engine: &Sagas<World>, key: &str) -> Ended<String> {
    let handle = engine
        .start(&order(), key, format!("order {key}"))
        .await
        .unwrap();
    let wait = tokio::time::timeout(Duration::from_secs(20), handle.ended());
    wait.await
        .unwrap_or_else(|_| panic!("{key} does not end"))
        .unwrap()
}

/// Every saga of the file ends as it should, by today's engine.
async fn carries_on(path: &Path) {
    let engine = sagas(path, false).await;
    for key in ["completed", "forward", "late"] {
        assert_eq!(
            is(&engine, key).await,
            Ended::Completed(format!("told order {key}"))
        );
    }
    for key in ["compensated", "unwinding"] {
        let Ended::Compensated { step, reason, .. } = is(&engine, key).await else {
            panic!("{key} is not compensated");
        };
        assert_eq!((&*step, &*reason), ("charge", "the card is \"closed\""));
    }
    let Ended::Abandoned { actor, reason, .. } = is(&engine, "abandoned").await else {
        panic!("an abandoned saga is not");
    };
    assert_eq!((&*actor, &*reason), ("ann", "settled by hand"));
    for (key, place) in [("incident", "reserve"), ("held", "post")] {
        let Ended::Incident(incident) = is(&engine, key).await else {
            panic!("{key} is no incident");
        };
        assert_eq!(incident.step.as_deref(), Some(place));
        engine
            .retry(incident.saga, "ann", "it is there again")
            .await
            .unwrap();
        match (key, is(&engine, key).await) {
            ("incident", Ended::Compensated { .. }) | ("held", Ended::Completed(_)) => {}
            (_, other) => panic!("{key}: {other:?}"),
        }
    }
    assert!(engine.incidents().await.unwrap().is_empty());
    // Another input under an old key is still noticed.
    let other = engine
        .start(&order(), "completed", "another order".to_owned())
        .await;
    assert!(other.is_err());
}

#[tokio::test]
async fn a_journal_of_schema_1_is_carried_on() {
    let (_folder, path) = copied("journal_v1.sqlite");
    assert_eq!(version_of(&path), 1);
    carries_on(&path).await;
    assert_eq!(version_of(&path), 3);
}

#[tokio::test]
async fn a_journal_of_schema_2_is_carried_on() {
    let (_folder, path) = copied("journal_v2.sqlite");
    assert_eq!(version_of(&path), 2);
    carries_on(&path).await;
}

#[tokio::test]
async fn a_journal_of_schema_3_is_carried_on() {
    let (_folder, path) = copied("journal_v3.sqlite");
    assert_eq!((version_of(&path), lagging(&path)), (3, 1));
    carries_on(&path).await;
}

/// How many heads know less than their records.
fn lagging(path: &Path) -> i64 {
    let shell = rusqlite::Connection::open(path).unwrap();
    let lags =
        "SELECT count(*) FROM log WHERE records < (SELECT max(seq) FROM record WHERE log = id)";
    shell.query_row(lags, [], |row| row.get(0)).unwrap()
}

/// What the columns of version 2 say of logs that version 1 wrote.
#[tokio::test]
async fn the_heads_of_schema_1_are_filled_in() {
    let (_folder, path) = copied("journal_v1.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    for (status, logs) in [(Status::Running, 3), (Status::Held, 2), (Status::Ended, 3)] {
        let heads = journal.list(Listing::new(status, 100)).await.unwrap();
        assert_eq!(heads.len(), logs);
        for head in heads {
            assert_eq!((head.version, head.owner, head.recoveries), (3, None, 0));
            let last = journal.load(head.id).await.unwrap().records.pop().unwrap();
            assert_eq!(head.updated, last.at, "{head:?}");
        }
    }
    // They ended in this file's past, so they are as old as they are.
    let over = Prune::new(Duration::from_secs(1), 100);
    assert_eq!(journal.prune(over).await.unwrap(), 3);
}

/// The tables of a file, as text.
fn tables(path: &Path) -> Vec<String> {
    let shell = rusqlite::Connection::open(path).unwrap();
    // Of the key of records it depends on the file's age whether it is an index of its own.
    let mut read = shell
        .prepare(
            "SELECT type || ' ' || name FROM sqlite_schema WHERE name <> 'sqlite_autoindex_record_1' ORDER BY 1",
        )
        .unwrap();
    let lines = read.query_map([], |row| row.get(0)).unwrap();
    lines.map(Result::unwrap).collect()
}

/// A journal that is migrated, or made, has what one of this version has. New indexes need a new version, unless they are
/// made wherever they are missing.
#[test]
fn a_migrated_journal_has_the_tables_of_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new.sqlite");
    drop(SqliteJournal::open(&new).unwrap());
    for name in [
        "journal_v1.sqlite",
        "journal_v2.sqlite",
        "journal_v3.sqlite",
    ] {
        let (_folder, path) = copied(name);
        drop(SqliteJournal::open(&path).unwrap());
        assert_eq!(tables(&path), tables(&new), "{name}");
    }
}

// === a migration that is cut off ===

#[test]
#[ignore = "a child process of the test below"]
fn child_opens() {
    let path = std::env::var_os("MAINSTAY_TEST_FILE").unwrap();
    println!("opened: {:?}", SqliteJournal::open(path).map(drop));
}

/// A disk that is full at any point of the migration leaves the old journal or the new one.
#[cfg(unix)]
#[tokio::test]
async fn a_migration_that_fails_half_way_leaves_one_version_or_the_other() {
    let (mut before, mut after) = (0, 0);
    for blocks in (64..=260).step_by(14) {
        let (_folder, path) = copied("journal_v1.sqlite");
        let this = std::env::current_exe().unwrap();
        let script = format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" --exact child_opens --ignored --nocapture"
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .arg(this)
            .env("MAINSTAY_TEST_FILE", &path)
            .output()
            .unwrap();
        let opened = String::from_utf8_lossy(&output.stdout).contains("opened: Ok");
        let tables = tables(&path);
        let has = |name: &str| tables.contains(&name.to_owned());
        let has_some = has("table mail") || has("table log_behind");
        match version_of(&path) {
            1 => {
                assert!(!opened && !has_some, "{blocks} blocks");
                before += 1;
            }
            3 => {
                assert!(
                    has("table mail") && has("table log_behind"),
                    "{blocks} blocks"
                );
                after += 1;
            }
            other => panic!("{blocks} blocks leave version {other}"),
        }
        let journal = SqliteJournal::open(&path).unwrap();
        let running = journal
            .list(Listing::new(Status::Running, 100))
            .await
            .unwrap();
        assert_eq!(running.len(), 3);
        for head in running {
            journal.load(head.id).await.unwrap();
        }
    }
    println!("{before} before, {after} after");
    assert!(before > 0 && after > 0, "the limits were the wrong ones");
}

/// The power fails after the migration's commit was begun: at any sector of it.
#[tokio::test]
async fn a_migration_that_is_cut_off_is_begun_again() {
    let (folder, path) = copied("journal_v1.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    // The journal is open, so that nothing is moved from the log of changes to the file.
    let file = std::fs::read(&path).unwrap();
    let changes = std::fs::read(folder.path().join("journal.sqlite-wal")).unwrap();
    drop(journal);
    assert!(changes.len() > 20_000, "{}", changes.len());
    for length in (0..=changes.len()).step_by(512 * 7).chain([changes.len()]) {
        let cut = tempfile::tempdir().unwrap();
        let path = cut.path().join("journal.sqlite");
        std::fs::write(&path, &file).unwrap();
        std::fs::write(cut.path().join("journal.sqlite-wal"), &changes[..length]).unwrap();
        let version = version_of(&path);
        assert!(version == 1 || length > 20_000, "{length}");
        let journal = SqliteJournal::open(&path).unwrap();
        let running = journal
            .list(Listing::new(Status::Running, 100))
            .await
            .unwrap();
        assert_eq!(running.len(), 3, "{length}");
        drop(journal);
        assert_eq!(version_of(&path), 3);
    }
}

// === the record format ===

const COURSES: [&str; 8] = KEYS;

fn facts(line: &str) -> Vec<Fact> {
    serde_json::from_str(line).unwrap()
}

/// At whatever time.
fn dated(facts: &[Fact]) -> impl Iterator<Item = (&Fact, Timestamp)> {
    facts.iter().map(|fact| (fact, Timestamp::from_millis(0)))
}

/// Each course of version 1 of the format is read, replays to where it was, and would be written the same.
#[test]
fn every_course_of_format_1_replays_letter_by_letter() {
    for course in COURSES {
        let text = std::fs::read_to_string(golden(&format!("format_1/{course}.jsonl"))).unwrap();
        let mut all = Vec::new();
        for line in text.lines() {
            let record = facts(line);
            assert_eq!(serde_json::to_string(&record).unwrap(), line, "{course}");
            all.extend(record);
            // Every beginning of it could have been recovered.
            let shape = Arc::new(order().shape().clone());
            Execution::replay(shape, dated(&all))
                .unwrap_or_else(|illegal| panic!("{course}: {illegal:?}"));
        }
        let execution = Execution::replay(Arc::new(order().shape().clone()), dated(&all)).unwrap();
        let next = execution.next();
        let due = match course {
            "completed" => matches!(next, Next::End(Finish::Completed)),
            "compensated" => matches!(next, Next::End(Finish::Compensated)),
            "abandoned" => matches!(next, Next::End(Finish::Abandoned)),
            "incident" | "held" => matches!(next, Next::Hold),
            "forward" => matches!(next, Next::Run(2)),
            "unwinding" => matches!(next, Next::Undo(1)),
            "late" => matches!(next, Next::Run(4)),
            other => panic!("{other} is no course"),
        };
        assert!(due, "{course}: {next:?}");
    }
}

/// Every fact and every word of version 1, in the very letters.
#[test]
fn every_fact_of_format_1_is_written_as_it_was() {
    let text = std::fs::read_to_string(golden("format_1/facts.jsonl")).unwrap();
    let mut lines = 0;
    for line in text.lines() {
        assert_eq!(serde_json::to_string(&facts(line)).unwrap(), line);
        lines += 1;
    }
    assert!(lines > 20);
}
