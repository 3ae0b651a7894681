//! Every crash point on PostgreSQL, with another instance going on: the books are those of the run without the crash.
//!
//! The engine runs in virtual time and the store in real time: each call of the journal is made on another runtime, while
//! the clock of the engine stands still.

use std::sync::{Arc, LazyLock, Mutex};

use deadpool_postgres::Pool;
use futures::future::BoxFuture;
use mainstay::journal::postgres::PostgresJournal;
use mainstay::journal::{
    Answer, Append, Beat, Begin, Begun, Claim, Head, InstanceId, Join, Journal, JournalError,
    Listing, Log, LogId, Post, Posted, Prune, Pulse, Release,
};
use mainstay::saga::Saga;
use mainstay::saga::testing::{Disturbance, Fault, Opener, Survey, Trial};
use tokio::runtime::Runtime;

use super::fixture::{Fixture, pool};
use super::saga_support::{EFFECTS, Erp, Invoice, books_hold, documented, invoice, recommended};
use super::size;
use super::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("sweep::recommended_order", |fixture| async {
        in_virtual_time(|| sweep(fixture, recommended().unwrap(), Some("notify")));
    });
    suite.test("sweep::documented_order", |fixture| async {
        in_virtual_time(|| sweep(fixture, documented().unwrap(), None));
    });
}

/// On a runtime whose clock stands still while there is something to do.
fn in_virtual_time<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send) {
    let run = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(work());
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap());
}

/// Where the store's time is real.
static REAL: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
});

/// A journal whose calls are made elsewhere, and for which the clock of the caller waits.
#[derive(Debug)]
struct Apart(Arc<PostgresJournal>);

impl Apart {
    fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&PostgresJournal) -> Answer<'_, T> + Send + 'static,
    ) -> Answer<'static, T> {
        let journal = Arc::clone(&self.0);
        // The clock stands still while something blocks.
        let made = tokio::task::spawn_blocking(move || REAL.block_on(call(&journal)));
        let made: BoxFuture<'static, Result<T, JournalError>> =
            Box::pin(async move { made.await.unwrap() });
        made
    }
}

impl Journal for Apart {
    fn begin(&self, begin: Begin) -> Answer<'_, Begun> {
        self.call(move |journal| journal.begin(begin))
    }
    fn append(&self, append: Append) -> Answer<'_, ()> {
        self.call(move |journal| journal.append(append))
    }
    fn load(&self, id: LogId) -> Answer<'_, Log> {
        self.call(move |journal| journal.load(id))
    }
    fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>> {
        self.call(move |journal| journal.claim(claim))
    }
    fn list(&self, listing: Listing) -> Answer<'_, Vec<Head>> {
        self.call(move |journal| journal.list(listing))
    }
    fn join(&self, join: Join) -> Answer<'_, InstanceId> {
        self.call(move |journal| journal.join(join))
    }
    fn beat(&self, beat: Beat) -> Answer<'_, Pulse> {
        self.call(move |journal| journal.beat(beat))
    }
    fn leave(&self, instance: InstanceId) -> Answer<'_, ()> {
        self.call(move |journal| journal.leave(instance))
    }
    fn release(&self, release: Release) -> Answer<'_, ()> {
        self.call(move |journal| journal.release(release))
    }
    fn post(&self, post: Post) -> Answer<'_, Posted> {
        self.call(move |journal| journal.post(post))
    }
    fn prune(&self, prune: Prune) -> Answer<'_, usize> {
        self.call(move |journal| journal.prune(prune))
    }
    fn changed(&self) -> Answer<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// A store for one run: empty tables, and a lease that is over whenever a process has died.
fn store(fixture: &Fixture, pool: &Pool, client: &Arc<tokio_postgres::Client>) -> Opener {
    let (pool, config, client) = (pool.clone(), fixture.config(), Arc::clone(client));
    let schema = &fixture.schema;
    // Faster than TRUNCATE, which makes new files.
    let tables = ["log", "record", "mail", "instance"];
    let empty = tables
        .map(|table| format!("DELETE FROM {schema}.{table};"))
        .concat();
    let over = format!("UPDATE {schema}.instance SET until = now() - interval '1 hour'");
    away({
        let client = Arc::clone(&client);
        move || async move { client.batch_execute(&empty).await.unwrap() }
    });
    Box::new(move || {
        let (pool, config, client, over) = (
            pool.clone(),
            config.clone(),
            Arc::clone(&client),
            over.clone(),
        );
        away(move || async move {
            client.batch_execute(&over).await.unwrap();
            let journal = PostgresJournal::open(pool, config).await.unwrap();
            Arc::new(Apart(Arc::new(journal))) as Arc<dyn Journal>
        })
    })
}

/// Runs in real time and waits, on a thread that belongs to no runtime.
fn away<T: Send, F: Future<Output = T>>(work: impl FnOnce() -> F + Send) -> T {
    std::thread::scope(|scope| scope.spawn(|| REAL.block_on(work())).join().unwrap())
}

/// How a run ended: the end without its words, and the books.
type Left = (&'static str, Vec<String>);

/// `insists` is the step that is tried until it is done.
async fn sweep(fixture: Fixture, saga: Saga<Erp, Invoice, String>, insists: Option<&str>) {
    let client = away(|| async {
        fixture.migrated().await;
        fixture.psql().await
    });
    let client = Arc::new(client);
    // One for all runs: connecting takes longer than a run.
    let pool = away(|| async { pool(fixture.address()) });
    let left: Arc<Mutex<Option<Left>>> = Arc::default();
    let leaves = Arc::clone(&left);
    let trial = Trial::new(&saga, invoice(), Erp::default)
        .store(move || store(&fixture, &pool, &client))
        .holds(books_hold)
        .holds(move |erp, ended| {
            let how = match ended {
                mainstay::saga::Ended::Completed(_) => "completed",
                mainstay::saga::Ended::Compensated { .. } => "compensated",
                _ => "incident",
            };
            *leaves.lock().unwrap() = Some((how, erp.books().events.clone()));
            Ok(())
        });
    let all = size("MAINSTAY_PAIRS", 0) > 0;
    let mut disturbances = vec![(Disturbance::default(), true)];
    for step in EFFECTS {
        for fault in [
            Fault::UnknownAfter,
            Fault::Fails,
            Fault::RetryAfter,
            Fault::Twice,
        ] {
            let (must, pivot) = (
                insists == Some(step),
                insists.is_some() && step == "post_gl",
            );
            // The first would be tried for ever.
            let ends = !must || matches!(fault, Fault::RetryAfter | Fault::Twice);
            let few =
                matches!(fault, Fault::UnknownAfter) || step == "post_gl" && fault == Fault::Fails;
            if !ends || !(all || few) {
                continue;
            }
            let mut disturbance = Disturbance::default();
            disturbance.steps.push((step.into(), fault));
            // A point of no return that fails after an attempt whose answer died with the process is an incident.
            disturbances.push((disturbance, !(pivot && fault == Fault::Fails)));
        }
    }
    let mut survey = Survey::default();
    for (disturbance, same) in disturbances {
        let places = trial.once(disturbance.clone(), &mut survey).await.unwrap();
        let undisturbed = left.lock().unwrap().take();
        for first in 0..places {
            let mut crash = disturbance.clone();
            crash.crashes.insert(first);
            let reached = trial.once(crash.clone(), &mut survey).await.unwrap();
            let found = left.lock().unwrap().take();
            assert!(
                !same || found == undisturbed,
                "{crash}: {found:?}, not {undisturbed:?}"
            );
            for second in (first + 1..reached).filter(|_| all) {
                let mut both = crash.clone();
                both.crashes.insert(second);
                trial.once(both.clone(), &mut survey).await.unwrap();
                let found = left.lock().unwrap().take();
                assert!(
                    !same || found == undisturbed,
                    "{both}: {found:?}, not {undisturbed:?}"
                );
            }
        }
    }
    println!("{survey:?}");
    assert!(survey.crashed > 80, "{survey:?}");
}
