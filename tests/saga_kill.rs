//! `kill -9` at random moments, again and again, on one SQLite journal: what was acknowledged is there, what ended
//! stays ended, and the books are those of a run that was never killed.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "it kills real processes at real moments, and takes its seed from the environment"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Answer, Append, Journal};
use mainstay::rng::Rng;
use mainstay::saga::{Cx, Ended, Saga, Sagas, StepError};

/// The outside world: a file of lines, each appended with one write, that outlives its writers.
struct World {
    effects: File,
}

impl World {
    fn write(&self, line: &str) {
        (&self.effects).write_all(line.as_bytes()).unwrap();
    }
}

type C = Cx<World, u32>;

/// One effect: what, of which saga, under which key.
async fn apply(cx: C, _: ()) -> Result<(), StepError> {
    cx.app().write(&format!(
        "+{} {} {}\n",
        cx.step(),
        cx.business_key(),
        cx.idempotency_key()
    ));
    tokio::task::yield_now().await;
    Ok(())
}

async fn revert(cx: C, _: Option<()>) -> Result<(), StepError> {
    cx.app().write(&format!(
        "-{} {} {}\n",
        cx.step(),
        cx.business_key(),
        cx.idempotency_key()
    ));
    Ok(())
}

/// Every third saga turns back here, and every fifth of the others has had its effect and cannot tell.
async fn post(cx: C, given: ()) -> Result<(), StepError> {
    match cx.input() {
        n if n % 3 == 0 => Err(StepError::fail("the period is closed")),
        n if n % 5 == 0 => {
            apply(cx, given).await?;
            Err(StepError::unknown("the line went dead"))
        }
        _ => apply(cx, given).await,
    }
}

fn saga() -> Saga<World, u32, ()> {
    Saga::builder("killed")
        .step("create", apply)
        .undo(revert)
        .step("update", apply)
        .undo(revert)
        .step("post", post)
        .undo(revert)
        .pivot("settle", apply)
        .then("notify", apply)
        .build()
        .unwrap()
}

/// A journal that acknowledges a record before it is written, and writes it a little later: what it holds back dies
/// with the process.
#[derive(Debug)]
struct Early {
    inner: Arc<SqliteJournal>,
    later: tokio::sync::mpsc::UnboundedSender<Append>,
}

impl Early {
    fn new(inner: SqliteJournal) -> Self {
        let inner = Arc::new(inner);
        let (later, mut queue) = tokio::sync::mpsc::unbounded_channel::<Append>();
        let journal = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Some(append) = queue.recv().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
                journal.append(append).await.unwrap();
            }
        });
        Self { inner, later }
    }
}

impl Journal for Early {
    fn append(&self, append: Append) -> Answer<'_, ()> {
        self.later.send(append).unwrap();
        Box::pin(std::future::ready(Ok(())))
    }

    mainstay::journal::pass_on!(inner: begin claim load list join beat leave release post prune changed);
}

fn folder() -> PathBuf {
    std::env::var_os("MAINSTAY_TEST_FOLDER").unwrap().into()
}

fn number(name: &str) -> u32 {
    std::env::var(name).unwrap().parse().unwrap()
}

/// Starts sagas `from..to`, says what is acknowledged and what has ended, and dies when it is killed.
#[test]
#[ignore = "a child process of the test below"]
fn child_pays() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let effects = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder().join("effects"))
            .unwrap();
        let journal = SqliteJournal::open(folder().join("journal.sqlite")).unwrap();
        let saga = saga();
        let journal: Arc<dyn Journal> = if std::env::var_os("LIES").is_some() {
            Arc::new(Early::new(journal))
        } else {
            Arc::new(journal)
        };
        let sagas = Sagas::builder(journal, World { effects })
            .register(&saga)
            // Killed faster than a step is written, an innocent saga would be suspected for long enough.
            .crash_limit(NonZeroU32::MAX)
            .start()
            .await
            .unwrap();
        println!("\nready");
        let workers: Vec<_> = (0..16)
            .map(|worker| {
                let (sagas, saga) = (sagas.clone(), saga.clone());
                tokio::spawn(async move {
                    for n in (number("FROM")..number("TO")).filter(|n| n % 16 == worker) {
                        let handle = sagas.start(&saga, n.to_string(), n).await.unwrap();
                        println!("\nacknowledged {n}");
                        let how = match handle.ended().await.unwrap() {
                            Ended::Completed(()) => "completed",
                            Ended::Compensated { .. } => "compensated",
                            other => panic!("{other:?}"),
                        };
                        println!("\nended {n} {how}");
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        println!("\nall");
    });
}

/// What a child said before it died.
#[derive(Default)]
struct Said {
    acknowledged: BTreeSet<u32>,
    ended: BTreeMap<u32, String>,
    all: bool,
}

impl Said {
    /// What was said and is not so: an acknowledged saga that is not in the journal, an end that is none.
    fn broken(&self, folder: &Path) -> Option<String> {
        let there = keys(folder, "SELECT CAST(key AS INTEGER) FROM log");
        if let Some(gone) = self.acknowledged.iter().find(|n| !there.contains(n)) {
            return Some(format!("saga {gone} was acknowledged and is gone"));
        }
        let ended = keys(
            folder,
            "SELECT CAST(key AS INTEGER) FROM log WHERE status = 'ended'",
        );
        let undone = self.ended.keys().find(|n| !ended.contains(n));
        undone.map(|n| format!("saga {n} had ended and has not"))
    }
}

fn run(
    folder: &Path,
    from: u32,
    to: u32,
    kill_after: Option<Duration>,
    lies: bool,
    said: &mut Said,
) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    if lies {
        command.env("LIES", "1");
    }
    let mut child = command
        .args(["--exact", "child_pays", "--ignored", "--nocapture"])
        .env("MAINSTAY_TEST_FOLDER", folder)
        .env("FROM", from.to_string())
        .env("TO", to.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        // The killer's clock starts when the child has opened its journal.
        let mut heard = Vec::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            let ready = line == "ready";
            heard.push(line);
            if ready {
                break;
            }
        }
        (heard, lines)
    });
    let (mut heard, lines) = reader.join().unwrap();
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    if let Some(after) = kill_after {
        std::thread::sleep(after);
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    heard.extend(rest.join().unwrap());
    assert!(kill_after.is_some() || status.success(), "{heard:?}");
    for line in &heard {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["acknowledged", n] => {
                said.acknowledged.insert(n.parse().unwrap());
            }
            ["ended", n, how] => {
                let before = said.ended.insert(n.parse().unwrap(), how.to_owned());
                assert!(
                    before.is_none_or(|before| before == how),
                    "saga {n} ended twice, differently"
                );
            }
            ["all"] => said.all = true,
            _ => {}
        }
    }
}

#[test]
fn killed_at_random_moments_nothing_is_lost() {
    let seed = std::env::var("MAINSTAY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("MAINSTAY_SEED={seed}");
    let rounds: u32 = std::env::var("MAINSTAY_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(40);
    let mut rng = Rng::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::default();
    let (mut from, mut in_the_middle) = (0, 0);
    for _ in 0..rounds {
        let after = Duration::from_micros(1_000 + rng.next_u64() % 50_000);
        run(folder.path(), from, u32::MAX, Some(after), false, &mut said);
        assert_eq!(said.broken(folder.path()), None);
        in_the_middle += u32::from(unfinished(folder.path()) > 0);
        let there = keys(folder.path(), "SELECT CAST(key AS INTEGER) FROM log");
        from = there.last().map_or(0, |last| last + 1);
    }
    println!("{rounds} kills, {in_the_middle} with unfinished sagas, {from} sagas");
    assert!(
        in_the_middle > rounds / 2,
        "the kills did not hit unfinished sagas"
    );
    run(folder.path(), 0, from, None, false, &mut said);
    assert!(said.all);
    assert_eq!(said.ended.len(), from as usize);
    audit(folder.path(), &said);
}

/// The check above, on a journal that lies.
#[test]
fn a_journal_that_acknowledges_early_is_caught_by_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::default();
    let mut from = 0;
    for millis in (5..200).step_by(5) {
        let after = Some(Duration::from_millis(millis));
        run(folder.path(), from, u32::MAX, after, true, &mut said);
        if let Some(broken) = said.broken(folder.path()) {
            println!("after {millis} ms: {broken}");
            return;
        }
        let there = keys(folder.path(), "SELECT CAST(key AS INTEGER) FROM log");
        from = there.last().map_or(0, |last| last + 1);
    }
    panic!("the kills did not find the lie");
}

fn shell(folder: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.join("journal.sqlite")).unwrap()
}

fn keys(folder: &Path, query: &str) -> BTreeSet<u32> {
    let shell = shell(folder);
    let mut statement = shell.prepare(query).unwrap();
    statement
        .query_map([], |row| row.get::<_, u32>(0))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn unfinished(folder: &Path) -> u32 {
    let count = "SELECT count(*) FROM log WHERE status <> 'ended'";
    shell(folder)
        .query_row(count, [], |row| row.get(0))
        .unwrap()
}

/// The effects as a receiver that applies a key once has them: exactly those of a run that was never killed.
fn audit(folder: &Path, said: &Said) {
    let mut effects: BTreeMap<u32, Vec<(String, String)>> = BTreeMap::new();
    let mut doubles = 0;
    for line in std::fs::read_to_string(folder.join("effects"))
        .unwrap()
        .lines()
    {
        let words: Vec<&str> = line.split(' ').collect();
        let of_saga = effects.entry(words[1].parse().unwrap()).or_default();
        let effect = (words[0].to_owned(), words[2].to_owned());
        if of_saga.contains(&effect) {
            doubles += 1
        } else {
            of_saga.push(effect)
        }
    }
    println!("{doubles} deliveries were repeated, and recognised by their keys");
    for (n, how) in &said.ended {
        let done: Vec<&str> = effects[n].iter().map(|(what, _)| what.as_str()).collect();
        let (end, legal): (&str, &[&[&str]]) = match n {
            // Where a crash came before the refusal, the step may have had its effect, and its undo runs.
            n if n % 3 == 0 => (
                "compensated",
                &[
                    &["+create", "+update", "-update", "-create"],
                    &["+create", "+update", "-post", "-update", "-create"],
                ],
            ),
            n if n % 5 == 0 => (
                "compensated",
                &[&["+create", "+update", "+post", "-post", "-update", "-create"]],
            ),
            _ => (
                "completed",
                &[&["+create", "+update", "+post", "+settle", "+notify"]],
            ),
        };
        assert_eq!(how, end, "saga {n}");
        assert!(
            legal.iter().any(|legal| done == *legal),
            "saga {n}: {done:?}"
        );
    }
    assert_eq!(effects.len(), said.ended.len());
}
