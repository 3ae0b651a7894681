//! Steps that are one transaction with their record, in a SQLite file: whatever happens, the books have each effect once.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "a step is given its context, whether it keeps it or not"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "the writer's time is real, and closures that are too slow sleep"
)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Journal, Labels, LogId};
use mainstay::num::Attempts;
use mainstay::saga::entry::Class;
use mainstay::saga::seal::{Keyed, PayloadCodec, Seal, SealError};
use mainstay::saga::testing::{Opener, Trial};
use mainstay::saga::tx::sqlite::TxStep;
use mainstay::saga::{Cx, DefinitionError, Ended, Saga, SagaError, Sagas, Step, StepError};
use rusqlite::{Connection, Transaction};

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS posting (number INTEGER PRIMARY KEY, key TEXT NOT NULL, step TEXT NOT NULL, minor INTEGER);
    CREATE TABLE IF NOT EXISTS parent (id INTEGER PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);";

/// What a test has: a file with the journal and the books in it, and how often functions ran.
struct Books {
    path: PathBuf,
    runs: AtomicU32,
}

impl Books {
    fn at(path: &Path) -> Self {
        let db = Connection::open(path).unwrap();
        db.execute_batch(TABLES).unwrap();
        Self {
            path: path.to_owned(),
            runs: AtomicU32::new(0),
        }
    }

    /// What is posted, by step.
    fn posted(&self) -> Vec<String> {
        let db = Connection::open(&self.path).unwrap();
        let mut rows = db
            .prepare("SELECT step FROM posting ORDER BY number")
            .unwrap();
        let rows = rows.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn number(&self, sql: &str) -> i64 {
        let db = Connection::open(&self.path).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The bodies of all records of the only saga.
    fn records(&self) -> Vec<String> {
        let db = Connection::open(&self.path).unwrap();
        let mut rows = db
            .prepare("SELECT body FROM record ORDER BY log, seq")
            .unwrap();
        let rows = rows.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

type C = Cx<Books, i64>;
type Done<T> = Result<T, StepError>;

fn insert(tx: &Transaction<'_>, cx: &C) -> Done<i64> {
    cx.app().runs.fetch_add(1, Ordering::SeqCst);
    tx.execute(
        "INSERT INTO posting (key, step, minor) VALUES (?1, ?2, ?3)",
        (cx.business_key(), cx.step(), cx.input()),
    )?;
    Ok(tx.last_insert_rowid())
}

fn post<G>(tx: &Transaction<'_>, cx: C, _: G) -> Done<i64> {
    insert(tx, &cx)
}

fn unpost(tx: &Transaction<'_>, cx: C, number: Option<i64>) -> Done<()> {
    let number = number.ok_or_else(|| StepError::halt("undone without its output"))?;
    match tx.execute("DELETE FROM posting WHERE number = ?1", [number])? {
        1 => Ok(()),
        gone => Err(StepError::halt(format!(
            "{gone} rows of {} to undo",
            cx.step()
        ))),
    }
}

async fn nothing<G: Send + 'static>(_: C, _: G) -> Done<()> {
    Ok(())
}

/// The engine of a test, and what it works on.
struct Shop {
    folder: tempfile::TempDir,
    journal: Arc<SqliteJournal>,
}

impl Shop {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Arc::new(SqliteJournal::open(folder.path().join("books.sqlite")).unwrap());
        Self { folder, journal }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("books.sqlite")
    }

    async fn serve<O>(&self, saga: &Saga<Books, i64, O>) -> (Sagas<Books>, Arc<Books>) {
        let books = Arc::new(Books::at(&self.path()));
        let sagas = Sagas::builder(
            Arc::clone(&self.journal) as Arc<dyn Journal>,
            Arc::clone(&books),
        )
        .register(saga)
        .start()
        .await
        .unwrap();
        (sagas, books)
    }
}

#[tokio::test]
async fn checks_ride_and_the_end_does_too() {
    let saga = Saga::builder("short")
        .check("look", nothing::<()>)
        .check("look again", nothing::<()>)
        .pivot("post", TxStep::new(post::<()>))
        .build();
    assert!(matches!(saga, Err(DefinitionError::BadName(_))));
    let saga = Saga::builder("short")
        .check("look", nothing::<()>)
        .check("look_again", nothing::<()>)
        .pivot("post", TxStep::new(post::<()>))
        .build()
        .unwrap();
    let shop = Shop::new();
    let (sagas, books) = shop.serve(&saga).await;
    let before = shop.journal.written().commits;
    let handle = sagas.start(&saga, "1", 7).await.unwrap();
    assert_eq!(handle.ended().await.unwrap(), Ended::Completed(1));
    assert!(
        shop.journal.written().commits - before <= 3,
        "a heartbeat may be among them"
    );
    assert_eq!(books.posted(), ["post"]);
    let records = books.records();
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(
        records.last().unwrap(),
        r#"[{"done":{"step":"look","output":null}},{"done":{"step":"look_again","output":null}},{"done":{"step":"post","output":1}},{"finished":"completed"}]"#
    );
}

#[tokio::test]
async fn an_effect_is_undone_once_and_a_failed_one_was_none() {
    for how in ["fail", "retry", "unknown", "panic", "unrecordable"] {
        let failing = move |tx: &Transaction<'_>, cx: C, _: i64| -> Done<i64> {
            insert(tx, &cx)?;
            match how {
                "fail" => Err(StepError::fail("no")),
                "retry" => Err(StepError::retry("later")),
                "unknown" => Err(StepError::unknown("who knows")),
                _ => panic!("on purpose"),
            }
        };
        let never = |_: &Transaction<'_>, _: C, _: Option<i64>| -> Done<()> {
            Err(StepError::halt("a step without effect is undone"))
        };
        let saga = Saga::builder("failing")
            .step("first", TxStep::new(post::<()>))
            .undo(TxStep::new(unpost))
            .step(
                "second",
                Step::new(TxStep::new(failing)).attempts(Attempts::total(2)),
            )
            .undo(TxStep::new(never))
            .pivot("third", nothing::<i64>)
            .build()
            .unwrap();
        let shop = Shop::new();
        let (sagas, books) = shop.serve(&saga).await;
        let ended = sagas.start(&saga, "1", 7).await.unwrap().ended().await;
        assert!(
            matches!(ended, Ok(Ended::Compensated { .. })),
            "{how}: {ended:?}"
        );
        assert!(books.posted().is_empty(), "{how}");
        let runs = books.runs.load(Ordering::SeqCst);
        assert_eq!(runs, if how == "retry" { 3 } else { 2 }, "{how}");
    }
}

#[tokio::test]
async fn a_pivot_that_is_given_up_turns_back_and_an_output_that_cannot_be_written_is_no_effect() {
    let failing = |tx: &Transaction<'_>, cx: C, _: i64| -> Done<()> {
        insert(tx, &cx)?;
        Err(StepError::retry("later"))
    };
    let saga = Saga::builder("turns")
        .step("first", TxStep::new(post::<()>))
        .undo(TxStep::new(unpost))
        .pivot(
            "second",
            Step::new(TxStep::new(failing)).attempts(Attempts::total(2)),
        )
        .build()
        .unwrap();
    let shop = Shop::new();
    let (sagas, books) = shop.serve(&saga).await;
    let ended = sagas.start(&saga, "1", 7).await.unwrap().ended().await;
    assert!(matches!(ended, Ok(Ended::Compensated { .. })), "{ended:?}");
    assert!(books.posted().is_empty());

    let large = |tx: &Transaction<'_>, cx: C, (): ()| -> Done<String> {
        insert(tx, &cx)?;
        Ok("x".repeat(2 << 20))
    };
    let saga = Saga::builder("large")
        .pivot("post", TxStep::new(large))
        .build()
        .unwrap();
    let shop = Shop::new();
    let (sagas, books) = shop.serve(&saga).await;
    let ended = sagas
        .start(&saga, "1", 7)
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    assert!(
        matches!(&ended, Ended::Incident(held) if held.class == Class::Unrecordable),
        "{ended:?}"
    );
    assert!(books.posted().is_empty());
}

#[tokio::test]
async fn what_takes_too_long_is_taken_back() {
    let slow = |tx: &Transaction<'_>, cx: C, (): ()| -> Done<i64> {
        let number = insert(tx, &cx)?;
        if cx.app().runs.load(Ordering::SeqCst) < 3 {
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(number)
    };
    let saga = Saga::builder("slow")
        .pivot(
            "post",
            Step::new(TxStep::new(slow)).timeout(Duration::from_millis(100)),
        )
        .build()
        .unwrap();
    let shop = Shop::new();
    let (sagas, books) = shop.serve(&saga).await;
    let ended = sagas.start(&saga, "1", 7).await.unwrap().ended().await;
    assert!(matches!(ended, Ok(Ended::Completed(_))), "{ended:?}");
    assert_eq!(books.posted(), ["post"]);
    assert!(books.runs.load(Ordering::SeqCst) >= 3);
}

#[tokio::test]
async fn who_lost_the_saga_cannot_act() {
    async fn lose(cx: C, (): ()) -> Done<()> {
        // As another instance's claim does.
        let db = Connection::open(&cx.app().path).unwrap();
        let id = i64::try_from(cx.saga_id().get()).unwrap();
        db.execute("UPDATE log SET epoch = epoch + 1 WHERE id = ?1", [id])
            .unwrap();
        Ok(())
    }
    let saga = Saga::builder("stale")
        .check("lose", lose)
        .pivot("post", TxStep::new(post::<()>))
        .build()
        .unwrap();
    let shop = Shop::new();
    let (sagas, books) = shop.serve(&saga).await;
    let handle = sagas.start(&saga, "1", 7).await.unwrap();
    for _ in 0..1_000 {
        if books.runs.load(Ordering::SeqCst) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sagas.shutdown(Duration::from_secs(5)).await;
    drop(handle);
    assert_eq!(
        books.runs.load(Ordering::SeqCst),
        1,
        "it ran, and was refused"
    );
    assert!(books.posted().is_empty());
    assert_eq!(books.records().len(), 1);
}

#[tokio::test]
async fn one_that_breaks_the_transaction_is_held_and_others_go_on() {
    for (how, class) in [
        ("COMMIT", Some(Class::Halted)),
        ("ROLLBACK", Some(Class::Halted)),
        ("COMMIT; BEGIN IMMEDIATE", Some(Class::Halted)),
        ("RELEASE mainstay_step", Some(Class::Halted)),
        ("INSERT INTO child VALUES (99)", None),
    ] {
        let breaking = move |tx: &Transaction<'_>, cx: C, (): ()| -> Done<i64> {
            if *cx.input() == 666 {
                tx.execute_batch(how)?;
            }
            insert(tx, &cx)
        };
        let saga = Saga::builder("breaking")
            .pivot(
                "post",
                Step::new(TxStep::new(breaking)).attempts(Attempts::total(3)),
            )
            .build()
            .unwrap();
        let shop = Shop::new();
        let (sagas, books) = shop.serve(&saga).await;
        let starts = (0..64).map(|n| {
            let (sagas, saga) = (sagas.clone(), saga.clone());
            async move {
                let input = if n == 32 { 666 } else { n };
                let handle = sagas.start(&saga, n.to_string(), input).await.unwrap();
                (n, handle.ended().await.unwrap())
            }
        });
        for (n, ended) in futures::future::join_all(starts).await {
            match (n, class, ended) {
                (32, Some(class), Ended::Incident(held)) => assert_eq!(held.class, class, "{how}"),
                (32, None, Ended::Compensated { .. }) => {}
                (32, _, other) => panic!("{how}: {other:?}"),
                (_, _, ended) => {
                    assert!(matches!(ended, Ended::Completed(_)), "{how} {n}: {ended:?}")
                }
            }
        }
        let others = books.number("SELECT count(DISTINCT key) FROM posting WHERE minor <> 666");
        let all = books.number("SELECT count(*) FROM posting WHERE minor <> 666");
        assert_eq!((others, all), (63, 63), "{how}");
        assert_eq!(books.number("SELECT count(*) FROM child"), 0, "{how}");
    }
}

#[tokio::test]
async fn never_in_two_transactions() {
    let saga = Saga::builder("elsewhere")
        .step("first", nothing::<()>)
        .undo(TxStep::new(|_: &Transaction<'_>, _: C, _: Option<()>| {
            Ok(())
        }))
        .pivot("post", nothing::<()>)
        .build()
        .unwrap();
    let shop = Shop::new();
    let books = || Books::at(&shop.path());

    #[derive(Debug)]
    struct Wrapper {
        inner: Arc<dyn Journal>,
    }
    impl Journal for Wrapper {
        mainstay::journal::pass_on!(inner: begin append claim load list join beat leave release post prune changed);
    }
    let wrapped = Wrapper {
        inner: Arc::clone(&shop.journal) as _,
    };
    for journal in [
        Arc::new(MemoryJournal::new()) as Arc<dyn Journal>,
        Arc::new(wrapped),
    ] {
        let refused = Sagas::builder(journal, books())
            .register(&saga)
            .start()
            .await;
        let Err(SagaError::OtherJournal {
            definition,
            step,
            needed,
            ..
        }) = refused
        else {
            panic!("it started");
        };
        assert_eq!(
            (&*definition, &*step, needed),
            ("elsewhere", "first", "sqlite")
        );
    }

    let check = Saga::builder("check")
        .check("look", TxStep::new(post::<()>))
        .build();
    assert!(
        matches!(check, Err(DefinitionError::Misplaced { .. })),
        "{check:?}"
    );
    // Whoever changes a plain step to such a one makes another definition of it.
    let plain = Saga::builder("x")
        .pivot("post", nothing::<()>)
        .build()
        .unwrap();
    let other = Saga::builder("x").pivot(
        "post",
        TxStep::new(|_: &Transaction<'_>, _: C, (): ()| Ok(())),
    );
    assert_ne!(plain.fingerprint(), other.build().unwrap().fingerprint());
}

/// Turns bytes around: a place where something is sealed, and no cipher.
struct Around;

impl Seal for Around {
    fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(plain.iter().chain(bound_to).rev().copied().collect())
    }
    fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        let whole: Vec<u8> = sealed.iter().rev().copied().collect();
        let plain = whole.strip_suffix(bound_to);
        plain.map(<[u8]>::to_vec).ok_or(SealError::Gone)
    }
    fn digest(&self, _: &[u8]) -> [u8; 32] {
        [7; 32]
    }
}

impl PayloadCodec for Around {
    fn choose<'a>(&'a self, _: &'a Labels) -> Keyed<'a, Option<String>> {
        Box::pin(async { Ok(Some("k1".into())) })
    }
    fn fetch<'a>(&'a self, _: &'a Labels) -> Keyed<'a, Arc<dyn Seal>> {
        Box::pin(async { Ok(Arc::new(Self) as Arc<dyn Seal>) })
    }
}

#[tokio::test]
async fn its_record_is_sealed_like_any_other() {
    let secret = |tx: &Transaction<'_>, cx: C, (): ()| -> Done<String> {
        insert(tx, &cx)?;
        Ok("IBAN-DE89".to_owned())
    };
    let saga = Saga::builder("sealed")
        .pivot("post", TxStep::new(secret))
        .build()
        .unwrap();
    let shop = Shop::new();
    for _ in 0..2 {
        // The second engine is told the first one's end.
        let books = Arc::new(Books::at(&shop.path()));
        let sagas = Sagas::builder(
            Arc::clone(&shop.journal) as Arc<dyn Journal>,
            Arc::clone(&books),
        )
        .codec(Arc::new(Around))
        .register(&saga)
        .start()
        .await
        .unwrap();
        let ended = sagas.start(&saga, "1", 7).await.unwrap().ended().await;
        assert!(
            matches!(&ended, Ok(Ended::Completed(iban)) if iban == "IBAN-DE89"),
            "{ended:?}"
        );
        assert_eq!(books.posted(), ["post"]);
        let records = books.records().concat();
        assert!(
            records.contains("sealed") && !records.contains("IBAN"),
            "{records}"
        );
        sagas.shutdown(Duration::from_secs(5)).await;
    }
    let log = shop.journal.load(LogId::new(1)).await.unwrap();
    assert_eq!(log.records.len(), 2);
}

// === every crash, failure and repetition ===

/// Where the run that is under way keeps its file.
type Current = Arc<Mutex<PathBuf>>;

fn store(current: &Current) -> impl Fn() -> Opener + 'static {
    let current = Arc::clone(current);
    move || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("books.sqlite");
        drop(SqliteJournal::open(&path).unwrap());
        Connection::open(&path)
            .unwrap()
            .execute_batch(TABLES)
            .unwrap();
        current.lock().unwrap().clone_from(&path);
        Box::new(move || {
            let path = folder.path().join("books.sqlite");
            Arc::new(SqliteJournal::open(path).unwrap())
        })
    }
}

/// The trial's world: how often functions ran does not count, what is in the file does.
struct World(Current);

fn posted(world: &World) -> Vec<String> {
    let path = world.0.lock().unwrap().clone();
    Books::at(&path).posted()
}

fn note(tx: &Transaction<'_>, cx: &Cx<World, ()>) -> Done<i64> {
    tx.execute(
        "INSERT INTO posting (key, step) VALUES (?1, ?2)",
        (cx.business_key(), cx.step()),
    )?;
    Ok(tx.last_insert_rowid())
}

fn forth<G>(tx: &Transaction<'_>, cx: Cx<World, ()>, _: G) -> Done<i64> {
    note(tx, &cx)
}

/// Not idempotent, and needs what it undoes.
fn back(tx: &Transaction<'_>, _: Cx<World, ()>, number: Option<i64>) -> Done<()> {
    match tx.execute("DELETE FROM posting WHERE number = ?1", [number])? {
        1 => Ok(()),
        gone => Err(StepError::halt(format!("{gone} rows to undo"))),
    }
}

async fn look(_: Cx<World, ()>, (): ()) -> Done<()> {
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn every_crash_failure_and_repetition_leaves_each_effect_once() {
    let saga = Saga::builder("tried")
        .check("look", look)
        .step("a", TxStep::new(forth::<()>))
        .undo(TxStep::new(back))
        .pivot("b", TxStep::new(forth::<i64>))
        .then("c", TxStep::new(forth::<i64>))
        .build()
        .unwrap();
    let current = Current::default();
    let world = Arc::clone(&current);
    let survey = Trial::new(&saga, (), move || World(Arc::clone(&world)))
        .store(store(&current))
        .holds(|world, ended| {
            let expected: &[&str] = match ended {
                Ended::Completed(_) => &["a", "b", "c"],
                Ended::Compensated { .. } => &[],
                other => return Err(format!("{other:?}")),
            };
            let posted = posted(world);
            if posted == expected {
                Ok(())
            } else {
                Err(format!("{posted:?}"))
            }
        })
        .run()
        .await
        .unwrap();
    println!("{survey:?}");
    assert!(
        survey.runs > 200 && survey.completed > 50 && survey.compensated > 50,
        "{survey:?}"
    );
    assert_eq!(survey.incidents, 0);
}

/// The control: the same functions as plain steps, on a connection of their own.
#[tokio::test(start_paused = true)]
async fn the_same_in_two_transactions_is_caught() {
    async fn forth(cx: Cx<World, ()>, (): ()) -> Done<i64> {
        let path = cx.app().0.lock().unwrap().clone();
        let mut db = Connection::open(path)?;
        let tx = db.transaction()?;
        let number = note(&tx, &cx)?;
        tx.commit()?;
        Ok(number)
    }
    let saga = Saga::builder("plain").pivot("a", forth).build().unwrap();
    let current = Current::default();
    let world = Arc::clone(&current);
    let violation = Trial::new(&saga, (), move || World(Arc::clone(&world)))
        .store(store(&current))
        .holds(|world, ended| match (ended, posted(world).len()) {
            (Ended::Completed(_), 1) | (Ended::Compensated { .. }, 0) | (Ended::Incident(_), _) => {
                Ok(())
            }
            (ended, n) => Err(format!("{ended:?} and {n} postings")),
        })
        .run()
        .await
        .unwrap_err();
    assert!(violation.reason.contains("postings"), "{violation}");
}

// === real processes, killed ===

#[cfg(unix)]
mod killed {
    use std::num::NonZeroU32;
    use std::process::{Command, Stdio};

    use mainstay::rng::Rng;

    use super::*;

    /// Every third saga turns back.
    fn settle(tx: &Transaction<'_>, cx: C, _: i64) -> Done<i64> {
        let number = insert(tx, &cx)?;
        if cx.input() % 3 == 0 {
            return Err(StepError::fail("the period is closed"));
        }
        Ok(number)
    }

    fn saga() -> Saga<Books, i64, i64> {
        Saga::builder("killed")
            .step("create", TxStep::new(post::<()>))
            .undo(TxStep::new(unpost))
            .step("update", TxStep::new(post::<i64>))
            .undo(TxStep::new(unpost))
            .pivot("settle", TxStep::new(settle))
            .then("notify", TxStep::new(post::<i64>))
            .build()
            .unwrap()
    }

    #[test]
    #[ignore = "a child process of the test below"]
    fn child_posts() {
        let path: PathBuf = std::env::var_os("MAINSTAY_TEST_FILE").unwrap().into();
        let to: i64 = std::env::var("TO").unwrap().parse().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let journal = Arc::new(SqliteJournal::open(&path).unwrap());
            let books = Books::at(&path);
            let saga = saga();
            let sagas = Sagas::builder(journal, books)
                .register(&saga)
                .crash_limit(NonZeroU32::MAX)
                .start()
                .await
                .unwrap();
            println!("\nready");
            let work = (0..16).map(|worker| {
                let (sagas, saga) = (sagas.clone(), saga.clone());
                async move {
                    for n in (0..to).filter(|n| n % 16 == worker) {
                        let handle = sagas.start(&saga, n.to_string(), n).await.unwrap();
                        handle.ended().await.unwrap();
                    }
                }
            });
            futures::future::join_all(work).await;
        });
    }

    fn run(path: &Path, to: i64, kill_after: Option<Duration>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child_posts", "--ignored", "--nocapture"])
            .env("MAINSTAY_TEST_FILE", path)
            .env("TO", to.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert!(lines.any(|line| line.unwrap() == "ready"));
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).count());
        if let Some(after) = kill_after {
            std::thread::sleep(after);
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        rest.join().unwrap();
        assert!(kill_after.is_some() || status.success());
    }

    #[test]
    fn at_random_moments_each_effect_is_there_once() {
        let seed = std::env::var("MAINSTAY_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("MAINSTAY_SEED={seed}");
        let mut rng = Rng::new(seed);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("books.sqlite");
        let mut in_the_middle = 0;
        let mut to = 0;
        for _ in 0..25 {
            to += 200;
            run(
                &path,
                to,
                Some(Duration::from_micros(1_000 + rng.next_u64() % 30_000)),
            );
            let books = Books::at(&path);
            in_the_middle +=
                u32::from(books.number("SELECT count(*) FROM log WHERE status <> 'ended'") > 0);
            // At any moment the books are what the journal says.
            let done = "SELECT count(*) FROM record, json_each(body) AS fact
                        WHERE CASE WHEN fact.type = 'object' THEN json_type(fact.value, '$.done') END IS NOT NULL";
            let undone = "SELECT count(*) FROM record, json_each(body) AS fact
                        WHERE CASE WHEN fact.type = 'object' THEN json_type(fact.value, '$.undone') END IS NOT NULL";
            let posted = books.number("SELECT count(*) FROM posting");
            assert_eq!(posted, books.number(done) - books.number(undone));
        }
        run(&path, to, None);
        println!("{in_the_middle} of 25 kills left unfinished sagas, {to} sagas");
        assert!(in_the_middle > 5, "the kills did not hit unfinished sagas");
        let books = Books::at(&path);
        let back = (0..to).filter(|n| n % 3 == 0).count();
        assert_eq!(
            books.posted().len(),
            (usize::try_from(to).unwrap() - back) * 4
        );
        let once = "SELECT count(DISTINCT key || ' ' || step) FROM posting";
        assert_eq!(
            books.number(once),
            books.number("SELECT count(*) FROM posting")
        );
        assert_eq!(
            books.number("SELECT count(*) FROM posting WHERE minor % 3 = 0"),
            0
        );
    }
}
