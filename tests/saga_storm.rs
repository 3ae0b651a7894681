//! Many sagas at once on several threads, with random faults of every kind, and an engine that is cut off at random
//! moments and started again: whatever await its tasks were at, the books are right in the end.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "it cuts a real engine off at real moments, and takes its seed from the environment"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Journal, JournalError};
use mainstay::num::Attempts;
use mainstay::retry::Backoff;
use mainstay::rng::Rng;
use mainstay::saga::{Cx, Ended, Saga, SagaError, Sagas, Step, StepError};

const SAGAS: u32 = 300;

/// A receiver that applies a key once and refuses what was undone, for all sagas.
struct World {
    luck: Mutex<Rng>,
    books: Mutex<BTreeMap<String, Books>>,
}

#[derive(Default, Debug)]
struct Books {
    standing: BTreeMap<String, String>,
    tombstones: BTreeSet<String>,
    /// Which effects were first applied and first undone, in order.
    events: Vec<String>,
}

type C = Cx<World, u32>;

impl World {
    fn draw(&self, bound: u64) -> u64 {
        self.luck.lock().unwrap().next_u64() % bound
    }

    fn with<T>(&self, cx: &C, work: impl FnOnce(&mut Books) -> T) -> T {
        work(
            self.books
                .lock()
                .unwrap()
                .entry(cx.business_key().to_owned())
                .or_default(),
        )
    }

    /// Trouble on the way there or back.
    async fn line(&self) -> Result<(), StepError> {
        match self.draw(40) {
            0 => std::future::pending().await,
            1 => panic!("a bug"),
            2 => Err(StepError::unknown("the line went dead")),
            3..6 => Err(StepError::retry("busy")),
            6..20 => {
                tokio::time::sleep(Duration::from_micros(self.draw(3_000))).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

async fn apply(cx: C, _: ()) -> Result<(), StepError> {
    let world = cx.app();
    world.line().await?;
    if world.draw(30) == 0 && cx.step() != "settle" {
        return Err(StepError::fail("no"));
    }
    world.with(&cx, |books| {
        if books.tombstones.contains(cx.idempotency_key()) {
            return Err(StepError::refused("it was undone"));
        }
        let key = cx.idempotency_key().to_owned();
        if books.standing.insert(key, cx.step().to_owned()).is_none() {
            books.events.push(format!("+{}", cx.step()));
        }
        Ok(())
    })?;
    world.line().await
}

async fn revert(cx: C, _: Option<()>) -> Result<(), StepError> {
    let world = cx.app();
    world.line().await?;
    world.with(&cx, |books| {
        let undoes = cx.undoes().unwrap().to_owned();
        if books.standing.remove(&undoes).is_some() {
            books.events.push(format!("-{}", cx.step()));
        }
        books.tombstones.insert(undoes);
    });
    world.line().await
}

/// After the pivot trouble passes; unlimited attempts outlast it.
fn saga() -> Saga<World, u32, ()> {
    let backoff = Backoff::exponential(Duration::from_micros(200), Duration::from_millis(5));
    let step = |attempts| {
        Step::new(apply)
            .attempts(Attempts::total(attempts))
            .backoff(backoff)
            .timeout(Duration::from_millis(10))
    };
    let undo = || {
        Step::new(revert)
            .until_done()
            .backoff(backoff)
            .timeout(Duration::from_millis(10))
    };
    Saga::builder("storm")
        .step("one", step(3))
        .undo(undo())
        .step("two", step(2))
        .undo(undo())
        .step("three", step(3))
        .undo(undo())
        .pivot("settle", step(1).until_done())
        .then("notify", step(1).until_done())
        .build()
        .unwrap()
}

/// Opens the journal once the tasks that were cut off have let go of it.
async fn open(path: &std::path::Path) -> Arc<dyn Journal> {
    loop {
        match SqliteJournal::open(path) {
            Ok(journal) => return Arc::new(journal),
            Err(JournalError::InUse(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(other) => panic!("{other:?}"),
        }
    }
}

async fn live(sagas: &Sagas<World>, saga: &Saga<World, u32, ()>) -> BTreeMap<u32, Ended<()>> {
    let all = (0..SAGAS).map(|n| async move {
        match sagas.start(saga, n.to_string(), n).await {
            Ok(handle) => handle.ended().await.ok().map(|ended| (n, ended)),
            Err(SagaError::Stopping) => None,
            Err(other) => panic!("{other:?}"),
        }
    });
    futures::future::join_all(all)
        .await
        .into_iter()
        .flatten()
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cut_off_at_random_moments_the_books_are_right() {
    let seed = std::env::var("MAINSTAY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("MAINSTAY_SEED={seed}");
    std::panic::set_hook(Box::new(|info| {
        // Injected ones would fill pages.
        if info.payload().downcast_ref::<&str>() != Some(&"a bug") {
            eprintln!("{info}");
        }
    }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let world = Arc::new(World {
        luck: Mutex::new(Rng::new(seed)),
        books: Mutex::default(),
    });
    let saga = saga();
    let mut ended = BTreeMap::new();
    for life in 0..40 {
        let builder = Sagas::builder(open(&path).await, Arc::clone(&world)).register(&saga);
        let sagas = builder.start().await.unwrap();
        let span = Duration::from_millis(5 + world.draw(60));
        let heard = if life < 25 {
            // Dropped in the middle of everything, callers and engine alike.
            tokio::time::timeout(span, live(&sagas, &saga))
                .await
                .unwrap_or_default()
        } else {
            live(&sagas, &saga).await
        };
        for (n, how) in heard {
            // A pivot in doubt waits for an operator, who says "try again".
            if let Ended::Incident(incident) = &how {
                drop(sagas.retry(incident.saga, "ann", "the storm passes").await);
                continue;
            }
            let before = ended.insert(n, how.clone());
            assert!(
                before.is_none_or(|before| before == how),
                "saga {n} ended twice"
            );
        }
        if ended.len() == SAGAS as usize {
            break;
        }
    }
    let books = world.books.lock().unwrap();
    let mut completed = 0;
    for n in 0..SAGAS {
        let none = Books::default();
        let books = books.get(&n.to_string()).unwrap_or(&none);
        let done: Vec<&str> = books
            .events
            .iter()
            .filter_map(|event| event.strip_prefix('+'))
            .collect();
        let undone: Vec<&str> = books
            .events
            .iter()
            .filter_map(|event| event.strip_prefix('-'))
            .collect();
        match ended.get(&n) {
            Some(Ended::Completed(())) => {
                completed += 1;
                assert_eq!(
                    done,
                    ["one", "two", "three", "settle", "notify"],
                    "saga {n}: {books:?}"
                );
                assert!(undone.is_empty(), "saga {n}: {books:?}");
            }
            Some(Ended::Compensated { .. }) => {
                assert!(books.standing.is_empty(), "saga {n}: {books:?}");
                assert!(undone.iter().eq(done.iter().rev()), "saga {n}: {books:?}");
            }
            other => panic!("saga {n}: {other:?} {books:?}"),
        }
    }
    println!("{completed} of {SAGAS} completed");
    assert!(completed > 10 && completed < SAGAS - 10);
}
