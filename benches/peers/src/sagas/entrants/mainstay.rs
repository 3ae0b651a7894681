//! This crate, on its three journals, with its defaults.

use std::sync::Arc;

use deadpool_postgres::{Manager, Pool, QueueMode};
use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::postgres::{PostgresConfig, PostgresJournal};
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Append, Begin, Begun, Journal, Labels, Status};
use mainstay::saga::{Cx, Ended, Saga, Sagas, StepError};
use mainstay::time::Timestamp;
use tokio_postgres::NoTls;

use super::super::job::{self, Answer, Engine, Opened, Outcome, Place, STEPS};

async fn nothing(_cx: Cx<(), u64>, (): ()) -> Result<(), StepError> {
    job::step();
    Ok(())
}

async fn last(cx: Cx<(), u64>, (): ()) -> Result<u64, StepError> {
    job::step();
    Ok(*cx.input())
}

async fn undo<T: Send>(_cx: Cx<(), u64>, _made: Option<T>) -> Result<(), StepError> {
    Ok(())
}

type Commits = Box<dyn Fn() -> u64 + Send + Sync>;

struct Six {
    saga: Saga<(), u64, u64>,
    engine: Sagas<()>,
    commits: Option<Commits>,
}

impl Engine for Six {
    fn saga(&self, number: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let handle = self
                .engine
                .start(&self.saga, number.to_string(), number)
                .await?;
            match handle.ended().await? {
                Ended::Completed(result) => job::expect(number, result),
                other => Err(format!("saga {number} ended as {other:?}").into()),
            }
        })
    }

    fn commits(&self) -> Option<u64> {
        self.commits.as_ref().map(|commits| commits())
    }
}

async fn start(journal: Arc<dyn Journal>, commits: Option<Commits>) -> Outcome<Opened> {
    let [one, two, three, four, five, six] = STEPS;
    let saga = Saga::builder("six")
        .step(one, nothing)
        .undo(undo)
        .step(two, nothing)
        .undo(undo)
        .step(three, nothing)
        .undo(undo)
        .step(four, nothing)
        .undo(undo)
        .step(five, nothing)
        .undo(undo)
        .step(six, last)
        .undo(undo)
        .build()?;
    let engine = Sagas::builder(journal, ()).register(&saga).start().await?;
    Ok(Arc::new(Six {
        saga,
        engine,
        commits,
    }))
}

pub fn memory(_place: Place) -> Answer<'static, Opened> {
    Box::pin(start(Arc::new(MemoryJournal::new()), None))
}

pub fn sqlite(place: Place) -> Answer<'static, Opened> {
    Box::pin(async move {
        let journal = Arc::new(SqliteJournal::open(place.folder.join("sagas.sqlite"))?);
        let counted = Arc::clone(&journal);
        let commits = Box::new(move || counted.written().commits);
        start(journal, Some(commits)).await
    })
}

pub fn postgres(place: Place) -> Answer<'static, Opened> {
    Box::pin(async move {
        let (port, name) = place.database()?;
        let address = format!("host=127.0.0.1 port={port} user=postgres dbname={name}");
        let address: tokio_postgres::Config = address.parse()?;
        let pool = Pool::builder(Manager::new(address.clone(), NoTls))
            .max_size(8)
            .queue_mode(QueueMode::Lifo)
            .build()?;
        let config = PostgresConfig::new();
        PostgresJournal::migrate(&pool, &config).await?;
        let journal = PostgresJournal::open(pool, config)
            .await?
            .listen(address, NoTls);
        let journal = Arc::new(journal);
        let counted = Arc::clone(&journal);
        let commits = Box::new(move || counted.written().commits);
        start(journal, Some(commits)).await
    })
}

/// The same records without the engine: what the journal alone costs.
struct Alone(SqliteJournal);

impl Engine for Alone {
    fn saga(&self, number: u64) -> Answer<'_, ()> {
        Box::pin(write(&self.0, number))
    }

    fn commits(&self) -> Option<u64> {
        Some(self.0.written().commits)
    }
}

pub fn sqlite_alone(place: Place) -> Answer<'static, Opened> {
    Box::pin(async move {
        let journal = SqliteJournal::open(place.folder.join("sagas.sqlite"))?;
        Ok(Arc::new(Alone(journal)) as Opened)
    })
}

async fn write(journal: &dyn Journal, number: u64) -> Outcome<()> {
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
    for step in STEPS {
        job::step();
        let (status, body) = match step {
            "six" => (
                Status::Ended,
                r#"[{"done":{"step":"six","output":7}},{"finished":"completed"}]"#.to_owned(),
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
