//! durare, a workflow of six steps, on SQLite and on PostgreSQL. It has no compensations: they are the workflow's code.
//!
//! On SQLite once as it connects by itself (`synchronous = NORMAL`, five connections), and once over a pool with the
//! same settings but `FULL`, so that what is acknowledged is on the disk, as with everybody else who says so. On
//! PostgreSQL over a pool of 32 connections in place of its own 8, as dbos has.

use std::sync::Arc;
use std::time::Duration;

use durare::{
    DurableContext, DurableEngine, PostgresProvider, SqliteProvider, StateProvider, WorkflowOptions,
};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::super::job::{self, Answer, Engine, Opened, Outcome, Place, STEPS};

async fn six(cx: DurableContext, number: u64) -> durare::Result<u64> {
    for step in STEPS {
        cx.step(step, || async {
            job::step();
            durare::Result::Ok(())
        })
        .await?;
    }
    Ok(number)
}

struct Durare(DurableEngine);

impl Engine for Durare {
    fn saga(&self, number: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            let options = WorkflowOptions::with_id(number.to_string());
            let handle = self.0.start::<u64, u64>("six", number, options).await?;
            job::expect(number, handle.await?)
        })
    }
}

async fn engine(provider: Arc<dyn StateProvider>) -> Outcome<Opened> {
    let mut builder = DurableEngine::builder(provider);
    builder.register("six", six);
    let engine = builder.build().await?;
    engine.launch().await?;
    Ok(Arc::new(Durare(engine)))
}

pub fn sqlite(place: Place) -> Answer<'static, Opened> {
    Box::pin(async move {
        let url = format!("sqlite://{}", place.folder.join("sagas.sqlite").display());
        engine(Arc::new(SqliteProvider::connect(&url).await?)).await
    })
}

pub fn sqlite_full(place: Place) -> Answer<'static, Opened> {
    Box::pin(async move {
        let options = SqliteConnectOptions::new()
            .filename(place.folder.join("sagas.sqlite"))
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(5)
            .connect_with(options)
            .await?;
        engine(Arc::new(SqliteProvider::from_pool(pool))).await
    })
}

pub fn postgres(place: Place) -> Answer<'static, Opened> {
    Box::pin(async move {
        let pool = PgPoolOptions::new()
            .max_connections(32)
            .connect(&place.url()?)
            .await?;
        let provider = PostgresProvider::from_pool_with_schema(pool, "dbos")?;
        engine(Arc::new(provider)).await
    })
}
