//! Steps that are one transaction with their record: messages and answers that get lost, backends that are killed, two
//! engines on one database. Each effect is there once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, Pool};
use mainstay::journal::Journal;
use mainstay::journal::postgres::PostgresJournal;
use mainstay::num::Attempts;
use mainstay::rng::Rng;
use mainstay::saga::entry::Class;
use mainstay::saga::tx::postgres::TxStep;
use mainstay::saga::{Cx, Ended, Saga, SagaError, Sagas, Step, StepError};
use tokio_postgres::{IsolationLevel, NoTls, Transaction};

use super::fixture::{Fixture, eventually, psql, seed};
use super::proxy::Proxy;
use super::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test(
        "tx::an_effect_and_its_record_are_both_there_or_neither",
        whole,
    );
    suite.test(
        "tx::a_connection_cut_at_any_message_loses_and_doubles_nothing",
        cut_anywhere,
    );
    suite.test(
        "tx::random_cuts_and_killed_backends_lose_and_double_nothing",
        random_cuts,
    );
    suite.test("tx::who_lost_the_saga_cannot_act", stale);
    suite.test("tx::a_function_that_ends_the_transaction_is_held", breaks);
    suite.test("tx::what_takes_too_long_is_taken_back", slow);
    suite.test("tx::serialization_failures_are_tried_again", serialized);
}

/// The books are tables in the journal's schema, so that each test has its own.
struct Books {
    schema: String,
    address: tokio_postgres::Config,
    runs: AtomicU32,
}

type C = Cx<Books, i64>;
type Done<T> = Result<T, StepError>;

impl Books {
    async fn of(fixture: &Fixture) -> Arc<Self> {
        let schema = fixture.schema.as_str().to_owned();
        let tables = format!(
            "CREATE TABLE IF NOT EXISTS {schema}.posting
                 (number BIGSERIAL PRIMARY KEY, key TEXT NOT NULL, step TEXT NOT NULL, minor BIGINT NOT NULL);
             CREATE TABLE IF NOT EXISTS {schema}.total (minor BIGINT NOT NULL);
             INSERT INTO {schema}.total SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM {schema}.total);"
        );
        fixture.psql().await.batch_execute(&tables).await.unwrap();
        Arc::new(Self {
            schema,
            address: fixture.address(),
            runs: AtomicU32::new(0),
        })
    }
}

async fn count(fixture: &Fixture, what: &str) -> i64 {
    let schema = fixture.schema.as_str();
    let sql = what.replace("{schema}", schema);
    fixture
        .psql()
        .await
        .query_one(&sql, &[])
        .await
        .unwrap()
        .get(0)
}

async fn insert(tx: &Transaction<'_>, cx: &C) -> Done<i64> {
    let books = cx.app();
    books.runs.fetch_add(1, Ordering::SeqCst);
    let sql = format!(
        "INSERT INTO {}.posting (key, step, minor) VALUES ($1, $2, $3) RETURNING number",
        books.schema
    );
    let row = tx
        .query_one(&sql, &[&cx.business_key(), &cx.step(), cx.input()])
        .await?;
    Ok(row.try_get(0)?)
}

async fn post(tx: &Transaction<'_>, cx: C, (): ()) -> Done<i64> {
    insert(tx, &cx).await
}

async fn post_more(tx: &Transaction<'_>, cx: C, _: i64) -> Done<i64> {
    insert(tx, &cx).await
}

/// Every third saga turns back, after its insert.
async fn settle(tx: &Transaction<'_>, cx: C, _: i64) -> Done<i64> {
    let number = insert(tx, &cx).await?;
    if cx.input() % 3 == 0 {
        return Err(StepError::fail("the period is closed"));
    }
    Ok(number)
}

async fn unpost(tx: &Transaction<'_>, cx: C, number: Option<i64>) -> Done<()> {
    let sql = format!("DELETE FROM {}.posting WHERE number = $1", cx.app().schema);
    match tx.execute(&sql, &[&number]).await? {
        1 => Ok(()),
        gone => Err(StepError::halt(format!("{gone} rows to undo"))),
    }
}

/// Connections are lost often here, and how often must not decide how a saga ends.
fn saga() -> Saga<Books, i64, i64> {
    Saga::builder("posted")
        .step("create", Step::new(TxStep::new(post)).until_done())
        .undo(Step::new(TxStep::new(unpost)).until_done())
        .pivot("settle", Step::new(TxStep::new(settle)).until_done())
        .then("notify", TxStep::new(post_more))
        .build()
        .unwrap()
}

async fn serve<O>(
    journal: PostgresJournal,
    books: &Arc<Books>,
    saga: &Saga<Books, i64, O>,
) -> Sagas<Books> {
    Sagas::builder(Arc::new(journal) as Arc<dyn Journal>, Arc::clone(books))
        .register(saga)
        .crash_limit(NonZeroU32::MAX)
        .start()
        .await
        .unwrap()
}

async fn behind(fixture: &Fixture, proxy: &Proxy, connections: usize) -> PostgresJournal {
    let address = fixture
        .server()
        .address_through(proxy.port)
        .parse()
        .unwrap();
    let pool = Pool::builder(Manager::new(address, NoTls))
        .max_size(connections)
        .build()
        .unwrap();
    let config = fixture
        .config()
        .writers(NonZeroU32::MIN)
        .patience(Duration::from_secs(2));
    PostgresJournal::open(pool, config).await.unwrap()
}

/// Each step of each completed saga once, and nothing else.
async fn balanced(fixture: &Fixture, sagas: i64) {
    let back = (0..sagas).filter(|n| n % 3 == 0).count();
    let expected = (sagas - i64::try_from(back).unwrap()) * 3;
    assert_eq!(
        count(fixture, "SELECT count(*) FROM {schema}.posting").await,
        expected
    );
    let once = "SELECT count(DISTINCT (key, step)) FROM {schema}.posting";
    assert_eq!(count(fixture, once).await, expected);
    let wrong = "SELECT count(*) FROM {schema}.posting WHERE minor % 3 = 0";
    assert_eq!(count(fixture, wrong).await, 0);
}

async fn whole(fixture: Fixture) {
    let journal = fixture.journal().await;
    let books = Books::of(&fixture).await;
    let saga = saga();
    let sagas = serve(journal, &books, &saga).await;
    for n in 0..9 {
        let ended = sagas
            .start(&saga, n.to_string(), n)
            .await
            .unwrap()
            .ended()
            .await
            .unwrap();
        match ended {
            Ended::Completed(_) => assert_ne!(n % 3, 0),
            Ended::Compensated { .. } => assert_eq!(n % 3, 0),
            other => panic!("{other:?}"),
        }
    }
    balanced(&fixture, 9).await;
    // The start, and one for each step.
    let records = "SELECT count(*) FROM {schema}.record WHERE log = (SELECT id FROM {schema}.log WHERE key = '1')";
    assert_eq!(count(&fixture, records).await, 4);

    let memory = mainstay::journal::memory::MemoryJournal::new();
    let refused = Sagas::builder(Arc::new(memory), Arc::clone(&books))
        .register(&saga)
        .start()
        .await;
    assert!(matches!(refused, Err(SagaError::OtherJournal { .. })));
}

#[derive(Clone, Copy, Debug)]
enum Lost {
    Message,
    Reply,
}

/// The k-th message or answer of a saga's life is lost, for every k that it has: among them the commit of each step.
async fn cut_anywhere(fixture: Fixture) {
    fixture.migrated().await;
    let books = Books::of(&fixture).await;
    let saga = saga();
    let mut n = 1;
    for lost in [Lost::Message, Lost::Reply] {
        for k in 0..32 {
            let proxy = Proxy::to(fixture.server().port()).await;
            let sagas = serve(behind(&fixture, &proxy, 4).await, &books, &saga).await;
            // What comes first on a connection is no more interesting the sixtieth time.
            sagas
                .start(&saga, format!("warm {n}"), 1)
                .await
                .unwrap()
                .ended()
                .await
                .unwrap();
            match lost {
                Lost::Message => proxy.cut_before_the_server(k),
                Lost::Reply => proxy.cut_after_the_server(k),
            }
            for turn in 0..2 {
                let key = format!("{n} {turn}");
                let input = if turn == 0 { 1 } else { 3 };
                let ended = sagas
                    .start(&saga, key.clone(), input)
                    .await
                    .unwrap()
                    .ended()
                    .await
                    .unwrap();
                let posted = format!("SELECT count(*) FROM {{schema}}.posting WHERE key = '{key}'");
                let posted = count(&fixture, &posted).await;
                match (turn, &ended) {
                    (0, Ended::Completed(_)) => assert_eq!(posted, 3, "{lost:?} {k}"),
                    (1, Ended::Compensated { .. }) => assert_eq!(posted, 0, "{lost:?} {k}"),
                    _ => panic!("{lost:?} {k}: {ended:?}"),
                }
            }
            n += 1;
            sagas.shutdown(Duration::from_secs(5)).await;
        }
    }
    let once = "SELECT count(*) - count(DISTINCT (key, step)) FROM {schema}.posting";
    assert_eq!(count(&fixture, once).await, 0);
    println!("{} runs of functions", books.runs.load(Ordering::SeqCst));
}

/// Two engines, one behind a proxy that cuts and with backends that are killed.
async fn random_cuts(fixture: Fixture) {
    const SAGAS: i64 = 300;
    fixture.migrated().await;
    let books = Books::of(&fixture).await;
    let saga = saga();
    let proxy = Proxy::to(fixture.server().port()).await;
    let shaken = serve(behind(&fixture, &proxy, 8).await, &books, &saga).await;
    let calm = serve(fixture.open().await, &books, &saga).await;
    let mut rng = Rng::new(seed());
    let chaos = async {
        let psql = fixture.psql().await;
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
                    WHERE state <> 'idle' AND pid <> pg_backend_pid() AND query LIKE '%' || $1 || '%' LIMIT 1) AS one";
        let mut killed = 0;
        for _ in 0..60 {
            let k = i64::try_from(rng.next_u64() % 20).unwrap();
            match rng.next_u64() % 3 {
                0 => proxy.cut_before_the_server(k),
                1 => proxy.cut_after_the_server(k),
                _ => {
                    let row = psql
                        .query_one(kill, &[&fixture.schema.as_str()])
                        .await
                        .unwrap();
                    killed += row.get::<_, i64>(0);
                }
            }
            tokio::time::sleep(Duration::from_millis(rng.next_u64() % 30)).await;
        }
        proxy.heal();
        killed
    };
    let work = (0..SAGAS).map(|n| {
        let sagas = if n % 2 == 0 { &shaken } else { &calm };
        let saga = &saga;
        async move {
            tokio::time::sleep(Duration::from_millis(u64::try_from(n).unwrap() * 5)).await;
            loop {
                match sagas
                    .start(saga, n.to_string(), n)
                    .await
                    .unwrap()
                    .ended()
                    .await
                {
                    Ok(Ended::Completed(_) | Ended::Compensated { .. }) => return,
                    Ok(other) => panic!("{n}: {other:?}"),
                    Err(error) => println!("{n}: {error}"),
                }
            }
        }
    });
    let (_, killed) = futures::join!(futures::future::join_all(work), chaos);
    balanced(&fixture, SAGAS).await;
    let runs = books.runs.load(Ordering::SeqCst);
    println!("{killed} backends killed, {runs} runs of functions");
    let least = u32::try_from(SAGAS * 3 - SAGAS / 3).unwrap();
    assert!(runs > least, "nothing was repeated");
}

async fn lose(cx: C, (): ()) -> Done<i64> {
    Ok(*cx.input())
}

/// As another instance's claim does, while the function runs.
async fn overtaken(tx: &Transaction<'_>, cx: C, _: i64) -> Done<i64> {
    let number = insert(tx, &cx).await?;
    // On a connection of its own, so that it is committed whatever becomes of this.
    let client = psql(cx.app().address.clone()).await;
    let sql = format!(
        "UPDATE {}.log SET epoch = epoch + 1 WHERE key = 'stale'",
        cx.app().schema
    );
    client.batch_execute(&sql).await?;
    Ok(number)
}

async fn stale(fixture: Fixture) {
    let journal = fixture.journal().await;
    let books = Books::of(&fixture).await;
    let saga = Saga::builder("stale")
        .check("look", lose)
        .pivot("post", TxStep::new(overtaken))
        .build()
        .unwrap();
    let sagas = serve(journal, &books, &saga).await;
    let handle = sagas.start(&saga, "stale", 1).await.unwrap();
    eventually("the function ran", async || {
        books.runs.load(Ordering::SeqCst) > 0
    })
    .await;
    sagas.shutdown(Duration::from_secs(5)).await;
    drop(handle);
    assert_eq!(
        books.runs.load(Ordering::SeqCst),
        1,
        "it ran once, and was refused"
    );
    assert_eq!(
        count(&fixture, "SELECT count(*) FROM {schema}.posting").await,
        0
    );
    assert_eq!(
        count(&fixture, "SELECT count(*) FROM {schema}.record").await,
        1
    );
}

async fn committing(tx: &Transaction<'_>, cx: C, (): ()) -> Done<i64> {
    let number = insert(tx, &cx).await?;
    tx.batch_execute(if *cx.input() == 1 {
        "COMMIT"
    } else {
        "ROLLBACK"
    })
    .await?;
    Ok(number)
}

async fn breaks(fixture: Fixture) {
    let journal = fixture.journal().await;
    let books = Books::of(&fixture).await;
    let saga = Saga::builder("breaks")
        .pivot("post", TxStep::new(committing))
        .build()
        .unwrap();
    let sagas = serve(journal, &books, &saga).await;
    for n in 1..=2 {
        let ended = sagas
            .start(&saga, n.to_string(), n)
            .await
            .unwrap()
            .ended()
            .await
            .unwrap();
        assert!(
            matches!(&ended, Ended::Incident(held) if held.class == Class::Halted),
            "{ended:?}"
        );
    }
    let done = "SELECT count(*) FROM {schema}.record WHERE body LIKE '%\"done\"%'";
    assert_eq!(count(&fixture, done).await, 0);
}

async fn hanging(tx: &Transaction<'_>, cx: C, (): ()) -> Done<i64> {
    let number = insert(tx, &cx).await?;
    if cx.app().runs.load(Ordering::SeqCst) < 3 {
        tx.batch_execute("SELECT pg_sleep(2)").await?;
    }
    if cx.app().runs.load(Ordering::SeqCst) == 3 {
        panic!("on purpose");
    }
    Ok(number)
}

async fn slow(fixture: Fixture) {
    let journal = fixture.journal().await;
    let books = Books::of(&fixture).await;
    let hanging = Step::new(TxStep::new(hanging)).timeout(Duration::from_millis(200));
    let saga = Saga::builder("slow")
        .pivot("post", hanging)
        .build()
        .unwrap();
    let sagas = serve(journal, &books, &saga).await;
    let ended = sagas
        .start(&saga, "1", 1)
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    assert!(
        matches!(ended, Ended::Compensated { .. }),
        "a panic is no effect: {ended:?}"
    );
    let ended = sagas
        .start(&saga, "2", 1)
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    assert!(matches!(ended, Ended::Completed(_)), "{ended:?}");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(
        count(&fixture, "SELECT count(*) FROM {schema}.posting").await,
        1
    );
}

/// Reads and then writes what it read.
async fn add_up(tx: &Transaction<'_>, cx: C, (): ()) -> Done<i64> {
    cx.app().runs.fetch_add(1, Ordering::SeqCst);
    let schema = &cx.app().schema;
    let row = tx
        .query_one(&format!("SELECT minor FROM {schema}.total"), &[])
        .await?;
    let total: i64 = row.try_get(0)?;
    let total = total + cx.input();
    tx.execute(&format!("UPDATE {schema}.total SET minor = $1"), &[&total])
        .await?;
    Ok(total)
}

async fn serialized(fixture: Fixture) {
    let journal = fixture.journal().await;
    let books = Books::of(&fixture).await;
    let add = TxStep::new(add_up).isolation(IsolationLevel::Serializable);
    let saga = Saga::builder("adds")
        .step("add", Step::new(add).attempts(Attempts::total(50)))
        .undo(TxStep::new(unpost))
        .pivot("nothing", |_: C, _: i64| async { Ok(()) })
        .build()
        .unwrap();
    let sagas = serve(journal, &books, &saga).await;
    let work = (1..=20_i64).map(|n| {
        let (sagas, saga) = (&sagas, &saga);
        async move {
            let ended = sagas
                .start(saga, n.to_string(), n)
                .await
                .unwrap()
                .ended()
                .await
                .unwrap();
            assert_eq!(ended, Ended::Completed(()));
        }
    });
    futures::future::join_all(work).await;
    assert_eq!(
        count(&fixture, "SELECT minor FROM {schema}.total").await,
        210
    );
    let runs = books.runs.load(Ordering::SeqCst);
    println!("{runs} runs for 20 effects");
    assert!(runs > 20, "no two met");
}
