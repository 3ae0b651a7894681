//! Sagas a second: six steps that do nothing, on each journal, with so many in flight.
//!
//! `cargo run --release --no-default-features --features sagas --bin sagas -- FOLDER` in `benches/peers`. The folder is
//! on the disk that is asked about; the first line says how many syncs a second it makes alone. Each row is the best of
//! three runs, since other work on the machine only ever adds. `FOLDER memory` runs that store's rows alone.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the real clock and its command line"
)]

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Append, Begin, Begun, Journal, Labels, Status};
use mainstay::saga::{Cx, Saga, Sagas, StepError};
use mainstay::time::Timestamp;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

async fn nothing(_cx: Cx<(), u64>, (): ()) -> Result<(), StepError> {
    Ok(())
}

async fn undo(_cx: Cx<(), u64>, _made: Option<()>) -> Result<(), StepError> {
    Ok(())
}

fn main() -> Outcome<()> {
    let folder = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("mainstay-sagas-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    println!(
        "{:>9.0} syncs/s: 4 KiB appended and synced",
        probe(&folder)?
    );
    println!(
        "{:28} {:>9} {:>9} {:>9} {:>11} {:>10} {:>10}",
        "", "sagas/s", "p50 ms", "p99 ms", "syncs/saga", "writer µs", "others µs"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let only = std::env::args().nth(2);
    for (flight, sagas) in [(1, 1_500), (64, 20_000), (256, 40_000)] {
        if only.as_deref().is_none_or(|only| only == "memory") {
            runtime.block_on(row("memory", flight, sagas * 5, || Ok(Store::Memory)))?;
        }
        if only.as_deref().is_some_and(|only| only == "memory") {
            continue;
        }
        let path = |run: usize| folder.join(format!("{flight}-{run}.sqlite"));
        let runs = AtomicUsize::new(0);
        runtime.block_on(row("sqlite", flight, sagas, || {
            let journal = SqliteJournal::open(path(runs.fetch_add(1, Ordering::Relaxed)))?;
            Ok(Store::Sqlite(Arc::new(journal)))
        }))?;
        let runs = AtomicUsize::new(100);
        runtime.block_on(bare(flight, sagas, || {
            Ok(SqliteJournal::open(path(
                runs.fetch_add(1, Ordering::Relaxed),
            ))?)
        }))?;
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// How long the journal's thread and all other threads have been on a processor, where the system says so.
fn work() -> [Duration; 2] {
    let mut work = [Duration::ZERO; 2];
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    for thread in threads {
        let read =
            |name: &str| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let nanos = read("schedstat")
            .split(' ')
            .next()
            .and_then(|nanos| nanos.parse().ok());
        let other = usize::from(!read("comm").starts_with("mainstay-journ"));
        work[other] += Duration::from_nanos(nanos.unwrap_or(0));
    }
    work
}

/// What was worked since `before`.
fn since(before: [Duration; 2]) -> [Duration; 2] {
    let now = work();
    [0, 1].map(|at: usize| now[at].saturating_sub(before[at]))
}

enum Store {
    Memory,
    Sqlite(Arc<SqliteJournal>),
}

/// How many small writes a second the disk makes durable for one who waits for each.
fn probe(folder: &Path) -> Outcome<f64> {
    let mut file = File::create(folder.join("probe"))?;
    let page = [7_u8; 4_096];
    let start = Instant::now();
    let mut syncs = 0.0;
    while start.elapsed() < Duration::from_millis(700) {
        file.write_all(&page)?;
        file.sync_data()?;
        syncs += 1.0;
    }
    Ok(syncs / start.elapsed().as_secs_f64())
}

struct Run {
    each: Vec<Duration>,
    took: Duration,
    commits: u64,
    /// What the journal's thread and all others have worked.
    work: [Duration; 2],
}

impl Run {
    fn rate(&self) -> f64 {
        self.each.len() as f64 / self.took.as_secs_f64()
    }

    fn print(mut self, name: &str) {
        self.each.sort_unstable();
        let at = |share: usize| {
            let each = self.each.get(self.each.len() * share / 100);
            each.map_or(f64::NAN, |each| each.as_secs_f64() * 1_000.0)
        };
        println!(
            "{name:28} {:>9.0} {:>9.2} {:>9.2} {:>11.2} {:>10.1} {:>10.1}",
            self.rate(),
            at(50),
            at(99),
            self.commits as f64 / self.each.len() as f64,
            self.work[0].as_secs_f64() * 1e6 / self.each.len() as f64,
            self.work[1].as_secs_f64() * 1e6 / self.each.len() as f64
        );
    }
}

async fn row(
    name: &str,
    flight: usize,
    sagas: usize,
    open: impl Fn() -> Outcome<Store>,
) -> Outcome<()> {
    let mut best: Option<Run> = None;
    for _run in 0..3 {
        let store = open()?;
        let run = once(&store, flight, sagas).await?;
        if best.as_ref().is_none_or(|best| best.rate() < run.rate()) {
            best = Some(run);
        }
    }
    if let Some(best) = best {
        best.print(&format!("{name}, {flight} in flight"));
    }
    Ok(())
}

async fn once(store: &Store, flight: usize, sagas: usize) -> Outcome<Run> {
    let saga = Saga::builder("six")
        .step("one", nothing)
        .undo(undo)
        .step("two", nothing)
        .undo(undo)
        .step("three", nothing)
        .undo(undo)
        .step("four", nothing)
        .undo(undo)
        .step("five", nothing)
        .undo(undo)
        .step("six", nothing)
        .undo(undo)
        .build()?;
    let journal: Arc<dyn Journal> = match store {
        Store::Memory => Arc::new(MemoryJournal::new()),
        Store::Sqlite(journal) => Arc::clone(journal) as Arc<dyn Journal>,
    };
    let engine = Sagas::builder(journal, ()).register(&saga).start().await?;
    let before = commits(store);
    let next = Arc::new(AtomicUsize::new(0));
    let worked = work();
    let start = Instant::now();
    let workers = (0..flight).map(|_| {
        let (engine, saga, next) = (engine.clone(), saga.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            let mut each = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= sagas {
                    return Outcome::Ok(each);
                }
                let start = Instant::now();
                engine
                    .start(&saga, number.to_string(), number as u64)
                    .await?
                    .ended()
                    .await?;
                each.push(start.elapsed());
            }
        })
    });
    let mut each = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        each.extend(worker.await??);
    }
    Ok(Run {
        each,
        took: start.elapsed(),
        commits: commits(store) - before,
        work: since(worked),
    })
}

fn commits(store: &Store) -> u64 {
    match store {
        Store::Memory => 0,
        Store::Sqlite(journal) => journal.written().commits,
    }
}

/// The same records without the engine: what the journal alone costs.
async fn bare(
    flight: usize,
    sagas: usize,
    open: impl Fn() -> Outcome<SqliteJournal>,
) -> Outcome<()> {
    let mut best: Option<Run> = None;
    for _run in 0..3 {
        let journal = Arc::new(open()?);
        let next = Arc::new(AtomicUsize::new(0));
        let worked = work();
        let start = Instant::now();
        let workers = (0..flight).map(|_| {
            let (journal, next) = (Arc::clone(&journal), Arc::clone(&next));
            tokio::spawn(async move {
                let mut each = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= sagas {
                        return Outcome::Ok(each);
                    }
                    let start = Instant::now();
                    write(&*journal, number).await?;
                    each.push(start.elapsed());
                }
            })
        });
        let mut each = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            each.extend(worker.await??);
        }
        let run = Run {
            each,
            took: start.elapsed(),
            commits: journal.written().commits,
            work: since(worked),
        };
        if best.as_ref().is_none_or(|best| best.rate() < run.rate()) {
            best = Some(run);
        }
    }
    if let Some(best) = best {
        best.print(&format!("sqlite alone, {flight} in flight"));
    }
    Ok(())
}

async fn write(journal: &dyn Journal, number: usize) -> Outcome<()> {
    let labels = Arc::new(Labels::new(""));
    let at = Timestamp::from_millis(1_700_000_000_000);
    let first = r#"[{"started":{"definition":"six","version":1,"fingerprint":"0123456789abcdef","nonce":"0123456789abcdef","input":7}}]"#;
    let digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let begin = Begin::new(
        Arc::clone(&labels),
        "six",
        number.to_string(),
        digest,
        1,
        first,
        at,
    );
    let Begun::Created(head) = journal.begin(begin).await? else {
        return Err("the key was free".into());
    };
    let mut place = head.place;
    for step in ["one", "two", "three", "four", "five", "six"] {
        let (status, body) = match step {
            "six" => (
                Status::Ended,
                r#"[{"done":{"step":"six","output":null}},{"finished":"completed"}]"#.to_owned(),
            ),
            _ => (
                Status::Running,
                format!(r#"[{{"done":{{"step":"{step}","output":null}}}}]"#),
            ),
        };
        let append = Append::new(head.id, place, status, Arc::clone(&labels), 1, body, at);
        journal.append(append).await?;
        place = place.after();
    }
    Ok(())
}
